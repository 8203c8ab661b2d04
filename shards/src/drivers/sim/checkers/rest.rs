//! What must hold when all is quiet: everybody answered, everything promised delivered, nothing left over.

use crate::base::time::Time;
use crate::drivers::sim::failure::{Checked, ensure};
use crate::drivers::sim::ledger::{Fate, Kept, Published, Session, Subscription};
use crate::drivers::sim::rest::TIMER_GRAIN;
use crate::drivers::sim::topics::{TOPICS, Topic};
use crate::drivers::sim::world::World;
use crate::session::DropReason;
use crate::wire::{QoS, RetainHandling};
use std::time::Duration;

impl World {
    pub(in crate::drivers::sim) fn check_rest(&mut self) -> Checked {
        self.check_answers()?;
        self.check_nothing_left()?;
        self.check_coordinator()?;
        self.check_queues()?;
        self.check_deadlines()?;
        self.check_promises()?;
        self.check_groups()?;
        self.check_retained()
    }

    /// Lanes, cursors, parked connections and held replies drain by themselves.
    fn check_nothing_left(&self) -> Checked {
        let filters: usize = self.loops.iter().map(|shard| shard.seat.shard.sizes().filters).sum();
        for (thread, shard) in self.loops.iter().enumerate() {
            let sizes = shard.seat.shard.sizes();
            let on_lanes = shard.seat.port.waiting_messages();
            ensure(on_lanes == 0, "wedge", || {
                format!("shard {thread} sleeps with {on_lanes} messages on its lanes")
            })?;
            let done = sizes.held_replies == 0
                && sizes.cursor_messages == 0
                && sizes.interest_waiters == 0
                && sizes.parked == 0;
            ensure(done, "wedge", || format!("shard {thread} rests with work left over: {sizes:?}"))?;
            ensure(sizes.identities == sizes.sessions, "leak", || format!("shard {thread}: {sizes:?}"))?;
            ensure(sizes.remote_interest <= filters - sizes.filters, "leak", || {
                format!("shard {thread} knows of more interest than there is: {sizes:?}")
            })?;
        }
        Ok(())
    }

    /// The coordinator's directory and count say what the shards have.
    fn check_coordinator(&self) -> Checked {
        let sizes = || self.loops.iter().map(|shard| shard.seat.shard.sizes());
        let sessions: usize = sizes().map(|sizes| sizes.sessions).sum();
        let counted: usize = sizes().map(|sizes| sizes.connections - sizes.half_open).sum();
        self.with_coordinator(|coordinator| {
            ensure(coordinator.client_ids() == sessions, "leak", || {
                format!("the coordinator knows {} ids of {sessions} sessions", coordinator.client_ids())
            })?;
            ensure(coordinator.connections() as usize == counted, "leak", || {
                format!("the coordinator counts {} of {counted} connections", coordinator.connections())
            })
        })
    }

    /// A client that reads and acknowledges has nothing waiting.
    fn check_queues(&self) -> Checked {
        for (session, view) in self.seen.values() {
            let record = &self.ledger.sessions[*session];
            let current = self.clients[record.client].current;
            let collects = record.link.is_some() && record.link == current && view.connected;
            let shard = self.loops.iter().flat_map(|shard| shard.seat.shard.sessions());
            let fresh = shard.into_iter().find(|fresh| fresh.client_id == view.client_id);
            let waiting = fresh.map_or(0, |fresh| fresh.queued + fresh.in_flight);
            ensure(!collects || waiting == 0, "in flight", || {
                format!("{:?} has taken everything, but {waiting} messages wait for it", view.client_id)
            })?;
        }
        Ok(())
    }

    /// Deadlines that have passed have been kept.
    fn check_deadlines(&self) -> Checked {
        let grain = TIMER_GRAIN;
        for (session, view) in self.seen.values() {
            let record = &self.ledger.sessions[*session];
            let expiry = Duration::from_secs(u64::from(record.expiry));
            let ends = record.offline_since + expiry + grain;
            let over = record.link.is_none() && record.expiry != u32::MAX && ends < self.now;
            ensure(!over, "session", || format!("{:?} outlives its expiry: {view:?}", view.client_id))?;
            let Some(link) = record.link.map(|link| &self.links[link]) else { continue };
            let silence = Duration::from_millis(1_500 * u64::from(link.keep_alive)) + grain;
            let since =
                link.attached.map_or(link.last_arrived, |attached| attached.at.max(link.last_arrived));
            let silent = link.keep_alive > 0 && since + silence < self.now;
            ensure(!silent || !view.connected, "keep-alive", || {
                format!("{:?} is silent: {link:?}", view.client_id)
            })?;
        }
        let deadline = self.profile.limits.connect_deadline + grain;
        for (socket, link) in self.links.iter().enumerate() {
            let late = link.mute && link.opened + deadline < self.now;
            ensure(!late || self.network.peek(socket).broker_closed, "keep-alive", || {
                format!("link {socket} has not sent its CONNECT and is still open")
            })?;
        }
        Ok(())
    }

