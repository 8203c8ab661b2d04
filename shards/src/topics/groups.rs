//! The shared groups that have a member anywhere: own members, and how many the other shards have (MQTT 5, 4.8.2).

use super::filter::TopicFilter;
use super::group::{Elsewhere, Group, GroupId, GroupKey, Pick};
use super::interest::GroupChange;
use super::levels::Levels;
use super::members::{Standing, Standings};
use super::share_strategy::{ShareStrategies, ShareStrategy};
use super::subscribers::Subscriber;
use super::tree::SubscriptionTree;
use crate::base::hash::HashKey;
use crate::base::limits::SHARE_NAMES_PER_FILTER_MAX;
use crate::base::parted::Parted;
use crate::base::shard_set::ShardId;
use crate::base::slab::{Key, Slab};
use crate::wire::SubscriptionOptions;
use std::sync::Arc;

/// See the module's documentation. Lives in its shard; the counts of the others are written by applying their batches only.
pub(super) struct SharedGroups<K> {
    own: ShardId,
    key: HashKey,
    /// The same on all shards.
    pub(super) strategies: ShareStrategies,
    groups: Slab<Group<K>>,
    by_text: Parted<u32>,
    /// The live groups by the filter behind the share name.
    tree: SubscriptionTree<GroupId>,
    matching: Vec<Subscriber<GroupId>>,
    memberships: usize,
}

/// What a change did to the routes of topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupApplied {
    /// Topics go where they went.
    Nothing,
    /// The group came into being or ended.
    LiveChanged,
}

impl<K: Copy + Ord> SharedGroups<K> {
    pub(super) fn new(own: ShardId, key: HashKey) -> SharedGroups<K> {
        let tree = SubscriptionTree::new(key.clone());
        let (groups, by_text, matching) = (Slab::new(), Parted::new(), Vec::new());
        let strategies = ShareStrategies::default();
        SharedGroups { own, key, strategies, groups, by_text, tree, matching, memberships: 0 }
    }

    pub(super) fn get(&self, id: GroupId) -> Option<&Group<K>> {
        self.groups.at(id.slot())
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group<K>> {
        self.groups.at_mut(id.slot())
    }

    fn group(&self, id: GroupId) -> &Group<K> {
        self.get(id).expect("a group lives as long as it has members or is announced")
    }

    fn group_mut(&mut self, id: GroupId) -> &mut Group<K> {
        self.get_mut(id).expect("a group lives as long as it has members or is announced")
    }

    /// The group with this whole text.
    pub(super) fn find(&self, text: &str) -> Option<GroupId> {
        let is = |slot: &u32| self.groups.at(*slot).is_some_and(|group| *group.text == *text);
        self.by_text.find(self.key.hash(text.as_bytes()), is).map(|slot| GroupId::at_slot(*slot))
    }

    pub(super) fn text(&self, id: GroupId) -> TopicFilter<'_> {
        TopicFilter::checked(&self.group(id).text)
    }

    pub(super) fn name(&self, id: GroupId) -> Arc<str> {
        self.group(id).text.clone()
    }

    /// Whether the filter of `shared` has as many share names as it may, and this is another one.
    pub(super) fn is_full(&self, shared: TopicFilter<'_>) -> bool {
        let Some((_, filter)) = shared.shared() else { return false };
        self.find(shared.as_str()).is_none()
            && self
                .tree
                .find(filter)
                .is_some_and(|id| self.tree.subscribers_len(id) >= SHARE_NAMES_PER_FILTER_MAX)
    }

    fn find_or_add(&mut self, text: &str) -> GroupId {
        if let Some(id) = self.find(text) {
            return id;
        }
        let filter = TopicFilter::checked(text);
        let (name, _) = filter.shared().expect("a group has a shared filter");
        let group = Group::new(text.into(), self.strategies.of(name), self.own);
        let slot = self.groups.insert(group).index() as u32;
        let (key, groups) = (&self.key, &self.groups);
        self.by_text.insert(key.hash(text.as_bytes()), slot, |slot| text_hash(key, groups, *slot));
        GroupId::at_slot(slot)
    }

    /// How the others are told to name it.
    pub(super) fn key_of(&self, id: GroupId) -> GroupKey {
        let key = self.groups.next_key(id.slot() as usize).expect("the group is there");
        debug_assert_eq!(key.index() as u32, id.slot());
        GroupKey::of(key)
    }

    /// The group that another shard means by `key`, unless it is gone.
    pub(super) fn named(&self, key: GroupKey) -> Option<GroupId> {
        self.groups.get(Key::from_bits(key.to_bits())).map(|_| key.id())
    }

    /// Brings the tree up to date after the group's members changed, and forgets it if nobody needs it.
    fn update(&mut self, id: GroupId, was_live: bool) -> GroupApplied {
        let group = self.groups.at(id.slot()).expect("the caller has changed it");
        let is_live = group.is_live();
        let filter = group.filter();
        if is_live != was_live {
            if is_live {
                self.tree.insert(filter, Subscriber::new(id, SubscriptionOptions::default(), None, false));
            } else {
                let place = self.tree.find(filter).expect("a live group stands in the tree");
                self.tree.remove(place, id);
                self.tree.discard_unused(place);
            }
        }
        self.forget_unused(id);
        if is_live == was_live { GroupApplied::Nothing } else { GroupApplied::LiveChanged }
    }

