//! What cleaning writes again: each thing as a whole, as it is now.

use super::Shard;
use super::cleaning::{Share, Stage};
use super::session::{Session, SessionKey};
use super::session_log::head;
use super::will_queue::KeptMessage;
use crate::base::kept::{BodyKey, CopyNumber, KeptCopy, ParkedId, Written};
use crate::base::limits::QUEUE_RECORD_COPIES;
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::log::{
    BodyId, BodyRecord, Cause, CopiesRecord, CopyEntry, CopyState, Destination, Occasion, Origin,
    ParkedRecord, Record, SessionRecord,
};
use crate::mesh::SharedGroup;
use crate::session::{Identifiers, PendingCopy, Restored};
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
        let body = self.bodies.get(key);
        if body.written().is_within(through) && !self.planted.is(Bug::BodyNotWrittenAgain) {
            match body.message.clone() {
                Some(message) => self.write_body_again(key, &message),
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
            self.write_session_again(key);
        }
        Stage::Sessions(next)
    }

    /// In one go: its size is bounded by the limits of one client. The end of its queue comes first: when the beginning is there, all of it is.
    fn write_session_again(&mut self, key: SessionKey) {
        let at = self.log.written();
        self.weigh_anew(key, at);
        let session = self.sessions.get(key).expect("the caller has it");
        let received: Vec<_> = session.inbound.received().collect();
        self.log.append(&Record::Session(SessionRecord {
            offline_since: session.connection.is_none().then_some(session.offline_since),
            received: Cow::Borrowed(&received),
            ..head(session, false)
        }));
        let filters: Vec<Box<str>> = self.topics.filters(&session.filters).map(Into::into).collect();
        for text in &filters {
            let filter = TopicFilter::new(text).expect("it is subscribed");
            let held = self.topics.subscription(key, filter).expect("it is subscribed");
            let granted = (held.options, held.identifier());
            self.weigh_filter(key, text);
            self.log_subscribed(key, filter, granted, self.holds_exclusive(key, filter));
        }
        self.write_queue_again(key);
    }

    fn write_queue_again(&mut self, key: SessionKey) {
        let session = self.sessions.get(key).expect("the caller has it");
        let mut copies: Vec<(BodyId, CopyEntry)> = session
            .outbound
            .to_be_restored()
            .into_iter()
            .map(|copy| self.copy_entry(session, copy))
            .collect();
        copies.sort_unstable_by_key(|(_, copy)| copy.number);
        let mut through = session.next_copy;
        let mut left = copies.as_slice();
        loop {
            let (rest, some) = left.split_at(left.len().saturating_sub(QUEUE_RECORD_COPIES));
            let from = if rest.is_empty() { CopyNumber::default() } else { some[0].1.number };
            let session = session.number;
            self.log.append(&Record::Queue { session, from, through, copies: Cow::Borrowed(some) });
            let Some((_, last)) = rest.last() else { return };
            (left, through) = (rest, last.number);
        }
    }

    /// Copies that wait are others than the log has them: it takes them as they are.
    pub(super) fn record_revised(&mut self, key: SessionKey, copies: Vec<PendingCopy>) {
        for copy in copies {
            let session = self.sessions.get(key).expect("the caller has it");
            let (body, copy) = self.copy_entry(session, Restored::Queued(copy));
            let (parked, copies, last) = (None, Cow::Borrowed(slice::from_ref(&copy)), false);
            self.log.append(&Record::Copies(CopiesRecord { body, parked, copies, last }));
        }
    }

    fn copy_entry(&self, session: &Session, copy: Restored) -> (BodyId, CopyEntry) {
        let of = |kept: KeptCopy, identifiers: &Identifiers, qos, retain| CopyEntry {
            session: session.number,
            number: kept.number,
            qos,
            retain,
            group: None,
            state: CopyState::Queued,
            identifiers: SmallVec::from_slice(identifiers.as_slice()),
        };
        let (copy, state) = match copy {
            Restored::Queued(copy) => (copy, CopyState::Queued),
            Restored::Started(packet_id, copy) => (copy, CopyState::Started(packet_id)),
            Restored::Paged(copy) => {
                let entry = of(copy.kept, &copy.identifiers, copy.qos, copy.retain);
                return (self.bodies.get(copy.kept.body).id, entry);
            }
            Restored::Arrived(packet_id, number) => {
                let (session, state) = (session.number, CopyState::Arrived(packet_id));
                let (qos, retain, group, identifiers) = (QoS::ExactlyOnce, false, None, SmallVec::new());
                let entry = CopyEntry { session, number, qos, retain, group, state, identifiers };
                return (BodyId::default(), entry);
            }
        };
        let kept = copy.kept.expect("only what the log has is written again");
        let entry = of(kept, &copy.identifiers, copy.qos, copy.retain);
        let group = copy.group.map(|group| self.topics.group_name(group));
        (self.bodies.get(kept.body).id, CopyEntry { group, state, ..entry })
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
