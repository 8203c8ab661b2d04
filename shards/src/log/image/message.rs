//! Records of messages: what they bring, and what they use up.

use super::{BodyImage, ParkedImage, SessionImage, ShardImage};
use crate::base::kept::{CopyNumber, ParkedId, SessionNumber};
use crate::base::lsn::Lsn;
use crate::log::record::{
    BodyId, BodyRecord, Cause, CopiesRecord, CopyEntry, Destination, MessageRecord, Occasion, Origin,
    ParkedRecord,
};
use crate::topics::retained::PublisherMark;
use crate::wire::Message;
use std::borrow::Cow;

impl ShardImage {
    pub(super) fn apply_message(&mut self, lsn: Lsn, record: &MessageRecord<'_>) {
        let origin = self.origin_of(record.origin, record.cause);
        self.use_up(record.cause);
        self.arrive(record.origin);
        let message = record.body.to_message();
        if record.retained {
            self.retain(&message, record.body.publisher);
        }
        let body = BodyId(lsn);
        if record.open {
            self.open.insert(body, record.copies.iter().map(|copy| copy.session).collect());
        }
        for (nth, group) in (0..).zip(&*record.groups) {
            let occasion = Occasion::Member { group: Cow::Owned(group.to_string()), sent_on: true };
            self.parked.insert(ParkedId { record: lsn, nth }, ParkedImage { occasion, body });
        }
        if !record.destinations.is_empty() {
            let destinations = record.destinations.iter().map(Destination::to_static).collect();
            self.outbox.insert(lsn, (body, destinations));
        }
        let is_parked = record.open || !record.groups.is_empty();
        if is_parked || !record.destinations.is_empty() || !record.copies.is_empty() {
            let publisher = record.body.publisher;
            let place = self.at;
            self.bodies.insert(body, BodyImage { message, publisher, origin, place });
        }
        self.add_copies(body, &record.copies);
    }

    /// Where a message really comes from: one that was parked is published here, and may have come from elsewhere before.
    fn origin_of(&self, origin: Origin, cause: Cause) -> Origin {
        let (Origin::Own, Cause::Parked(parked)) = (origin, cause) else { return origin };
        let body = self.parked.get(&parked).and_then(|parked| self.bodies.get(&parked.body));
        body.map_or(Origin::Own, |body| body.origin)
    }

    fn use_up(&mut self, cause: Cause) {
        match cause {
            Cause::None => {}
            Cause::Received(session, packet_id) => self.change(session, |session| session.receive(packet_id)),
            Cause::Will(session) => self.change(session, |session| session.will = None),
            Cause::Parked(parked) => drop(self.parked.remove(&parked)),
        }
    }

    pub(super) fn arrive(&mut self, origin: Origin) {
        if let Origin::Peer { source, lsn } = origin {
            let mark = self.marks.entry(source).or_default();
            *mark = lsn.max(*mark);
        }
    }

    pub(in crate::log) fn retain(&mut self, message: &Message, publisher: Option<PublisherMark>) {
        if message.payload().is_empty() {
            self.retained.remove(message.topic());
            return;
        }
        let retained = (message.clone(), publisher, self.written());
        match self.retained.get_mut(message.topic()) {
            Some(there) => *there = retained,
            None => drop(self.retained.insert(message.topic().into(), retained)),
        }
    }

    fn add_copies(&mut self, body: BodyId, copies: &[CopyEntry]) {
        for copy in copies {
            self.change(copy.session, |session| session.add_copy(body, copy));
        }
    }

    pub(super) fn add_late_copies(&mut self, more: &CopiesRecord<'_>) {
        self.add_copies(more.body, &more.copies);
        if let Some(parked) = more.parked {
            self.parked.remove(&parked);
        } else if more.last {
            self.open.remove(&more.body);
        } else if let Some(done) = self.open.get_mut(&more.body) {
            done.extend(more.copies.iter().map(|copy| copy.session));
        }
    }

    pub(super) fn park(&mut self, lsn: Lsn, record: &ParkedRecord<'_>) {
        let parked = record.parked.unwrap_or(ParkedId::alone(lsn));
        let body = record.body_id(lsn);
        let taken = record.taken_from.and_then(|(session, copy)| self.take_copy(session, copy));
        let origin = match (record.origin, taken.and_then(|body| self.bodies.get(&body))) {
            (Origin::Own, Some(taken)) => taken.origin,
            (origin, _) => self.origin_of(origin, record.cause),
        };
        self.use_up(record.cause);
        self.arrive(record.origin);
        self.keep_body(body, origin, &record.body);
        if let Occasion::FanOut { done, body } = &record.occasion {
            self.open.insert(*body, done.to_vec());
        } else {
            self.parked.insert(parked, ParkedImage { occasion: record.occasion.to_static(), body });
        }
    }

    fn take_copy(&mut self, session: SessionNumber, copy: CopyNumber) -> Option<BodyId> {
        let mut taken = None;
        self.change(session, |session| taken = session.copies.remove(&copy));
        self.oddities.unknown_copies += u64::from(taken.is_none());
        taken.map(|(body, _)| body)
    }

    /// Has a body, unless it is there: then its own record has said better where it came from.
    pub(super) fn keep_body(&mut self, body: BodyId, origin: Origin, content: &BodyRecord<'_>) {
        let place = self.at;
        let image = self.bodies.get_or_insert_with(body, || BodyImage {
            message: content.to_message(),
            publisher: content.publisher,
            origin,
            place,
        });
        image.place = place;
    }

    pub(super) fn send_again(
        &mut self,
        lsn: Lsn,
        content: &BodyRecord<'_>,
        destinations: &[Destination<'_>],
    ) {
        let body = BodyId(lsn);
        self.keep_body(body, Origin::Own, content);
        self.outbox.insert(lsn, (body, destinations.iter().map(Destination::to_static).collect()));
    }
}

impl SessionImage {
    pub(in crate::log) fn add_copy(&mut self, body: BodyId, copy: &CopyEntry) {
        self.copies.insert(copy.number, (body, copy.clone()));
        self.next_copy = self.next_copy.max(copy.number.next());
    }

    pub(super) fn replace_copies(
        &mut self,
        from: CopyNumber,
        through: CopyNumber,
        copies: &[(BodyId, CopyEntry)],
    ) {
        let gone: Vec<CopyNumber> = self.copies.range(from..=through).map(|(number, _)| *number).collect();
        for number in gone {
            self.copies.remove(&number);
        }
        if through >= self.next_copy {
            // The end of a queue is what cleaning writes of it first, right behind the head. Another may come from a CONNECT before the rest.
            self.again = self.head;
        }
        if from == CopyNumber::default() {
            // The beginning is what it writes last.
            self.written = self.again;
        }
        copies.iter().for_each(|(body, copy)| self.add_copy(*body, copy));
    }
}
