//! Bytes of the records of sessions. Tables: ARCHITECTURE.md, "Records".

use super::message::{put_body, take_body};
use super::put::{Put, bits};
use super::take::{Take, Taken};
use super::{RecordError, bit};
use crate::log::record::{OfflineRecord, SessionRecord, SubscribedRecord, WillRecord};
use crate::mesh::Epoch;
use crate::wire::{SubscriptionOptions, Version};
use std::borrow::Cow;
use std::num::NonZeroU32;

pub(super) fn put_session(put: &mut Put<'_>, session: &SessionRecord<'_>) {
    let optional = [session.user.is_some(), session.offline_since.is_some(), session.will.is_some()];
    put.u8(bits([session.fresh]) | bits(optional) << 1);
    put.session(session.session);
    put.varint(session.epoch.0);
    put.varint(u64::from(session.expiry_seconds));
    put.copy(session.next_copy);
    put.str(&session.client_id);
    if let Some(user) = &session.user {
        put.str(user);
    }
    if let Some(offline_since) = session.offline_since {
        put.time(offline_since);
    }
    if let Some(will) = &session.will {
        put_will(put, will);
    }
    put.count(session.received.len());
    session.received.iter().for_each(|packet_id| put.packet_id(*packet_id));
}

pub(super) fn take_session<'a>(take: &mut Take<'a>) -> Taken<SessionRecord<'a>> {
    let flags = take.flags(4, "session flags")?;
    let session = take.session()?;
    let epoch = Epoch(take.varint()?);
    let expiry_seconds = take.varint32("expiry")?;
    let next_copy = take.copy()?;
    Ok(SessionRecord {
        session,
        fresh: bit(flags, 0),
        client_id: Cow::Borrowed(take.str("client id")?),
        user: bit(flags, 1).then(|| take.str("user").map(Cow::Borrowed)).transpose()?,
        epoch,
        expiry_seconds,
        offline_since: bit(flags, 2).then(|| take.time()).transpose()?,
        will: bit(flags, 3).then(|| take_will(take)).transpose()?,
        received: take.list(Take::packet_id).map(Cow::Owned)?,
        next_copy,
    })
}

fn put_will(put: &mut Put<'_>, will: &WillRecord<'_>) {
    put.u8(bits([will.expiry_seconds.is_some(), will.user_name.is_some()]));
    put.varint(u64::from(will.delay_seconds));
    if let Some(expiry_seconds) = will.expiry_seconds {
        put.varint(u64::from(expiry_seconds));
    }
    if let Some(user_name) = &will.user_name {
        put.str(user_name);
    }
    put.peer(will.peer);
    put_body(put, &will.body);
}

fn take_will<'a>(take: &mut Take<'a>) -> Taken<WillRecord<'a>> {
    let flags = take.flags(2, "will flags")?;
    Ok(WillRecord {
        delay_seconds: take.varint32("will delay")?,
        expiry_seconds: bit(flags, 0).then(|| take.varint32("will expiry")).transpose()?,
        user_name: bit(flags, 1).then(|| take.str("user").map(Cow::Borrowed)).transpose()?,
        peer: take.peer()?,
        body: take_body(take)?,
    })
}

pub(super) fn put_offline(put: &mut Put<'_>, offline: &OfflineRecord) {
    put.u8(bits([offline.will_forgotten]));
    put.session(offline.session);
    put.time(offline.since);
    put.varint(u64::from(offline.expiry_seconds));
}

pub(super) fn take_offline(take: &mut Take<'_>) -> Taken<OfflineRecord> {
    let flags = take.flags(1, "offline flags")?;
    Ok(OfflineRecord {
        session: take.session()?,
        since: take.time()?,
        will_forgotten: bit(flags, 0),
        expiry_seconds: take.varint32("expiry")?,
    })
}

/// The options are the byte of a v5 SUBSCRIBE (MQTT 5 section 3.8.3.1).
pub(super) fn put_subscribed(put: &mut Put<'_>, subscribed: &SubscribedRecord<'_>) {
    put.u8(bits([subscribed.exclusive]));
    put.session(subscribed.session);
    put.u8(subscribed.options.to_byte(Version::V5));
    put.varint(subscribed.identifier.map_or(0, |identifier| u64::from(identifier.get())));
    put.str(&subscribed.filter);
}

pub(super) fn take_subscribed<'a>(take: &mut Take<'a>) -> Taken<SubscribedRecord<'a>> {
    let flags = take.flags(1, "subscription flags")?;
    let session = take.session()?;
    let options = SubscriptionOptions::from_byte(take.u8()?, Version::V5)
        .map_err(|_| RecordError::Field("subscription options"))?;
    Ok(SubscribedRecord {
        session,
        options,
        identifier: NonZeroU32::new(take.varint32("identifier")?),
        filter: Cow::Borrowed(take.str("filter")?),
        exclusive: bit(flags, 0),
    })
}
