//! Records as bytes: little-endian, variable integers of seven bits a byte. The tables stand in ARCHITECTURE.md, "Records".
//!
//! The numbers of the kinds are part of the format: none is ever used for anything else.

mod message;
mod put;
#[cfg(test)]
pub(super) mod scribe;
mod session;
mod take;
#[cfg(test)]
mod tests;

use self::message::*;
use self::put::Put;
use self::session::*;
use self::take::{Take, Taken};
use super::record::{BodyId, Record, StartRecord};
use crate::base::lsn::Incarnation;
use std::borrow::Cow;
use std::fmt;

const START: u8 = 1;
const STOPPED: u8 = 2;
const SESSION: u8 = 3;
const OFFLINE: u8 = 4;
const SESSION_ENDED: u8 = 5;
const SUBSCRIBED: u8 = 6;
const UNSUBSCRIBED: u8 = 7;
const MESSAGE: u8 = 8;
const COPIES: u8 = 9;
const STARTED: u8 = 10;
const ARRIVED: u8 = 11;
const FINISHED: u8 = 12;
const RECEIVED: u8 = 13;
const RELEASED: u8 = 14;
const MARK: u8 = 15;
const PARKED: u8 = 16;
const UNPARKED: u8 = 17;
const RETAINED: u8 = 18;
const RETAINED_CLEARED: u8 = 19;
const BODY: u8 = 20;
const OUTBOX: u8 = 21;
const QUEUE: u8 = 22;

/// The highest kind there is.
pub(super) const KIND_MAX: u8 = QUEUE;

/// The bytes of a record say what none can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordError {
    /// Its kind is not known: written by a later version.
    Kind(u8),
    /// It ends within a field.
    Truncated,
    /// So many bytes are left behind the last field.
    Trailing(usize),
    /// This field has a value that it cannot have.
    Field(&'static str),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Kind(kind) => write!(f, "a record of kind {kind}, which this version does not know"),
            RecordError::Truncated => write!(f, "a record that ends too early"),
            RecordError::Trailing(bytes) => write!(f, "a record with {bytes} bytes too many"),
            RecordError::Field(field) => write!(f, "a record whose {field} cannot be"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Whether bit `index` is set.
#[inline]
fn bit(flags: u8, index: u32) -> bool {
    flags >> index & 1 == 1
}

/// Appends the bytes of `record` to `bytes` and returns its kind.
pub(super) fn encode(record: &Record<'_>, bytes: &mut Vec<u8>) -> u8 {
    let put = &mut Put::new(bytes);
    match record {
        Record::Message(message) => {
            put_message(put, message);
            MESSAGE
        }
        Record::Copies(copies) => {
            put_more_copies(put, copies);
            COPIES
        }
        Record::Parked(parked) => {
            put_parked(put, parked);
            PARKED
        }
        Record::Unparked { parked } => {
            put.parked(*parked);
            UNPARKED
        }
        Record::Retained(body) => {
            put_body(put, body);
            RETAINED
        }
        Record::RetainedCleared { topic } => {
            put.str(topic);
            RETAINED_CLEARED
        }
        Record::Mark { source, lsn } => {
            put.u8(source.index() as u8);
            put.lsn(*lsn);
            MARK
        }
        Record::Body { body, origin, content } => {
            put.lsn(body.0);
            put_origin(put, *origin);
            put_body(put, content);
            BODY
        }
        Record::Outbox { lsn, content, destinations } => {
            put.lsn(*lsn);
            put_body(put, content);
            put_destinations(put, destinations);
            OUTBOX
        }
        Record::Start(start) => {
            put_start(put, start);
            START
        }
        Record::Stopped => STOPPED,
        of_a_session => encode_of_session(of_a_session, put),
    }
}

/// [`encode`] for what belongs to one session.
fn encode_of_session(record: &Record<'_>, put: &mut Put<'_>) -> u8 {
    match record {
        Record::Session(session) => {
            put_session(put, session);
            SESSION
        }
        Record::Offline(offline) => {
            put_offline(put, offline);
            OFFLINE
        }
        Record::SessionEnded { session } => {
            put.session(*session);
            SESSION_ENDED
        }
        Record::Subscribed(subscribed) => {
            put_subscribed(put, subscribed);
            SUBSCRIBED
        }
        Record::Unsubscribed { session, filter } => {
            put.session(*session);
            put.str(filter);
            UNSUBSCRIBED
        }
        Record::Started { session, copy, packet_id } => {
            put.session(*session);
            put.copy(*copy);
            put.packet_id(*packet_id);
            STARTED
        }
        Record::Arrived { session, copy, packet_id } => {
            put.session(*session);
            put.copy(*copy);
            put.packet_id(*packet_id);
            ARRIVED
        }
        Record::Finished { session, copies } => {
            put.session(*session);
            put.count(copies.len());
            copies.iter().for_each(|copy| put.copy(*copy));
            FINISHED
        }
        Record::Received { session, packet_id } => {
            put.session(*session);
            put.packet_id(*packet_id);
            RECEIVED
        }
        Record::Released { session, packet_id } => {
            put.session(*session);
            put.packet_id(*packet_id);
            RELEASED
        }
        Record::Queue { session, from, through, copies } => {
            put.session(*session);
            put.copy(*from);
            put.copy(*through);
            put_queue(put, copies);
            QUEUE
        }
        Record::Start(_)
        | Record::Stopped
        | Record::Message(_)
        | Record::Copies(_)
        | Record::Mark { .. }
        | Record::Parked(_)
        | Record::Unparked { .. }
        | Record::Retained(_)
        | Record::RetainedCleared { .. }
        | Record::Body { .. }
        | Record::Outbox { .. } => unreachable!("encoded by `encode`"),
    }
}

/// The record of `kind` with these bytes. What can be borrowed of them is.
pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Record<'_>, RecordError> {
    let mut take = Take::new(payload);
    let record = take_record(kind, &mut take)?;
    take.end()?;
    Ok(record)
}

fn take_record<'a>(kind: u8, take: &mut Take<'a>) -> Taken<Record<'a>> {
    Ok(match kind {
        MESSAGE => Record::Message(take_message(take)?),
        COPIES => Record::Copies(take_more_copies(take)?),
        PARKED => Record::Parked(take_parked(take)?),
        UNPARKED => Record::Unparked { parked: take.parked()? },
        RETAINED => Record::Retained(take_body(take)?),
        RETAINED_CLEARED => Record::RetainedCleared { topic: Cow::Borrowed(take.str("topic")?) },
        MARK => Record::Mark { source: take.shard()?, lsn: take.lsn()? },
        BODY => {
            Record::Body { body: BodyId(take.lsn()?), origin: take_origin(take)?, content: take_body(take)? }
        }
        OUTBOX => Record::Outbox {
            lsn: take.lsn()?,
            content: take_body(take)?,
            destinations: take_destinations(take)?,
        },
        START => Record::Start(take_start(take)?),
        STOPPED => Record::Stopped,
        of_a_session => take_of_session(of_a_session, take)?,
    })
}

