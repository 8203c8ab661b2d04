//! The reference for shared groups: who got which message of each group. One member each, whoever it is; what the strategy promises is asked
//! only while the group is steady, that is while nobody has come, gone or lost a connection since all was quiet.

use super::failure::{Checked, ensure};
use super::ledger::{ClientId, Fate, MessageId, Published, SessionId, Stream, Subscription};
use super::profile::Profile;
use super::publish::LARGE_BYTES;
use super::topics::{Filter, Topic};
use super::verdict::Delivery;
use crate::topics::ShareStrategy;
use crate::wire::QoS;
use std::collections::{BTreeMap, BTreeSet};

/// All groups.
#[derive(Default)]
pub struct Groups {
    strategies: BTreeMap<Filter, ShareStrategy>,
    groups: BTreeMap<Filter, Group>,
}

/// One group.
#[derive(Default, Debug)]
pub struct Group {
    copies: BTreeMap<MessageId, Vec<SharedCopy>>,
    /// The last step in which somebody who is or was a member lost a connection.
    pub last_departure: u64,
    /// Since all was quiet and nobody has come or gone.
    pub steady: Option<Steady>,
}

#[derive(Debug)]
struct SharedCopy {
    session: SessionId,
    qos: QoS,
    fresh: u32,
}

/// What members got since their group is steady.
#[derive(Debug)]
pub struct Steady {
    /// From which step on.
    pub since: u64,
    /// Messages by member.
    pub taken: BTreeMap<SessionId, u64>,
    /// Who gets what a publisher, or a topic, sends.
    by_hash: BTreeMap<(ClientId, Topic), SessionId>,
    newest: BTreeMap<(SessionId, Stream), MessageId>,
}

impl Groups {
    /// The groups of a run.
    pub fn new(profile: &Profile) -> Groups {
        let shares = (Filter::PLAIN..Filter::COUNT).map(Filter::numbered);
        let strategies =
            shares.filter_map(|filter| Some((filter, profile.strategy(filter.share()?)))).collect();
        Groups { strategies, groups: BTreeMap::new() }
    }

    /// How the group's messages are spread.
    pub fn strategy(&self, filter: Filter) -> ShareStrategy {
        self.strategies[&filter]
    }

    /// The group of `filter`.
    pub fn group(&mut self, filter: Filter) -> &mut Group {
        self.groups.entry(filter).or_default()
    }

    /// Somebody subscribes or unsubscribes.
    pub fn disturb_filter(&mut self, filter: Filter) {
        if filter.is_shared() {
            self.group(filter).steady = None;
        }
    }

    /// Somebody with these subscriptions has got a connection, or has lost one in step `lost`.
    pub fn disturb(&mut self, subscriptions: &[Subscription], lost: Option<u64>) {
        for subscription in subscriptions.iter().filter(|subscription| subscription.filter.is_shared()) {
            let group = self.group(subscription.filter);
            group.steady = None;
            group.last_departure = group.last_departure.max(lost.unwrap_or(0));
        }
    }

    /// The broker has crashed in `step`: nobody has a connection any more.
    pub fn crash(&mut self, step: u64) {
        for group in self.groups.values_mut() {
            (group.steady, group.last_departure) = (None, step);
        }
    }

    /// A member got a message as such.
    pub(super) fn delivered(
        &mut self,
        subscription: &Subscription,
        message: &Published,
        delivery: &Delivery<'_>,
        has_ended: impl Fn(SessionId) -> bool,
    ) -> Checked {
        check_form(subscription, message, delivery)?;
        let strategy = self.strategy(subscription.filter);
        let group = self.group(subscription.filter);
        let copies = group.copies.entry(delivery.message).or_default();
        let first = !copies.iter().any(|copy| copy.session == delivery.session);
        let fresh = u32::from(!delivery.dup || delivery.qos == QoS::ExactlyOnce);
        match copies.iter_mut().find(|copy| copy.session == delivery.session) {
            Some(copy) => copy.fresh += fresh,
            None => copies.push(SharedCopy { session: delivery.session, qos: delivery.qos, fresh }),
        }
        // What a member with QoS 1 had not acknowledged when its session ended goes to another.
        let counts = |copy: &&SharedCopy| copy.qos != QoS::AtLeastOnce || !has_ended(copy.session);
        let total: u32 = copies.iter().filter(counts).map(|copy| copy.fresh).sum();
        let allowed = if message.qos == QoS::AtLeastOnce { message.sends } else { 1 };
        let exactly: u32 = copies
            .iter()
            .filter(|copy| copy.qos == QoS::ExactlyOnce && !has_ended(copy.session))
            .map(|copy| copy.fresh)
            .sum();
        ensure(total <= allowed + message.replays && exactly <= 1, "shared once", || {
            format!("{delivery:?} of {}: {total} times, {copies:?}", subscription.filter.text())
        })?;
        match &mut group.steady {
            Some(steady) if first && fresh > 0 => steady.delivered(strategy, message, delivery),
            _ => Ok(()),
        }
    }
}

