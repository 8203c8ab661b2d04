//! What the reference makes of a crash: what of its promises stands, what may be lost, and what may happen a second time.
//!
//! When all is quiet all of it is on disk. Of what came after the last rest it knows what was acknowledged; everything else may be there or not.

use super::client::Link;
use super::failure::{Checked, Failure, ensure, fail};
use super::ledger::{Fate, Kept, SessionId};
use super::network::SocketId;
use super::world::World;
use crate::base::shard_set::ShardId;
use crate::shard::SessionView;
use std::collections::BTreeSet;
use std::time::Duration;

impl World {
    /// The broker is gone; what it was doing was done, or not, or will be done again.
    pub(super) fn note_crash(&mut self) {
        self.seen.clear();
        self.forget_wills();
        for message in self.ledger.messages.iter_mut().filter(|message| !message.settled) {
            message.replays += 1;
        }
        self.ledger.doubt_retained();
        self.ledger.groups.crash(self.step);
        for link in &mut self.links {
            link.detached |= link.attached.is_some() || link.connect_arrived.is_some();
        }
        let last_rest = self.last_rest;
        for session in &mut self.ledger.sessions {
            for subscription in session.subscriptions.iter_mut().filter(|of| of.asked > last_rest) {
                subscription.replay_lost = true;
            }
        }
    }

    /// Wills that may be published or not: no log need have what was decided.
    fn forget_wills(&mut self) {
        let last_rest = self.last_rest;
        let recent = |link: &Link| link.attached.is_some_and(|attached| attached.step > last_rest);
        for link in &self.links {
            let Some((will, _)) = link.will else { continue };
            let session = link.attached.map(|attached| &self.ledger.sessions[attached.session]);
            let kept = link.greeted && session.is_some_and(|session| session.promised && link.expiry > 0);
            let message = &self.ledger.messages[will as usize];
            let fate = match message.fate {
                Fate::Due(_) if message.certain => continue,
                // Its session's log has it, whether that has its end or not.
                Fate::Due(_) if kept => continue,
                Fate::Carried if kept && !link.detached && link.left.is_none() => continue,
                // A resume or a DISCONNECT that is as old as the last rest, or younger and perhaps forgotten.
                Fate::Void => {
                    let recently_left = link.left.is_some_and(|left| left > last_rest);
                    let resumed = self.links.iter().any(|other| other.client == link.client && recent(other));
                    if recently_left || resumed { Fate::Open } else { Fate::Void }
                }
                _ => Fate::Open,
            };
            self.ledger.messages[will as usize].fate = fate;
        }
    }

    /// Looks which sessions the broker has after its start: all that must be there, and none that must not.
    pub(super) fn recognise(&mut self) -> Checked {
        // What was to happen while there was no broker is due from here on.
        for message in self.ledger.messages.iter_mut().filter(|of| matches!(of.fate, Fate::Due(_))) {
            message.due_by = self.now;
        }
        let mut found = BTreeSet::new();
        let mut epoch = 0;
        for thread in 0..self.loops.len() {
            let home = self.loops[thread].id();
            let views: Vec<SessionView> = self.loops[thread].seat.shard.sessions().collect();
            for view in views {
                epoch = epoch.max(view.epoch.0);
                let session = self.recognise_one(home, view)?;
                ensure(found.insert(session), "recovery", || format!("session {session} is there twice"))?;
            }
        }
        for session in 0..self.ledger.sessions.len() {
            if !found.contains(&session) {
                self.miss(session)?;
            }
        }
        // Claims that no log tells of were never made.
        self.epochs.values_mut().for_each(|known| *known = epoch);
        Ok(())
    }

