//! After a start: the messages that the log had for durable sessions, on their way to other shards, and between members of shared groups.

use super::Shard;
use super::outbox::{Again, Sent};
use super::publish::Publisher;
use super::redispatch::Taken;
use super::session::SessionKey;
use crate::base::kept::{BodyKey, CopyNumber, KeptCopy, ParkedId, SessionNumber, Written};
use crate::base::lsn::Lsn;
use crate::base::rising_map::RisingMap;
use crate::base::time::Time;
use crate::log::{
    Bodies, BodyId, BodyImage, CopyEntry, CopyState, Destination, Occasion, Origin, ParkedImage,
    SessionImage, ShardImage,
};
use crate::mesh::SharedGroup;
use crate::session::{Identifiers, Incoming, Outbound, PagedCopy, PendingCopy, Restored};
use crate::topics::retained::PublisherMark;
use crate::topics::{GroupId, Receiver, TopicName};
use crate::wire::Message;
use std::collections::BTreeMap;

/// Where the sessions of an image are.
pub(super) type Restorees = BTreeMap<SessionNumber, SessionKey>;

/// The bodies of an image, each held until all is restored.
struct Opened(Vec<(BodyId, BodyKey)>);

impl Opened {
    /// `None`: the image is without it, as only damage makes it.
    fn key(&self, id: BodyId) -> Option<BodyKey> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.0[at].1)
    }

    /// A reference to the body.
    fn hold(&self, id: BodyId, bodies: &mut Bodies) -> Option<(BodyKey, Message)> {
        let key = self.key(id)?;
        bodies.hold(key);
        Some((key, bodies.message(key).clone()))
    }
}

/// Whether each ever happened has been asked, for the last time.
fn open(images: RisingMap<BodyId, BodyImage>, bodies: &mut Bodies) -> Opened {
    let mut opened = Vec::with_capacity(images.len());
    for (id, BodyImage { message, publisher, place, .. }) in images {
        let key = bodies.open(message, Origin::Own);
        bodies.name(key, id, publisher, place);
        opened.push((id, key));
    }
    Opened(opened)
}

/// How many of the session's copies may have been sent at most.
fn sent_max(image: &SessionImage) -> u16 {
    let Some(away) = image.away.0 else { return u16::MAX };
    u16::try_from(image.copies.range(..away).take(usize::from(u16::MAX)).count())
        .expect("no more are counted")
}

impl Shard {
    /// Copies, outbox, marks, open fan-outs and what is between two members, as `image` has them. Sessions, their subscriptions and the retained store
    /// are restored; nothing of this goes out before [`Shard::send_again`].
    ///
    /// The memory of each part of the image is given back before the next part is made: a million messages are there once.
    pub(super) fn restore_messages(&mut self, now: Time, image: ShardImage, keys: &Restorees) {
        // Everything that was recovered is committed.
        self.gate.commit(image.newest);
        image.marks.iter().for_each(|(source, lsn)| self.marks.tell(*source, *lsn));
        let bodies = open(image.bodies, &mut self.bodies);
        for (number, session) in image.sessions {
            if let Some(key) = keys.get(&number) {
                self.restore_copies(*key, session, &bodies);
            }
        }
        for (id, done) in &image.open {
            self.finish_fan_out(now, *id, (done, keys), &bodies);
        }
        self.restore_outbox(image.outbox, &bodies);
        for (number, parked) in image.parked {
            self.restore_taken(number, parked, &bodies);
        }
        bodies.0.into_iter().for_each(|(_, key)| self.bodies.release(key));
    }

    /// What was between two members of a shared group.
    fn restore_taken(&mut self, number: ParkedId, parked: ParkedImage, bodies: &Opened) {
        let Occasion::Member { group, sent_on } = parked.occasion else { return };
        let Some(body) = bodies.key(parked.body) else { return };
        self.counters.copies += 1;
        self.redispatch.push(Taken {
            message: self.bodies.message(body).clone(),
            group: SharedGroup::Filter((*group).into()),
            send_on: sent_on,
            parked: Some(number),
            written: Written::default(),
            after: Origin::Own,
        });
    }

    fn restore_copies(&mut self, key: SessionKey, image: SessionImage, bodies: &Opened) {
        let session = self.sessions.get(key).expect("it was restored just now");
        let groups = self.topics.groups_of(&session.filters);
        let (next_copy, sent_max) = (image.next_copy, sent_max(&image));
        let sent_before = image.away.0.unwrap_or(next_copy);
        let mut copies = Vec::with_capacity(image.copies.len());
        for (number, (body, entry)) in image.copies {
            if let Some(copy) = self.restored_copy(number, (body, entry), &groups, bodies) {
                copies.push(copy);
            }
        }
        let with_backlog: Vec<GroupId> = groups
            .into_iter()
            .filter(|group| {
                let of =
                    |copy: &Restored| matches!(copy, Restored::Queued(copy) if copy.group == Some(*group));
                copies.iter().any(of)
            })
            .collect();
        self.leave_on_disk(&mut copies);
        let session = self.sessions.get_mut(key).expect("it was restored just now");
        session.next_copy = next_copy;
        session.outbound = Outbound::restored(self.limits.in_flight_max.min(sent_max), copies);
        session.outbound.note_sent_before(sent_before);
        // They are made anew, as far as this run's counters go.
        self.counters.copies += (session.outbound.queued() + session.outbound.in_flight()) as u64;
        with_backlog.into_iter().for_each(|group| self.topics.note_backlog(group, key));
    }

