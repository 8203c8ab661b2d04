//! The few topics and filters of a run: enough to overlap, few enough to meet.

/// The topics that clients publish on. Those from [`RETAINED_FROM`] on are always published with RETAIN, the last ones are the wills'.
pub const TOPICS: [&str; 12] =
    ["a", "a/b", "a/c", "b/b", "t/0", "t/1", "t/2", "r/0", "r/1", "r/2", "w/0", "w/1"];
/// The first retained topic.
pub const RETAINED_FROM: usize = 7;
/// The first topic of wills.
pub const WILLS_FROM: usize = 10;

/// An index of [`TOPICS`].
pub type Topic = usize;

/// The filters that clients subscribe.
const FILTERS: [&str; 18] = [
    "a", "a/b", "a/c", "b/b", "t/0", "t/1", "t/2", "r/0", "r/1", "r/2", "a/+", "+/b", "a/#", "t/+", "#",
    "r/#", "w/+", "r/+",
];

/// An index of the filters' pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Filter(usize);

impl Filter {
    /// How many there are.
    pub const COUNT: usize = FILTERS.len();

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
}
