//! The few topics and filters of a run: enough to overlap, few enough to meet.

use crate::topics::{TopicFilter, TopicName};
use std::sync::OnceLock;

/// The topics that clients publish on. Those from [`SHARED_FROM`] on have shared groups, those from [`RETAINED_FROM`] on are always published
/// with RETAIN, the last ones are the wills'.
pub const TOPICS: [&str; 16] = [
    "a", "a/b", "a/c", "b/b", "t/0", "t/1", "t/2", "s/0", "s/1", "s/2", "r/0", "r/1", "r/2", "w/0", "w/1",
    "w/2",
];
/// The first topic of shared groups.
pub const SHARED_FROM: usize = 7;
/// The first retained topic.
pub const RETAINED_FROM: usize = 10;
/// The first topic of wills.
pub const WILLS_FROM: usize = 13;
/// The topic of wills that are retained.
pub const RETAINED_WILLS: usize = 15;

/// An index of [`TOPICS`].
pub type Topic = usize;

/// The filters that clients subscribe.
const FILTERS: [&str; 26] = [
    "a",
    "a/b",
    "a/c",
    "b/b",
    "t/0",
    "t/1",
    "t/2",
    "r/0",
    "r/1",
    "r/2",
    "a/+",
    "+/b",
    "a/#",
    "t/+",
    "#",
    "r/#",
    "w/+",
    "r/+",
    "s/0",
    "s/+",
    "$share/one/s/0",
    "$share/one/s/+",
    "$share/two/s/+",
    "$share/two/s/1",
    "$share/three/#",
    "$share/three/r/+",
];
/// The first shared filter.
const SHARES_FROM: usize = 20;

/// The share names of the pool.
pub const SHARE_NAMES: [&str; 3] = ["one", "two", "three"];

/// An index of the filters' pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Filter(usize);

impl Filter {
    /// How many there are.
    pub const COUNT: usize = FILTERS.len();
    /// How many of them are not shared: those come first.
    pub const PLAIN: usize = SHARES_FROM;

    /// The filter numbered `index`.
    pub fn numbered(index: usize) -> Filter {
        assert!(index < FILTERS.len(), "the pool is small");
        Filter(index)
    }

    /// The filter with this text.
    pub fn named(text: &str) -> Filter {
        Filter(FILTERS.iter().position(|filter| *filter == text).expect("a filter of the pool"))
    }

    /// Its text.
    pub fn text(self) -> &'static str {
        FILTERS[self.0]
    }

    /// Its share name.
    pub fn share(self) -> Option<&'static str> {
        self.is_shared().then(|| self.text().split('/').nth(1).expect("$share/name/filter"))
    }

    /// Whether it is a shared subscription's.
    pub fn is_shared(self) -> bool {
        self.0 >= SHARES_FROM
    }

    /// Whether it matches.
    pub fn matches(self, topic: Topic) -> bool {
        matches()[self.0] >> topic & 1 == 1
    }

    /// Whether a topic of the pool matches both.
    pub fn overlaps(self, other: Filter) -> bool {
        matches()[self.0] & matches()[other.0] != 0
    }
}

/// For each filter the topics that it matches, one bit each: matched level by level, once.
fn matches() -> &'static [u32; FILTERS.len()] {
    static MATCHES: OnceLock<[u32; FILTERS.len()]> = OnceLock::new();
    MATCHES.get_or_init(|| {
        FILTERS.map(|text| {
            let filter = TopicFilter::new(text).expect("the pool holds valid filters");
            let filter = filter.shared().map_or(filter, |(_, behind)| behind);
            let topic = |topic| TopicName::new(topic).expect("the pool holds valid topics");
            let bits = TOPICS.iter().enumerate().filter(|(_, name)| filter.matches(topic(name)));
            bits.fold(0, |bits, (number, _)| bits | 1 << number)
        })
    })
}
