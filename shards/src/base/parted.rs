//! A hash table split into parts that grow one at a time.

use hashbrown::HashTable;

use crate::base::limits::TABLE_PARTS;

/// A table of `T`, found by hash and comparison, that never rehashes as a whole.
///
/// The parts are of different sizes, spread evenly (by logarithm) over a factor of two: the biggest part is about to double when the smallest just has. So
/// whatever the number of entries, some parts are full and some half empty, the memory per entry stays within 1.5 to 1.75 buckets, and no wave of
/// rehashes comes over a table that grows steadily.
pub struct Parted<T> {
    parts: Box<[HashTable<T>]>,
    len: usize,
}

/// Bits of the hash that choose the part: away from the low bits, which choose the bucket, and the top seven, hashbrown's tags.
const PART_SHIFT: u32 = 40;
const PART_SLOTS: usize = 4096;
static PART_OF: [u8; PART_SLOTS] = part_of();
const _: () = assert!(TABLE_PARTS == 256, "a part number is one byte of logarithm");

/// Part of slot x is ⌊256·log₂(1 + x/4096)⌋: part i then takes a share of the hashes proportional to 2^(i/256).
const fn part_of() -> [u8; PART_SLOTS] {
    let mut table = [0; PART_SLOTS];
    let mut slot = 0;
    while slot < PART_SLOTS {
        // The logarithm's bits by squaring, in fixed point with 30 fraction bits; the middle of the slot stands for it.
        let mut x: u64 = ((2 * (PART_SLOTS + slot) as u64 + 1) << 30) / (2 * PART_SLOTS as u64);
        let mut part = 0u8;
        let mut bit = 0;
        while bit < 8 {
            x = (x * x) >> 30;
            part <<= 1;
            if x >= 2 << 30 {
                x >>= 1;
                part |= 1;
            }
            bit += 1;
        }
        table[slot] = part;
        slot += 1;
    }
    table
}

fn part(hash: u64) -> usize {
    usize::from(PART_OF[(hash >> PART_SHIFT) as usize % PART_SLOTS])
}

impl<T> Default for Parted<T> {
    fn default() -> Self {
        Parted::new()
    }
}

impl<T> Parted<T> {
    /// An empty table.
    pub fn new() -> Parted<T> {
        Parted { parts: (0..TABLE_PARTS).map(|_| HashTable::new()).collect(), len: 0 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated for entries, used and free.
    pub fn memory_bytes(&self) -> usize {
        self.parts.iter().map(HashTable::allocation_size).sum::<usize>()
            + TABLE_PARTS * size_of::<HashTable<T>>()
    }

    /// The entry with this hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&T> {
        self.parts[part(hash)].find(hash, is)
    }

    /// The same, to change; what it is found by must not change.
    pub fn find_mut(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.parts[part(hash)].find_mut(hash, is)
    }

    /// Adds an entry that is not in the table yet; `rehash` gives the hash of any entry.
    pub fn insert(&mut self, hash: u64, entry: T, rehash: impl Fn(&T) -> u64) -> &mut T {
        self.len += 1;
        self.parts[part(hash)].insert_unique(hash, entry, rehash).into_mut()
    }

    /// Takes out the entry with this hash for which `is` holds, and gives memory back when its part is nearly empty.
    pub fn remove(&mut self, hash: u64, is: impl FnMut(&T) -> bool, rehash: impl Fn(&T) -> u64) -> Option<T> {
        let part = &mut self.parts[part(hash)];
        let (entry, _) = part.find_entry(hash, is).ok()?.remove();
        self.len -= 1;
        if part.capacity() > 4 * part.len() + 16 {
            part.shrink_to(2 * part.len(), rehash);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn the_parts_cover_a_factor_of_two_evenly() {
        let mut share = [0usize; TABLE_PARTS];
        for part in PART_OF {
            share[usize::from(part)] += 1;
        }
        assert!(PART_OF.is_sorted());
        for (part, share) in share.iter().enumerate() {
            let ideal = 4096.0 * ((2f64.powf((part + 1) as f64 / 256.0)) - 2f64.powf(part as f64 / 256.0));
            assert!((*share as f64 - ideal).abs() <= 1.0, "part {part} has {share} slots, ideal {ideal}");
        }
    }

    #[test]
    fn entries_are_found_until_removed_and_memory_comes_back() {
        let mut random = Random::from_seed(3);
        let mut table = Parted::new();
        let hashes: Vec<u64> = (0..100_000).map(|_| random.next_u64()).collect();
        for hash in &hashes {
            table.insert(*hash, *hash, |h| *h);
        }
        assert_eq!(table.len(), hashes.len());
        for hash in &hashes {
            assert_eq!(table.find(*hash, |h| h == hash), Some(hash));
        }
        for hash in &hashes {
            assert_eq!(table.remove(*hash, |h| h == hash, |h| *h), Some(*hash));
            assert_eq!(table.find(*hash, |h| h == hash), None);
        }
        assert_eq!(table.len(), 0);
        assert!(table.memory_bytes() < 256 * 1024, "{} bytes are left", table.memory_bytes());
    }
}
