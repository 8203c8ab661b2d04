//! The façade's side of shared subscriptions: members come, go and change their standing, a message picks a shard and there a member.

use std::fmt::Debug;
use std::sync::Arc;

use super::filter::TopicFilter;
use super::filter_set::FilterSet;
use super::group::{GroupId, GroupKey, Pick};
use super::groups::GroupApplied;
use super::index::{Subscribed, TopicIndex};
use super::interest::{Announced, GroupChange, Ticket};
use super::members::Standing;
use super::share_strategy::{ShareStrategies, ShareStrategy};
use super::subscribers::Subscriber;
use super::tree::FilterId;
use crate::base::shard_set::ShardId;

impl<K: Copy + Ord + Debug> TopicIndex<K> {
    /// How groups spread their messages, told before there are any.
    pub fn spread_shares(&mut self, strategies: ShareStrategies) {
        self.groups.strategies = strategies;
    }

    /// A member of a shared group, which is ready: only a connected client subscribes.
    pub(super) fn join(
        &mut self,
        filter: TopicFilter<'_>,
        subscriber: Subscriber<K>,
        held: &mut FilterSet,
    ) -> Subscribed {
        let (group, replaced, applied) = self.groups.join(filter.as_str(), subscriber);
        held.insert(FilterId::of_group(group));
        if applied == GroupApplied::LiveChanged {
            self.invalidate(behind(filter));
        }
        if replaced.is_none() {
            self.became_ready(group);
        }
        if replaced != Some(subscriber) {
            self.group_changes(group);
        }
        Subscribed { existed: replaced.is_some(), ticket: self.ticket_of_group(group) }
    }

    fn ticket_of_group(&self, group: GroupId) -> Ticket {
        self.announcements.ticket_of(Announced::of_group(self.groups.key_of(group)))
    }

    /// A member leaves its group. What waits for it is the session's to take back.
    pub(super) fn part(&mut self, group: GroupId, key: K) {
        // All that its text tells comes first: the group may be gone afterwards.
        let topics = self.changed(behind(self.groups.text(group)));
        self.group_changes(group);
        if self.groups.part(group, key) == GroupApplied::LiveChanged {
            self.invalidate_changed(topics);
        }
    }

    /// Announces what the group has here, now or as soon as the caller is done with it.
    fn group_changes(&mut self, group: GroupId) {
        if self.has_peers && self.announcements.group_changes(self.groups.key_of(group), &mut self.shapes) {
            self.groups.hold(group);
        }
    }

    pub(super) fn apply_groups(&mut self, from: ShardId, changes: &[GroupChange]) {
        for change in changes {
            let (applied, became_ready) = self.groups.apply(from, change);
            if applied == GroupApplied::LiveChanged {
                self.invalidate(behind(TopicFilter::checked(&change.text)));
            }
            became_ready.into_iter().for_each(|group| self.became_ready(group));
        }
    }

    /// Whether the filter of a new shared subscription has as many share names as it may
    /// ([`crate::base::limits::SHARE_NAMES_PER_FILTER_MAX`]).
    pub fn is_share_full(&self, shared: TopicFilter<'_>) -> bool {
        self.groups.is_full(shared)
    }

    /// The group of a shared filter.
    pub fn group_of(&self, shared: TopicFilter<'_>) -> Option<GroupId> {
        self.groups.find(shared.as_str())
    }

    /// The group's filter, `$share/NAME/` included.
    pub fn group_filter(&self, group: GroupId) -> &str {
        self.groups.text(group).as_str()
    }

    /// The same, shared.
    pub fn group_name(&self, group: GroupId) -> Arc<str> {
        self.groups.name(group)
    }

    /// The groups of which the session is a member.
    pub fn groups_of(&self, held: &FilterSet) -> Vec<GroupId> {
        held.groups().collect()
    }

    /// Takes the session out of its groups at once.
    pub fn leave_groups(&mut self, key: K, held: &mut FilterSet) {
        for group in self.groups_of(held) {
            held.remove(FilterId::of_group(group));
            self.remove(FilterId::of_group(group), key);
        }
    }

    /// A member's subscription.
    pub fn member(&self, group: GroupId, key: K) -> Option<&Subscriber<K>> {
        self.groups.get(group)?.members.get(key)
    }

    /// Moves a member; nothing happens if the session is none. A group that has a ready member again gets what its members without
    /// connection have in their queues: [`TopicIndex::take_relief`].
    pub fn set_standing(&mut self, group: GroupId, key: K, standing: Standing) {
        let Some(there) = self.groups.get_mut(group) else { return };
        if !there.members.set_standing(key, standing) {
            return;
        }
        if standing == Standing::Ready {
            there.members.forget_backlog(key);
            self.became_ready(group);
        }
        self.group_changes(group);
    }

