//! Bytes of the parts that records of messages are made of. Tables: ARCHITECTURE.md, "Records".

use super::put::{Put, bits};
use super::take::{Take, Taken, qos};
use super::{RecordError, bit};
use crate::log::record::{
    BodyId, BodyRecord, Cause, CopiesRecord, CopyEntry, CopyState, Destination, MessageRecord, Occasion,
    Origin, ParkedRecord,
};
use crate::topics::retained::PublisherMark;
use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::Arc;

pub(super) fn put_body(put: &mut Put<'_>, body: &BodyRecord<'_>) {
    let flags = bits([body.retain, body.expires_at.is_some(), body.publisher.is_some()]);
    put.u8(body.qos as u8 | flags << 2);
    if let Some(expires_at) = body.expires_at {
        put.time(expires_at);
    }
    if let Some(publisher) = body.publisher {
        put.u64(publisher.to_bits().get());
    }
    put.str(&body.topic);
    put.bytes(&body.properties);
    put.bytes(&body.payload);
}

pub(super) fn take_body<'a>(take: &mut Take<'a>) -> Taken<BodyRecord<'a>> {
    let flags = take.flags(5, "body flags")?;
    let expires_at = bit(flags, 3).then(|| take.time()).transpose()?;
    let publisher = bit(flags, 4).then(|| take_publisher(take)).transpose()?;
    Ok(BodyRecord {
        topic: Cow::Borrowed(take.str("topic")?),
        properties: Cow::Borrowed(take.bytes()?),
        payload: Cow::Borrowed(take.bytes()?),
        qos: qos(flags)?,
        retain: bit(flags, 2),
        expires_at,
        publisher,
    })
}

fn take_publisher(take: &mut Take<'_>) -> Taken<PublisherMark> {
    let mark = NonZeroU64::new(take.u64()?).ok_or(RecordError::Field("publisher"))?;
    Ok(PublisherMark::from_bits(mark))
}

pub(super) fn put_message(put: &mut Put<'_>, message: &MessageRecord<'_>) {
    put.u8(bits([message.retained, message.open, !message.groups.is_empty()]));
    put_origin(put, message.origin);
    put_cause(put, message.cause);
    put_body(put, &message.body);
    put_destinations(put, &message.destinations);
    put_copies(put, &message.copies);
    if !message.groups.is_empty() {
        put.count(message.groups.len());
        message.groups.iter().for_each(|group| put.str(group));
    }
}

pub(super) fn take_message<'a>(take: &mut Take<'a>) -> Taken<MessageRecord<'a>> {
    let flags = take.flags(3, "message flags")?;
    Ok(MessageRecord {
        origin: take_origin(take)?,
        cause: take_cause(take)?,
        body: take_body(take)?,
        destinations: take_destinations(take)?,
        copies: take_copies(take)?,
        retained: bit(flags, 0),
        open: bit(flags, 1),
        groups: if bit(flags, 2) { take_groups(take)? } else { Cow::Borrowed(&[]) },
    })
}

fn take_groups<'a>(take: &mut Take<'a>) -> Taken<Cow<'a, [Cow<'a, str>]>> {
    take.list(|take| take.str("group").map(Cow::Borrowed)).map(Cow::Owned)
}

pub(super) fn put_origin(put: &mut Put<'_>, origin: Origin) {
    match origin {
        Origin::Own => put.u8(0),
        Origin::Peer { source, lsn } => {
            put.u8(1);
            put.u8(source.index() as u8);
            put.lsn(lsn);
        }
    }
}

pub(super) fn take_origin(take: &mut Take<'_>) -> Taken<Origin> {
    match take.u8()? {
        0 => Ok(Origin::Own),
        1 => Ok(Origin::Peer { source: take.shard()?, lsn: take.lsn()? }),
        _ => Err(RecordError::Field("origin")),
    }
}

fn put_cause(put: &mut Put<'_>, cause: Cause) {
    match cause {
        Cause::None => put.u8(0),
        Cause::Received(session, packet_id) => {
            put.u8(1);
            put.session(session);
            put.packet_id(packet_id);
        }
        Cause::Will(session) => {
            put.u8(2);
            put.session(session);
        }
        Cause::Parked(parked) => {
            put.u8(3);
            put.parked(parked);
        }
    }
}

fn take_cause(take: &mut Take<'_>) -> Taken<Cause> {
    match take.u8()? {
        0 => Ok(Cause::None),
        1 => Ok(Cause::Received(take.session()?, take.packet_id()?)),
        2 => Ok(Cause::Will(take.session()?)),
        3 => Ok(Cause::Parked(take.parked()?)),
        _ => Err(RecordError::Field("cause")),
    }
}

pub(super) fn put_destinations(put: &mut Put<'_>, destinations: &[Destination<'_>]) {
    put.count(destinations.len());
    for destination in destinations {
        put.u8(destination.shard.index() as u8);
        put.u8(bits([destination.fan_out, destination.store]));
        put.count(destination.groups.len());
        for (filter, chosen_by) in &*destination.groups {
            put.str(filter);
            put.u64(*chosen_by);
        }
    }
}

pub(super) fn take_destinations<'a>(take: &mut Take<'a>) -> Taken<Cow<'a, [Destination<'a>]>> {
    let destinations = take.list(|take| {
        let shard = take.shard()?;
        let flags = take.flags(2, "destination flags")?;
        let groups = take.list(|take| Ok((Cow::Borrowed(take.str("group")?), take.u64()?)))?;
        Ok(Destination { shard, fan_out: bit(flags, 0), store: bit(flags, 1), groups: Cow::Owned(groups) })
    })?;
    Ok(Cow::Owned(destinations))
}

