//! What the broker did in a step, as far as the reference has to know it: which bytes it has, whose session a link speaks for, and when
//! that ended. Everything else the clients find out by reading.

use super::client::{Attached, Link, Sent};
use super::failure::{Checked, ensure, fail};
use super::ledger::{Fate, SessionId};
use super::network::SocketId;
use super::world::World;
use crate::shard::{SessionKey, SessionView};
use std::time::Duration;

impl World {
    /// Notes which packets the shards were given whole.
    pub(super) fn note_arrivals(&mut self, log_before: u64) {
        for socket in 0..self.links.len() {
            let link = &mut self.links[socket];
            let taken = self.network.peek(socket).taken;
            while link.boundaries.front().is_some_and(|(end, _)| *end <= taken) {
                let (_, sent) = link.boundaries.pop_front().expect("looked at above");
                match sent {
                    Sent::Connect => link.connect_arrived = Some(self.step),
                    Sent::Disconnect(forgets_will) => {
                        link.left = Some(self.step);
                        link.disconnect_arrived = forgets_will.then_some(self.step);
                    }
                    Sent::Publish(id) => {
                        let message = self.ledger.message(id);
                        if message.arrived.is_none() {
                            message.arrived = Some(self.step);
                            message.arrived_at = self.now;
                            message.log_then = log_before;
                        }
                    }
                    Sent::Other => {}
                }
            }
            if link.taken < taken {
                (link.taken, link.last_arrived) = (taken, self.now);
            }
        }
    }

    /// Compares the shard's sessions with those at the last look.
    pub(super) fn observe(&mut self, thread: usize) -> Checked {
        let shard = self.loops[thread].id();
        let views: Vec<SessionView> = self.loops[thread].seat.shard.sessions().collect();
        let is_there = |key: SessionKey| views.iter().any(|view| view.key == key);
        let gone: Vec<_> =
            self.seen.keys().filter(|(home, key)| *home == shard && !is_there(*key)).copied().collect();
        let mut ended = Vec::new();
        for key in gone {
            let (session, view) = self.seen.remove(&key).expect("listed above");
            self.detached(session, &view, true)?;
            ended.push(session);
        }
        for view in views {
            self.look_at(thread, view)?;
        }
        for session in ended {
            self.ended(session)?;
        }
        Ok(())
    }

    fn look_at(&mut self, thread: usize, view: SessionView) -> Checked {
        let place = (self.loops[thread].id(), view.key);
        let Some((session, before)) = self.seen.get(&place).cloned() else {
            return self.started(thread, view);
        };
        if before.epoch != view.epoch {
            // Perhaps it had several connections within the step.
            self.ledger.groups.disturb(&self.ledger.sessions[session].subscriptions, Some(self.step));
        }
        if before.connection != view.connection {
            if before.connection.is_some() {
                self.detached(session, &view, false)?;
            }
            if view.connection.is_some() {
                self.attached(thread, session, &view, true)?;
            }
        }
        self.connected(session, &view);
        self.seen.insert(place, (session, view));
        Ok(())
    }

    fn connected(&mut self, session: SessionId, view: &SessionView) {
        let session = &mut self.ledger.sessions[session];
        if let Some(link) = session.link.filter(|_| view.connected) {
            self.links[link].greeted = true;
        }
        if !view.connected {
            session.connected_since = None;
        } else if session.connected_since.is_none() {
            (session.connected_since, session.promised, session.may_end) = (Some(self.step), true, None);
            self.ledger.groups.disturb(&session.subscriptions, None);
        }
    }

    fn started(&mut self, thread: usize, view: SessionView) -> Checked {
        let Some(client) = self.clients.iter().position(|client| *client.name == *view.client_id) else {
            return fail("one owner", format!("nobody asked for client id {:?}", view.client_id));
        };
        let twin = self.seen.values().find(|(_, other)| other.client_id == view.client_id);
        if let Some((_, other)) = twin {
            return fail(
                "one owner",
                format!("{:?} has two sessions: {other:?} and {view:?}", view.client_id),
            );
        }
        let session = self.ledger.start_session(client, view.expiry_seconds, self.now);
        self.numbers.insert(view.number, session);
        let place = (self.loops[thread].id(), view.key);
        if view.connection.is_some() {
            self.attached(thread, session, &view, false)?;
        }
        self.connected(session, &view);
        self.seen.insert(place, (session, view));
        Ok(())
    }

    fn attached(&mut self, thread: usize, session: SessionId, view: &SessionView, present: bool) -> Checked {
        let key = view.connection.expect("the caller has looked");
        let socket = self.loops[thread].socket_of(key);
        let socket = socket.expect("a connection that speaks has its socket at the driver");
        let client = self.ledger.sessions[session].client;
        let epoch = self.epochs.entry(view.client_id.to_string()).or_default();
        ensure(view.epoch.0 > *epoch, "one owner", || {
            format!("{:?}: epoch {:?} took over from {epoch}", view.client_id, view.epoch)
        })?;
        *epoch = view.epoch.0;
        let sure = !self.unseen_links(client).any(|other| other != socket);
        let link = &mut self.links[socket];
        ensure(view.expiry_seconds == link.expiry, "session", || {
            format!("expires after {} s instead of {} s", view.expiry_seconds, link.expiry)
        })?;
        if self.traced {
            println!(
                "{} {:?} s{thread} link {socket} of {} attached to session {session}, present {present}",
                self.step, self.now, view.client_id
            );
        }
        link.attached = Some(Attached { session, present, sure, step: self.step, at: self.now });
        let clean = link.clean;
        self.resumed_or_new(session, client, (present, clean, sure))?;
        let session = &mut self.ledger.sessions[session];
        let end = session.offline_since + Duration::from_secs(u64::from(session.expiry));
        session.may_end = Some(session.may_end.map_or(end, |other| end.min(other))).filter(|_| present);
        (session.link, session.resting) = (Some(socket), None);
        session.expiry = view.expiry_seconds;
        if let Some(will) = session.delayed_will.take() {
            let now = self.now;
            let will = self.ledger.message(will);
            will.fate = if matches!(will.fate, Fate::Due(at) if at > now) { Fate::Void } else { Fate::Open };
        }
        Ok(())
    }

