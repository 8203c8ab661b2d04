//! What a log says, record by record.
//!
//! Records are physical: each says what the state is, none what to compute. A record is atomic: it is recovered whole or not at all, so what must
//! happen together is one record. Those of a session carry its number, those of a message the number of the record that brought its body.

use crate::base::kept::{CopyNumber, SessionNumber};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::mesh::Epoch;
use crate::topics::retained::PublisherMark;
use crate::wire::{PacketId, QoS, SubscriptionOptions};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::num::NonZeroU32;

/// The message of a [`MessageRecord`]: the number of the record that brought it first, whatever later records repeat it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct BodyId(pub Lsn);

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// The first of an incarnation.
    Start(StartRecord<'a>),
    /// The last of a run that ended in order: nothing follows in its incarnation.
    Stopped,
    /// A session begins, or a CONNECT changes it: its head as it is from here on. What it has subscribed and what waits for it stays, unless
    /// `fresh`.
    Session(SessionRecord<'a>),
    /// Its connection ended.
    Offline(OfflineRecord),
    /// It is no more, with all that is its own.
    SessionEnded {
        /// Which.
        session: SessionNumber,
    },
    /// It has this subscription, whatever it asked of the same filter before.
    Subscribed(SubscribedRecord<'a>),
    /// It has none of this filter.
    Unsubscribed {
        /// Whose.
        session: SessionNumber,
        /// As in [`SubscribedRecord`].
        filter: Cow<'a, str>,
    },
    /// A message, and all that happens by its publication.
    Message(MessageRecord<'a>),
    /// More copies of a message whose fan-out is open.
    Copies(CopiesRecord<'a>),
    /// A QoS 2 copy is in flight with this packet id.
    Started {
        /// Whose.
        session: SessionNumber,
        /// Which.
        copy: CopyNumber,
        /// Its packet id.
        packet_id: PacketId,
    },
    /// PUBREC: the client has the copy, its packet id waits for PUBCOMP.
    Arrived {
        /// Whose.
        session: SessionNumber,
        /// Which.
        copy: CopyNumber,
        /// Its packet id.
        packet_id: PacketId,
    },
    /// Copies that are gone: acknowledged, expired, dropped, taken back. At PUBCOMP that of a packet id.
    Finished {
        /// Whose.
        session: SessionNumber,
        /// Which.
        copies: Cow<'a, [CopyNumber]>,
    },
    /// A QoS 2 packet id from the client that no [`MessageRecord`] names: its message went nowhere.
    Received {
        /// From whom.
        session: SessionNumber,
        /// Its packet id.
        packet_id: PacketId,
    },
    /// PUBREL: the packet id from the client is forgotten.
    Released {
        /// From whom.
        session: SessionNumber,
        /// Its packet id.
        packet_id: PacketId,
    },
    /// All that `source` sent up to this number is logged here, or need not be.
    Mark {
        /// The publishers' shard.
        source: ShardId,
        /// In its log.
        lsn: Lsn,
    },
    /// A message that waits for a time or an occasion, in nobody's queue.
    Parked(ParkedRecord<'a>),
    /// What was parked is gone without having been published: expired, or dropped.
    Unparked {
        /// The number of its [`Record::Parked`].
        parked: Lsn,
    },
    /// A retained message, by itself: a QoS 0 one from another shard, or one that cleaning writes again.
    Retained(BodyRecord<'a>),
    /// The topic has no retained message, by expiry or limit; an empty payload says so too.
    RetainedCleared {
        /// The topic.
        topic: Cow<'a, str>,
    },
    /// A live body, written again by cleaning.
    Body {
        /// Its number.
        body: BodyId,
        /// Where it came from, as long as that may turn out never to have happened.
        origin: Origin,
        /// What it says.
        content: BodyRecord<'a>,
    },
    /// A live outbox entry, written again by cleaning; its body is written with it.
    Outbox {
        /// The number of the [`MessageRecord`] that it was part of.
        lsn: Lsn,
        /// What it says.
        content: BodyRecord<'a>,
        /// Where it still has to go.
        destinations: Cow<'a, [Destination<'a>]>,
    },
    /// All copies that a session has from number `from` on, up to `through`, written again by cleaning: others within it are gone.
    Queue {
        /// Whose.
        session: SessionNumber,
        /// The first number it speaks of.
        from: CopyNumber,
        /// The last number it speaks of.
        through: CopyNumber,
        /// Copies and their bodies, in order. Those in flight first.
        copies: Cow<'a, [(BodyId, CopyEntry)]>,
    },
}

/// What a log's first record of an incarnation says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartRecord<'a> {
    /// Of earlier incarnations, the last number of this log that was recovered: a higher one of the same incarnation never happened.
    pub ended: Cow<'a, [(Incarnation, Lsn)]>,
}

/// The head of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRecord<'a> {
    /// Its number.
    pub session: SessionNumber,
    /// Nothing of an earlier session of this number is left: always so where it begins.
    pub fresh: bool,
    /// Whose.
    pub client_id: Cow<'a, str>,
    /// As whom its connection authenticated.
    pub user: Option<Cow<'a, str>>,
    /// The claim that speaks for it.
    pub epoch: Epoch,
    /// Seconds that it outlives its connection, above 0.
    pub expiry_seconds: u32,
    /// Since when it has no connection; `None` while it has one.
    pub offline_since: Option<Time>,
    /// The will that its connection left.
    pub will: Option<WillRecord<'a>>,
    /// QoS 2 packet ids from the client between PUBLISH and PUBREL: with cleaning only, else empty.
    pub received: Cow<'a, [PacketId]>,
    /// The number that its next copy gets.
    pub next_copy: CopyNumber,
}

/// A will as the session has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WillRecord<'a> {
    /// The message, without expiry.
    pub body: BodyRecord<'a>,
    /// Seconds after the connection's end.
    pub delay_seconds: u32,
    /// Expiry from its publication on.
    pub expiry_seconds: Option<u32>,
    /// The user name of its author, for permission.
    pub user_name: Option<Cow<'a, str>>,
    /// The author's address.
    pub peer: std::net::SocketAddr,
}

/// The end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfflineRecord {
    /// Whose.
    pub session: SessionNumber,
    /// When.
    pub since: Time,
    /// Its will is forgotten: the client said DISCONNECT.
    pub will_forgotten: bool,
    /// Seconds that the session outlives this.
    pub expiry_seconds: u32,
}

/// A subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscribedRecord<'a> {
    /// Whose.
    pub session: SessionNumber,
    /// The filter in use, `$share/NAME/` included, `$exclusive/` not.
    pub filter: Cow<'a, str>,
    /// What was granted.
    pub options: SubscriptionOptions,
    /// The subscription identifier.
    pub identifier: Option<NonZeroU32>,
    /// Nobody else may have it.
    pub exclusive: bool,
}

