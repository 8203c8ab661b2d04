//! What a log says, taken together: the state that a shard has to have again.

use super::record::{BodyId, CopyEntry, Destination, Occasion, Origin};
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::mesh::Epoch;
use crate::topics::retained::PublisherMark;
use crate::wire::{Message, PacketId, SubscriptionOptions};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;

/// What one shard keeps, as its log has it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ShardImage {
    /// Durable sessions.
    pub sessions: BTreeMap<SessionNumber, SessionImage>,
    /// Messages that copies, outbox or parked entries refer to.
    pub bodies: BTreeMap<BodyId, BodyImage>,
    /// Retained messages of this shard's partition, by topic.
    pub retained: BTreeMap<Box<str>, (Message, Option<PublisherMark>)>,
    /// Messages that other shards have to log, in order.
    pub outbox: BTreeMap<Lsn, (BodyId, Vec<Destination<'static>>)>,
    /// How far the other shards' messages are logged here.
    pub marks: BTreeMap<ShardId, Lsn>,
    /// Messages in nobody's queue, by the number of their record.
    pub parked: BTreeMap<Lsn, ParkedImage>,
    /// Of earlier incarnations, the last number recovered.
    pub ended: Vec<(Incarnation, Lsn)>,
    /// The last record.
    pub newest: Lsn,
    /// The last record says that the run ended in order.
    pub stopped: bool,
}

/// A message body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyImage {
    /// What it says.
    pub message: Message,
    /// Who published it.
    pub publisher: Option<PublisherMark>,
    /// Where it came from: it may turn out never to have happened.
    pub origin: Origin,
}

/// A session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionImage {
    /// Whose.
    pub client_id: Box<str>,
    /// As whom its connection authenticated.
    pub user: Option<Box<str>>,
    /// The claim that speaks for it.
    pub epoch: Epoch,
    /// Seconds that it outlives its connection.
    pub expiry_seconds: u32,
    /// Since when it has no connection; `None`: the broker's end was the connection's.
    pub offline_since: Option<Time>,
    /// Its will.
    pub will: Option<WillImage>,
    /// Its subscriptions, by filter.
    pub subscriptions: BTreeMap<Box<str>, SubscriptionImage>,
    /// QoS 2 packet ids from the client between PUBLISH and PUBREL, sorted.
    pub received: Vec<PacketId>,
    /// Its copies, in the order in which they came.
    pub copies: BTreeMap<CopyNumber, (BodyId, CopyEntry)>,
    /// The number that its next copy gets.
    pub next_copy: CopyNumber,
}

/// A subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionImage {
    /// What was granted.
    pub options: SubscriptionOptions,
    /// The subscription identifier.
    pub identifier: Option<NonZeroU32>,
    /// Nobody else may have it.
    pub exclusive: bool,
}

/// A will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WillImage {
    /// The message, without expiry.
    pub message: Message,
    /// Seconds after the connection's end.
    pub delay_seconds: u32,
    /// Expiry from its publication on.
    pub expiry_seconds: Option<u32>,
    /// The user name of its author.
    pub user_name: Option<Box<str>>,
    /// The author's address.
    pub peer: SocketAddr,
}

/// A message in nobody's queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedImage {
    /// What for.
    pub occasion: Occasion<'static>,
    /// Its message.
    pub body: BodyId,
}
