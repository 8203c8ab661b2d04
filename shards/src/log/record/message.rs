//! Records of messages: their bodies, where they go, whose copies they are, and those that wait in nobody's queue.

use super::{BodyId, Record};
use crate::base::kept::{CopyNumber, ParkedId, SessionNumber};
use crate::base::lsn::Lsn;
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::topics::retained::PublisherMark;
use crate::wire::{Message, MessageParts, PacketId, QoS};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;

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
    /// Shared groups (their filters) of which nobody here could take it while somebody elsewhere may: it is parked for each, as
    /// [`Occasion::Member`] with `sent_on`, under this record's number and the group's place. Here, because it must not be recovered without
    /// what the record uses up.
    pub groups: Cow<'a, [Cow<'a, str>]>,
}

/// Where a message was published.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Origin {
    /// On this shard.
    #[default]
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
    /// What was parked under this name.
    Parked(ParkedId),
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

impl<'a> BodyRecord<'a> {
    /// The body of `message`.
    pub fn of(message: &'a Message, publisher: Option<PublisherMark>) -> BodyRecord<'a> {
        BodyRecord {
            topic: Cow::Borrowed(message.topic()),
            properties: Cow::Borrowed(message.properties()),
            payload: Cow::Borrowed(message.payload()),
            qos: message.qos(),
            retain: message.retain(),
            expires_at: message.expires_at(),
            publisher,
        }
    }

    /// The message with this body.
    pub fn to_message(&self) -> Message {
        Message::from_parts(MessageParts {
            topic: &self.topic,
            properties: &self.properties,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
        })
    }
}

impl<'a> Record<'a> {
    /// What the record, whose number is `lsn`, says of the message `body`: the content, if it has it. Any of those from which a recovery has it.
    pub fn content_of(&self, lsn: Lsn, body: BodyId) -> Option<&BodyRecord<'a>> {
        let (of, content) = match self {
            Record::Message(message) => (BodyId(lsn), &message.body),
            Record::Parked(parked) => (parked.body_id(lsn), &parked.body),
            Record::Body { body, content, .. } => (*body, content),
            Record::Outbox { lsn, content, .. } => (BodyId(*lsn), content),
            _ => return None,
        };
        (of == body).then_some(content)
    }
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

impl Destination<'_> {
    /// The same, borrowed from this one.
    pub fn borrowed(&self) -> Destination<'_> {
        Destination { groups: Cow::Borrowed(&self.groups), ..*self }
    }
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
    /// The shared group (its filter) that it is for; the session may have left it.
    pub group: Option<Arc<str>>,
    /// Where it stands.
    pub state: CopyState,
    /// Subscription identifiers.
    pub identifiers: SmallVec<[u32; 1]>,
}

impl CopyEntry {
    /// One that waits, of a subscription without identifier.
    pub fn queued(session: SessionNumber, number: CopyNumber, qos: QoS) -> CopyEntry {
        let (retain, group, identifiers) = Default::default();
        CopyEntry { session, number, qos, retain, group, state: CopyState::Queued, identifiers }
    }
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

/// More copies of a message; or one that has changed, again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopiesRecord<'a> {
    /// Which message.
    pub body: BodyId,
    /// Parked under this name until now; `None` for the copies of an open fan-out.
    pub parked: Option<ParkedId>,
    /// For whom.
    pub copies: Cow<'a, [CopyEntry]>,
    /// No more will come: the fan-out is done.
    pub last: bool,
}

/// What waits in nobody's queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedRecord<'a> {
    /// Where it was published, as with [`MessageRecord::origin`]: another shard's message of a shared group may find nobody here and wait.
    pub origin: Origin,
    /// What for.
    pub occasion: Occasion<'a>,
    /// What it uses up.
    pub cause: Cause,
    /// A copy that it was until now: taken back from a member of a shared group.
    pub taken_from: Option<(SessionNumber, CopyNumber)>,
    /// The message.
    pub body: BodyRecord<'a>,
    /// Set where cleaning writes it again: the name under which it was parked first.
    pub parked: Option<ParkedId>,
}

impl ParkedRecord<'_> {
    /// By what name its message is known, `lsn` being the number of the record.
    pub fn body_id(&self, lsn: Lsn) -> BodyId {
        match self.occasion {
            Occasion::FanOut { body, .. } => body,
            _ => BodyId(self.parked.map_or(lsn, |parked| parked.record)),
        }
    }
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
