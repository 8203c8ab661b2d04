//! The retained messages of the topics that a shard owns.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use super::filter::TopicFilter;
use crate::base::hash::HashKey;
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::wire::Message;

/// The shard that keeps the retained message of `topic`, the same on all of `shards`.
pub fn partition(topic: &str, key: &HashKey, shards: usize) -> ShardId {
    let hash = u128::from(key.hash(topic.as_bytes()));
    ShardId::new(((hash * shards as u128) >> 64) as usize)
}

/// Retained messages by topic, in the order of their levels. One ordered map holds nothing but the messages themselves: it never rehashes, and
/// a wildcard filter skips what it cannot match. Lives in the shard that [`partition`] names, written by it alone.
pub struct RetainedStore {
    messages: BTreeSet<ByTopic>,
    messages_max: usize,
    bytes: usize,
}

/// What [`RetainedStore::set`] did.
#[derive(Clone, Debug)]
pub enum RetainedSet {
    /// The first of its topic.
    Added,
    /// It took the place of this one.
    Replaced(Message),
    /// An empty payload removed this one (MQTT-3.3.1-6).
    Removed(Message),
    /// An empty payload, and nothing was there to remove.
    Nothing,
}

/// The store keeps its maximum of messages, and this topic has none yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedFull {
    /// The maximum.
    pub messages_max: usize,
}

impl std::fmt::Display for RetainedFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this shard keeps its maximum of {} retained messages", self.messages_max)
    }
}

impl std::error::Error for RetainedFull {}

/// Where a slice of a lookup or of a sweep ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetainedPage {
    /// Whether nothing is left.
    pub done: bool,
    /// The last topic looked at, from which the next slice goes on, whatever was added or removed meanwhile; `None` when done.
    pub resume: Option<Box<str>>,
}

impl RetainedPage {
    const DONE: RetainedPage = RetainedPage { done: true, resume: None };

    fn after(topic: &str) -> RetainedPage {
        RetainedPage { done: false, resume: Some(topic.into()) }
    }
}

/// Orders texts by level: `/` before every character, so that a topic and all below it are neighbours.
fn by_level(a: &[u8], b: &[u8]) -> Ordering {
    // U+0000, which would rank the same, is in no topic.
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => a.len().cmp(&b.len()),
    }
}

/// Below every topic that comes after `prefix` and all below it, and above those.
const PAST_SUBTREE: char = '\u{1}';
/// Below every topic that comes after those that begin with `$`.
const PAST_RESERVED: &str = "%";

/// A message as an entry of the ordered map.
struct ByTopic(Message);

/// What entries and bare texts have in common, to seek by a text.
trait TopicText {
    fn text(&self) -> &[u8];
}

