//! What must hold of shared groups when all is quiet: with a member that takes everything, nothing is missing.

use crate::drivers::sim::failure::{Checked, ensure};
use crate::drivers::sim::ledger::{MessageId, Published, Session, SessionId, Subscription};
use crate::drivers::sim::topics::Filter;
use crate::drivers::sim::world::World;
use crate::session::DropReason;
use crate::shard::SessionView;
use crate::topics::ShareStrategy;
use crate::wire::QoS;
use std::collections::BTreeSet;

/// A member that takes everything.
struct Member {
    connected_since: u64,
    promised: u64,
}

/// What a group misses.
#[derive(Default)]
struct Missing {
    /// Nobody has left since: all must have arrived.
    surely: u64,
    /// With QoS above 0, perhaps in flight to a member that has lost its connection since.
    perhaps: u64,
    first: Option<(MessageId, Published)>,
}

impl World {
    /// The groups' members have got what was published, each message once, and as the strategy says.
    pub(in crate::drivers::sim) fn check_groups(&mut self) -> Checked {
        // A message that was sent on once goes to nobody where only members without connection are left, and QoS 0 is not kept for those.
        let full = self.dropped(DropReason::QueueFull)
            + self.dropped(DropReason::PacketTooLarge)
            + self.dropped(DropReason::NoMember)
            + self.dropped(DropReason::Offline);
        let ended = self.dropped(DropReason::SessionEnded);
        for filter in (Filter::PLAIN..Filter::COUNT).map(Filter::numbered) {
            let missing = self.missing(filter);
            let told = || format!("{}: first {:?}", filter.text(), missing.first);
            ensure(missing.surely <= full, "shared lost", || {
                format!("{} missing, {full} dropped, {}", missing.surely, told())
            })?;
            let in_flight = self.held_by_absent(filter);
            ensure(missing.perhaps <= full + ended + in_flight, "shared lost", || {
                format!(
                    "{} missing, {full} dropped, {ended} lost with sessions, {in_flight} in flight, {}",
                    missing.perhaps,
                    told()
                )
            })?;
            self.check_spread(filter)?;
        }
        Ok(())
    }

    fn missing(&mut self, filter: Filter) -> Missing {
        let mut missing = Missing::default();
        let members: Vec<Member> =
            self.ledger.sessions.iter().filter_map(|session| self.sure_member(session, filter)).collect();
        if members.is_empty() || self.has_zombies(filter) {
            return missing;
        }
        let of_filter = self.ledger.sessions.iter().flat_map(|session| &session.subscriptions);
        let acknowledged = of_filter
            .filter(|subscription| subscription.filter == filter)
            .all(|subscription| subscription.qos > QoS::AtMostOnce);
        let group = self.ledger.groups.group(filter);
        for (id, message) in self.ledger.messages.iter().enumerate() {
            let arrived = message.arrived.filter(|_| message.certain && filter.matches(message.topic));
            let Some(arrived) = arrived.filter(|_| !message.may_be_expired(self.now)) else { continue };
            let takes = |member: &Member| {
                member.promised < arrived
                    && member.connected_since < message.sent
                    && member.connected_since < arrived
            };
            if !members.iter().any(takes) {
                continue;
            }
            self.coverage.promised += 1;
            if group.has(id as MessageId) {
                continue;
            }
            if group.last_departure < message.sent {
                missing.surely += 1;
            } else if acknowledged && message.qos > QoS::AtMostOnce {
                missing.perhaps += 1;
            } else {
                continue;
            }
            missing.first.get_or_insert_with(|| (id as MessageId, message.clone()));
        }
        missing
    }

    /// The session as a member that reads and answers, and has not asked to leave.
    fn sure_member(&self, session: &Session, filter: Filter) -> Option<Member> {
        let collects = session.alive && session.link.is_some();
        let connected_since = session.connected_since.filter(|_| collects)?;
        (self.clients[session.client].current == session.link).then_some(())?;
        let mut of_filter = session.subscriptions.iter().filter(|subscription| subscription.filter == filter);
        let holds = |subscription: &&Subscription| subscription.dropped.is_none();
        let promised =
            of_filter.by_ref().filter(holds).filter_map(|subscription| subscription.promised).min()?;
        Some(Member { connected_since, promised })
    }

    /// Whether the broker gives messages to a member whose client does not read them any more.
    fn has_zombies(&self, filter: Filter) -> bool {
        self.ledger.sessions.iter().any(|session| {
            session.alive
                && session.link.is_some()
                && self.clients[session.client].current != session.link
                && session.subscriptions.iter().any(|subscription| subscription.filter == filter)
        })
    }

    /// Copies in flight to sessions without connection that are or were members.
    fn held_by_absent(&self, filter: Filter) -> u64 {
        let absent = |(session, _): &&(SessionId, SessionView)| {
            let session = &self.ledger.sessions[*session];
            session.link.is_none()
                && session.subscriptions.iter().any(|subscription| subscription.filter == filter)
        };
        self.seen.values().filter(absent).map(|(_, view)| view.in_flight as u64).sum()
    }

    /// Whether a member's client has stopped reading for a while: its connection may be full, and then it is passed over.
    fn has_stalled_member(&self, filter: Filter) -> bool {
        self.ledger.sessions.iter().any(|session| {
            session.link.is_some_and(|link| self.links[link].stalled)
                && session.subscriptions.iter().any(|subscription| subscription.filter == filter)
        })
    }

    /// What the strategy promises of a steady group; who is steady from here on.
    fn check_spread(&mut self, filter: Filter) -> Checked {
        if self.has_stalled_member(filter) {
            self.ledger.groups.group(filter).steady = None;
            return Ok(());
        }
        let shards = self.loops.len();
        let members = self.steady_members(filter);
        let roomy = self.profile.limits.queue_messages_max > 1_000;
        let strategy = self.ledger.groups.strategy(filter);
        let group = self.ledger.groups.group(filter);
        if group.steady.is_some() {
            self.coverage.reach("a shared group is steady");
        }
        if strategy == ShareStrategy::RoundRobin {
            group.check_fair(filter, &self.ledger.messages, shards)?;
        }
        if let Some(members) = members.filter(|_| roomy) {
            group.settle(self.step, &members);
        }
        Ok(())
    }

    /// The members with a connection, if there is no doubt who they are.
    fn steady_members(&self, filter: Filter) -> Option<BTreeSet<SessionId>> {
        let mut members = BTreeSet::new();
        for (number, session) in self.ledger.sessions.iter().enumerate() {
            let of_filter = || session.subscriptions.iter().filter(|other| other.filter == filter);
            if !session.alive || session.link.is_none() || of_filter().next().is_none() {
                continue;
            }
            let settled = |subscription: &Subscription| {
                subscription.promised.is_some()
                    && subscription.dropped.is_some() == subscription.gone.is_some()
            };
            let collects = self.clients[session.client].current == session.link;
            if !collects || session.connected_since.is_none() || !of_filter().all(settled) {
                return None;
            }
            if of_filter().any(|subscription| subscription.gone.is_none()) {
                members.insert(number);
            }
        }
        Some(members)
    }
}
