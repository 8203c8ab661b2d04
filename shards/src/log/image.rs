//! What a log says, taken together: the state that a shard has to have again.
//!
//! `apply` takes record after record, `message` what those of messages do; `settle` makes the whole agree when the last is applied;
//! `records` makes records of it again.

mod apply;
mod message;
mod records;
mod settle;
#[cfg(test)]
mod tests;

pub use records::records_of;

use super::format::Place;
use super::record::{BodyId, CopyEntry, Destination, Occasion, Origin};
use crate::base::kept::{CopyNumber, ParkedId, SessionNumber, Written};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::rising_map::RisingMap;
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
    pub bodies: RisingMap<BodyId, BodyImage>,
    /// Retained messages of this shard's partition, by topic, with where their last record lies.
    pub retained: BTreeMap<Box<str>, (Message, Option<PublisherMark>, Written)>,
    /// Messages that other shards have to log, in order.
    pub outbox: BTreeMap<Lsn, (BodyId, Vec<Destination<'static>>)>,
    /// How far the other shards' messages are logged here.
    pub marks: BTreeMap<ShardId, Lsn>,
    /// Messages in nobody's queue. Fan-outs stand in `open`.
    pub parked: BTreeMap<ParkedId, ParkedImage>,
    /// Messages whose fan-out goes on, with the sessions that have their copy, or have had it: a session stands here as often as it got one.
    pub open: BTreeMap<BodyId, Vec<SessionNumber>>,
    /// Of earlier incarnations, the last number recovered, oldest first.
    pub ended: Vec<(Incarnation, Lsn)>,
    /// The first record that is left of its log.
    pub oldest: Lsn,
    /// The last record.
    pub newest: Lsn,
    /// The last record says that the run ended in order.
    pub stopped: bool,
    /// Sessions that another one with the same client id has taken the place of: the log is to be told of their end.
    pub superseded: Vec<SessionNumber>,
    /// What did not fit.
    pub oddities: Oddities,
    /// Where the record lies that is applied now: what it writes whole is noted to lie there. `None`: nowhere that it could be read from.
    pub at: Option<Place>,
}

impl ShardImage {
    /// The segment of the record that is applied now; the first for what lies nowhere.
    fn written(&self) -> Written {
        self.at.map(|place| place.written()).unwrap_or_default()
    }

    /// The filters that sessions hold exclusively, in a fixed order: both the shard and the coordinator number them by it.
    pub fn exclusive(&self) -> impl Iterator<Item = &str> {
        let subscriptions = self.sessions.values().flat_map(|session| &session.subscriptions);
        subscriptions.filter(|(_, subscription)| subscription.exclusive).map(|(filter, _)| &**filter)
    }
}

/// What a log says that fits nothing that it said before. Some of it is as it should be: the first segments that recovery needs speak of sessions
/// and copies whose state cleaning writes again further on. The rest is what damage leaves.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Oddities {
    /// Changes to sessions that the log has not brought yet.
    pub unknown_sessions: u64,
    /// Changes to copies that their session does not have.
    pub unknown_copies: u64,
    /// Copies, outbox and parked entries and fan-outs given up since their message is nowhere: damage.
    pub bodiless: u64,
    /// Sessions whose client id a later claim has, on this shard or another: the end of the earlier one is lost, damage too.
    pub superseded: u64,
}

/// A message body.
#[derive(Clone, Debug)]
pub struct BodyImage {
    /// What it says.
    pub message: Message,
    /// Who published it.
    pub publisher: Option<PublisherMark>,
    /// Where it came from: it may turn out never to have happened.
    pub origin: Origin,
    /// Where its last record lies, if that is known.
    pub place: Option<Place>,
}

/// Where it lies is no part of what a message is.
impl PartialEq for BodyImage {
    fn eq(&self, other: &BodyImage) -> bool {
        let BodyImage { message, publisher, origin, place: _ } = self;
        (message, publisher, origin) == (&other.message, &other.publisher, &other.origin)
    }
}

impl Eq for BodyImage {}

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
    /// Its copies, in the order in which they came. A message that has arrived ([`CopyState::Arrived`]) is not needed any more, and may be
    /// missing among the bodies.
    ///
    /// [`CopyState::Arrived`]: super::CopyState::Arrived
    pub copies: RisingMap<CopyNumber, (BodyId, CopyEntry)>,
    /// The number that its next copy gets.
    pub next_copy: CopyNumber,
    /// Where the last head lies with which the whole of it begins.
    pub written: Written,
    /// Where its last head lies.
    pub head: Written,
    /// Where the head lies behind which its queue is being written again: the whole of it, if that goes on to the beginning of the queue.
    pub again: Written,
    /// From which of its copies on it has had no connection.
    pub away: Away,
}

/// Copies from this number on came while their session had no connection: none of them was ever sent. What is not known is `None`.
///
/// It is no part of what a session is, and who begins to read later may not know it: all are equal.
#[derive(Clone, Copy, Default, Debug)]
pub struct Away(pub Option<CopyNumber>);

impl PartialEq for Away {
    fn eq(&self, _: &Away) -> bool {
        true
    }
}

impl Eq for Away {}

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
    /// Its message, which has the number of the record.
    pub body: BodyId,
}
