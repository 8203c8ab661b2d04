//! How much a [`TopicIndex`] holds.

use std::fmt::Debug;

use super::index::TopicIndex;

impl<K: Copy + Ord + Debug> TopicIndex<K> {
    /// Fingerprints in the replica of the peers' interest, and shared groups of theirs. Looks at every group.
    pub fn remote_interest_len(&self) -> usize {
        self.replica.len() + self.groups.elsewhere_len()
    }

    /// Bytes of the replica of the peers' interest, as allocated.
    pub fn remote_interest_bytes(&self) -> usize {
        self.replica.memory_bytes()
    }

    /// Bytes of the own subscriptions and their counts, estimated; without the sessions' [`FilterSet`]s.
    pub fn own_interest_bytes(&self) -> usize {
        self.tree.memory_bytes() + if self.has_peers { self.announcements.memory_bytes() } else { 0 }
    }

    /// Wildcard shapes in use over own and remote interest.
    pub fn shapes_len(&self) -> usize {
        self.shapes.len()
    }

    /// Filters that own sessions subscribe, and memberships in shared groups.
    pub fn filters_len(&self) -> usize {
        self.tree.len() + self.groups.memberships()
    }
}