    /// Links whose CONNECT is with the broker and that were not seen to get a session: they may have had one within a single step.
    fn unseen_links(&self, client: usize) -> impl Iterator<Item = SocketId> {
        let unseen = move |link: &Link| {
            link.client == client
                && link.connect_arrived.is_some()
                && link.attached.is_none()
                && !link.detached
        };
        self.links.iter().enumerate().filter(move |(_, link)| unseen(link)).map(|(socket, _)| socket)
    }

    fn resumed_or_new(
        &mut self,
        session: SessionId,
        client: usize,
        (present, clean, sure): (bool, bool, bool),
    ) -> Checked {
        if present {
            ensure(!clean || !sure, "session", || "a clean start has resumed a session".into())?;
        } else if let Some(before) = self.clients[client].session.replace(session) {
            let before = &mut self.ledger.sessions[before];
            let over = before.offline_since + Duration::from_secs(u64::from(before.expiry));
            let may_end = !before.alive || before.expiry == 0 || over <= self.now;
            before.alive = false;
            ensure(clean || !sure || may_end, "session", || {
                format!("client {client}: its session was not resumed")
            })?;
        }
        self.clients[client].session = Some(session);
        Ok(())
    }

    /// The link that spoke for `session` does so no more.
    fn detached(&mut self, session: SessionId, view: &SessionView, gone: bool) -> Checked {
        let record = &mut self.ledger.sessions[session];
        record.connected_since = None;
        record.offline_since = if view.connection.is_none() { view.offline_since } else { self.now };
        let Some(socket) = record.link.take() else { return Ok(()) };
        self.ledger.groups.disturb(&record.subscriptions, Some(self.step));
        self.trace(|| format!("link {socket} detached from session {session}"));
        self.links[socket].detached = true;
        self.expiry_of(session, socket, (!gone && view.connection.is_none()).then_some(view.expiry_seconds))?;
        self.will_of(session, socket);
        Ok(())
    }

    /// The session expires as the connection said, or its DISCONNECT; `found`: as the broker has it, if it still has the session.
    fn expiry_of(&mut self, session: SessionId, socket: SocketId, found: Option<u32>) -> Checked {
        let link = &self.links[socket];
        let Some(asked) = link.expiry_at_end.filter(|_| link.left.is_some()) else { return Ok(()) };
        // It was handled as it came, or it lay unread behind a parked PUBLISH.
        let handled = link.left == Some(self.step);
        let record = &mut self.ledger.sessions[session];
        let right = found.is_none_or(|found| found == asked || !handled && found == record.expiry);
        record.expiry = found.unwrap_or(asked);
        ensure(right, "session", || {
            format!("expires after {found:?} s, DISCONNECT on {socket} said {asked} s")
        })
    }

    fn will_of(&mut self, session: SessionId, socket: SocketId) {
        let link = &self.links[socket];
        let Some((will, delay)) = link.will else { return };
        let (step, now) = (self.step, self.now);
        let record = &mut self.ledger.sessions[session];
        let after = Duration::from_secs(u64::from(delay.min(record.expiry)));
        let fate = match link.disconnect_arrived {
            // It was handled as it came, or it lay unread behind a parked PUBLISH.
            Some(arrived) if arrived == step => Fate::Void,
            Some(_) => Fate::Open,
            // So it did, or not: then the session's expiry was not what it says.
            None if delay > 0
                && link.expiry_at_end.is_some()
                && link.left.is_some_and(|left| left < step) =>
            {
                Fate::Open
            }
            None => Fate::Due(now + after),
        };
        if matches!(fate, Fate::Due(_)) && !after.is_zero() {
            record.delayed_will = Some(will);
        }
        let message = self.ledger.message(will);
        (message.fate, message.sent, message.arrived, message.of) = (fate, step, Some(step), Some(session));
        message.arrived_at = now;
    }

    fn ended(&mut self, session: SessionId) -> Checked {
        let (now, step) = (self.now, self.step);
        self.trace(|| format!("session {session} ended"));
        let client = self.ledger.sessions[session].client;
        let unseen = self.unseen_links(client).next().is_some();
        let replaced = self.unseen_links(client).any(|socket| self.links[socket].clean);
        let record = &mut self.ledger.sessions[session];
        if let Some(will) = record.delayed_will.take() {
            let will = self.ledger.message(will);
            if let Fate::Due(at) = will.fate {
                // A link that came and went within the step may have resumed the session before its end.
                will.fate = if unseen { Fate::Open } else { Fate::Due(at.min(now)) };
            }
        }
        let record = &mut self.ledger.sessions[session];
        if unseen {
            // The same: then the log has a connection, and perhaps not its end.
            record.resting = None;
        }
        let over = record.offline_since + Duration::from_secs(u64::from(record.expiry));
        let rightly = !record.alive || record.expiry == 0 || over <= now || replaced;
        (record.alive, record.ended) = (false, Some(step));
        ensure(rightly, "session", || {
            format!("session {session} ended at {now:?}, not before {over:?} by right")
        })
    }
}
