//! Whose turn it is to clean its log: one shard at a time, who has waited longest first.

use crate::base::shard_set::ShardId;
use crate::mesh::CleaningRequest;
use std::collections::VecDeque;

/// The shard that cleans, and those that wait. Written by the coordinator alone.
#[derive(Default)]
pub(super) struct Turns {
    /// Whose turn it is, then who waits, longest first: each shard once.
    shards: VecDeque<ShardId>,
    /// The first has been told.
    told: bool,
}

impl Turns {
    pub(super) fn handle(&mut self, from: ShardId, request: CleaningRequest) {
        let at = self.shards.iter().position(|shard| *shard == from);
        match (request, at) {
            (CleaningRequest::Turn, at) => {
                assert_eq!(at, None, "a shard asks for one turn at a time");
                self.shards.push_back(from);
            }
            (CleaningRequest::Over, at) => {
                let at = at.expect("only what was asked for is given back");
                self.shards.remove(at);
                self.told &= at > 0;
            }
        }
    }

    /// Who is to be told that it is its turn, once.
    pub(super) fn poll(&mut self) -> Option<ShardId> {
        let first = self.shards.front().copied().filter(|_| !self.told)?;
        self.told = true;
        Some(first)
    }

    /// Shards that have the turn or wait for it.
    pub(super) fn len(&self) -> usize {
        self.shards.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_at_a_time_and_who_has_waited_longest_first() {
        let [a, b, c] = [2, 0, 1].map(ShardId::new);
        let mut turns = Turns::default();
        assert_eq!(turns.poll(), None);
        for shard in [a, b, c] {
            turns.handle(shard, CleaningRequest::Turn);
        }
        assert_eq!((turns.poll(), turns.poll(), turns.len()), (Some(a), None, 3));
        // One that waits may go.
        turns.handle(b, CleaningRequest::Over);
        assert_eq!(turns.poll(), None);
        turns.handle(a, CleaningRequest::Over);
        turns.handle(a, CleaningRequest::Turn);
        assert_eq!((turns.poll(), turns.poll()), (Some(c), None), "behind who has waited longer");
        turns.handle(c, CleaningRequest::Over);
        assert_eq!((turns.poll(), turns.len()), (Some(a), 1));
        turns.handle(a, CleaningRequest::Over);
        assert_eq!((turns.poll(), turns.len()), (None, 0));
    }
}
