//! What cleaning writes again: each thing as a whole, as it is now.

use super::Shard;
use super::cleaning::Stage;
use super::cleaning_pace::Share;
use super::session::{Session, SessionKey};
use super::session_log::{append_whole, head};
use super::will_queue::KeptMessage;
use crate::base::kept::{BodyKey, CopyNumber, ParkedId, Written};
use crate::base::limits::{HEAD_RECORDS, QUEUE_RECORD_COPIES};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::log::{
    BodyId, BodyRecord, Cause, CopiesRecord, CopyEntry, CopyState, Destination, Occasion, Origin,
    ParkedRecord, Record, SessionRecord,
};
use crate::mesh::SharedGroup;
use crate::session::{Identifiers, Kept, PendingCopy};
use crate::topics::TopicFilter;
use crate::wire::{Message, QoS};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::slice;

/// Places of a table looked at in one step.
pub(super) const STRIDE: usize = 256;

impl Shard {
    /// What lies in the segments that go has been committed where it came from when they do: from here on every body is one that happened.
    pub(super) fn clean_bodies(&mut self, from: usize, through: Written, share: &mut Share) -> Stage {
        let end = from + STRIDE;
        let Some((next, key)) = self.bodies.next(from, end) else {
            share.look(STRIDE);
            if end < self.bodies.places() {
                return Stage::Bodies(end);
            }
            self.ask_for_gathered();
            return Stage::BodyReads;
        };
        share.look(next - from);
        share.visit();
        let body = self.bodies.get(key);
        if body.written().is_within(through) && !self.planted.is(Bug::BodyNotWrittenAgain) {
            match body.message.clone() {
                Some(message) => {
                    share.record(message.payload().len());
                    self.write_body_again(key, &message);
                }
                None => self.read_again(key, share),
            }
        }
        Stage::Bodies(next)
    }

    pub(super) fn write_body_again(&mut self, key: BodyKey, message: &Message) {
        let body = self.bodies.get(key);
        let (body, content) = (body.id, BodyRecord::of(message, body.publisher));
        let lsn = self.log.append(&Record::Body { body, origin: Origin::Own, content });
        self.bodies.written_again(key, lsn, self.log.place_of_newest());
    }

    pub(super) fn clean_sessions(&mut self, from: usize, through: Written, share: &mut Share) -> Stage {
        let end = from + STRIDE;
        let Some(key) = self.sessions.next_key_before(from, end) else {
            share.look(STRIDE);
            let done = end >= self.sessions.slots();
            return if done { Stage::Retained(None) } else { Stage::Sessions(end) };
        };
        let next = key.index() + 1;
        share.look(next - from);
        let session = self.sessions.get(key).expect("found just now");
        if session.is_durable() && session.written.is_within(through) {
            return self.write_session_again(key, share);
        }
        Stage::Sessions(next)
    }

    /// Its head and its filters in one go: the limits of one client bound them. Then its queue, in parts, from its end to its beginning: when that
    /// is there, all of it is. What becomes of a part before the next is written comes behind the one or is in the other.
    fn write_session_again(&mut self, key: SessionKey, share: &mut Share) -> Stage {
        let at = self.log.written();
        self.weigh_anew(key, at);
        let session = self.sessions.get(key).expect("the caller has it");
        let received: Vec<_> = session.inbound.received().collect();
        let offline_since = session.connection.is_none().then_some(session.offline_since);
        let received = Cow::Borrowed(&*received);
        append_whole(&mut self.log, SessionRecord { offline_since, received, ..head(session, false) });
        (0..HEAD_RECORDS).for_each(|_| share.record(0));
        let (filters, end) = (self.topics.filters(&session.filters), session.next_copy);
        let filters: Vec<Box<str>> = filters.map(Into::into).collect();
        for text in &filters {
            let filter = TopicFilter::new(text).expect("it is subscribed");
            let held = self.topics.subscription(key, filter).expect("it is subscribed");
            let granted = (held.options, held.identifier());
            self.weigh_filter(key, text);
            self.log_subscribed(key, filter, granted, self.holds_exclusive(key, filter));
            share.record(0);
        }
        // The first part in the same turn: it belongs to this head, and not to one that a CONNECT brings meanwhile.
        self.clean_queue(key, end, share)
    }

