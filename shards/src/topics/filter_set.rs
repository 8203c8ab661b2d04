//! A session's own list of the filters it subscribed.

use std::collections::BTreeSet;

use super::group::GroupId;
use super::tree::FilterId;

/// The filters of one session, as 16 bytes that the session keeps and the [`TopicIndex`](super::TopicIndex) of its shard fills.
///
/// Few are inline; many (1,000 per client by default) are ordered, so that each is found in O(log n).
#[derive(Debug)]
pub struct FilterSet(Held);

#[derive(Debug)]
enum Held {
    Few {
        len: u8,
        filters: [FilterId; FEW_MAX],
    },
    #[expect(clippy::box_collection, reason = "the set stays at 16 bytes")]
    Many(Box<BTreeSet<FilterId>>),
}

/// What fits beside the tag in 16 bytes; most clients have one or two.
const FEW_MAX: usize = 3;

impl Default for FilterSet {
    fn default() -> FilterSet {
        FilterSet(Held::Few { len: 0, filters: [FilterId::NONE; FEW_MAX] })
    }
}

impl FilterSet {
    /// No filters.
    pub fn new() -> FilterSet {
        FilterSet::default()
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::Few { len, .. } => usize::from(*len),
            Held::Many(many) => many.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap, estimated; the 16 of the set itself are its owner's.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Held::Few { .. } => 0,
            // A B-tree node holds 5 to 11 entries beside about 20 bytes of its own: 8 bytes per filter is the middle.
            Held::Many(many) => size_of::<BTreeSet<FilterId>>() + 8 * many.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = FilterId> {
        let (few, many) = match &self.0 {
            Held::Few { len, filters } => (Some(&filters[..usize::from(*len)]), None),
            Held::Many(many) => (None, Some(many.iter())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten()).copied()
    }

    /// The shared groups among them.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> {
        let (few, many) = match &self.0 {
            Held::Few { len, filters } => (Some(&filters[..usize::from(*len)]), None),
            Held::Many(many) => (None, Some(many.range(FilterId::FIRST_GROUP..))),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten()).filter_map(|id| id.group())
    }

    pub(super) fn insert(&mut self, filter: FilterId) {
        match &mut self.0 {
            Held::Few { len, filters } => {
                let used = usize::from(*len);
                if filters[..used].contains(&filter) {
                } else if used < FEW_MAX {
                    filters[used] = filter;
                    *len += 1;
                } else {
                    let many = filters.iter().copied().chain([filter]).collect();
                    self.0 = Held::Many(Box::new(many));
                }
            }
            Held::Many(many) => {
                many.insert(filter);
            }
        }
    }

    pub(super) fn remove(&mut self, filter: FilterId) {
        match &mut self.0 {
            Held::Few { len, filters } => {
                let used = usize::from(*len);
                if let Some(at) = filters[..used].iter().position(|f| *f == filter) {
                    filters.copy_within(at + 1..used, at);
                    *len -= 1;
                }
            }
            Held::Many(many) => {
                many.remove(&filter);
                // One below the inline capacity, so that the set does not change its form at every other call.
                if many.len() < FEW_MAX {
                    let mut filters = [FilterId::NONE; FEW_MAX];
                    for (slot, filter) in filters.iter_mut().zip(many.iter()) {
                        *slot = *filter;
                    }
                    self.0 = Held::Few { len: many.len() as u8, filters };
                }
            }
        }
    }

    /// Takes out any one.
    pub(super) fn pop(&mut self) -> Option<FilterId> {
        let last = match &self.0 {
            Held::Few { len, filters } => filters[..usize::from(*len)].last().copied(),
            Held::Many(many) => many.last().copied(),
        }?;
        self.remove(last);
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn the_groups_are_found_among_few_and_many() {
        let mut held = FilterSet::new();
        for n in 0..40 {
            held.insert(FilterId::numbered(n));
            held.insert(FilterId::of_group(GroupId::at_slot(100 - n)));
            let mut groups: Vec<_> = held.groups().collect();
            groups.sort();
            let expected: Vec<_> = (0..=n).rev().map(|n| GroupId::at_slot(100 - n)).collect();
            assert_eq!(groups, expected);
        }
    }

    #[test]
    fn behaves_as_a_set_in_sixteen_bytes() {
        assert_eq!(size_of::<FilterSet>(), 16);
        let mut random = Random::from_seed(5);
        let mut held = FilterSet::new();
        let mut set = BTreeSet::new();
        for step in 0..5_000 {
            let filter = FilterId::numbered(random.below(if step / 500 % 2 == 0 { 5 } else { 40 }) as u32);
            if random.one_in(2) {
                held.insert(filter);
                set.insert(filter);
            } else {
                held.remove(filter);
                set.remove(&filter);
            }
            assert_eq!(held.len(), set.len());
            assert_eq!(held.iter().collect::<BTreeSet<_>>(), set);
        }
        while let Some(filter) = held.pop() {
            assert!(set.remove(&filter));
        }
        assert!(set.is_empty() && held.is_empty());
    }
}