    /// The next group whose members without connection may have copies that others could take.
    pub fn take_relief(&mut self) -> Option<GroupId> {
        self.relief.pop_front()
    }

    /// Whether [`TopicIndex::take_relief`] has one.
    pub fn has_relief(&self) -> bool {
        !self.relief.is_empty()
    }

    fn became_ready(&mut self, group: GroupId) {
        if let Some(there) = self.groups.get_mut(group) {
            there.members.set_stuck(false);
            self.relief.push_back(group);
        }
    }

    /// A member without connection has copies of the group in its queue.
    pub fn note_backlog(&mut self, group: GroupId, key: K) {
        if let Some(group) = self.groups.get_mut(group) {
            group.members.note_backlog(key);
        }
    }

    /// A member that may have copies in its queue while another is ready to take them.
    pub fn relievable(&self, group: GroupId) -> Option<K> {
        let member = self.groups.get(group)?.members.first_backlog()?;
        self.groups.has_ready(group).then_some(member)
    }

    /// The member has no copies of the group in its queue any more.
    pub fn relieved(&mut self, group: GroupId, key: K) {
        if let Some(group) = self.groups.get_mut(group) {
            group.members.forget_backlog(key);
        }
    }

    /// The group's name that a later one in its place does not have.
    pub fn group_key(&self, group: GroupId) -> GroupKey {
        self.groups.key_of(group)
    }

    /// A keyed hash that is the same on all shards, to spread messages by.
    pub fn spread_hash(&self, bytes: &[u8]) -> u64 {
        self.key.hash(bytes)
    }

    /// Looks at the group again later, in [`TopicIndex::take_relief`].
    pub fn relieve_later(&mut self, group: GroupId) {
        self.relief.push_back(group);
    }

    /// How the group spreads its messages.
    pub fn share_strategy(&self, group: GroupId) -> ShareStrategy {
        self.groups.strategy(group)
    }

    /// Where the next message of the group goes: to a member here or, not among those here unless `here`, to another shard. `None`: the
    /// group has nobody. Nothing changes before [`TopicIndex::picked`], so that a publisher without slots can try again.
    pub fn pick(&self, group: GroupId, spread: u64, here: bool) -> Option<Pick> {
        self.groups.pick(group, spread, here)
    }

    /// The message goes where `pick` says.
    pub fn picked(&mut self, pick: &Pick) {
        self.groups.picked(pick);
    }

    /// The group that another shard names so, unless nobody is left in it.
    pub fn group_named(&self, key: GroupKey) -> Option<GroupId> {
        self.groups.named(key)
    }

    /// Whether another shard has members of the group who stand no worse.
    pub fn is_elsewhere(&self, group: GroupId, worst: Standing) -> bool {
        self.groups.is_elsewhere(group, worst)
    }

    /// Whether the group has a ready member anywhere.
    pub fn has_ready(&self, group: GroupId) -> bool {
        self.groups.has_ready(group)
    }

    /// Where among the own members of `standing` to begin to ask.
    pub fn member_start(&self, group: GroupId, standing: Standing, spread: u64) -> usize {
        let there = self.groups.get(group);
        there.map_or(0, |there| there.members.start(standing, self.groups.strategy(group), spread))
    }

    /// The own member of `standing` at `at`, and how many those are.
    pub fn member_at(
        &self,
        group: GroupId,
        standing: Standing,
        at: usize,
    ) -> Option<(&Subscriber<K>, usize)> {
        let members = &self.groups.get(group)?.members;
        Some((members.at(standing, at)?, members.standings()[standing as usize] as usize))
    }

    /// A member without connection has taken a message.
    pub fn took_offline(&mut self, group: GroupId, key: K) {
        let refused = self.groups.has_ready(group);
        if let Some(there) = self.groups.get_mut(group) {
            there.members.note_backlog(key);
            if refused {
                there.members.set_stuck(true);
            }
        }
    }

    /// The own member at `at` has taken a message.
    pub fn took(&mut self, group: GroupId, key: K, at: usize) {
        if let Some(group) = self.groups.get_mut(group) {
            group.members.took(key, at);
        }
    }
}

/// The filter behind the share name.
fn behind(shared: TopicFilter<'_>) -> TopicFilter<'_> {
    shared.shared().expect("a group has a shared filter").1
}
