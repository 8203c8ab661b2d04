//! A topic or filter cut into levels once, each with its hash, for everything that looks levels up.

use crate::base::hash::HashKey;
use crate::base::limits::TOPIC_LEVELS_MAX;

/// The levels of one text, on the stack: a match allocates nothing.
pub(super) struct Levels<'a> {
    text: &'a str,
    count: usize,
    /// Where each level ends in `text`; texts are at most `TOPIC_BYTES_MAX` = 4,096 bytes.
    ends: [u16; TOPIC_LEVELS_MAX],
    hashes: [u64; TOPIC_LEVELS_MAX],
}

impl<'a> Levels<'a> {
    /// Cuts `text`, which was checked as a topic name or filter: it has at most [`TOPIC_LEVELS_MAX`] levels.
    pub(super) fn of(text: &'a str, key: &HashKey) -> Levels<'a> {
        let mut levels =
            Levels { text, count: 0, ends: [0; TOPIC_LEVELS_MAX], hashes: [0; TOPIC_LEVELS_MAX] };
        let mut end = 0;
        for level in text.split('/') {
            end += level.len();
            levels.ends[levels.count] = end as u16;
            levels.hashes[levels.count] = key.hash(level.as_bytes());
            levels.count += 1;
            end += 1;
        }
        levels
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The text of level `index`.
    pub(super) fn level(&self, index: usize) -> &'a str {
        let start = if index == 0 { 0 } else { usize::from(self.ends[index - 1]) + 1 };
        &self.text[start..usize::from(self.ends[index])]
    }

    /// The keyed hash of level `index`.
    pub(super) fn hash(&self, index: usize) -> u64 {
        self.hashes[index]
    }

    /// The whole text.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }
}

/// Mixes `next` into `hash`: a multiplication folded onto itself, so that every input bit reaches every output bit.
pub(super) fn fold(hash: u64, next: u64) -> u64 {
    let product = u128::from(hash ^ next) * 0x9e37_79b9_7f4a_7c15_u128;
    product as u64 ^ (product >> 64) as u64
}