    fn recognise_one(&mut self, home: ShardId, view: SessionView) -> Result<SessionId, Failure> {
        let Some(&session) = self.numbers.get(&view.number) else {
            return fail("recovery", format!("nobody had the session {view:?}"));
        };
        let later = self.ledger.sessions[session + 1..].iter();
        let client = self.ledger.sessions[session].client;
        let replaced = later.filter(|later| later.client == client).any(|later| later.promised);
        let record = &mut self.ledger.sessions[session];
        let over = record.ended.is_some_and(|ended| ended <= self.last_rest);
        let told = (record.ended, self.last_rest);
        ensure(!over && !replaced, "session", || {
            format!("{view:?} is back, though it had ended in {:?}, the last rest was {}", told.0, told.1)
        })?;
        ensure(self.clients[client].name == *view.client_id, "recovery", || {
            format!("session {session} is {:?}'s", self.clients[client].name)
        })?;
        let found = (view.offline_since, view.expiry_seconds);
        ensure(record.resting.is_none_or(|resting| resting == found), "session", || {
            format!("offline and expiring {:?} before the crash, {found:?} after it", record.resting)
        })?;
        self.coverage.reach("a session survives a crash");
        let was_online = record.link.take().map(|link| (link, record.connected_since.take().is_some()));
        // What ended and is back, since nobody was told, owes nothing that came after its end: it is not `alive`.
        let is_back = record.ended.take().is_some();
        if let Some(will) = record.delayed_will
            && let Fate::Due(at) = &mut self.ledger.messages[will as usize].fate
        {
            // A start that ended before it was on disk that the connection had: the delay begins anew.
            *at += found.0.since(record.offline_since);
        }
        (record.offline_since, record.expiry) = found;
        self.clients[client].session = Some(session);
        if let Some(connection) = was_online {
            self.bequeath(session, connection);
        }
        if is_back {
            self.doubt_delayed_wills(session);
        }
        self.seen.insert((home, view.key), (session, view));
        Ok(session)
    }

    /// The will of a connection that ended with the broker is due; `connected`: its CONNACK was out, so that the will was promised.
    fn bequeath(&mut self, session: SessionId, (socket, connected): (SocketId, bool)) {
        let link = &self.links[socket];
        let Some((will, delay)) = link.will else { return };
        let (step, now) = (self.step, self.now);
        let record = &mut self.ledger.sessions[session];
        let after = Duration::from_secs(u64::from(delay.min(record.expiry)));
        let message = &mut self.ledger.messages[will as usize];
        if message.fate != Fate::Carried || !connected {
            message.fate = Fate::Open;
            return;
        }
        if !after.is_zero() {
            record.delayed_will = Some(will);
        }
        (message.fate, message.due_by) = (Fate::Due(record.offline_since + after), now);
        (message.sent, message.arrived, message.of) = (step, Some(step), Some(session));
        message.arrived_at = record.offline_since;
    }

    /// The session's end is forgotten, which had its will published before its delay was over: perhaps it waits again, and a resume makes it void.
    fn doubt_delayed_wills(&mut self, session: SessionId) {
        let of_session = |link: &&Link| link.attached.is_some_and(|attached| attached.session == session);
        for (will, _) in
            self.links.iter().filter(of_session).filter_map(|link| link.will).filter(|will| will.1 > 0)
        {
            let message = &mut self.ledger.messages[will as usize];
            if matches!(message.fate, Fate::Due(_)) && !message.certain {
                message.fate = Fate::Open;
            }
        }
    }

    /// The session is not there: then it was none that had to last.
    fn miss(&mut self, session: SessionId) -> Checked {
        let record = &mut self.ledger.sessions[session];
        if !std::mem::replace(&mut record.alive, false) {
            return Ok(());
        }
        let offline = record.link.take().is_none();
        record.connected_since = None;
        record.ended = Some(self.step);
        let over = record.offline_since + Duration::from_secs(u64::from(record.expiry));
        let ended = record.expiry == 0
            || offline && over <= self.now
            || record.may_end.is_some_and(|at| at <= self.now);
        let will = record.delayed_will.take();
        ensure(!record.promised || ended, "session", || format!("session {session} is lost: {record:?}"))?;
        if let Some(will) = will {
            self.ledger.message(will).fate = Fate::Open;
        }
        Ok(())
    }
}

impl super::ledger::Ledger {
    /// What was written to a retained topic and is not acknowledged may be there or not.
    fn doubt_retained(&mut self) {
        for write in self.retained.values_mut() {
            let certain = match write.last {
                Kept::Message(id) => self.messages[id as usize].certain,
                Kept::Cleared => write.settled,
            };
            write.contested |= !certain;
        }
    }
}
