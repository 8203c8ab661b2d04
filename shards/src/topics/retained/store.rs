//! The store: messages by topic, within bounds, and gone when they expire.

use super::PublisherMark;
use super::bounds::{RetainedBounds, Room};
use super::order::{ByTopic, TopicText, by_level};
use crate::base::kept::Written;
use crate::base::time::Time;
use crate::wire::Message;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Retained messages by topic, in the order of their levels. One ordered map holds nothing but the messages themselves: it never rehashes, and
/// a wildcard filter skips what it cannot match. Lives in the shard that [`partition`](super::partition) names, written by it alone.
pub struct RetainedStore {
    messages: BTreeSet<ByTopic>,
    /// Those that expire, the next one first.
    expiring: BTreeSet<ByExpiry>,
    bounds: RetainedBounds,
    bytes: usize,
    content_bytes: usize,
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

/// The store is full, and has no message of this topic that is at least as large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedFull;

impl std::fmt::Display for RetainedFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this shard keeps as many retained messages as it may")
    }
}

impl std::error::Error for RetainedFull {}

/// A message that expires, by when and then by topic.
#[derive(PartialEq, Eq)]
struct ByExpiry(Message);

impl PartialOrd for ByExpiry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByExpiry {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_topic = || by_level(self.0.topic_bytes(), other.0.topic_bytes());
        self.0.expires_at().cmp(&other.0.expires_at()).then_with(by_topic)
    }
}

/// What a message counts in [`RetainedStore::bytes`]: itself and its share of the map, whose nodes are two thirds full.
pub fn retained_bytes(message: &Message) -> usize {
    counted(message.memory_bytes())
}

/// [`retained_bytes`] of a message that takes `memory_bytes`.
pub fn counted(memory_bytes: usize) -> usize {
    memory_bytes + size_of::<ByTopic>() * 3 / 2
}

fn content_bytes(message: &Message) -> usize {
    message.topic().len() + message.properties().len() + message.payload().len()
}

impl RetainedStore {
    /// An empty store of at most `bounds`.
    pub fn new(bounds: RetainedBounds) -> RetainedStore {
        RetainedStore {
            messages: BTreeSet::new(),
            expiring: BTreeSet::new(),
            bounds,
            bytes: 0,
            content_bytes: 0,
        }
    }

    /// Keeps `message` as the retained one of its topic, or removes that when the payload is empty (MQTT 5, 3.3.1.3). `written`: where its record lies.
    ///
    /// # Errors
    /// [`RetainedFull`] as [`RetainedStore::has_room`] says; the topic keeps what it had.
    pub fn set(
        &mut self,
        message: Message,
        publisher: Option<PublisherMark>,
        room: Room,
        written: Written,
    ) -> Result<RetainedSet, RetainedFull> {
        if message.payload().is_empty() {
            let removed = self.remove(message.topic());
            return Ok(removed.map_or(RetainedSet::Nothing, RetainedSet::Removed));
        }
        let bytes = retained_bytes(&message);
        if !self.has_room(message.topic(), bytes, room) {
            return Err(RetainedFull);
        }
        self.bytes += bytes;
        self.content_bytes += content_bytes(&message);
        let expiring = message.expires_at().map(|_| ByExpiry(message.clone()));
        let replaced = self.messages.replace(ByTopic { message, publisher, written });
        let set = match replaced {
            None => RetainedSet::Added,
            Some(entry) => {
                self.forget(&entry.message);
                RetainedSet::Replaced(entry.message)
            }
        };
        self.expiring.extend(expiring);
        Ok(set)
    }

    /// Whether a message of `topic` that counts `bytes` ([`retained_bytes`]) would be kept: always in the place of one that is not smaller,
    /// else within the bounds.
    pub fn has_room(&self, topic: &str, bytes: usize, room: Room) -> bool {
        let (messages_max, bytes_max) = self.bounds.of(room);
        // The look-up is only made where it can decide.
        if self.messages.len() < messages_max && self.bytes.saturating_add(bytes) <= bytes_max {
            return true;
        }
        let Some(old) = self.get(topic).map(retained_bytes) else { return false };
        bytes <= old || (self.bytes - old).saturating_add(bytes) <= bytes_max
    }

    /// Whether publishers are to be told that new topics find no room.
    pub fn is_full(&self) -> bool {
        let (messages_max, bytes_max) = self.bounds.of(Room::Open);
        self.messages.len() >= messages_max || self.bytes >= bytes_max
    }

    /// Forgets the retained message of `topic`.
    pub fn remove(&mut self, topic: &str) -> Option<Message> {
        let ByTopic { message, .. } = self.messages.take(&topic as &dyn TopicText)?;
        self.forget(&message);
        Some(message)
    }

    /// `message` is no longer among the messages.
    fn forget(&mut self, message: &Message) {
        self.bytes -= retained_bytes(message);
        self.content_bytes -= content_bytes(message);
        if message.expires_at().is_some() {
            self.expiring.remove(&ByExpiry(message.clone()));
        }
    }

    /// The retained message of `topic`.
    pub fn get(&self, topic: &str) -> Option<&Message> {
        self.entry(topic).map(|entry| &entry.message)
    }

    pub(super) fn entry(&self, topic: &str) -> Option<&ByTopic> {
        self.messages.get(&topic as &dyn TopicText)
    }

    /// Messages.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of memory, as [`retained_bytes`] counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of topics, properties and payloads.
    pub fn content_bytes(&self) -> usize {
        self.content_bytes
    }

    /// The messages behind `topic`, in order, with where their records lie.
    pub fn behind(
        &self,
        topic: Option<&str>,
    ) -> impl Iterator<Item = (&Message, Option<PublisherMark>, Written)> {
        let bound = topic.map_or(Bound::Unbounded, Bound::Excluded);
        self.from(bound).map(|entry| (&entry.message, entry.publisher, entry.written))
    }

    /// The message of `topic` has a new record.
    pub fn set_written(&mut self, topic: &str, written: Written) {
        if let Some(entry) = self.messages.take(&topic as &dyn TopicText) {
            self.messages.insert(ByTopic { written, ..entry });
        }
    }

    pub(super) fn from<'a>(&'a self, bound: Bound<&str>) -> impl Iterator<Item = &'a ByTopic> + use<'a> {
        let lower: Bound<&dyn TopicText> = match &bound {
            Bound::Included(text) => Bound::Included(text),
            Bound::Excluded(text) => Bound::Excluded(text),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.messages.range::<dyn TopicText, _>((lower, Bound::Unbounded))
    }

    /// When the next message expires.
    pub fn next_expiry(&self) -> Option<Time> {
        self.expiring.first().and_then(|ByExpiry(message)| message.expires_at())
    }

    /// Removes the next message that has expired at `now` (MQTT 5, 3.3.2.3.3).
    pub fn expire(&mut self, now: Time) -> Option<Message> {
        self.next_expiry().filter(|at| *at <= now)?;
        let ByExpiry(message) = self.expiring.pop_first()?;
        self.remove(message.topic())
    }
}