    /// The part of the session's queue that ends with `through`, unless the log has lost the session meanwhile.
    pub(super) fn clean_queue(&mut self, key: SessionKey, through: CopyNumber, share: &mut Share) -> Stage {
        let next = Stage::Sessions(key.index() + 1);
        let Some(session) = self.sessions.get(key).filter(|session| session.is_durable()) else {
            return next;
        };
        share.look(session.outbound.in_flight_slots());
        let kept = session.outbound.kept_through(through, QUEUE_RECORD_COPIES);
        share.copies(1 + kept.len());
        let from = match kept.first() {
            Some(first) if kept.len() == QUEUE_RECORD_COPIES => first.number(),
            _ => CopyNumber::default(),
        };
        // They lie anywhere: looked for one right behind the other they are waited for together.
        let bodies: Vec<BodyId> = kept.iter().map(|kept| self.body_of(kept)).collect();
        let entries = kept.iter().map(|kept| self.entry_of(session, kept));
        let copies: Vec<_> = bodies.into_iter().zip(entries).collect();
        let session = session.number;
        self.log.append(&Record::Queue { session, from, through, copies: Cow::Owned(copies) });
        from.before().map_or(next, |before| Stage::Queue(key, before))
    }

    /// Copies that wait are others than the log has them: it takes them as they are.
    pub(super) fn record_revised(&mut self, key: SessionKey, copies: Vec<PendingCopy>) {
        for copy in copies {
            let session = self.sessions.get(key).expect("the caller has it");
            let kept = Kept::Copy(&copy, None);
            let (body, copy) = (self.body_of(&kept), self.entry_of(session, &kept));
            let (parked, copies, last) = (None, Cow::Borrowed(slice::from_ref(&copy)), false);
            self.log.append(&Record::Copies(CopiesRecord { body, parked, copies, last }));
        }
    }

    /// The message, where the client does not have it.
    fn body_of(&self, kept: &Kept<'_>) -> BodyId {
        let body = match kept {
            Kept::Copy(copy, _) => copy.kept.map(|kept| kept.body),
            Kept::Paged(copy) => Some(copy.kept.body),
            Kept::Arrived(..) => None,
        };
        body.map_or(BodyId::default(), |body| self.bodies.get(body).id)
    }

    fn entry_of(&self, session: &Session, kept: &Kept<'_>) -> CopyEntry {
        let (qos, retain, group, identifiers) = match kept {
            Kept::Copy(copy, _) => (copy.qos, copy.retain, copy.group, &copy.identifiers),
            Kept::Paged(copy) => (copy.qos, copy.retain, None, &copy.identifiers),
            Kept::Arrived(..) => (QoS::ExactlyOnce, false, None, &Identifiers::None),
        };
        CopyEntry {
            session: session.number,
            number: kept.number(),
            qos,
            retain,
            group: group.map(|group| self.topics.group_name(group)),
            state: match kept {
                Kept::Copy(_, Some(packet_id)) => CopyState::Started(*packet_id),
                Kept::Arrived(packet_id, _) => CopyState::Arrived(*packet_id),
                Kept::Copy(_, None) | Kept::Paged(_) => CopyState::Queued,
            },
            identifiers: SmallVec::from_slice(identifiers.as_slice()),
        }
    }

    pub(super) fn clean_retained(
        &mut self,
        behind: Option<Box<str>>,
        through: Written,
        share: &mut Share,
    ) -> Stage {
        let store = &self.retained.store;
        let (mut last, mut found) = (None, None);
        for (message, publisher, written) in store.behind(behind.as_deref()).take(STRIDE) {
            share.look(1);
            last = Some(message);
            if written.is_within(through) {
                found = Some((message.clone(), publisher));
                break;
            }
        }
        let Some(last) = last else { return Stage::Outbox(Lsn::NONE) };
        let behind = Some(last.topic().into());
        if let Some((message, publisher)) = found {
            share.record(message.payload().len());
            let at = self.log.written();
            self.log.append(&Record::Retained(BodyRecord::of(&message, publisher)));
            self.retained.store.set_written(message.topic(), at);
        }
        Stage::Retained(behind)
    }

