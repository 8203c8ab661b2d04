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
