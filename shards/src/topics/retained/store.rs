//! The store: messages by topic.

use super::lookup::RetainedPage;
use super::order::{ByTopic, TopicText};
use crate::base::time::Time;
use crate::wire::Message;
use std::collections::BTreeSet;
use std::ops::Bound;

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

    pub(super) fn from<'a>(&'a self, bound: Bound<&str>) -> impl Iterator<Item = &'a Message> + use<'a> {
        let lower: Bound<&dyn TopicText> = match &bound {
            Bound::Included(text) => Bound::Included(text),
            Bound::Excluded(text) => Bound::Excluded(text),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.messages.range::<dyn TopicText, _>((lower, Bound::Unbounded)).map(|ByTopic(message)| message)
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
