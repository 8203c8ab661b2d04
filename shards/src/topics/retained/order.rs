//! The order of the retained messages: by level, keyed by their own topic text.

use super::PublisherMark;
use crate::base::kept::Written;
use crate::wire::Message;
use std::borrow::Borrow;
use std::cmp::Ordering;

/// Orders texts by level: `/` before every character, so that a topic and all below it are neighbours.
pub(super) fn by_level(a: &[u8], b: &[u8]) -> Ordering {
    // U+0000, which would rank the same, is in no topic.
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => a.len().cmp(&b.len()),
    }
}

/// A message as an entry of the ordered map.
pub(super) struct ByTopic {
    pub(super) message: Message,
    pub(super) publisher: Option<PublisherMark>,
    /// Where its last record lies.
    pub(super) written: Written,
}

/// What entries and bare texts have in common, to seek by a text.
pub(super) trait TopicText {
    fn text(&self) -> &[u8];
}

impl TopicText for ByTopic {
    fn text(&self) -> &[u8] {
        self.message.topic_bytes()
    }
}

impl TopicText for &str {
    fn text(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<'a> Borrow<dyn TopicText + 'a> for ByTopic {
    fn borrow(&self) -> &(dyn TopicText + 'a) {
        self
    }
}

impl PartialEq for dyn TopicText + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}
impl Eq for dyn TopicText + '_ {}
impl PartialOrd for dyn TopicText + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for dyn TopicText + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.text(), other.text())
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}
impl Eq for ByTopic {}
impl PartialOrd for ByTopic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ByTopic {
    fn cmp(&self, other: &Self) -> Ordering {
        by_level(self.text(), other.text())
    }
}
