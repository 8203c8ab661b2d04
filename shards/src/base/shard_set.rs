//! Shard numbers and sets of them.

use std::fmt;

/// The most shards that one broker can have: a set of them fits one machine word.
pub const SHARDS_MAX: usize = 64;

/// The number of a shard, from 0, below [`SHARDS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u8);

impl ShardId {
    /// The shard numbered `index`, which must be below [`SHARDS_MAX`].
    pub const fn new(index: usize) -> ShardId {
        assert!(index < SHARDS_MAX);
        ShardId(index as u8)
    }

    /// Its number, as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}
impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of shards, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ShardSet(u64);

impl ShardSet {
    /// No shard.
    pub const EMPTY: ShardSet = ShardSet(0);

    /// The first `count` shards.
    pub const fn first(count: usize) -> ShardSet {
        assert!(count <= SHARDS_MAX);
        if count == SHARDS_MAX { ShardSet(u64::MAX) } else { ShardSet((1 << count) - 1) }
    }

    /// Whether `shard` is in it.
    pub const fn contains(self, shard: ShardId) -> bool {
        self.0 >> shard.0 & 1 == 1
    }

    /// Adds `shard`.
    pub const fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }

    /// Takes `shard` out.
    pub const fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }

    /// All that is in one of the two.
    pub const fn union(self, other: ShardSet) -> ShardSet {
        ShardSet(self.0 | other.0)
    }

    /// Whether no shard is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many shards are in it.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The bits, lowest shard in the lowest bit.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The set of these bits.
    pub const fn from_bits(bits: u64) -> ShardSet {
        ShardSet(bits)
    }

    /// The shards in it, lowest first.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let index = rest.trailing_zeros();
                rest &= rest - 1;
                ShardId(index as u8)
            })
        })
    }
}

impl fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
