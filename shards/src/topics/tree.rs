//! The subscriptions of this shard's own sessions, in full detail.

use super::filter::TopicFilter;
use super::group::GroupId;
use super::levels::Levels;
use super::name::TopicName;
use super::shape::ShapeSlot;
use super::subscribers::{Subscriber, Subscribers};
use super::trie::Trie;
use crate::base::hash::HashKey;
use crate::base::parted::Parted;
use crate::base::slab::{Key, Slab};

/// Names a filter in its shard's tree, as long as someone subscribes it, or a shared group of which the session is a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FilterId(u32);

/// The bit of a shared group's id: groups stand behind all filters.
const GROUP: u32 = 1 << 31;

impl FilterId {
    pub(super) const NONE: FilterId = FilterId(u32::MAX);
    /// Where the groups begin.
    pub(super) const FIRST_GROUP: FilterId = FilterId(GROUP);

    fn of<T>(key: Key<T>) -> FilterId {
        let index = key.index() as u32;
        assert!(index < GROUP, "fewer than 2^31 filters fit memory");
        FilterId(index)
    }

    pub(super) fn of_group(group: GroupId) -> FilterId {
        FilterId(GROUP | group.slot())
    }

    /// The group, when it is one.
    pub(super) fn group(self) -> Option<GroupId> {
        (self.0 & GROUP != 0 && self != FilterId::NONE).then(|| GroupId::at_slot(self.0 & !GROUP))
    }

    #[cfg(test)]
    pub(super) const fn numbered(index: u32) -> FilterId {
        FilterId(index)
    }
}

/// Which session subscribed what, with its options: lives in the shard that owns the sessions, written by it alone.
///
/// Filters without wildcard stand in a parted hash table, filters with one in a trie. A filter is kept once, with all its subscribers.
pub struct SubscriptionTree<K> {
    key: HashKey,
    filters: Slab<Filter<K>>,
    exact: Parted<FilterId>,
    trie: Trie,
}

struct Filter<K> {
    text: Box<str>,
    place: Place,
    subscribers: Subscribers<K>,
}

#[derive(Clone, Copy)]
enum Place {
    Exact,
    /// Its node in the trie, and the shape under which the peers know it (see `shape`).
    Wildcard {
        node: u32,
        shape: ShapeSlot,
    },
}

impl<K: Copy + Ord> SubscriptionTree<K> {
    /// An empty tree.
    pub fn new(key: HashKey) -> SubscriptionTree<K> {
        let trie = Trie::new(key.clone());
        SubscriptionTree { key, filters: Slab::new(), exact: Parted::new(), trie }
    }

    fn filter(&self, id: FilterId) -> &Filter<K> {
        self.filters.at(id.0).expect("a filter lives as long as it has a subscriber")
    }

    fn filter_mut(&mut self, id: FilterId) -> &mut Filter<K> {
        self.filters.at_mut(id.0).expect("a filter lives as long as it has a subscriber")
    }

    /// The filter with this text, if anyone subscribes it.
    pub fn find(&self, filter: TopicFilter<'_>) -> Option<FilterId> {
        if filter.is_wildcard() {
            return self.trie.find(&Levels::of(filter.as_str(), &self.key));
        }
        let hash = self.key.hash(filter.as_str().as_bytes());
        self.exact.find(hash, |id| *self.filter(*id).text == *filter.as_str()).copied()
    }

    /// Adds or replaces the subscription of `filter` by `subscriber.key`; returns the filter's id and what was replaced.
    pub fn insert(
        &mut self,
        filter: TopicFilter<'_>,
        subscriber: Subscriber<K>,
    ) -> (FilterId, Option<Subscriber<K>>) {
        let id = self.find(filter).unwrap_or_else(|| self.add(filter));
        let replaced = self.filter_mut(id).subscribers.insert(subscriber);
        (id, replaced)
    }

    fn add(&mut self, filter: TopicFilter<'_>) -> FilterId {
        let text = filter.as_str();
        let (place, subscribers) = (Place::Exact, Subscribers::None);
        let id = FilterId::of(self.filters.insert(Filter { text: text.into(), place, subscribers }));
        if filter.is_wildcard() {
            let node = self.trie.insert(&Levels::of(text, &self.key), id);
            self.filter_mut(id).place = Place::Wildcard { node, shape: ShapeSlot::NONE };
        } else {
            let (key, filters) = (&self.key, &self.filters);
            let hash = key.hash(text.as_bytes());
            self.exact.insert(hash, id, |id| text_hash(key, filters, *id));
        }
        id
    }