impl TopicText for ByTopic {
    fn text(&self) -> &[u8] {
        self.0.topic_bytes()
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

impl RetainedStore {
    /// An empty store of at most `messages_max` messages.
    pub fn new(messages_max: usize) -> RetainedStore {
        RetainedStore { messages: BTreeSet::new(), messages_max, bytes: 0 }
    }

    /// Keeps `message` as the retained one of its topic, or removes that when the payload is empty (MQTT 5, 3.3.1.3).
    pub fn set(&mut self, message: Message) -> Result<RetainedSet, RetainedFull> {
        if message.payload().is_empty() {
            let removed = self.remove(message.topic());
            return Ok(removed.map_or(RetainedSet::Nothing, RetainedSet::Removed));
        }
        if self.messages.len() >= self.messages_max && self.get(message.topic()).is_none() {
            return Err(RetainedFull { messages_max: self.messages_max });
        }
        self.bytes += message.memory_bytes();
        let Some(ByTopic(replaced)) = self.messages.replace(ByTopic(message)) else {
            return Ok(RetainedSet::Added);
        };
        self.bytes -= replaced.memory_bytes();
        Ok(RetainedSet::Replaced(replaced))
    }

    /// Forgets the retained message of `topic`.
    pub fn remove(&mut self, topic: &str) -> Option<Message> {
        let ByTopic(removed) = self.messages.take(&topic as &dyn TopicText)?;
        self.bytes -= removed.memory_bytes();
        Some(removed)
    }

    /// The retained message of `topic`.
    pub fn get(&self, topic: &str) -> Option<&Message> {
        self.messages.get(&topic as &dyn TopicText).map(|ByTopic(message)| message)
    }

    /// Messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of the messages, without the map's own (some ten per message).
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn from<'a>(&'a self, bound: Bound<&str>) -> impl Iterator<Item = &'a Message> + use<'a> {
        let lower: Bound<&dyn TopicText> = match &bound {
            Bound::Included(text) => Bound::Included(text),
            Bound::Excluded(text) => Bound::Excluded(text),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.messages.range::<dyn TopicText, _>((lower, Bound::Unbounded)).map(|ByTopic(message)| message)
    }

    /// Appends the messages that `filter` matches, in topic order, from behind the topic `after` on. Stops after `max` of them or after
    /// `max_steps` topics looked at, each at most one descent of the map, and at least one.
    pub fn matching(
        &self,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        max: usize,
        max_steps: usize,
        out: &mut Vec<Message>,
    ) -> RetainedPage {
        if !filter.is_wildcard() {
            let found = self.get(filter.as_str()).filter(|_| after.is_none());
            out.extend(found.cloned());
            return RetainedPage::DONE;
        }
        let mut target = String::new();
        let mut topics = match after {
            Some(after) => self.from(Bound::Excluded(after)),
            None => {
                target.push_str(literal_prefix(filter));
                self.from(Bound::Included(&target))
            }
        };
        let mut found = 0;
        let mut last = None;
        for _ in 0..max_steps.max(1) {
            let Some(message) = topics.next() else { return RetainedPage::DONE };
            last = Some(message);
            match next_candidate(filter, message.topic(), &mut target) {
                Candidate::This => {
                    out.push(message.clone());
                    found += 1;
                }
                Candidate::Next => {}
                Candidate::From => topics = self.from(Bound::Included(&target)),
                Candidate::None => return RetainedPage::DONE,
            }
            if found >= max {
                break;
            }
        }
        last.map_or(RetainedPage::DONE, |message| RetainedPage::after(message.topic()))
    }

    /// Removes what has expired at `now` (MQTT 5, 3.3.2.3.3) among the `max_steps` topics behind `after`, and appends it to `expired`.
    pub fn expire(
        &mut self,
        now: Time,
        after: Option<&str>,
        max_steps: usize,
        expired: &mut Vec<Message>,
    ) -> RetainedPage {
        let first = expired.len();
        let mut page = RetainedPage::DONE;
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (step, message) in self.from(bound).enumerate() {
            if message.expires_at().is_some_and(|at| at <= now) {
                expired.push(message.clone());
            }
            if step + 1 >= max_steps {
                page = RetainedPage::after(message.topic());
                break;
            }
        }
        for message in &expired[first..] {
            self.remove(message.topic());
        }
        page
    }
}

/// The levels before the first wildcard: the first topic that can match is not before it.
fn literal_prefix(filter: TopicFilter<'_>) -> &str {
    let text = filter.as_str();
    let wildcard = text.find(['+', '#']).unwrap_or(text.len());
    // Without the `/`, as `a/#` matches `a`.
    text[..wildcard].strip_suffix('/').unwrap_or(&text[..wildcard])
}

/// The next topic, from one that the map holds, that a filter can match.
enum Candidate {
    /// The topic itself matches.
    This,
    /// Not this one; the next one may.
    Next,
    /// None before `target`.
    From,
    /// None at all.
    None,
}

/// Compares level by level and writes to `target` what to seek when the next candidate is further on than the next topic.
fn next_candidate(filter: TopicFilter<'_>, topic: &str, target: &mut String) -> Candidate {
    if topic.starts_with('$') && filter.begins_with_wildcard() {
        target.clear();
        target.push_str(PAST_RESERVED);
        return Candidate::From;
    }
    let mut topic_levels = topic.split('/');
    // Bytes of the topic up to where the current level begins, and up to the end of the last level that `+` matched.
    let mut begin = 0;
    let mut plus_end = None;
    for level in filter.levels() {
        if level == "#" {
            return Candidate::This;
        }
        let Some(topic_level) = topic_levels.next() else {
            // The topic ends before the filter: the next candidate is below it.
            return if level == "+" {
                Candidate::Next
            } else {
                seek(target, &[topic, "/", level]);
                Candidate::From
            };
        };
        let end = begin + topic_level.len();
        if level == "+" {
            plus_end = Some(end);
        } else if level != topic_level {
            return match (by_level(topic_level.as_bytes(), level.as_bytes()), plus_end) {
                (Ordering::Less, _) => {
                    seek(target, &[&topic[..begin], level]);
                    Candidate::From
                }
                (_, Some(plus_end)) => past_subtree(target, &topic[..plus_end]),
                (_, None) => Candidate::None,
            };
        }
        begin = end + 1;
    }
    if topic_levels.next().is_none() {
        Candidate::This
    } else {
        // Too deep: on behind all that is below the filter's last level.
        past_subtree(target, &topic[..begin - 1])
    }
}

fn seek(target: &mut String, parts: &[&str]) {
    target.clear();
    target.extend(parts.iter().copied());
}

fn past_subtree(target: &mut String, prefix: &str) -> Candidate {
    target.clear();
    target.push_str(prefix);
    target.push(PAST_SUBTREE);
    Candidate::From
}