    pub(super) fn clean_outbox(&mut self, behind: Lsn, through: Written, share: &mut Share) -> Stage {
        share.look(1);
        let Some(sent) = self.outbox.behind(behind) else { return Stage::Delayed(None) };
        let lsn = sent.lsn;
        if sent.written.is_within(through) {
            sent.written = self.log.written();
            share.record(0);
            let content =
                BodyRecord::of(self.bodies.message(sent.body), self.bodies.get(sent.body).publisher);
            let destinations = sent.destinations.iter().map(Destination::borrow).collect();
            self.log.append(&Record::Outbox { lsn, content, destinations });
        }
        Stage::Outbox(lsn)
    }

    pub(super) fn clean_delayed(
        &mut self,
        behind: Option<(Time, u64)>,
        through: Written,
        share: &mut Share,
    ) -> Stage {
        share.look(1);
        let Some((key, kept)) = self.delayed.behind(behind) else {
            return Stage::Wills(self.wills.due.len());
        };
        if kept.written.is_within(through) {
            kept.written = self.log.written();
            share.record(kept.message.payload().len());
            let kept = kept.clone();
            self.write_kept_again(&kept, Occasion::At(key.0));
        }
        Stage::Delayed(Some(key))
    }

    pub(super) fn clean_wills(&mut self, before: usize, through: Written, share: &mut Share) -> Stage {
        share.look(1);
        let Some(at) = before.min(self.wills.due.len()).checked_sub(1) else {
            return Stage::BetweenMembers(self.redispatch.len());
        };
        let kept = &mut self.wills.due[at];
        if kept.written.is_within(through) {
            kept.written = self.log.written();
            share.record(kept.message.payload().len());
            let kept = kept.clone();
            self.write_kept_again(&kept, Occasion::Slot);
        }
        Stage::Wills(at)
    }

    fn write_kept_again(&mut self, kept: &KeptMessage, occasion: Occasion<'_>) {
        let Cause::Parked(parked) = kept.cause else { return };
        let publisher = kept.keep.and_then(|keep| keep.publisher).or_else(|| self.mark_of(kept.of));
        self.log.append(&parked_again(parked, occasion, BodyRecord::of(&kept.message, publisher)));
    }

    pub(super) fn clean_between_members(
        &mut self,
        before: usize,
        through: Written,
        share: &mut Share,
    ) -> Stage {
        share.look(1);
        let Some(at) = before.min(self.redispatch.len()).checked_sub(1) else { return Stage::FanOuts };
        let taken = self.redispatch.get_mut(at).expect("within its length");
        if let Some(parked) = taken.parked.filter(|_| taken.written.is_within(through)) {
            let group = match &taken.group {
                SharedGroup::Filter(filter) => Some(&**filter),
                SharedGroup::Key(key) => {
                    self.topics.group_named(*key).map(|group| self.topics.group_filter(group))
                }
            };
            // Where nobody is left in the group it is dropped, and the record of that is still to come.
            let Some(group) = group else { return Stage::BetweenMembers(at) };
            let occasion = Occasion::Member { group: Cow::Borrowed(group), sent_on: taken.send_on };
            taken.written = self.log.written();
            share.record(taken.message.payload().len());
            self.log.append(&parked_again(parked, occasion, BodyRecord::of(&taken.message, None)));
        }
        Stage::BetweenMembers(at)
    }
}

fn parked_again<'a>(parked: ParkedId, occasion: Occasion<'a>, body: BodyRecord<'a>) -> Record<'a> {
    Record::Parked(ParkedRecord {
        origin: Origin::Own,
        occasion,
        cause: Cause::None,
        taken_from: None,
        body,
        parked: Some(parked),
    })
}