/// [`take_record`] for what belongs to one session.
fn take_of_session<'a>(kind: u8, take: &mut Take<'a>) -> Taken<Record<'a>> {
    Ok(match kind {
        SESSION => Record::Session(take_session(take)?),
        OFFLINE => Record::Offline(take_offline(take)?),
        SESSION_ENDED => Record::SessionEnded { session: take.session()? },
        SUBSCRIBED => Record::Subscribed(take_subscribed(take)?),
        UNSUBSCRIBED => {
            Record::Unsubscribed { session: take.session()?, filter: Cow::Borrowed(take.str("filter")?) }
        }
        STARTED => {
            Record::Started { session: take.session()?, copy: take.copy()?, packet_id: take.packet_id()? }
        }
        ARRIVED => {
            Record::Arrived { session: take.session()?, copy: take.copy()?, packet_id: take.packet_id()? }
        }
        FINISHED => {
            Record::Finished { session: take.session()?, copies: take.list(Take::copy).map(Cow::Owned)? }
        }
        RECEIVED => Record::Received { session: take.session()?, packet_id: take.packet_id()? },
        RELEASED => Record::Released { session: take.session()?, packet_id: take.packet_id()? },
        QUEUE => Record::Queue {
            session: take.session()?,
            from: take.copy()?,
            through: take.copy()?,
            copies: take_queue(take)?,
        },
        unknown => return Err(RecordError::Kind(unknown)),
    })
}

fn put_start(put: &mut Put<'_>, start: &StartRecord<'_>) {
    put.count(start.ended.len());
    for (incarnation, last) in &*start.ended {
        put.varint(u64::from(incarnation.0));
        put.lsn(*last);
    }
}

fn take_start<'a>(take: &mut Take<'a>) -> Taken<StartRecord<'a>> {
    let ended = take.list(|take| Ok((Incarnation(take.varint32("incarnation")?), take.lsn()?)))?;
    Ok(StartRecord { ended: Cow::Owned(ended) })
}