    /// Takes out the subscription of `id` by `key`. The filter stays until [`SubscriptionTree::discard_unused`].
    pub fn remove(&mut self, id: FilterId, key: K) -> Option<Subscriber<K>> {
        self.filters.at_mut(id.0)?.subscribers.remove(key)
    }

    /// Forgets `id` if nobody subscribes it any more; returns whether it did.
    pub fn discard_unused(&mut self, id: FilterId) -> bool {
        let filter = self.filter(id);
        if !filter.subscribers.is_empty() {
            return false;
        }
        match filter.place {
            Place::Exact => {
                let (key, filters) = (&self.key, &self.filters);
                let hash = text_hash(key, filters, id);
                self.exact
                    .remove(hash, |other| *other == id, |id| text_hash(key, filters, *id))
                    .expect("a filter without wildcard stands in the exact table");
            }
            Place::Wildcard { node, .. } => {
                let multi = filter.text.ends_with('#');
                self.trie.remove(node, multi);
            }
        }
        self.filters.remove_at(id.0);
        true
    }

    /// The subscription of `id` by `key`.
    pub fn get(&self, id: FilterId, key: K) -> Option<&Subscriber<K>> {
        self.filters.at(id.0)?.subscribers.get(key)
    }

    /// How many subscribe `id`.
    pub(super) fn subscribers_len(&self, id: FilterId) -> usize {
        self.filter(id).subscribers.len()
    }

    /// The filter's text.
    pub fn text(&self, id: FilterId) -> TopicFilter<'_> {
        TopicFilter::checked(&self.filter(id).text)
    }

    /// The shape under which the peers know a wildcard filter; `None` for a filter without wildcard.
    pub(super) fn shape(&self, id: FilterId) -> Option<ShapeSlot> {
        match self.filter(id).place {
            Place::Exact => None,
            Place::Wildcard { shape, .. } => Some(shape),
        }
    }

    /// Notes the shape under which the peers know a wildcard filter.
    pub(super) fn set_shape(&mut self, id: FilterId, to: ShapeSlot) {
        let Place::Wildcard { shape, .. } = &mut self.filter_mut(id).place else {
            unreachable!("only wildcard filters have a shape")
        };
        *shape = to;
    }

    /// Appends every subscription that matches `topic`, overlapping ones included, in a fixed order. Allocates nothing itself.
    pub fn matches(&self, topic: TopicName<'_>, into: &mut Vec<Subscriber<K>>) {
        let levels = Levels::of(topic.as_str(), &self.key);
        self.matches_levels(&levels, self.key.hash(topic.as_str().as_bytes()), into);
    }

    pub(super) fn matches_levels(&self, topic: &Levels<'_>, hash: u64, into: &mut Vec<Subscriber<K>>) {
        if let Some(id) = self.exact.find(hash, |id| *self.filter(*id).text == *topic.text()) {
            self.filter(*id).subscribers.collect(into);
        }
        self.trie.matches(topic, &mut |id| self.filter(id).subscribers.collect(into));
    }

    /// Appends the subscriptions of session `key` alone that match `topic`: costs the filters that match, not their subscribers.
    pub(super) fn matches_of(&self, key: K, topic: &Levels<'_>, hash: u64, into: &mut Vec<Subscriber<K>>) {
        if let Some(id) = self.exact.find(hash, |id| *self.filter(*id).text == *topic.text()) {
            into.extend(self.filter(*id).subscribers.get(key));
        }
        self.trie.matches(topic, &mut |id| into.extend(self.filter(id).subscribers.get(key)));
    }

    /// Filters that have a subscriber.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether nobody subscribes anything.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Bytes of memory, estimated: tables as allocated, filters with texts of 24 bytes or less and one subscriber each.
    pub fn memory_bytes(&self) -> usize {
        // 32 bytes: the smallest block of the allocator and its header, for the text.
        self.filters.len() * (size_of::<Filter<K>>() + 8 + 32)
            + self.exact.memory_bytes()
            + if self.trie.len() > 1 { self.trie.memory_bytes() } else { 0 }
    }
}

fn text_hash<K>(key: &HashKey, filters: &Slab<Filter<K>>, id: FilterId) -> u64 {
    key.hash(filters.at(id.0).expect("a filter in a table exists").text.as_bytes())
}
