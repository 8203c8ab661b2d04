//! What a log says, record by record.
//!
//! Records are physical: each says what the state is, none what to compute. A record is atomic: it is recovered whole or not at all, so what must
//! happen together is one record. Those of a session carry its number, those of a message the number of the record that brought its body.

mod message;
mod owned;
mod session;

pub use message::{
    BodyRecord, Cause, CopiesRecord, CopyEntry, CopyState, Destination, MessageRecord, Occasion, Origin,
    ParkedRecord,
};
pub use session::{OfflineRecord, SessionRecord, SubscribedRecord, WillRecord};

use crate::base::kept::{CopyNumber, ParkedId, SessionNumber};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::shard_set::ShardId;
use crate::wire::PacketId;
use std::borrow::Cow;

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
        /// What.
        parked: ParkedId,
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
