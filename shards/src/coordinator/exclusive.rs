//! Who holds an exclusive subscription: one place decides for all shards, so that no race grants two.

use crate::base::shard_set::ShardId;
use crate::mesh::{ExclusiveReply, ExclusiveRequest};
use std::collections::BTreeMap;

/// The exclusive subscriptions of a broker, by filter. Written by the coordinator alone.
#[derive(Default)]
pub struct ExclusiveHolders {
    /// The shard and its own number for the request that was granted.
    holders: BTreeMap<Box<str>, (ShardId, u64)>,
}

impl ExclusiveHolders {
    /// Takes or gives up; what wants to take is answered.
    pub fn handle(&mut self, from: ShardId, request: ExclusiveRequest) -> Option<ExclusiveReply> {
        match request {
            ExclusiveRequest::Take { filter, number } => {
                let granted = !self.holders.contains_key(&filter);
                if granted {
                    self.holders.insert(filter, (from, number));
                }
                Some(ExclusiveReply { number, granted })
            }
            ExclusiveRequest::GiveUp { filter, number } => {
                let held = self.holders.get(&filter) == Some(&(from, number));
                debug_assert!(held, "only what was granted is given up, once");
                if held {
                    self.holders.remove(&filter);
                }
                None
            }
        }
    }

    /// As it was before the last end of the broker.
    pub fn restore(&mut self, filter: &str, holder: (ShardId, u64)) {
        let before = self.holders.insert(filter.into(), holder);
        debug_assert_eq!(before, None, "one gives up before the next one gets it");
    }

    /// Exclusive subscriptions held.
    pub fn len(&self) -> usize {
        self.holders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let mut holders = ExclusiveHolders::default();
        let mut take = |shard, number| {
            let request = ExclusiveRequest::Take { filter: "a".into(), number };
            holders.handle(ShardId::new(shard), request).expect("it is answered").granted
        };
        assert!(take(0, 1) && !take(0, 2) && !take(1, 1));
        let give_up = ExclusiveRequest::GiveUp { filter: "a".into(), number: 1 };
        assert_eq!(holders.handle(ShardId::new(0), give_up), None);
        assert_eq!(holders.len(), 0);
        let request = ExclusiveRequest::Take { filter: "a".into(), number: 1 };
        assert!(holders.handle(ShardId::new(1), request).expect("it is answered").granted);
    }
}
