//! Messages of shared groups that go to another member than they went to first: what a member that leaves had not started, what waits for one
//! without connection while another is ready, and what nobody here can take but somebody elsewhere can.

use super::Shard;
use super::draft::Facts;
use super::outbox::Sent;
use super::peers::LaneWaiter;
use super::publish::Publisher;
use super::session::SessionKey;
use crate::base::kept::{ParkedId, Written};
use crate::base::limits::{REDISPATCH_WAITING_MAX, REDISPATCHED_PER_TURN, RELIEF_COPIES_MAX};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::shard_set::ShardSet;
use crate::base::time::Time;
use crate::log::{BodyRecord, Cause, Destination, Occasion, Origin, ParkedRecord, Record};
use crate::mesh::{Deliver, SharedGroup, SharedPick};
use crate::session::{DropReason, Incoming, PendingCopy};
use crate::topics::{GroupId, Pick, Standing, TopicFilter};
use crate::wire::{Message, QoS};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Members without connection that are relieved of their copies per turn.
const RELIEVED_PER_TURN: usize = 16;

/// A message for another member.
pub(super) struct Taken {
    pub(super) message: Message,
    /// The group may end before the message has gone.
    pub(super) group: SharedGroup,
    /// Nobody here could take it: it goes to another shard, and whoever is there takes it or drops it.
    pub(super) send_on: bool,
    /// The log has it under this name.
    pub(super) parked: Option<ParkedId>,
    /// Where it came from: it goes when that is committed, for where it goes nobody would know that it never happened.
    pub(super) after: Origin,
    /// Where its last record lies.
    pub(super) written: Written,
}

impl Taken {
    fn cause(&self) -> Cause {
        self.parked.map_or(Cause::None, Cause::Parked)
    }
}

/// Copies between two members. They count as queued.
#[derive(Default)]
pub(super) struct Redispatch {
    waiting: VecDeque<Taken>,
    /// Stands among the waiters of a lane.
    pub(super) blocked: bool,
}

impl Redispatch {
    /// Copies between two members.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Taken> {
        self.waiting.get_mut(index)
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < REDISPATCH_WAITING_MAX
    }

    pub(super) fn push(&mut self, taken: Taken) {
        self.waiting.push_back(taken);
    }
}

/// What a member gives back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TakeBack {
    /// The session ends: all that it has not started, and what is in flight with QoS 1.
    All,
    /// It leaves this group: what it has not started of it.
    Group(GroupId),
    /// It stays a member, without connection: what it has not started and a ready member could.
    Startable,
}

