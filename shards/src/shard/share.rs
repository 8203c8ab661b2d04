//! Shared subscriptions (MQTT 5 section 4.8.2): where a PUBLISH goes is planned before its slots are reserved, one shard for each group; on
//! that shard one member is asked after the other until one takes the message.

use super::Shard;
use super::deliver::CopyHead;
use super::publish::Publisher;
use super::session::SessionKey;
use crate::base::limits::SHARE_MEMBERS_ASKED_MAX;
use crate::base::planted::Bug;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::mesh::{Keep, SharedGroup, SharedPick};
use crate::session::{DropReason, Incoming, Offered};
use crate::topics::{GroupId, Pick, Routes, ShareStrategy, Standing, TopicName};
use crate::wire::QoS;
use smallvec::SmallVec;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Where one message goes.
pub(super) struct Plan {
    pub(super) routes: Arc<Routes<SessionKey>>,
    /// One for each shared group that matches.
    picks: SmallVec<[Pick; 2]>,
    /// When it is to be retained: the shard that keeps its topic, and how.
    pub(super) keep: Option<(ShardId, Keep)>,
}

impl Plan {
    /// The other shards that it goes to: those that deliver it, and the one that retains it.
    pub(super) fn targets(&self, own: ShardId) -> ShardSet {
        let mut targets = self.remote(own);
        if let Some((shard, _)) = self.keep.filter(|(shard, _)| *shard != own) {
            targets.insert(shard);
        }
        targets
    }

    /// The other shards that deliver it.
    fn remote(&self, own: ShardId) -> ShardSet {
        let mut remote = self.routes.remote();
        for pick in self.picks.iter().filter(|pick| pick.shard != own) {
            remote.insert(pick.shard);
        }
        remote
    }

    /// What `shard` is to be told of the groups.
    pub(super) fn picks_of(&self, shard: ShardId) -> Box<[SharedPick]> {
        let picks = self.picks.iter().filter(|pick| pick.shard == shard);
        picks.map(|pick| SharedPick { group: SharedGroup::Key(pick.key), spread: pick.spread }).collect()
    }

    /// Whether the log of some shard has to keep it: for a durable session, or the retained store.
    pub(super) fn is_kept(&self) -> bool {
        self.keep.is_some() || self.has_durable_receivers()
    }

    /// Whether it is for a durable session.
    pub(super) fn has_durable_receivers(&self) -> bool {
        self.routes.is_durable_here()
            || !self.routes.remote_durable().is_empty()
            || self.picks.iter().any(|pick| pick.durable)
    }

    /// The groups for which `shard` was picked, and may have a durable member.
    pub(super) fn picked_durable(&self, shard: ShardId) -> impl Iterator<Item = &Pick> {
        self.picks.iter().filter(move |pick| pick.shard == shard && pick.durable)
    }
}

impl Shard {
    /// Where a message of `topic` goes. Changes nothing, so that a publisher without slots may ask again.
    pub(super) fn plan(&mut self, topic: TopicName<'_>, publisher: Publisher, keep: Option<Keep>) -> Plan {
        let routes = self.topics.routes(topic);
        let mut picks = SmallVec::new();
        for group in routes.groups() {
            let spread = self.spread(*group, topic.as_str(), publisher);
            picks.extend(self.topics.pick(*group, spread, true));
        }
        let keep = keep.map(|keep| (self.retained.partition(topic.as_str()), keep));
        Plan { routes, picks, keep }
    }

    /// What the group's strategy chooses by.
    pub(super) fn spread(&mut self, group: GroupId, topic: &str, publisher: Publisher) -> u64 {
        match self.topics.share_strategy(group) {
            ShareStrategy::RoundRobin | ShareStrategy::Sticky | ShareStrategy::Local => 0,
            ShareStrategy::Random => self.random.next_u64(),
            _ if self.planted.is(Bug::ShareHashIgnored) => self.random.next_u64(),
            ShareStrategy::HashTopic => self.topics.spread_hash(topic.as_bytes()),
            ShareStrategy::HashClient => {
                let session = match publisher {
                    Publisher::Session(key) => self.sessions.get(key),
                    Publisher::Elsewhere => None,
                };
                let by = session.map_or(topic, |session| &*session.client_id);
                self.topics.spread_hash(by.as_bytes())
            }
        }
    }

    /// Gives the message to the members here that the plan has chosen this shard for. Whether some shard may have to keep it for a durable
    /// session.
    pub(super) fn share_out(&mut self, now: Time, incoming: &mut Incoming<'_>, plan: &Plan) -> bool {
        let mut durable = false;
        for pick in &plan.picks {
            if !self.planted.is(Bug::ShareTurnStandsStill) {
                self.topics.picked(pick);
            }
            durable |= if pick.shard == self.id {
                self.dispatch(now, incoming, (pick.group, pick.spread), true)
            } else {
                pick.durable
            };
        }
        durable
    }