    fn forget_unused(&mut self, id: GroupId) {
        let Some(group) = self.get(id) else { return };
        if group.is_live() || group.held > 0 {
            return;
        }
        let (key, groups) = (&self.key, &self.groups);
        let hash = text_hash(key, groups, id.slot());
        self.by_text.remove(hash, |slot| *slot == id.slot(), |slot| text_hash(key, groups, *slot));
        self.groups.remove_at(id.slot());
    }

    /// Adds or replaces an own member; what it replaced, and what that did.
    pub(super) fn join(
        &mut self,
        text: &str,
        subscriber: Subscriber<K>,
    ) -> (GroupId, Option<Subscriber<K>>, GroupApplied) {
        let id = self.find_or_add(text);
        let group = self.group_mut(id);
        let was_live = group.is_live();
        let replaced = group.members.insert(subscriber);
        self.memberships += usize::from(replaced.is_none());
        (id, replaced, self.update(id, was_live))
    }

    /// Takes an own member out. The group must be held by the caller if it is to be announced afterwards.
    pub(super) fn part(&mut self, id: GroupId, key: K) -> GroupApplied {
        let group = self.group_mut(id);
        let removed = group.members.remove(key);
        assert!(removed.is_some(), "a session's list names its memberships");
        self.memberships -= 1;
        self.update(id, true)
    }

    /// One announcement more is under way.
    pub(super) fn hold(&mut self, id: GroupId) {
        self.group_mut(id).held += 1;
    }

    /// One announcement less.
    pub(super) fn release(&mut self, id: GroupId) {
        self.group_mut(id).held -= 1;
        self.forget_unused(id);
    }

    /// What the others are to know of it.
    pub(super) fn state(&self, key: GroupKey) -> GroupChange {
        let group = self.group(key.id());
        let (standings, durable) = (group.members.standings(), group.members.is_durable());
        GroupChange { text: group.text.clone(), key, standings, durable }
    }

    /// Takes what `from` has of a group; whether that changed the routes, and the group if it has a ready member there now and had none.
    pub(super) fn apply(&mut self, from: ShardId, change: &GroupChange) -> (GroupApplied, Option<GroupId>) {
        let id = self.find_or_add(&change.text);
        let group = self.group_mut(id);
        let was_live = group.is_live();
        let at = group.elsewhere.binary_search_by_key(&from, |there| there.shard);
        let was_ready = at.is_ok_and(|at| group.elsewhere[at].standings[0] > 0);
        let GroupChange { key, standings, durable, .. } = *change;
        let there = Elsewhere { shard: from, key, standings, durable };
        let nobody = standings == Standings::default();
        match at {
            Ok(at) if nobody => drop(group.elsewhere.remove(at)),
            Ok(at) => group.elsewhere[at] = there,
            Err(at) if !nobody => group.elsewhere.insert(at, there),
            Err(_) => {}
        }
        let became_ready = standings[0] > 0 && !was_ready;
        (self.update(id, was_live), became_ready.then_some(id))
    }

    /// Appends the groups whose filter matches the topic.
    pub(super) fn matches(&mut self, topic: &Levels<'_>, hash: u64, into: &mut Vec<GroupId>) {
        self.tree.matches_levels(topic, hash, &mut self.matching);
        into.extend(self.matching.drain(..).map(|group| group.key));
    }

    /// Where the next message of the group goes; not among the own members unless `here`. `None`: nobody is left.
    pub(super) fn pick(&self, id: GroupId, spread: u64, here: bool) -> Option<Pick> {
        let group = self.get(id)?;
        let shard = group.shard(self.own, spread, here)?;
        let (key, durable) = match group.elsewhere.binary_search_by_key(&shard, |there| there.shard) {
            Ok(at) => (group.elsewhere[at].key, group.elsewhere[at].durable),
            Err(_) => (self.key_of(id), group.members.is_durable()),
        };
        Some(Pick { group: id, shard, key, spread, durable })
    }

    /// A message goes where `pick` says.
    pub(super) fn picked(&mut self, pick: &Pick) {
        if let Some(group) = self.get_mut(pick.group) {
            group.picked(pick.shard);
        }
    }

    pub(super) fn strategy(&self, id: GroupId) -> ShareStrategy {
        self.get(id).map_or(ShareStrategy::default(), |group| group.strategy)
    }

    /// Whether another shard has members whose standing is at most `worst`.
    pub(super) fn is_elsewhere(&self, id: GroupId, worst: Standing) -> bool {
        self.get(id).is_some_and(|group| {
            group.elsewhere.iter().any(|there| there.standings[..=worst as usize].iter().any(|n| *n > 0))
        })
    }

    /// Whether any member anywhere is ready.
    pub(super) fn has_ready(&self, id: GroupId) -> bool {
        let here = |group: &Group<K>| group.members.standings()[0] > 0;
        self.get(id).is_some_and(here) || self.is_elsewhere(id, Standing::Ready)
    }

    /// Groups that other shards have members of.
    pub(super) fn elsewhere_len(&self) -> usize {
        self.groups.iter().filter(|(_, group)| !group.elsewhere.is_empty()).count()
    }

    /// Own memberships.
    pub(super) fn memberships(&self) -> usize {
        self.memberships
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }
}

fn text_hash<K>(key: &HashKey, groups: &Slab<Group<K>>, slot: u32) -> u64 {
    key.hash(groups.at(slot).expect("a group in the table exists").text.as_bytes())
}