/// Whether the member may get it, and so.
fn check_form(subscription: &Subscription, message: &Published, delivery: &Delivery<'_>) -> Checked {
    let told = || format!("{delivery:?} of {message:?} for {subscription:?}");
    ensure(subscription.gone.is_none() || delivery.dup, "shared leave", || {
        format!("started after its UNSUBACK: {}", told())
    })?;
    ensure(subscription.filter.matches(message.topic), "unwanted", told)?;
    ensure(delivery.qos == subscription.qos.min(message.qos), "unwanted", told)?;
    let retain = message.retain && subscription.retain_as_published;
    ensure(delivery.retain == retain, "retain flag", told)?;
    let alone = delivery.identifiers.is_none_or(|found| found == subscription.identifier.as_slice());
    ensure(alone, "identifiers", told)
}

impl Published {
    /// Whether it is one that any member of a group takes, once.
    fn is_regular(&self) -> bool {
        self.fate == Fate::Sent && self.sends == 1 && self.expiry.is_none() && self.filler < LARGE_BYTES
    }
}

impl Steady {
    fn new(since: u64, members: &BTreeSet<SessionId>) -> Steady {
        let taken = members.iter().map(|member| (*member, 0)).collect();
        Steady { since, taken, by_hash: BTreeMap::new(), newest: BTreeMap::new() }
    }

    fn delivered(
        &mut self,
        strategy: ShareStrategy,
        message: &Published,
        delivery: &Delivery<'_>,
    ) -> Checked {
        if message.sent <= self.since {
            return Ok(());
        }
        *self.taken.entry(delivery.session).or_default() += 1;
        if !message.is_regular() {
            return Ok(());
        }
        let stream = (message.link, message.topic, message.qos, delivery.qos);
        let newest = self.newest.insert((delivery.session, stream), delivery.message);
        ensure(newest.is_none_or(|newest| newest < delivery.message), "order", || {
            format!("{delivery:?} of a shared group after {newest:?} of the same publisher and topic")
        })?;
        let by = match strategy {
            ShareStrategy::HashClient => (message.client, 0),
            ShareStrategy::HashTopic => (0, message.topic),
            _ => return Ok(()),
        };
        let member = *self.by_hash.entry(by).or_insert(delivery.session);
        ensure(member == delivery.session, "shared hash", || {
            format!("{delivery:?} of {message:?} goes elsewhere than to session {member}")
        })
    }
}

impl Group {
    /// Whether somebody got it.
    pub fn has(&self, message: MessageId) -> bool {
        self.copies.contains_key(&message)
    }

    /// All is quiet, and these are the members that can take messages.
    pub fn settle(&mut self, step: u64, members: &BTreeSet<SessionId>) {
        if !members.is_empty() {
            self.steady.get_or_insert_with(|| Steady::new(step, members));
        }
    }

    /// With round robin the members have got as many each, but for what each shard begins with, and what was not any member's to take.
    pub fn check_fair(&self, filter: Filter, messages: &[Published], shards: usize) -> Checked {
        let Some(steady) = &self.steady else { return Ok(()) };
        let most = steady.taken.values().max().copied().unwrap_or(0);
        let least = steady.taken.values().min().copied().unwrap_or(0);
        let allowed = 2 * shards as u64 + 2;
        if most - least <= allowed {
            return Ok(());
        }
        let irregular = messages.iter().filter(|message| {
            message.sent > steady.since && filter.matches(message.topic) && !message.is_regular()
        });
        ensure(most - least <= allowed + irregular.count() as u64, "shared fair", || {
            format!("{}: {steady:?}", filter.text())
        })
    }
}
