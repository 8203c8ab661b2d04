//! An ordered map whose keys come in rising order, nearly always, and leave in that order: what a log says, number by number.
//!
//! Its entries lie in rows of some hundred, each full before the next begins, so that it takes the memory of its entries and gives back whole pages. A
//! B-tree's leaves are half full when keys rise, and are smaller than a page: with a million entries that was twice the memory, and none of it
//! could be given back while anything between them lived.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Bound, Index, RangeBounds};

/// Entries of a row: some ten KiB. An entry that does not come in order moves a part of one row.
const ROW_ENTRIES: usize = 256;

/// See the module's documentation.
#[derive(Clone)]
pub struct RisingMap<K, V> {
    /// None is empty; keys rise within each and from one to the next.
    rows: VecDeque<VecDeque<(K, V)>>,
    len: usize,
}

impl<K, V> Default for RisingMap<K, V> {
    fn default() -> RisingMap<K, V> {
        RisingMap { rows: VecDeque::new(), len: 0 }
    }
}

impl<K: Copy + Ord, V> RisingMap<K, V> {
    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row that has `key`, if any has, and its place in it, or the place where it belongs.
    fn find(&self, key: &K) -> Option<(usize, Result<usize, usize>)> {
        let behind = self.rows.partition_point(|row| row.front().is_some_and(|(first, _)| first <= key));
        let at = behind.saturating_sub(1);
        let row = self.rows.get(at)?;
        Some((at, row.binary_search_by(|(there, _)| there.cmp(key))))
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let (row, at) = self.find(key)?;
        Some(&self.rows[row][at.ok()?].1)
    }

    /// The value of `key`.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (row, at) = self.find(key)?;
        Some(&mut self.rows[row][at.ok()?].1)
    }

    /// Whether there is a value of `key`.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The lowest key, and its value.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.rows.front()?.front().map(|(key, value)| (key, value))
    }

    /// The highest key, and its value.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.rows.back()?.back().map(|(key, value)| (key, value))
    }

    /// Gives `key` this value. The one before is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (row, at) = self.place(key);
        match at {
            Ok(at) => Some(std::mem::replace(&mut self.rows[row][at].1, value)),
            Err(at) => {
                self.put((row, at), key, value);
                None
            }
        }
    }

    /// The value of `key`, which is made if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let (mut row, at) = self.place(key);
        let at = match at {
            Ok(at) => at,
            Err(at) => {
                let place = self.put((row, at), key, make());
                row = place.0;
                place.1
            }
        };
        &mut self.rows[row][at].1
    }

    /// As `find`, but looks at the end first, and there is a row to find.
    fn place(&mut self, key: K) -> (usize, Result<usize, usize>) {
        if self.rows.is_empty() {
            self.rows.push_back(VecDeque::new());
        }
        let last = self.rows.len() - 1;
        match self.last_key_value() {
            Some((highest, _)) if *highest >= key => self.find(&key).expect("there is a row"),
            _ => (last, Err(self.rows[last].len())),
        }
    }

    /// Puts a new entry where it belongs, and returns where it is then.
    fn put(&mut self, (row, at): (usize, usize), key: K, value: V) -> (usize, usize) {
        self.len += 1;
        if self.rows[row].len() < ROW_ENTRIES {
            self.rows[row].insert(at, (key, value));
            return (row, at);
        }
        if at == ROW_ENTRIES {
            // The row stays full: others come behind it.
            let mut next = VecDeque::with_capacity(ROW_ENTRIES);
            next.push_back((key, value));
            self.rows.insert(row + 1, next);
            return (row + 1, 0);
        }
        // Right here: the next one may come behind it.
        let upper = self.rows[row].split_off(at);
        self.rows.insert(row + 1, upper);
        self.rows[row].push_back((key, value));
        (row, at)
    }

    /// Takes `key` out, and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (row, at) = self.find(key)?;
        let (_, value) = self.rows[row].remove(at.ok()?)?;
        self.len -= 1;
        if self.rows[row].is_empty() {
            self.rows.remove(row);
        }
        Some(value)
    }

    /// Leaves those for which `keep` holds, and gives back the memory of the others.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.rows.retain_mut(|row| {
            row.retain_mut(|(key, value)| keep(key, value));
            if row.len() < row.capacity() / 2 {
                row.shrink_to_fit();
            }
            !row.is_empty()
        });
        self.len = self.rows.iter().map(VecDeque::len).sum();
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().flatten().map(|(key, value)| (key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The values, in the order of their keys.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.iter_mut().flatten().map(|(_, value)| value)
    }

    /// Those whose keys lie in `range`, in order.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        let lowest = match range.start_bound() {
            Bound::Included(key) | Bound::Excluded(key) => self.find(key).map_or(0, |(row, _)| row),
            Bound::Unbounded => 0,
        };
        let entries = self.rows.range(lowest..).flatten().map(|(key, value)| (key, value));
        let end = range.end_bound().cloned();
        let is_before_end = move |key: &K| match end {
            Bound::Included(end) => *key <= end,
            Bound::Excluded(end) => *key < end,
            Bound::Unbounded => true,
        };
        let start = range.start_bound().cloned();
        let is_behind_start = move |key: &K| match start {
            Bound::Included(start) => *key >= start,
            Bound::Excluded(start) => *key > start,
            Bound::Unbounded => true,
        };
        entries
            .skip_while(move |(key, _)| !is_behind_start(key))
            .take_while(move |(key, _)| is_before_end(key))
    }
}