    /// Leaves on disk what memory has no room for: in flight and waiting as much as there may be of each.
    fn leave_on_disk(&mut self, copies: &mut [Restored]) {
        if self.limits.queue_disk_bytes_max == 0 {
            return;
        }
        let copies_max = usize::from(self.limits.in_flight_max) + self.limits.queue_messages_max as usize;
        let mut bytes = 0;
        let fits = |(at, copy): (usize, &Restored)| {
            if let Restored::Queued(copy) | Restored::Started(_, copy) = copy {
                bytes += copy.message.memory_bytes();
            }
            at == 0 || at < copies_max && bytes <= 2 * self.limits.queue_bytes_max as usize
        };
        let fitting = copies.iter().enumerate().map(fits).take_while(|fits| *fits).count();
        let can_wait = |copy: &Restored| matches!(copy, Restored::Queued(copy) if copy.group.is_none());
        let waiting = copies.iter().rposition(|copy| !can_wait(copy)).map_or(0, |last| last + 1);
        for restored in &mut copies[fitting.max(waiting)..] {
            if let Restored::Queued(copy) = restored
                && let Some(paged) = PagedCopy::of(copy)
            {
                self.bodies.page_out(paged.kept.body);
                *restored = Restored::Paged(paged);
            }
        }
    }

    fn restored_copy(
        &mut self,
        number: CopyNumber,
        (body, entry): (BodyId, CopyEntry),
        groups: &[GroupId],
        bodies: &Opened,
    ) -> Option<Restored> {
        if let CopyState::Arrived(packet_id) = entry.state {
            return Some(Restored::Arrived(packet_id, number));
        }
        let (body, message) = bodies.hold(body, &mut self.bodies)?;
        // One that it has left is none: what is in flight of it stays with it.
        let is_for = |group: &GroupId| entry.group.as_deref() == Some(self.topics.group_filter(*group));
        let group = groups.iter().copied().find(is_for);
        let copy = PendingCopy {
            message,
            identifiers: Identifiers::from(&*entry.identifiers),
            qos: entry.qos,
            retain: entry.retain,
            group,
            kept: Some(KeptCopy { number, body }),
        };
        Some(match entry.state {
            CopyState::Started(packet_id) => Restored::Started(packet_id, copy),
            _ => Restored::Queued(copy),
        })
    }

    /// The rest of the receivers of a fan-out that the last run did not bring to its end: `done` have their copy, or have had it.
    fn finish_fan_out(
        &mut self,
        now: Time,
        id: BodyId,
        (done, keys): (&[SessionNumber], &Restorees),
        bodies: &Opened,
    ) {
        let Some((body, message)) = bodies.hold(id, &mut self.bodies) else { return };
        let publisher = self.bodies.get(body).publisher;
        let mut done: Vec<SessionKey> = done.iter().filter_map(|number| keys.get(number).copied()).collect();
        done.sort_unstable();
        let routes =
            self.topics.routes(TopicName::new(message.topic()).expect("checked when it was published"));
        let is_left = |receiver: &&Receiver<_>| done.binary_search(&receiver.key()).is_err();
        let rest: Vec<_> = routes.receivers().iter().filter(is_left).copied().collect();
        let publisher = self.publisher_marked(publisher, &rest);
        let mut incoming = Incoming::owned(&message);
        let mut slices = rest.chunks(self.limits.fan_out_batch as usize).peekable();
        loop {
            let slice = slices.next().unwrap_or_default();
            let last = slices.peek().is_none();
            self.draft.resume(body, &mut self.bodies);
            self.deliver(now, &mut incoming, &routes, slice, publisher);
            self.record_slice(body, last);
            if last {
                return self.bodies.release(body);
            }
        }
    }

    /// The session that published a message, if it is one of the receivers: only for them it matters.
    fn publisher_marked(&self, mark: Option<PublisherMark>, receivers: &[Receiver<SessionKey>]) -> Publisher {
        let is_it = |key: &SessionKey| {
            let session = self.sessions.get(*key);
            session.map(|session| PublisherMark::new(&session.client_id, &self.retained.key)) == mark
        };
        let key = mark.and_then(|_| receivers.iter().map(Receiver::key).find(is_it));
        key.map_or(Publisher::Elsewhere, Publisher::Session)
    }

    fn restore_outbox(
        &mut self,
        outbox: BTreeMap<Lsn, (BodyId, Vec<Destination<'static>>)>,
        bodies: &Opened,
    ) {
        for (lsn, (id, destinations)) in outbox {
            let Some((body, _)) = bodies.hold(id, &mut self.bodies) else { continue };
            let publisher = self.bodies.get(body).publisher;
            for destination in &destinations {
                self.outbox.again[destination.shard.index()].push_back(Again { lsn, publisher });
            }
            self.outbox.push(Sent {
                lsn,
                body,
                destinations: destinations.into(),
                written: Written::default(),
            });
        }
    }
}
