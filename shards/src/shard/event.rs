//! What the operator's log should say.

use super::Shard;
use crate::session::KeptAuthor;
use crate::transport::WebSocketError;
use crate::wire::{ReasonCode, Violation};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

/// Something worth a line in the log. The core has no logger; the driver writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A peer broke the protocol and was closed.
    Violation {
        /// Its address.
        peer: SocketAddr,
        /// What it did.
        violation: Violation,
    },
    /// A peer broke the WebSocket protocol and was closed.
    WebSocket {
        /// Its address.
        peer: SocketAddr,
        /// What it did.
        error: WebSocketError,
    },
    /// A CONNECT was refused.
    Refused {
        /// The peer's address.
        peer: SocketAddr,
        /// Why.
        reason: ReasonCode,
    },
    /// A client did not prove to be who it said it was.
    NotAuthenticated {
        /// Its address.
        peer: SocketAddr,
        /// Why, without anything secret.
        why: &'static str,
    },
    /// A connection went because a newer one speaks for its client id.
    TakenOver {
        /// The old connection's address.
        peer: SocketAddr,
        /// The client id.
        client_id: Box<str>,
    },
    /// A client may not do what it asked for, or what its will asks for.
    Denied {
        /// The client.
        author: KeptAuthor,
        /// What it asked for.
        what: &'static str,
        /// Where.
        topic: Box<str>,
    },
    /// A deadline passed.
    TimedOut {
        /// The peer's address.
        peer: SocketAddr,
        /// Which.
        what: &'static str,
    },
    /// Messages that waited for a client on disk cannot be read, and are dropped.
    Unreadable {
        /// The client.
        client_id: Box<str>,
        /// How many.
        copies: u64,
    },
    /// The retained store is full. Reported once a minute while messages are refused.
    RetainedRefused {
        /// Messages of this shard's publishers or partition that were not retained since the start.
        since_start: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Violation { peer, violation } => write!(f, "{peer} closed: {violation}"),
            Event::WebSocket { peer, error } => write!(f, "{peer} closed: {error}"),
            Event::Refused { peer, reason } => write!(f, "{peer} refused: {}", reason.text()),
            Event::NotAuthenticated { peer, why } => write!(f, "{peer} not authenticated: {why}"),
            Event::TakenOver { peer, client_id } => {
                write!(f, "{peer} closed: client id {client_id:?} connected again")
            }
            Event::Denied { author, what, topic } => {
                let author = author.as_author();
                write!(f, "{} client id {:?} may not {what} {topic:?}", author.peer, author.client_id)
            }
            Event::Unreadable { client_id, copies } => {
                write!(
                    f,
                    "{copies} messages for client id {client_id:?} cannot be read from the log and are dropped"
                )
            }
            Event::RetainedRefused { since_start } => {
                write!(
                    f,
                    "the retained store is full: {since_start} messages were not retained by this shard"
                )
            }
            Event::TimedOut { peer, what } => write!(f, "{peer} closed: {what}"),
        }
    }
}

/// Events that wait for the driver's log: a hostile peer must not fill memory with its log lines.
const EVENTS_MAX: usize = 256;

/// The queue of events.
#[derive(Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
}

impl Shard {
    /// The next event for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.queue.pop_front()
    }

    pub(super) fn report(&mut self, event: Event) {
        if self.events.queue.len() < EVENTS_MAX {
            self.events.queue.push_back(event);
        } else {
            self.counters.events_lost += 1;
        }
    }
}
