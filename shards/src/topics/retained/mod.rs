//! The retained messages of the topics that a shard owns: `store` keeps them in `order`, `lookup` finds what a filter matches.

mod lookup;
mod order;
mod store;

pub use lookup::RetainedPage;
pub use store::{RetainedFull, RetainedSet, RetainedStore};

use crate::base::hash::HashKey;
use crate::base::shard_set::ShardId;

/// The shard that keeps the retained message of `topic`, the same on all of `shards`.
pub fn partition(topic: &str, key: &HashKey, shards: usize) -> ShardId {
    let hash = u128::from(key.hash(topic.as_bytes()));
    ShardId::new(((hash * shards as u128) >> 64) as usize)
}
