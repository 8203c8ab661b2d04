//! The record of a message, drafted while the message is delivered: which durable sessions have a copy of it, under which numbers, where else it has
//! to be logged, what it uses up. It is one record, so that it is recovered whole or not at all.
//!
//! Where nothing has to be kept (QoS 0, clean sessions, no log) a draft stays empty and costs nothing.

use super::Shard;
use super::deliver::CopyHead;
use super::redispatch::Taken;
use super::session::SessionKey;
use crate::base::kept::{BodyKey, CopyNumber, KeptCopy, ParkedId, Written};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::log::{
    Bodies, BodyId, BodyRecord, Cause, CopiesRecord, CopyEntry, CopyState, Destination, MessageRecord,
    Origin, Place, Record,
};
use crate::mesh::SharedGroup;
use crate::session::{Incoming, Offered};
use crate::topics::GroupId;
use crate::topics::retained::PublisherMark;
use crate::wire::{Message, PacketId, QoS};
use smallvec::SmallVec;
use std::borrow::Cow;

/// See the module's documentation. Empty between two messages.
#[derive(Default)]
pub(super) struct Draft {
    origin: Origin,
    body: Option<BodyKey>,
    copies: Vec<CopyEntry>,
    /// Those of them that are held until the record is committed.
    held: Vec<(SessionKey, PacketId)>,
    /// The rest of the receivers comes with later records.
    open: bool,
    /// Of these shared groups a member is to be found elsewhere.
    groups: SmallVec<[GroupId; 1]>,
}

/// What a message's record says beside its copies.
pub(super) struct Facts<'a> {
    pub(super) cause: Cause,
    pub(super) publisher: Option<PublisherMark>,
    pub(super) destinations: &'a [Destination<'static>],
    pub(super) retained: bool,
}

impl Facts<'_> {
    /// Of a message of which there is nothing more to say.
    pub(super) fn none(cause: Cause) -> Facts<'static> {
        Facts { cause, publisher: None, destinations: &[], retained: false }
    }
}

impl Draft {
    /// A message from `origin` is going to be delivered.
    #[inline]
    pub(super) fn begin(&mut self, origin: Origin) {
        debug_assert!(self.body.is_none() && self.copies.is_empty(), "one message is delivered at a time");
        self.origin = origin;
    }

    /// More copies of the message of `body` are going to be made.
    pub(super) fn resume(&mut self, body: BodyKey, bodies: &mut Bodies) {
        self.begin(bodies.get(body).origin);
        bodies.hold(body);
        self.body = Some(body);
    }

    /// The body of the message that is being delivered.
    pub(super) fn body(&mut self, bodies: &mut Bodies, message: &Message) -> BodyKey {
        let origin = self.origin;
        *self.body.get_or_insert_with(|| bodies.open(message.clone(), origin))
    }

    /// The fan-out stays open: the body, held for it.
    pub(super) fn open(&mut self, bodies: &mut Bodies, message: &Message) -> BodyKey {
        self.open = true;
        let body = self.body(bodies, message);
        bodies.hold(body);
        body
    }

    /// A member of the group is to be found elsewhere.
    pub(super) fn send_on(&mut self, group: GroupId) {
        self.groups.push(group);
    }

    /// Whether another shard has logged the message.
    pub(super) fn is_from_elsewhere(&self) -> bool {
        self.origin != Origin::Own
    }

    /// Whether there is anything that only a record of the message can say.
    pub(super) fn is_needed(&self) -> bool {
        !self.copies.is_empty() || self.open || !self.groups.is_empty()
    }

    /// Whether the rest of the receivers comes with later records.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }
}

/// What a record says of the message itself.
fn body_record<'a>(incoming: &'a Incoming<'_>, publisher: Option<PublisherMark>) -> BodyRecord<'a> {
    BodyRecord {
        topic: Cow::Borrowed(incoming.topic()),
        properties: Cow::Borrowed(incoming.properties()),
        payload: Cow::Borrowed(incoming.payload()),
        qos: incoming.qos(),
        retain: incoming.retain(),
        expires_at: incoming.expires_at(),
        publisher,
    }
}

impl Shard {
    /// Notes what became of a copy that the log is to have.
    pub(super) fn draft_copy(
        &mut self,
        key: SessionKey,
        kept: KeptCopy,
        copy: &CopyHead<'_>,
        offered: Offered,
    ) {
        let state = match offered {
            Offered::Dropped(_) => return,
            Offered::Held(packet_id) if copy.qos == QoS::ExactlyOnce => {
                self.draft.held.push((key, packet_id));
                CopyState::Started(packet_id)
            }
            _ => CopyState::Queued,
        };
        self.bodies.hold(kept.body);
        if offered == Offered::Paged {
            self.bodies.page_out(kept.body);
        }
        let session = self.sessions.get_mut(key).expect("it has taken the copy just now");
        session.next_copy = kept.number.next();
        if self.planted.is(Bug::CopyNotRecorded) {
            return;
        }
        self.draft.copies.push(CopyEntry {
            session: session.number,
            number: kept.number,
            qos: copy.qos,
            retain: copy.retain,
            group: copy.group.map(|group| self.topics.group_name(group)),
            state,
            identifiers: SmallVec::from_slice(copy.identifiers),
        });
    }

