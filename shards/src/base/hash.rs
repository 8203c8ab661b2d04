//! Seeded hashing: one key for all shards of a broker, so that fingerprints mean the same everywhere.

use ahash::RandomState;
use std::hash::{BuildHasher, Hasher};

/// The broker's hash key, made at start from the system's randomness (the simulator: from its seed).
///
/// Copied to every shard; peers cannot learn it, so they cannot aim collisions.
#[derive(Clone)]
pub struct HashKey {
    state: RandomState,
}

impl HashKey {
    /// The key that `seed` stands for.
    pub fn from_seed(seed: u64) -> HashKey {
        let spread = |n: u64| seed.wrapping_add(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ seed;
        HashKey { state: RandomState::with_seeds(spread(1), spread(2), spread(3), spread(4)) }
    }

    /// The 64-bit keyed hash of `bytes`.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// The state behind it, for hash maps.
    pub fn state(&self) -> RandomState {
        self.state.clone()
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}