impl Shard {
    /// Takes back from a member; the copies go with the next [`Shard::advance_redispatch`]. Must come before its membership ends.
    pub(super) fn take_back(&mut self, key: SessionKey, what: TakeBack) {
        // Nobody is left to start anything when the broker stops.
        if self.is_stopping() {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (topics, outbound) = (&self.topics, &mut session.outbound);
        let mut copies =
            if what == TakeBack::All { outbound.withdraw_in_flight(self.planted) } else { Vec::new() };
        copies.extend(outbound.withdraw(usize::MAX, |group| match what {
            TakeBack::All => true,
            TakeBack::Group(left) => group == left,
            TakeBack::Startable => topics.has_ready(group),
        }));
        copies.into_iter().for_each(|copy| self.park_copy(key, copy));
    }

    /// A copy of the session of `key` waits for another member. In the log it is one or the other's, or parked in between.
    fn park_copy(&mut self, key: SessionKey, copy: PendingCopy) {
        let group = copy.group.expect("only copies of groups are taken back");
        if !self.redispatch.has_room() {
            self.finish_copies(key, copy.kept.as_slice());
            return self.drop_copies(DropReason::QueueFull, 1);
        }
        let (mut parked, mut after, written) = (None, Origin::Own, self.log.written());
        if let Some(kept) = copy.kept {
            let session = self.sessions.get(key).expect("its copies are taken back").number;
            after = self.bodies.get(kept.body).origin;
            let group = Cow::Borrowed(self.topics.group_filter(group));
            let record = self.log.append(&Record::Parked(ParkedRecord {
                origin: Origin::Own,
                occasion: Occasion::Member { group, sent_on: false },
                cause: Cause::None,
                taken_from: Some((session, kept.number)),
                body: BodyRecord::of(&copy.message, None),
                parked: None,
            }));
            parked = Some(ParkedId::alone(record));
            self.bodies.release(kept.body);
        }
        let group = SharedGroup::Key(self.topics.group_key(group));
        let (message, send_on) = (copy.message, false);
        self.redispatch.push(Taken { message, group, send_on, parked, after, written });
    }

    /// Nobody here can take the message, but somebody elsewhere can: it goes at the end of the turn. False: whoever is here has to.
    pub(super) fn send_on(&mut self, incoming: &mut Incoming<'_>, group: GroupId, spread: u64) -> bool {
        if !self.redispatch.has_room() {
            return false;
        }
        let kept = incoming.qos() > QoS::AtMostOnce && self.log.keeps();
        // What came from elsewhere must not outrun its record there, even if a durable member is only to come where it goes.
        let is_logged = |pick: Pick| pick.durable || self.draft.is_from_elsewhere();
        if kept && self.topics.pick(group, spread, false).is_some_and(is_logged) {
            // It goes behind the others when it has its number.
            self.draft.send_on(group);
        } else {
            let (message, group) =
                (incoming.message().clone(), SharedGroup::Key(self.topics.group_key(group)));
            let (send_on, parked, after, written) = (true, None, Origin::Own, Written::default());
            self.redispatch.push(Taken { message, group, send_on, parked, after, written });
        }
        self.counters.copies += 1;
        true
    }

    /// The group that another shard, or the log, means; `None` when nobody is left in it.
    pub(super) fn group_named(&self, group: &SharedGroup) -> Option<GroupId> {
        match group {
            SharedGroup::Key(key) => self.topics.group_named(*key),
            SharedGroup::Filter(filter) => self.topics.group_of(TopicFilter::new(filter).ok()?),
        }
    }

    /// A group as the log names it, with what its member is chosen by.
    pub(super) fn name_group(&self, pick: &Pick) -> (Cow<'static, str>, u64) {
        (Cow::Owned(self.topics.group_filter(pick.group).into()), pick.spread)
    }

    fn redispatch_goes(&self) -> bool {
        let first = self.redispatch.waiting.front();
        !self.redispatch.blocked && first.is_some_and(|taken| self.is_settled(taken.after))
    }

    /// Dispatches what was taken back, as far as the slots last.
    pub(super) fn advance_redispatch(&mut self, now: Time) {
        for _ in 0..REDISPATCHED_PER_TURN {
            if !self.redispatch_goes() {
                return;
            }
            let taken = self.redispatch.waiting.pop_front().expect("one waits");
            if self.planted.is(Bug::TakenBackLost) {
                self.counters.moved += 1;
                continue;
            }
            let Some(group) = self.group_named(&taken.group) else {
                self.drop_copies(DropReason::NoMember, 1);
                if let Some(parked) = taken.parked {
                    self.log.append(&Record::Unparked { parked });
                }
                continue;
            };
            // The publisher is not known any more: what a hash chooses by is the topic.
            let spread = self.spread(group, taken.message.topic(), Publisher::Elsewhere);
            let pick = self.topics.pick(group, spread, !taken.send_on);
            match pick.filter(|pick| pick.shard != self.id) {
                Some(pick) => {
                    if let Some(taken) = self.redispatch_to_peer(taken, &pick) {
                        return self.redispatch.waiting.push_front(taken);
                    }
                }
                None => {
                    pick.iter().for_each(|pick| self.topics.picked(pick));
                    self.counters.moved += 1;
                    let mut incoming = Incoming::owned(&taken.message);
                    self.draft.begin(Origin::Own);
                    self.dispatch(now, &mut incoming, (group, spread), !taken.send_on);
                    if self.planted.is(Bug::RedispatchedTwice) {
                        self.dispatch(now, &mut incoming, (group, spread), false);
                    }
                    let needed = self.draft.is_needed();
                    self.record_message(&mut incoming, needed, &Facts::none(taken.cause()));
                }
            }
        }
    }

    /// Gives it back when the lane has no slot: the queue then waits for one.
    fn redispatch_to_peer(&mut self, taken: Taken, pick: &Pick) -> Option<Taken> {
        let mut target = ShardSet::EMPTY;
        target.insert(pick.shard);
        if self.peers.blocked(target, self.fan_out.resumed).is_some() {
            self.redispatch.blocked = true;
            self.peers[pick.shard].waiters.push_back(LaneWaiter::Redispatch);
            return Some(taken);
        }
        self.topics.picked(pick);
        self.counters.moved += 1;
        self.counters.remote_out += 1;
        let lsn = self.record_moved(&taken, pick);
        let kept = !self.outbox.destinations_of(lsn).is_empty();
        let deliver = Deliver {
            message: taken.message,
            fan_out: false,
            store: None,
            retained_position: 0,
            lsn,
            kept,
            groups: Box::new([SharedPick { group: SharedGroup::Key(pick.key), spread: pick.spread }]),
            sent_on: taken.send_on,
        };
        self.peers.send(pick.shard, deliver);
        None
    }

    /// The copy goes to another shard, which has to log it if its members are durable.
    fn record_moved(&mut self, taken: &Taken, pick: &Pick) -> Lsn {
        let mut incoming = Incoming::owned(&taken.message);
        self.draft.begin(Origin::Own);
        let kept = pick.durable && taken.message.qos() > QoS::AtMostOnce && self.log.keeps();
        if !kept {
            let lsn = self.record_message(&mut incoming, false, &Facts::none(taken.cause()));
            // A durable session may have come to where it goes: it has to wait for what its publisher's answer waits for.
            let waits = lsn == Lsn::NONE && taken.message.qos() > QoS::AtMostOnce && self.log.keeps();
            return if waits { self.log.newest() } else { lsn };
        }
        let groups = Cow::Owned(vec![self.name_group(pick)]);
        let destinations = [Destination { shard: pick.shard, fan_out: false, store: false, groups }];
        let body = self.draft.body(&mut self.bodies, incoming.message());
        self.bodies.hold(body);
        let facts = Facts { destinations: &destinations, ..Facts::none(taken.cause()) };
        let lsn = self.record_message(&mut incoming, true, &facts);
        let written = self.bodies.get(body).written();
        self.outbox.push(Sent { lsn, body, destinations: Box::new(destinations), written });
        lsn
    }

    /// A member has lost its connection. What it had not started goes to those that have one.
    pub(super) fn member_offline(&mut self, now: Time, key: SessionKey, session_ends: bool) {
        let Some(session) = self.sessions.get(key) else { return };
        let groups = self.topics.groups_of(&session.filters);
        if groups.is_empty() {
            return;
        }
        self.set_standing(key, Standing::Offline);
        if session_ends {
            return self.take_back(key, TakeBack::All);
        }
        self.take_back(key, TakeBack::Startable);
        for group in groups {
            self.topics.note_backlog(group, key);
        }
        self.advance_redispatch(now);
    }

    /// The session is leaving this shared subscription, with what waits for it.
    pub(super) fn leave_share(&mut self, key: SessionKey, shared: TopicFilter<'_>) {
        let Some(group) = shared.shared().and_then(|_| self.topics.group_of(shared)) else { return };
        if self.topics.member(group, key).is_none() || self.planted.is(Bug::LeaverKeepsWaiting) {
            return;
        }
        self.take_back(key, TakeBack::Group(group));
        self.sessions.get_mut(key).expect("the caller has it").outbound.forget_group(group);
    }

    /// The session ends: it leaves its groups at once, so that no dispatch meets a member that is gone.
    pub(super) fn leave_shares(&mut self, key: SessionKey) {
        self.take_back(key, TakeBack::All);
        let Some(session) = self.sessions.get_mut(key) else { return };
        self.topics.leave_groups(key, &mut session.filters);
        self.interest_changed();
    }

    /// Takes copies from members without connection, for those that have one: a bounded part of them per turn.
    pub(super) fn relieve_offline_members(&mut self, now: Time) {
        for _ in 0..RELIEVED_PER_TURN {
            let Some(group) = self.topics.take_relief() else { return };
            let Some(key) = self.topics.relievable(group) else { continue };
            let session = self.sessions.get_mut(key);
            let session = session.filter(|session| session.connection.is_none());
            let copies =
                session.map(|session| session.outbound.withdraw(RELIEF_COPIES_MAX, |of| of == group));
            let copies = copies.unwrap_or_default();
            if copies.len() < RELIEF_COPIES_MAX {
                self.topics.relieved(group, key);
            }
            copies.into_iter().for_each(|copy| self.park_copy(key, copy));
            self.relieve_congestion(key);
            self.topics.relieve_later(group);
            self.advance_redispatch(now);
        }
    }

    pub(super) fn redispatch_can_go(&self) -> bool {
        self.redispatch_goes() || self.topics.has_relief()
    }
}
