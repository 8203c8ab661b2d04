//! The will: published when the client leaves without DISCONNECT, after its delay, at the session's end at the latest.

use super::KeptAuthor;
use crate::base::time::Time;
use crate::wire::{self, Message};
use std::time::Duration;

/// A client's will as its session keeps it.
#[derive(Debug)]
pub struct Will {
    message: Message,
    delay_seconds: u32,
    expiry_seconds: Option<u32>,
    author: Option<Box<KeptAuthor>>,
}

impl Will {
    /// The will of a CONNECT. `author` is whom the broker's rules will ask for when it is published; `None` where there are none.
    pub fn new(will: &wire::Will<'_>, author: Option<Box<KeptAuthor>>) -> Will {
        Will {
            message: Message::from_will(will),
            delay_seconds: will.properties.delay.unwrap_or(0),
            expiry_seconds: will.properties.message_expiry,
            author,
        }
    }

    /// A will that was kept before.
    pub fn restored(
        message: Message,
        delay_seconds: u32,
        expiry_seconds: Option<u32>,
        author: Option<Box<KeptAuthor>>,
    ) -> Will {
        Will { message, delay_seconds, expiry_seconds, author }
    }

    /// The message, without expiry.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// [`Will::delay`] in seconds.
    pub fn delay_seconds(&self) -> u32 {
        self.delay_seconds
    }

    /// Seconds after its publication that it expires.
    pub fn expiry_seconds(&self) -> Option<u32> {
        self.expiry_seconds
    }

    /// Where it is to go.
    pub fn topic(&self) -> &str {
        self.message.topic()
    }

    /// Who left it.
    pub fn author(&self) -> Option<&KeptAuthor> {
        self.author.as_deref()
    }

    /// How long after the connection's end it waits (MQTT 5 section 3.1.3.2.2).
    pub fn delay(&self) -> Duration {
        Duration::from_secs(u64::from(self.delay_seconds))
    }

    /// The message to publish at `now`: its expiry starts here.
    pub fn publish(&self, now: Time) -> Message {
        match self.expiry_seconds {
            Some(seconds) => self.message.with_expiry(Some(now + Duration::from_secs(u64::from(seconds)))),
            None => self.message.clone(),
        }
    }
}