impl<K: Copy + Ord, V> FromIterator<(K, V)> for RisingMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> RisingMap<K, V> {
        let mut map = RisingMap::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K, V> IntoIterator for RisingMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::iter::Flatten<std::collections::vec_deque::IntoIter<VecDeque<(K, V)>>>;

    /// All, in order; each row's memory is given back behind it.
    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter().flatten()
    }
}

impl<K: Copy + Ord, V> Index<&K> for RisingMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("who asks for a key knows that it is there")
    }
}

/// How they lie in rows is no part of what a map says.
impl<K: Copy + Ord, V: PartialEq> PartialEq for RisingMap<K, V> {
    fn eq(&self, other: &RisingMap<K, V>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Copy + Ord, V: Eq> Eq for RisingMap<K, V> {}

impl<K: Copy + Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for RisingMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    fn agree(map: &RisingMap<u64, u64>, model: &BTreeMap<u64, u64>) {
        assert!(map.iter().eq(model.iter()) && map.len() == model.len());
        assert!(map.rows.iter().all(|row| !row.is_empty() && row.len() <= ROW_ENTRIES));
        assert_eq!(
            (map.first_key_value(), map.last_key_value()),
            (model.first_key_value(), model.last_key_value())
        );
    }

    #[test]
    fn it_says_what_an_ordered_map_says() {
        for seed in 0..40 {
            let mut random = Random::from_seed(seed);
            let (mut map, mut model) = (RisingMap::default(), BTreeMap::new());
            for step in 0..6_000_u64 {
                let key = if random.one_in(3) { random.below(4_000) } else { step };
                match random.below(8) {
                    0 => assert_eq!(map.remove(&key), model.remove(&key)),
                    1 => assert_eq!(map.get_or_insert_with(key, || step), model.entry(key).or_insert(step)),
                    2 => assert_eq!(map.get_mut(&key).copied(), model.get(&key).copied()),
                    3 if random.one_in(500) => {
                        let keep = |key: &u64| !key.is_multiple_of(3);
                        map.retain(|key, _| keep(key));
                        model.retain(|key, _| keep(key));
                    }
                    _ => assert_eq!(map.insert(key, step), model.insert(key, step)),
                }
                if step.is_multiple_of(97) {
                    let (from, through) = (random.below(6_000), random.below(6_000));
                    let (from, through) = (from.min(through), from.max(through));
                    assert!(map.range(from..=through).eq(model.range(from..=through)));
                    assert!(map.range(..from).eq(model.range(..from)));
                    agree(&map, &model);
                }
            }
            agree(&map, &model);
            assert!(map.into_iter().eq(model));
        }
    }

    #[test]
    fn what_rises_fills_its_rows() {
        let mut map = RisingMap::default();
        (0..10_000).for_each(|key| assert!(map.insert(key, key).is_none()));
        assert_eq!(map.rows.len(), 10_000_usize.div_ceil(ROW_ENTRIES));
        // Behind others, too.
        let mut map = RisingMap::default();
        map.insert(1_000_000, 0);
        (0..10_000).for_each(|key| assert!(map.insert(key, key).is_none()));
        assert!(map.rows.len() <= 10_000_usize.div_ceil(ROW_ENTRIES) + 2);
    }
}
