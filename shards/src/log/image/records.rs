//! An image as records again: what a fresh log begins with.

use super::{SessionImage, ShardImage, WillImage};
use crate::base::kept::{CopyNumber, ParkedId, SessionNumber};
use crate::base::limits::{HEAD_RECORDS, QUEUE_RECORD_COPIES};
use crate::base::lsn::Lsn;
use crate::log::record::{
    BodyId, BodyRecord, Cause, CopyEntry, Destination, Occasion, Origin, ParkedRecord, Record, SessionRecord,
    StartRecord, SubscribedRecord, WillRecord,
};
use std::borrow::Cow;

/// Records that make `image` when they are applied, but for what it says of its log itself: `oldest`, `newest`, `stopped` and `oddities`. In a log with
/// other numbers, too: a message keeps the one by which it is known.
pub fn records_of(image: &ShardImage) -> impl Iterator<Item = Record<'_>> {
    let start = Record::Start(StartRecord { ended: Cow::Borrowed(&image.ended) });
    let marks = image.marks.iter().map(|(source, lsn)| Record::Mark { source: *source, lsn: *lsn });
    let sessions = image.sessions.iter().flat_map(|(number, session)| session.records(*number));
    let retained = image.retained.values();
    let retained =
        retained.map(|(message, publisher, _)| Record::Retained(BodyRecord::of(message, *publisher)));
    std::iter::once(start)
        .chain(marks)
        .chain(image.body_records())
        .chain(image.outbox_records())
        .chain(image.parked_records())
        .chain(sessions)
        .chain(retained)
}

impl ShardImage {
    fn body_of(&self, body: BodyId) -> BodyRecord<'_> {
        let there = &self.bodies[&body];
        BodyRecord::of(&there.message, there.publisher)
    }

    /// Not of messages that other records bring along and say the same of.
    fn body_records(&self) -> impl Iterator<Item = Record<'_>> {
        let alone = self.bodies.iter().filter(|(body, image)| {
            let lsn = &body.0;
            let brought =
                self.outbox.contains_key(lsn) || self.has_parked(*lsn) || self.open.contains_key(body);
            !brought || image.origin != Origin::Own
        });
        alone.map(|(body, image)| Record::Body {
            body: *body,
            origin: image.origin,
            content: BodyRecord::of(&image.message, image.publisher),
        })
    }

    fn has_parked(&self, record: Lsn) -> bool {
        let first = self.parked.range(ParkedId::alone(record)..).next();
        first.is_some_and(|(parked, _)| parked.record == record)
    }

    fn outbox_records(&self) -> impl Iterator<Item = Record<'_>> {
        self.outbox.iter().map(|(lsn, (body, destinations))| Record::Outbox {
            lsn: *lsn,
            content: self.body_of(*body),
            destinations: destinations.iter().map(Destination::borrow).collect(),
        })
    }

    fn parked_records(&self) -> impl Iterator<Item = Record<'_>> {
        let parked = self.parked.iter();
        let parked = parked.map(|(id, parked)| self.parked_record(*id, parked.occasion.clone()));
        let open = self.open.iter().map(|(body, done)| {
            let done = Cow::Borrowed(done.as_slice());
            self.parked_record(ParkedId::alone(body.0), Occasion::FanOut { done, body: *body })
        });
        parked.chain(open)
    }

    fn parked_record<'a>(&'a self, parked: ParkedId, occasion: Occasion<'a>) -> Record<'a> {
        Record::Parked(ParkedRecord {
            origin: Origin::Own,
            occasion,
            cause: Cause::None,
            taken_from: None,
            body: self.body_of(BodyId(parked.record)),
            parked: Some(parked),
        })
    }
}

impl SessionImage {
    fn records(&self, number: SessionNumber) -> impl Iterator<Item = Record<'_>> {
        let subscriptions = self.subscriptions.iter().map(move |(filter, image)| {
            Record::Subscribed(SubscribedRecord {
                session: number,
                filter: Cow::Borrowed(filter),
                options: image.options,
                identifier: image.identifier,
                exclusive: image.exclusive,
            })
        });
        let heads = std::iter::repeat_with(move || self.head(number)).take(HEAD_RECORDS);
        heads.chain(subscriptions).chain(self.queue_records(number))
    }

    fn head(&self, session: SessionNumber) -> Record<'_> {
        Record::Session(SessionRecord {
            session,
            // Where it is written again into a log that goes on, what this head finds is true until its queue is written.
            fresh: false,
            client_id: Cow::Borrowed(&self.client_id),
            user: self.user.as_deref().map(Cow::Borrowed),
            epoch: self.epoch,
            expiry_seconds: self.expiry_seconds,
            offline_since: self.offline_since,
            will: self.will.as_ref().map(WillImage::record),
            received: Cow::Borrowed(&self.received),
            next_copy: self.next_copy,
        })
    }

    /// Each speaks of the numbers behind those of the one before, so that together they speak of all.
    fn queue_records(&self, session: SessionNumber) -> impl Iterator<Item = Record<'_>> {
        let mut copies = self.copies.iter().peekable();
        let mut from = CopyNumber::default();
        std::iter::from_fn(move || {
            copies.peek()?;
            let some = copies.by_ref().take(QUEUE_RECORD_COPIES);
            let some: Vec<(BodyId, CopyEntry)> = some.map(|(_, copy)| copy.clone()).collect();
            let through = some.last().expect("one was there").1.number;
            let record = Record::Queue { session, from, through, copies: Cow::Owned(some) };
            from = through.next();
            Some(record)
        })
    }
}

impl WillImage {
    fn record(&self) -> WillRecord<'_> {
        WillRecord {
            body: BodyRecord::of(&self.message, None),
            delay_seconds: self.delay_seconds,
            expiry_seconds: self.expiry_seconds,
            user_name: self.user_name.as_deref().map(Cow::Borrowed),
            peer: self.peer,
        }
    }
}