    /// The message is delivered: its record, if it needs one; else that of what it uses up. Returns its number; an acknowledgement waits for the newest.
    pub(super) fn record_message(
        &mut self,
        incoming: &mut Incoming<'_>,
        needed: bool,
        facts: &Facts<'_>,
    ) -> Lsn {
        let written = self.log.written();
        let lsn = if needed || matches!(facts.cause, Cause::Will(_)) {
            let copies = std::mem::take(&mut self.draft.copies);
            let groups = self.draft.groups.iter();
            let groups = groups.map(|group| Cow::Borrowed(self.topics.group_filter(*group)));
            let lsn = self.log.append(&Record::Message(MessageRecord {
                origin: self.draft.origin,
                cause: facts.cause,
                body: body_record(incoming, facts.publisher),
                destinations: Cow::Owned(facts.destinations.iter().map(Destination::borrowed).collect()),
                copies: Cow::Borrowed(&copies),
                retained: facts.retained,
                open: self.draft.open,
                groups: groups.collect(),
            }));
            self.draft.copies = copies;
            lsn
        } else {
            self.use_up(facts.cause)
        };
        let place = self.log.place_of_newest();
        self.pass_on(lsn, incoming, written);
        self.close_draft(lsn, Some((facts.publisher, place)));
        lsn
    }

    /// Members of shared groups are to be found elsewhere, as the record has said.
    fn pass_on(&mut self, record: Lsn, incoming: &mut Incoming<'_>, written: Written) {
        for (nth, group) in (0..).zip(std::mem::take(&mut self.draft.groups)) {
            let (message, after) = (incoming.message().clone(), self.draft.origin);
            let group = SharedGroup::Key(self.topics.group_key(group));
            let (send_on, parked) = (true, Some(ParkedId { record, nth }));
            self.redispatch.push(Taken { message, group, send_on, parked, after, written });
        }
    }

    /// A slice of an open fan-out is delivered.
    pub(super) fn record_slice(&mut self, body: BodyKey, last: bool) {
        let copies = std::mem::take(&mut self.draft.copies);
        let mut lsn = Lsn::NONE;
        if last || !copies.is_empty() {
            let body = self.bodies.get(body).id;
            let copies = Cow::Borrowed(&*copies);
            lsn = self.log.append(&Record::Copies(CopiesRecord { body, parked: None, copies, last }));
        }
        self.draft.copies = copies;
        self.close_draft(lsn, None);
    }

    /// Nothing else is to be said of the message.
    fn use_up(&mut self, cause: Cause) -> Lsn {
        match cause {
            Cause::None | Cause::Will(_) => Lsn::NONE,
            Cause::Received(session, packet_id) => self.log.append(&Record::Received { session, packet_id }),
            Cause::Parked(parked) => self.log.append(&Record::Unparked { parked }),
        }
    }

    /// The record is appended: what waits for its commit waits from here on. With who published it and where it lies, if it brings the body.
    fn close_draft(&mut self, lsn: Lsn, first: Option<(Option<PublisherMark>, Option<Place>)>) {
        self.draft.copies.clear();
        self.draft.open = false;
        let Some(body) = self.draft.body.take() else { return };
        if let Some((publisher, place)) = first {
            self.bodies.name(body, BodyId(lsn), publisher, place);
        }
        let mut held = std::mem::take(&mut self.draft.held);
        for (session, packet_id) in held.drain(..) {
            self.holds.hold(lsn, session, packet_id, self.draft.origin);
        }
        self.draft.held = held;
        self.bodies.release(body);
    }

    /// Copies of the session of `key` are gone, and its bodies have them no more.
    pub(super) fn finish_copies(&mut self, key: SessionKey, gone: &[KeptCopy]) {
        if gone.is_empty() {
            return;
        }
        let numbers: SmallVec<[CopyNumber; 4]> = gone.iter().map(|kept| kept.number).collect();
        self.record_finished(key, &numbers);
        for kept in gone {
            self.bodies.release(kept.body);
        }
    }

    /// Copies of the session of `key` are gone. Nobody waits for this: what comes back after a crash was delivered, or has expired, once more.
    pub(super) fn record_finished(&mut self, key: SessionKey, numbers: &[CopyNumber]) {
        let Some(session) = self.sessions.get(key) else { return };
        if !self.planted.is(Bug::FinishedNotWritten) {
            let copies = Cow::Borrowed(numbers);
            self.log.append(&Record::Finished { session: session.number, copies });
        }
    }
}