fn put_copy(put: &mut Put<'_>, copy: &CopyEntry) {
    let (state, packet_id) = match copy.state {
        CopyState::Queued => (0, None),
        CopyState::Started(packet_id) => (1, Some(packet_id)),
        CopyState::Arrived(packet_id) => (2, Some(packet_id)),
    };
    put.session(copy.session);
    put.copy(copy.number);
    let identified = !copy.identifiers.is_empty();
    put.u8(copy.qos as u8 | bits([copy.retain, copy.group.is_some(), identified]) << 2 | state << 5);
    if let Some(packet_id) = packet_id {
        put.packet_id(packet_id);
    }
    if let Some(group) = &copy.group {
        put.str(group);
    }
    if identified {
        put.count(copy.identifiers.len());
        copy.identifiers.iter().for_each(|identifier| put.varint(u64::from(*identifier)));
    }
}

fn take_copy(take: &mut Take<'_>) -> Taken<CopyEntry> {
    let (session, number) = (take.session()?, take.copy()?);
    let flags = take.flags(7, "copy flags")?;
    let state = match flags >> 5 {
        0 => CopyState::Queued,
        1 => CopyState::Started(take.packet_id()?),
        2 => CopyState::Arrived(take.packet_id()?),
        _ => return Err(RecordError::Field("copy state")),
    };
    let mut entry = CopyEntry {
        session,
        number,
        qos: qos(flags)?,
        retain: bit(flags, 2),
        group: bit(flags, 3).then(|| take.str("group").map(Arc::from)).transpose()?,
        state,
        identifiers: smallvec::SmallVec::new(),
    };
    if bit(flags, 4) {
        for _ in 0..take.count()? {
            entry.identifiers.push(take.varint32("identifier")?);
        }
    }
    Ok(entry)
}

pub(super) fn put_copies(put: &mut Put<'_>, copies: &[CopyEntry]) {
    put.count(copies.len());
    copies.iter().for_each(|copy| put_copy(put, copy));
}

pub(super) fn take_copies<'a>(take: &mut Take<'a>) -> Taken<Cow<'a, [CopyEntry]>> {
    take.list(take_copy).map(Cow::Owned)
}

pub(super) fn put_more_copies(put: &mut Put<'_>, more: &CopiesRecord<'_>) {
    put.u8(bits([more.last, more.parked.is_some()]));
    put.lsn(more.body.0);
    if let Some(parked) = more.parked {
        put.parked(parked);
    }
    put_copies(put, &more.copies);
}

pub(super) fn take_more_copies<'a>(take: &mut Take<'a>) -> Taken<CopiesRecord<'a>> {
    let flags = take.flags(2, "copies flags")?;
    Ok(CopiesRecord {
        body: BodyId(take.lsn()?),
        parked: bit(flags, 1).then(|| take.parked()).transpose()?,
        copies: take_copies(take)?,
        last: bit(flags, 0),
    })
}

pub(super) fn put_queue(put: &mut Put<'_>, copies: &[(BodyId, CopyEntry)]) {
    put.count(copies.len());
    for (body, copy) in copies {
        put.lsn(body.0);
        put_copy(put, copy);
    }
}

pub(super) fn take_queue<'a>(take: &mut Take<'a>) -> Taken<Cow<'a, [(BodyId, CopyEntry)]>> {
    take.list(|take| Ok((BodyId(take.lsn()?), take_copy(take)?))).map(Cow::Owned)
}

pub(super) fn put_parked(put: &mut Put<'_>, parked: &ParkedRecord<'_>) {
    put.u8(bits([parked.taken_from.is_some(), parked.parked.is_some()]));
    put_occasion(put, &parked.occasion);
    put_origin(put, parked.origin);
    put_cause(put, parked.cause);
    if let Some((session, copy)) = parked.taken_from {
        put.session(session);
        put.copy(copy);
    }
    if let Some(first) = parked.parked {
        put.parked(first);
    }
    put_body(put, &parked.body);
}

pub(super) fn take_parked<'a>(take: &mut Take<'a>) -> Taken<ParkedRecord<'a>> {
    let flags = take.flags(2, "parked flags")?;
    let (occasion, origin, cause) = (take_occasion(take)?, take_origin(take)?, take_cause(take)?);
    let taken_from = bit(flags, 0).then(|| Ok((take.session()?, take.copy()?))).transpose()?;
    let parked = bit(flags, 1).then(|| take.parked()).transpose()?;
    Ok(ParkedRecord { occasion, origin, cause, taken_from, body: take_body(take)?, parked })
}

fn put_occasion(put: &mut Put<'_>, occasion: &Occasion<'_>) {
    match occasion {
        Occasion::At(at) => {
            put.u8(0);
            put.time(*at);
        }
        Occasion::Slot => put.u8(1),
        Occasion::Member { group, sent_on } => {
            put.u8(if *sent_on { 3 } else { 2 });
            put.str(group);
        }
        Occasion::FanOut { done, body } => {
            put.u8(4);
            put.lsn(body.0);
            put.count(done.len());
            done.iter().for_each(|session| put.session(*session));
        }
    }
}

fn take_occasion<'a>(take: &mut Take<'a>) -> Taken<Occasion<'a>> {
    Ok(match take.u8()? {
        0 => Occasion::At(take.time()?),
        1 => Occasion::Slot,
        kind @ (2 | 3) => Occasion::Member { group: Cow::Borrowed(take.str("group")?), sent_on: kind == 3 },
        4 => {
            let body = BodyId(take.lsn()?);
            Occasion::FanOut { done: take.list(Take::session).map(Cow::Owned)?, body }
        }
        _ => return Err(RecordError::Field("occasion")),
    })
}
