//! After a start: the messages that the log had for durable sessions, on their way to other shards, and between members of shared groups.

use super::Shard;
use super::outbox::{Again, Sent};
use super::publish::Publisher;
use super::redispatch::Taken;
use super::session::SessionKey;
use crate::base::kept::{BodyKey, CopyNumber, KeptCopy, SessionNumber, Written};
use crate::base::time::Time;
use crate::log::{BodyId, BodyImage, CopyEntry, CopyState, Occasion, Origin, SessionImage, ShardImage};
use crate::mesh::SharedGroup;
use crate::session::{Identifiers, Incoming, Outbound, PagedCopy, PendingCopy, Restored};
use crate::topics::retained::PublisherMark;
use crate::topics::{GroupId, Receiver, TopicName};
use crate::wire::Message;
use std::collections::BTreeMap;

/// Where the sessions of an image are.
pub(super) type Restorees = BTreeMap<SessionNumber, SessionKey>;

/// Bodies that something refers to again, each held until all is restored.
struct Bodies<'i> {
    image: &'i BTreeMap<BodyId, BodyImage>,
    keys: BTreeMap<BodyId, BodyKey>,
}

impl Bodies<'_> {
    /// A reference to the body; `None`: the image is without it, as only damage makes it.
    fn hold(&mut self, id: BodyId, bodies: &mut crate::log::Bodies) -> Option<(BodyKey, Message)> {
        let BodyImage { message, publisher, place, .. } = self.image.get(&id)?;
        let key = *self.keys.entry(id).or_insert_with(|| {
            // Whether it ever happened has been asked, for the last time.
            let key = bodies.open(message.clone(), Origin::Own);
            bodies.name(key, id, *publisher, *place);
            key
        });
        bodies.hold(key);
        Some((key, bodies.message(key).clone()))
    }
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
    pub(super) fn restore_messages(&mut self, now: Time, image: &ShardImage, keys: &Restorees) {
        // Everything that was recovered is committed.
        self.gate.commit(image.newest);
        image.marks.iter().for_each(|(source, lsn)| self.marks.tell(*source, *lsn));
        let mut bodies = Bodies { image: &image.bodies, keys: BTreeMap::new() };
        for (number, session) in &image.sessions {
            if let Some(key) = keys.get(number) {
                self.restore_copies(*key, session, &mut bodies);
            }
        }
        for (id, done) in &image.open {
            self.finish_fan_out(now, *id, (done, keys), &mut bodies);
        }
        self.restore_outbox(image, &mut bodies);
        for (number, parked) in &image.parked {
            if let Occasion::Member { group, sent_on } = &parked.occasion {
                let Some(body) = image.bodies.get(&parked.body) else { continue };
                self.counters.copies += 1;
                self.redispatch.push(Taken {
                    message: body.message.clone(),
                    group: SharedGroup::Filter((**group).into()),
                    send_on: *sent_on,
                    parked: Some(*number),
                    written: Written::default(),
                    after: Origin::Own,
                });
            }
        }
        bodies.keys.into_values().for_each(|key| self.bodies.release(key));
    }

    fn restore_copies(&mut self, key: SessionKey, image: &SessionImage, bodies: &mut Bodies<'_>) {
        let session = self.sessions.get(key).expect("it was restored just now");
        let groups = self.topics.groups_of(&session.filters);
        let mut copies = Vec::with_capacity(image.copies.len());
        for (number, (body, entry)) in &image.copies {
            if let Some(copy) = self.restored_copy(*number, (*body, entry), &groups, bodies) {
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
        session.next_copy = image.next_copy;
        session.outbound = Outbound::restored(self.limits.in_flight_max.min(sent_max(image)), copies);
        session.outbound.note_sent_before(image.away.0.unwrap_or(image.next_copy));
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
        (body, entry): (BodyId, &CopyEntry),
        groups: &[GroupId],
        bodies: &mut Bodies<'_>,
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
        bodies: &mut Bodies<'_>,
    ) {
        let publisher = bodies.image.get(&id).and_then(|body| body.publisher);
        let Some((body, message)) = bodies.hold(id, &mut self.bodies) else { return };
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

    fn restore_outbox(&mut self, image: &ShardImage, bodies: &mut Bodies<'_>) {
        for (lsn, (id, destinations)) in &image.outbox {
            let publisher = image.bodies.get(id).and_then(|body| body.publisher);
            let Some((body, _)) = bodies.hold(*id, &mut self.bodies) else { continue };
            for destination in destinations {
                self.outbox.again[destination.shard.index()].push_back(Again { lsn: *lsn, publisher });
            }
            let written = Written::default();
            self.outbox.push(Sent { lsn: *lsn, body, destinations: destinations.clone().into(), written });
        }
    }
}
