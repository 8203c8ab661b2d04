//! A SUBACK is a promise: it waits until every shard has applied the interest that its filters depend on.

use super::replay::ReplayKey;
use super::reply::Reply;
use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::limits::{INTEREST_BATCH_MAX, INTEREST_CREDITS};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::mesh::Control;
use crate::topics::Ticket;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// What goes on once interest is applied.
pub(super) enum Afterwards {
    /// The SUBACK goes out when its record is committed, and the retained replays of its filters start: its own only, since the interest
    /// of a later SUBSCRIBE may still be on its way, and an update would fall between its retained and its live messages.
    Suback { key: ConnectionKey, replays: SmallVec<[ReplayKey; 1]>, lsn: Lsn, encoded: Box<[u8]> },
    /// The CONNACK of a resumed session.
    Connack { key: ConnectionKey },
    /// All that was restored at the start is in force here.
    Restored,
}

/// Replies that wait for interest, and batches that peers have not applied.
#[derive(Default)]
pub(super) struct InterestWaiters {
    waiting: VecDeque<(Ticket, Afterwards)>,
    unapplied: VecDeque<(Ticket, ShardSet)>,
    /// A batch is waiting to be made, as of the last attempt.
    dirty: bool,
    /// The newest ticket that a subscription was given: one that gives no newer one did not cause the transition it depends on.
    newest: Ticket,
}

impl InterestWaiters {
    /// Replies that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Shard {
    /// Does `afterwards` once the interest up to `ticket` is applied everywhere; never before what waited earlier.
    pub(super) fn after_interest(&mut self, now: Time, ticket: Ticket, afterwards: Afterwards) {
        let settled = ticket <= self.topics.settled_ticket() || self.planted.is(Bug::SubackWithoutInterest);
        let alone = self.interest.waiting.is_empty() || self.planted.is(Bug::SubackIgnoresForeignTransition);
        if settled && alone {
            return self.go_on(now, afterwards);
        }
        self.interest.dirty = true;
        self.counters.interest_waits += 1;
        let behind = self.interest.waiting.back().map_or(ticket, |(last, _)| ticket.max(*last));
        self.interest.waiting.push_back((behind, afterwards));
    }

    pub(super) fn await_interest_for_connack(
        &mut self,
        now: Time,
        key: ConnectionKey,
        session: SessionKey,
        resumed: bool,
    ) {
        let ticket = match self.sessions.get(session) {
            Some(session) if resumed || !self.extensions.auto_subscribe.is_empty() => {
                self.topics.ticket_of(&session.filters)
            }
            _ => Ticket::ZERO,
        };
        self.after_interest(now, ticket, Afterwards::Connack { key });
    }

    fn go_on(&mut self, now: Time, afterwards: Afterwards) {
        match afterwards {
            Afterwards::Suback { key, replays, lsn, encoded } => {
                self.reply(now, key, lsn, Reply::Encoded(encoded));
                for replay in replays {
                    self.retained.start(replay);
                }
            }
            Afterwards::Connack { key } => self.connack_when_logged(now, key),
            Afterwards::Restored => self.own_interest_restored(),
        }
    }

    /// `from` has applied our interest up to `through`.
    pub(super) fn interest_applied(&mut self, now: Time, from: ShardId, through: Ticket) {
        let batch = self.interest.unapplied.iter_mut().find(|(ticket, _)| *ticket == through);
        batch.expect("a peer answers for batches that it got, once").1.remove(from);
        while let Some((ticket, peers)) = self.interest.unapplied.front() {
            if !peers.is_empty() {
                break;
            }
            self.topics.settled(*ticket);
            self.interest.unapplied.pop_front();
        }
        while let Some((ticket, _)) = self.interest.waiting.front() {
            if *ticket > self.topics.settled_ticket() {
                break;
            }
            let (_, afterwards) = self.interest.waiting.pop_front().expect("looked at above");
            self.go_on(now, afterwards);
        }
    }

    pub(super) fn interest_can_go(&self) -> bool {
        self.interest.dirty && self.interest.unapplied.len() < INTEREST_CREDITS
    }

    /// Whether a subscription that was given `ticket` caused the transition itself.
    pub(super) fn is_own_transition(&mut self, ticket: Ticket) -> bool {
        let own = ticket > self.interest.newest;
        self.interest.newest = self.interest.newest.max(ticket);
        own
    }

    pub(super) fn interest_changed(&mut self) {
        self.interest.dirty = self.peers.len() > 1;
    }

    /// Announces what changed, as far as the credits last. The same batch goes to all peers.
    pub(super) fn announce_interest(&mut self) {
        while self.interest_can_go() {
            let Some(batch) = self.topics.next_batch(INTEREST_BATCH_MAX) else {
                self.interest.dirty = false;
                return;
            };
            let others = self.peers.others();
            self.interest.unapplied.push_back((batch.through, others));
            let batch = Arc::new(batch);
            for shard in others.iter() {
                self.peers[shard].control.push_back(Control::Interest(batch.clone()));
            }
        }
    }
}