    /// Gives the message to one member here, the first that can take it: ready ones before those that are offline before those that were
    /// found full; if one stands better elsewhere, it goes there, unless it has been sent on once already (`may_send_on`). Whether a durable
    /// session is to keep it.
    pub(super) fn dispatch(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        (group, spread): (GroupId, u64),
        may_send_on: bool,
    ) -> bool {
        self.work.charge(1);
        self.encodings.clear();
        if incoming.expires_at().is_some_and(|at| at < now) {
            self.counters.copies += 1;
            self.counters.expired += 1;
            return false;
        }
        let mut reason = DropReason::NoMember;
        for standing in Standing::ALL {
            if standing == Standing::Offline && incoming.qos() == QoS::AtMostOnce {
                reason = DropReason::Offline; // nobody without connection takes it, wherever
                continue;
            }
            match self.ask(now, incoming, (group, spread), standing) {
                Ok(durable) => return durable,
                Err(Some(dropped)) => reason = dropped,
                Err(None) => {}
            }
            // A full queue elsewhere is no better than one here.
            let better = standing != Standing::Full || reason != DropReason::QueueFull;
            let elsewhere = may_send_on && better && self.topics.is_elsewhere(group, standing);
            if elsewhere && self.send_on(incoming, group, spread) {
                return true;
            }
        }
        // Nobody is left here at all: it goes where somebody is, however often it has been sent on. Who has left says so to the others, so that two
        // shards without members pass it to and fro only as long as that takes.
        let elsewhere = !may_send_on && reason == DropReason::NoMember && incoming.qos() > QoS::AtMostOnce;
        let elsewhere = elsewhere && self.topics.is_elsewhere(group, Standing::Full);
        if elsewhere && self.send_on(incoming, group, spread) {
            return true;
        }
        self.counters.copies += 1;
        self.drop_copies(reason, 1);
        false
    }

    /// Asks the members of one standing. Whether the session of the one that took it is to keep it; else why the last one asked did not.
    fn ask(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        (group, spread): (GroupId, u64),
        standing: Standing,
    ) -> Result<bool, Option<DropReason>> {
        let mut at = self.topics.member_start(group, standing, spread);
        if self.planted.is(Bug::ShareTurnStandsStill) {
            at = 0;
        }
        let (mut passed, mut reason) = (0, None);
        for _ in 0..SHARE_MEMBERS_ASKED_MAX {
            let Some((member, members)) = self.topics.member_at(group, standing, at) else { break };
            if passed == members {
                break;
            }
            let member = *member;
            let identifier = member.identifier().map(NonZeroU32::get);
            let copy = CopyHead {
                qos: member.qos().min(incoming.qos()),
                retain: incoming.retain() && member.options.retain_as_published,
                identifiers: identifier.as_slice(),
                live: false,
                group: Some(group),
            };
            let offered = self.offer(now, incoming, member.key, &copy);
            let Offered::Dropped(dropped) = offered else {
                self.counters.copies += 1;
                self.count_offered(offered);
                self.topics.took(group, member.key, at);
                return Ok(self.took(group, member.key, &copy));
            };
            reason = Some(dropped);
            if !self.found_full(group, member.key, standing, dropped) {
                passed += 1;
                at += 1;
            }
        }
        Err(reason)
    }

    /// A member has taken a copy. Whether its session is to keep it.
    fn took(&mut self, group: GroupId, key: SessionKey, copy: &CopyHead<'_>) -> bool {
        let session = self.sessions.get(key).expect("it has taken the copy just now");
        if session.connection.is_none() {
            self.topics.took_offline(group, key);
        }
        session.is_durable() && copy.qos > QoS::AtMostOnce
    }

    /// Notes that a member's queue was found full, so that it is not asked again before it has room.
    fn found_full(
        &mut self,
        group: GroupId,
        key: SessionKey,
        standing: Standing,
        dropped: DropReason,
    ) -> bool {
        if dropped != DropReason::QueueFull || standing == Standing::Full {
            return false;
        }
        self.topics.set_standing(group, key, Standing::Full);
        self.sessions.get_mut(key).expect("its queue was found full just now").congested = true;
        self.interest_changed();
        true
    }

    /// The session's queue was found full and may have room again.
    pub(super) fn relieve_congestion(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.congested && session.outbound.has_headroom(&self.limits) {
            session.congested = false;
            let standing = if session.connection.is_some() { Standing::Ready } else { Standing::Offline };
            self.set_standing(key, standing);
        }
    }

    /// The session comes into service or loses its connection: in all its groups.
    pub(super) fn set_standing(&mut self, key: SessionKey, standing: Standing) {
        let Some(session) = self.sessions.get(key) else { return };
        for group in self.topics.groups_of(&session.filters) {
            self.topics.set_standing(group, key, standing);
            self.interest_changed();
        }
    }
}
