//! What one session of this shard subscribes at this moment, asked when its subscriptions changed while copies were on their way to it.

use std::fmt::Debug;

use super::index::TopicIndex;
use super::levels::Levels;
use super::name::TopicName;
use super::routes::Routes;
use crate::base::shard_set::ShardSet;

impl<K: Copy + Ord + Debug> TopicIndex<K> {
    /// Where `topic` goes as far as session `key` is concerned: one receiver, or none. Shared subscriptions are left out.
    pub fn routes_of(&mut self, key: K, topic: TopicName<'_>) -> Routes<K> {
        let text = topic.as_str();
        self.matching.clear();
        self.tree.matches_of(
            key,
            &Levels::of(text, &self.key),
            self.key.hash(text.as_bytes()),
            &mut self.matching,
        );
        Routes::merge(&mut self.matching, ShardSet::EMPTY, ShardSet::EMPTY)
    }
}
