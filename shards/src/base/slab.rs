//! A generational slab: dense storage whose keys know when their slot was reused.

use std::fmt;
use std::marker::PhantomData;

/// A generation-checked key into a [`Slab<T>`]: may outlive a turn, unlike a bare index.
pub struct Key<T> {
    index: u32,
    generation: u32,
    marker: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The slot, for tables kept in parallel by the driver. Valid only while the key is.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// How often the slot was reused; differs for every tenant of one slot.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The key as one number (generation above, index below), for completions and logs.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`Key::to_bits`].
    pub const fn from_bits(bits: u64) -> Key<T> {
        Key { index: bits as u32, generation: (bits >> 32) as u32, marker: PhantomData }
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}
impl<T> std::hash::Hash for Key<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

enum Slot<T> {
    Free { next: u32, generation: u32 },
    Used { generation: u32, value: T },
}

const NO_SLOT: u32 = u32::MAX;

/// Values in dense slots, reached by [`Key`]. Growth is by chunks, so that no insert moves a large table.
pub struct Slab<T> {
    chunks: Vec<Vec<Slot<T>>>,
    free: u32,
    used: u32,
    slots: u32,
}

/// Slots per chunk: one insert allocates at most this many records.
const CHUNK: u32 = 1024;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { chunks: Vec::new(), free: NO_SLOT, used: 0, slots: 0 }
    }
}

impl<T> Slab<T> {
    /// An empty slab.
    pub fn new() -> Slab<T> {
        Slab::default()
    }

    /// Makes room for `count` values at once (connection pool warm-up).
    pub fn reserve(&mut self, count: usize) {
        let chunks = count.div_ceil(CHUNK as usize);
        while self.chunks.len() < chunks {
            self.chunks.push(Vec::with_capacity(CHUNK as usize));
        }
    }

    /// How many values are stored.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Stores `value` in a free slot. The newest freed slot is taken first, while its memory is warm.
    pub fn insert(&mut self, value: T) -> Key<T> {
        self.used += 1;
        if self.free != NO_SLOT {
            let index = self.free;
            let slot = self.slot_mut(index).expect("the free list names existing slots");
            let Slot::Free { next, generation } = *slot else {
                unreachable!("the free list names free slots")
            };
            *slot = Slot::Used { generation, value };
            self.free = next;
            return Key { index, generation, marker: PhantomData };
        }
        let index = self.slots;
        assert!(index < NO_SLOT, "a slab holds at most 2^32-1 values");
        let chunk = (index / CHUNK) as usize;
        if chunk == self.chunks.len() {
            // The first chunk grows by doubling so that a small broker stays small.
            self.chunks.push(if chunk == 0 { Vec::new() } else { Vec::with_capacity(CHUNK as usize) });
        }
        self.chunks[chunk].push(Slot::Used { generation: 0, value });
        self.slots += 1;
        Key { index, generation: 0, marker: PhantomData }
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        self.chunks.get((index / CHUNK) as usize)?.get((index % CHUNK) as usize)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.chunks.get_mut((index / CHUNK) as usize)?.get_mut((index % CHUNK) as usize)
    }

    /// The value of `key`, unless it was removed since.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        match self.slot(key.index)? {
            Slot::Used { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value of `key` to change, unless it was removed since.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        match self.slot_mut(key.index)? {
            Slot::Used { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value in slot `index`, for an owner whose own references keep the slot from being reused: four bytes instead of eight.
    pub fn at(&self, index: u32) -> Option<&T> {
        match self.slot(index)? {
            Slot::Used { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The value in slot `index`, to change.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slot_mut(index)? {
            Slot::Used { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Removes and returns the value in slot `index`.
    pub fn remove_at(&mut self, index: u32) -> Option<T> {
        match self.slot(index)? {
            Slot::Used { generation, .. } => {
                self.remove(Key { index, generation: *generation, marker: PhantomData })
            }
            Slot::Free { .. } => None,
        }
    }

    /// Removes and returns the value of `key`; the key and all its copies are dead from here on.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let free = self.free;
        let slot = self.slot_mut(key.index)?;
        match slot {
            Slot::Used { generation, .. } if *generation == key.generation => {}
            _ => return None,
        }
        let next_generation = key.generation.wrapping_add(1);
        let Slot::Used { value, .. } =
            std::mem::replace(slot, Slot::Free { next: free, generation: next_generation })
        else {
            unreachable!("checked above")
        };
        self.free = key.index;
        self.used -= 1;
        Some(value)
    }

    /// All keys and values in slot order. A full scan: for shutdown, statistics on demand and checkers.
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.chunks.iter().flatten().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Used { generation, value } => {
                Some((Key { index: index as u32, generation: *generation, marker: PhantomData }, value))
            }
            Slot::Free { .. } => None,
        })
    }

    /// Slots, the free ones included.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// The first occupied slot at or after `from`: lets a scan be cut into slices over several turns.
    pub fn next_key(&self, from: usize) -> Option<Key<T>> {
        self.next_key_before(from, self.slots())
    }

    /// The same, among the slots before `end`.
    pub fn next_key_before(&self, from: usize, end: usize) -> Option<Key<T>> {
        let end = end.min(self.slots()) as u32;
        (from as u32..end).find_map(|index| match self.slot(index)? {
            Slot::Used { generation, .. } => {
                Some(Key { index, generation: *generation, marker: PhantomData })
            }
            Slot::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_does_not_answer_to_the_old_key() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index(), first.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(Key::<&str>::from_bits(second.to_bits()), second);
        assert_eq!(slab.at(0), Some(&"second"));
        assert_eq!(slab.remove_at(0), Some("second"));
        assert_eq!(slab.remove_at(0), None);
        assert_eq!(slab.get(second), None);
    }

    #[test]
    fn slots_are_dense_over_chunks() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..5_000).map(|n| slab.insert(n)).collect();
        for key in keys.iter().step_by(2) {
            slab.remove(*key);
        }
        assert_eq!(slab.len(), 2_500);
        assert!(slab.iter().all(|(key, n)| key.index() == *n && n % 2 == 1));
        assert_eq!(slab.next_key(0), Some(keys[1]));
        assert_eq!(slab.next_key(4_999), Some(keys[4_999]));
        assert_eq!(slab.next_key(5_000), None);
    }
}
