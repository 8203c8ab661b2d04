//! How the messages of a shared subscription are spread over its members.

use std::collections::BTreeMap;

/// Which member gets the next message. Members that are offline or whose queue is full come last with every one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShareStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The same as last time: the messages of one publisher stay in order.
    Sticky,
    /// By the publisher's client id: the messages of one publisher stay in order.
    HashClient,
    /// By the topic: the messages of one topic stay in order.
    HashTopic,
    /// One after the other on the publisher's own shard; elsewhere only when that has none.
    Local,
}

/// The strategy of each group, by its share name.
#[derive(Clone, Debug, Default)]
pub struct ShareStrategies {
    default: ShareStrategy,
    groups: BTreeMap<Box<str>, ShareStrategy>,
}

impl ShareStrategies {
    /// `groups` by name, `default` for all others.
    pub fn new(default: ShareStrategy, groups: BTreeMap<Box<str>, ShareStrategy>) -> ShareStrategies {
        ShareStrategies { default, groups }
    }

    /// The strategy of the group with this share name.
    pub fn of(&self, name: &str) -> ShareStrategy {
        self.groups.get(name).copied().unwrap_or(self.default)
    }
}
