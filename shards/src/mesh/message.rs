//! Messages between shards.

use crate::base::lsn::Lsn;
use crate::session::Authenticated;
use crate::topics::retained::{PublisherMark, Room};
use crate::topics::{GroupKey, InterestBatch, Ticket};
use crate::transport::WebSocket;
use crate::wire::Message;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Epoch;

/// A socket as the drivers name it (the file descriptor, or the simulator's own number). Opaque to the core.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Socket(pub u64);

/// Which configured listener accepted a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(pub u16);

/// One PUBLISH on its way to a shard that has interest in it, keeps its retained partition, or both.
///
/// Data lane, in the publisher's order. Losing one breaks promise 3 and 4; the lane never does.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The message, shared by all shards that get it.
    pub message: Message,
    /// Match it in the receiving shard's own tree.
    pub fan_out: bool,
    /// Store it (or clear the topic) in the retained partition that the receiving shard owns.
    pub store: Option<Keep>,
    /// The position of this very message in the sender's lane to the topic's retained partition; 0 when it is not retained.
    pub retained_position: u64,
    /// The log record that this message belongs to; 0 for none.
    pub lsn: Lsn,
    /// It is in the sender's outbox until the receiver has logged it.
    pub kept: bool,
    /// The shared groups of which one member at the receiver gets it.
    pub groups: Box<[SharedPick]>,
    /// It has been sent on once because nobody could take it: whoever is at the receiver takes it or drops it.
    pub sent_on: bool,
}

/// How a [`Deliver`] is to be retained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Who published it.
    pub publisher: Option<PublisherMark>,
    /// Up to where it may fill the partition.
    pub room: Room,
}

/// One shared group in a [`Deliver`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedPick {
    /// The group.
    pub group: SharedGroup,
    /// What the sender's strategy chose the receiver by, and it is to choose the member by.
    pub spread: u64,
}

/// How a shared group is named to another shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SharedGroup {
    /// As the receiver named it.
    Key(GroupKey),
    /// By its filter, `$share/NAME/` included: what the log knows it by.
    Filter(Box<str>),
}

/// Everything between two shards that is not a PUBLISH: never behind data.
#[derive(Debug)]
pub enum Control {
    /// Transitions of the sender's interest, to be applied in order and answered by [`Control::InterestApplied`].
    Interest(Arc<InterestBatch>),
    /// The receiver's interest up to `through` is applied at the sender.
    InterestApplied {
        /// The last ticket of the batch.
        through: Ticket,
        /// How many messages the sender had put on its data lane to each shard when it applied the batch.
        positions: Box<[u64]>,
    },
    /// A connection whose session lives at the receiver. Answered by [`Control::HandoffTaken`].
    Handoff(Box<Handoff>),
    /// The handoff credit comes back.
    HandoffTaken,
    /// Asks the receiver's retained partition for one page. Answered by [`Control::RetainedMatches`].
    RetainedQuery(Box<RetainedQuery>),
    /// One page of matches.
    RetainedMatches(Box<RetainedMatches>),
    /// The sender's retained partition is full, or no longer. Answered by [`Control::RetainedFullKnown`]; not sent again before that.
    RetainedFull(bool),
    /// Publishers at the sender know.
    RetainedFullKnown,
    /// A publisher asks the receiver's partition, which is full, whether it would keep a message all the same. Answered by
    /// [`Control::RetainedRoom`].
    RetainedAsk(Box<RetainedAsk>),
    /// The partition's answer.
    RetainedRoom {
        /// The asker's number.
        ask: u64,
        /// Whether it would.
        room: bool,
    },
    /// What the sender had before the last end of the broker is in force on all shards. Said once.
    Restored,
}

/// A connection between its accept and its CONNACK, moving to the session's home shard.
///
/// Owned by whoever holds it; losing it leaks the socket.
#[derive(Debug)]
pub struct Handoff {
    /// The socket, with no operation in flight.
    pub socket: Socket,
    /// Where it was accepted.
    pub listener: ListenerId,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The claim's number.
    pub epoch: Epoch,
    /// It may only take the place of the connection that its session has.
    pub beyond_maximum: bool,
    /// The client id that the accepting shard chose, when CONNECT has none.
    pub assigned_client_id: Option<Box<str>>,
    /// Its WebSocket, if that is what it speaks through.
    pub web_socket: Option<Box<WebSocket>>,
    /// How it has authenticated.
    pub authenticated: Option<Authenticated>,
    /// Its WebSocket has ended already: it gets its CONNACK, and is closed.
    pub ended: bool,
    /// The CONNECT packet and every byte read behind it.
    pub input: Vec<u8>,
}

/// One page of retained messages is wanted.
#[derive(Debug)]
pub struct RetainedQuery {
    /// The asker's number for it, returned in the page.
    pub query: u64,
    /// The filter, valid.
    pub filter: Box<str>,
    /// The topic after which to go on; `None` at the start.
    pub after: Option<Box<str>>,
    /// Answer once this many messages of each shard's data lane are consumed. Empty when there is nothing to wait for.
    pub positions: Box<[u64]>,
    /// Leave out what this one published (No Local).
    pub except: Option<PublisherMark>,
}

/// Whether there is room for a retained message.
#[derive(Debug)]
pub struct RetainedAsk {
    /// The asker's number for it, returned in the answer.
    pub ask: u64,
    /// The topic.
    pub topic: Box<str>,
    /// What the message would count ([`crate::topics::retained::retained_bytes`]).
    pub bytes: usize,
}

/// Retained messages of one partition that match a query.
#[derive(Debug)]
pub struct RetainedMatches {
    /// The asker's number.
    pub query: u64,
    /// At most [`crate::base::limits::RETAINED_BATCH_MAX`] messages.
    pub messages: Vec<Message>,
    /// Where to go on; `None` when the partition has no more.
    pub resume: Option<Box<str>>,
}
