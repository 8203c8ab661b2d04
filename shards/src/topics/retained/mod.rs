//! The retained messages of the topics that a shard owns: `store` keeps them in `order` within `bounds`, `lookup` finds what a filter
//! matches.

mod bounds;
mod lookup;
mod order;
mod store;

pub use bounds::{RetainedBounds, Room};
pub use lookup::{RetainedLookup, RetainedPage};
pub use store::{RetainedFull, RetainedSet, RetainedStore, counted, retained_bytes};

use crate::base::hash::HashKey;
use crate::base::shard_set::ShardId;
use std::num::NonZeroU64;

/// The shard that keeps the retained message of `topic`, the same on all of `shards`.
pub fn partition(topic: &str, key: &HashKey, shards: usize) -> ShardId {
    let hash = u128::from(key.hash(topic.as_bytes()));
    ShardId::new(((hash * shards as u128) >> 64) as usize)
}

/// Who published a retained message: the keyed hash of the client id, for No Local (MQTT 5, 3.8.3.1), which asks for equal client ids.
/// Eight bytes per message instead of the id; two ids that share it cost one of them a retained copy, once in 2^64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PublisherMark(NonZeroU64);

impl PublisherMark {
    /// The mark of `client_id`, the same on all shards.
    pub fn new(client_id: &str, key: &HashKey) -> PublisherMark {
        PublisherMark(NonZeroU64::new(key.hash(client_id.as_bytes())).unwrap_or(NonZeroU64::MIN))
    }

    /// The mark of these bits, as the log keeps it.
    pub const fn from_bits(bits: NonZeroU64) -> PublisherMark {
        PublisherMark(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> NonZeroU64 {
        self.0
    }
}