    /// Promises 3, 4 and the rest of 2: what the reference says must arrive has arrived, but for what queues had to drop.
    fn check_promises(&mut self) -> Checked {
        let dropped = self.dropped_for_lack_of_room();
        let mut missing = 0;
        let mut first = None;
        for (number, session) in self.ledger.sessions.iter().enumerate().filter(|(_, session)| session.alive)
        {
            if session.link.is_none() || self.clients[session.client].current != session.link {
                continue;
            }
            for (id, message) in self.ledger.messages.iter().enumerate() {
                if !must_arrive(message, session, self.now) {
                    continue;
                }
                self.coverage.promised += 1;
                if !session.received.contains_key(&(id as u32)) {
                    missing += 1;
                    let checker = if message.fate == Fate::Sent { "suback" } else { "will" };
                    first.get_or_insert_with(|| {
                        (checker, format!("session {number} misses message {id}: {message:?}"))
                    });
                }
            }
        }
        self.cover_wills();
        let (checker, first) = first.unwrap_or_default();
        ensure(missing <= dropped, checker, || {
            format!("{missing} messages are missing, {dropped} were dropped; {first}")
        })
    }

    /// Full queues and packets too large; what met an offline session or ended with one is no promise.
    fn dropped_for_lack_of_room(&self) -> u64 {
        self.dropped(DropReason::QueueFull) + self.dropped(DropReason::PacketTooLarge)
    }

    fn cover_wills(&mut self) {
        let mut states = [0; 3];
        for message in &self.ledger.messages {
            match message.fate {
                Fate::Due(at) if message.certain => states[usize::from(at > message_end(message, self))] += 1,
                Fate::Void => states[2] += 1,
                _ => {}
            }
        }
        let names = [
            "a will is published at once",
            "a will is published after its delay",
            "a will is void after a resume",
        ];
        for (name, count) in names.into_iter().zip(states) {
            if count > 0 {
                self.coverage.reach(name);
            }
        }
    }

    /// A subscriber ends with what was last written to each retained topic.
    fn check_retained(&mut self) -> Checked {
        let lossless = self.dropped_for_lack_of_room() == 0;
        for session in self.ledger.sessions.iter().filter(|session| session.alive && lossless) {
            if session.link.is_none() || self.clients[session.client].current != session.link {
                continue;
            }
            for (topic, write) in self.ledger.retained.iter().filter(|(_, write)| !write.contested) {
                let Kept::Message(id) = write.last else { continue };
                let message = &self.ledger.messages[id as usize];
                if message.may_be_expired(self.now) {
                    continue;
                }
                let wanted = session
                    .subscriptions
                    .iter()
                    .any(|subscription| keeps_up(subscription, session, message, *topic, write.sent));
                // Copies of QoS 0 and of the others are not in order among each other.
                let matching = || session.subscriptions.iter().filter(|other| other.matches(*topic));
                let mixed = message.qos > QoS::AtMostOnce
                    && matching().any(|other| other.qos == QoS::AtMostOnce)
                    && matching().any(|other| other.qos > QoS::AtMostOnce);
                let own = message.client == session.client && matching().any(|other| other.no_local);
                if !wanted || mixed || own {
                    continue;
                }
                self.coverage.reach("a retained message is delivered to a new subscription");
                let seen = session.last_seen.get(topic);
                ensure(seen == Some(&write.last), "retained", || {
                    format!(
                        "a session of client {} ended with {seen:?} on {}, not {:?}",
                        session.client, TOPICS[*topic], write
                    )
                })?;
            }
        }
        Ok(())
    }
}

fn message_end(message: &Published, world: &World) -> crate::base::time::Time {
    // A will that was due when its connection ended has the step of that end, and no delay.
    let delayed = world.links[message.link].will.is_some_and(|(_, delay)| delay > 0);
    if delayed { crate::base::time::Time::ZERO } else { crate::base::time::Time::NEVER }
}

/// Whether `session` must have got `message` by now.
fn must_arrive(message: &Published, session: &Session, now: Time) -> bool {
    let Some(arrived) = message.arrived.filter(|_| message.certain && !message.may_be_expired(now)) else {
        return false;
    };
    let holds = |subscription: &&Subscription| {
        subscription.matches(message.topic)
            && subscription.promised.is_some_and(|promised| promised < arrived)
            && subscription.dropped.is_none()
            && !(subscription.no_local && message.client == session.client)
    };
    let Some(filter) = session.subscriptions.iter().find(holds).map(|subscription| subscription.filter)
    else {
        return false;
    };
    // A later SUBSCRIBE of the same filter may have lowered the QoS, or left out the client's own.
    let same = || session.subscriptions.iter().filter(|subscription| subscription.filter == filter);
    let granted = same().map(|subscription| subscription.qos).min().unwrap_or_default();
    let own = message.client == session.client && same().any(|subscription| subscription.no_local);
    let stayed = session.connected_since.is_some_and(|since| since < message.sent && since < arrived);
    !own && (granted.min(message.qos) > QoS::AtMostOnce || stayed)
}

/// Whether `subscription` makes its session end with `message` as the last on its retained topic.
fn keeps_up(
    subscription: &Subscription,
    session: &Session,
    message: &Published,
    topic: Topic,
    sent: u64,
) -> bool {
    let Some(promised) = subscription.promised.filter(|_| subscription.matches(topic)) else { return false };
    let before =
        promised < sent || subscription.retain_handling == RetainHandling::Send && !subscription.replay_lost;
    let kept = subscription.qos.min(message.qos) > QoS::AtMostOnce;
    let connected = session.connected_since.is_some_and(|since| since < sent || since < subscription.asked);
    before && (kept || connected) && !subscription.no_local && subscription.dropped.is_none()
}