/// A message and what its publication does on this shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageRecord<'a> {
    /// Where it was published.
    pub origin: Origin,
    /// What it uses up.
    pub cause: Cause,
    /// What it says.
    pub body: BodyRecord<'a>,
    /// Other shards that have to log it: the outbox.
    pub destinations: Cow<'a, [Destination<'a>]>,
    /// Copies for durable sessions here.
    pub copies: Cow<'a, [CopyEntry]>,
    /// It is retained here.
    pub retained: bool,
    /// More copies come with [`CopiesRecord`]s, for sessions that match it and have none yet.
    pub open: bool,
}

/// Where a message was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// On this shard.
    Own,
    /// On `source`, whose log has it under `lsn`: everything before that is logged here too.
    Peer {
        /// The publisher's shard.
        source: ShardId,
        /// In its log.
        lsn: Lsn,
    },
}

/// What the publication of a message uses up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Nothing that the log has.
    None,
    /// A QoS 2 PUBLISH of a durable session: its packet id is received.
    Received(SessionNumber, PacketId),
    /// The will of a durable session.
    Will(SessionNumber),
    /// What was parked under this number.
    Parked(Lsn),
}

/// A message's topic, properties, payload, and what decides about its deliveries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyRecord<'a> {
    /// The topic name.
    pub topic: Cow<'a, str>,
    /// Forwarded properties, encoded.
    pub properties: Cow<'a, [u8]>,
    /// The payload.
    pub payload: Cow<'a, [u8]>,
    /// The QoS it was published with.
    pub qos: QoS,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// When it expires.
    pub expires_at: Option<Time>,
    /// Who published it, for retained messages.
    pub publisher: Option<PublisherMark>,
}

/// Another shard that has to log a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination<'a> {
    /// Which.
    pub shard: ShardId,
    /// It matches it in its own tree.
    pub fan_out: bool,
    /// It keeps the topic's retained partition.
    pub store: bool,
    /// Shared groups (their filters) of which one member there gets it, with what the member is chosen by.
    pub groups: Cow<'a, [(Cow<'a, str>, u64)]>,
}

/// One copy of a message for a durable session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyEntry {
    /// For whom.
    pub session: SessionNumber,
    /// Its number there.
    pub number: CopyNumber,
    /// 1 or 2.
    pub qos: QoS,
    /// The copy's retain flag.
    pub retain: bool,
    /// It is for a shared group of which the session is a member: the one whose filter matches the topic.
    pub shared: bool,
    /// Where it stands.
    pub state: CopyState,
    /// Subscription identifiers.
    pub identifiers: SmallVec<[u32; 1]>,
}

/// Where a copy stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyState {
    /// It waits, or is in flight with QoS 1: then it may have been sent.
    Queued,
    /// QoS 2, in flight: waits for PUBREC.
    Started(PacketId),
    /// QoS 2, the client has it: waits for PUBCOMP.
    Arrived(PacketId),
}

/// More copies of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopiesRecord<'a> {
    /// Which message.
    pub body: BodyId,
    /// Parked under this number until now; 0 when it is not.
    pub parked: Lsn,
    /// For whom.
    pub copies: Cow<'a, [CopyEntry]>,
    /// No more will come.
    pub last: bool,
}

/// What waits in nobody's queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedRecord<'a> {
    /// What for.
    pub occasion: Occasion<'a>,
    /// What it uses up.
    pub cause: Cause,
    /// A copy that it was until now: taken back from a member of a shared group.
    pub taken_from: Option<(SessionNumber, CopyNumber)>,
    /// The message.
    pub body: BodyRecord<'a>,
    /// Set where cleaning writes it again: the number under which it was parked first.
    pub parked: Option<Lsn>,
}

/// What a parked message waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Occasion<'a> {
    /// A time: `$delayed/…`.
    At(Time),
    /// A slot: a will that is due.
    Slot,
    /// Another member of this shared group; `sent_on` when it is another shard's turn.
    Member {
        /// The group's filter.
        group: Cow<'a, str>,
        /// It has been, or is to be, sent on once.
        sent_on: bool,
    },
    /// The rest of its receivers, of a fan-out that was open when its record was written again.
    FanOut {
        /// Sessions that have their copy.
        done: Cow<'a, [SessionNumber]>,
        /// Its body's number.
        body: BodyId,
    },
}
