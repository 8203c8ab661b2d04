//! Messages of sessions whose queues are larger than memory, read back from the log when their clients have taken what is before them.
//!
//! A session is wanted once (`Outbound::wants_paged`) and waits its turn; one read of a session is under way at a time, so what comes back is in order.
//! Whose session has ended meanwhile finds nobody, and what cannot be read is dropped, counted and reported.

use super::Shard;
use super::event::Event;
use super::session::SessionKey;
use crate::base::kept::{CopyNumber, KeptCopy};
use crate::base::limits::{PAGE_READ_BYTES_MAX, PAGE_READS_MAX};
use crate::base::time::Time;
use crate::log::{Body, DiskError, Place};
use crate::session::{DropReason, PagedCopy};
use crate::topics::TopicName;
use crate::wire::Message;
use std::collections::{BTreeMap, VecDeque};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Paging {
    wanted: VecDeque<SessionKey>,
    /// By the tags of the reads.
    asked: BTreeMap<u64, Read>,
    next_tag: u64,
}

impl Paging {
    /// Names a read: no two under way have the same.
    pub(super) fn new_tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }
}

/// A read under way.
struct Read {
    of: SessionKey,
    span: Place,
    /// Copies in order, and where their messages were when this was asked.
    copies: Vec<(CopyNumber, Place)>,
}

impl Shard {
    /// The session may have room again for what it has on disk.
    pub(super) fn want_paged(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.outbound.wants_paged(&self.limits) {
            self.paging.wanted.push_back(key);
        }
    }

    /// Whether one of the first that wait can be served.
    pub(super) fn paging_can_go(&self) -> bool {
        self.may_read() && self.paging.wanted.iter().take(PAGE_READS_MAX).any(|key| self.can_page_in(*key))
    }

    fn may_read(&self) -> bool {
        self.paging.asked.len() < PAGE_READS_MAX && !self.is_stopping()
    }

    /// What was appended a moment ago, or was written again, may not be on disk yet.
    fn can_page_in(&self, key: SessionKey) -> bool {
        let next = self.sessions.get(key).and_then(|session| session.outbound.paged().next());
        next.is_none_or(|copy| self.is_there(self.bodies.get(copy.kept.body)))
    }

    /// Whether it need not be waited for.
    fn is_there(&self, body: &Body) -> bool {
        body.message.is_some() || body.lost || self.gate.is_committed(body.record)
    }

    /// Serves those who wait, a bounded part of them per turn.
    pub(super) fn advance_paging(&mut self, now: Time) {
        for _ in 0..PAGE_READS_MAX.min(self.paging.wanted.len()) {
            if !self.may_read() {
                return;
            }
            let key = self.paging.wanted.pop_front().expect("no more are served than wait");
            if self.can_page_in(key) {
                self.page_in(now, key);
            } else {
                self.paging.wanted.push_back(key);
            }
        }
    }

    /// Gets what memory has room for: what is there for other sessions, or lost, at once, else by one read.
    fn page_in(&mut self, now: Time, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let room = session.outbound.room_for_paged(&self.limits);
        let at_once = |copy: &PagedCopy| {
            let body = self.bodies.get(copy.kept.body);
            (body.lost || body.message.is_some()).then(|| (copy.kept.number, body.message.clone()))
        };
        let there: Vec<_> = session.outbound.paged().take(room).map_while(at_once).collect();
        if there.is_empty()
            && let Some(read) = self.next_read(key, room)
        {
            let tag = self.paging.new_tag();
            self.log.read(read.span, tag);
            self.paging.asked.insert(tag, read);
            return;
        }
        let mut unreadable = 0;
        for (number, message) in there {
            match message {
                Some(message) => self.bring_in(key, number, message),
                None => unreadable += self.drop_unreadable(key, number),
            }
        }
        self.report_unreadable(key, unreadable);
        self.paged_in(now, key);
    }

    /// A run of copies that lie together in the log, the next of the session first.
    fn next_read(&self, key: SessionKey, room: usize) -> Option<Read> {
        let session = self.sessions.get(key)?;
        let mut read: Option<Read> = None;
        for copy in session.outbound.paged().take(room) {
            let body = self.bodies.get(copy.kept.body);
            if body.message.is_some() || !self.is_there(body) || body.lost {
                break;
            }
            let place = body.place.expect("a message that is not in memory has its place on disk");
            let Some(read) = &mut read else {
                read = Some(Read { of: key, span: place, copies: vec![(copy.kept.number, place)] });
                continue;
            };
            if !read.span.reaches(place, PAGE_READ_BYTES_MAX) {
                break;
            }
            read.span = read.span.through(place);
            read.copies.push((copy.kept.number, place));
        }
        read
    }

    /// The disk has read what was asked for, or has not.
    pub(super) fn handle_read(&mut self, now: Time, tag: u64, result: Result<Vec<u8>, DiskError>) {
        if self.handle_body_read(tag, &result) {
            return;
        }
        let mut read = self.paging.asked.remove(&tag).expect("the disk answers what it was asked, once");
        if self.is_stopping() || self.sessions.get(read.of).is_none() {
            return;
        }
        if result.is_err() && read.copies.len() > 1 {
            // Not all that lies together need be lost: one after the other.
            read.copies.truncate(1);
            read.span = read.copies[0].1;
            self.log.read(read.span, tag);
            self.paging.asked.insert(tag, read);
            return;
        }
        let mut unreadable = 0;
        for (number, place) in &read.copies {
            let session = self.sessions.get(read.of).expect("looked for above");
            let next = session.outbound.paged().next().filter(|copy| copy.kept.number == *number);
            // It has expired meanwhile, and made room.
            let Some(body) = next.map(|copy| self.bodies.get(copy.kept.body)) else { continue };
            let there = || self.log.message_in(result.as_deref().ok()?, read.span, *place, body.id);
            match body.message.clone().or_else(there).filter(|_| !body.lost) {
                Some(message) => self.bring_in(read.of, *number, message),
                // It has been written again elsewhere, and its old place given up: it is read there.
                None if body.place != Some(*place) => break,
                None => unreadable += self.drop_unreadable(read.of, *number),
            }
        }
        self.report_unreadable(read.of, unreadable);
        self.paged_in(now, read.of);
    }

    /// What was wanted is there: the client gets it, and the next is wanted.
    fn paged_in(&mut self, now: Time, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.outbound.has_read();
        if let Some(connection) = session.connection {
            self.pump(now, connection);
        }
    }

    /// The next copy of the session has its message again.
    fn bring_in(&mut self, key: SessionKey, number: CopyNumber, message: Message) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        let next = session.outbound.paged().next().filter(|copy| copy.kept.number == number);
        let Some(came_before) = next.map(|copy| session.outbound.came_before_unsubscribe(copy)) else {
            return;
        };
        let mut identifiers = None;
        if came_before {
            let topic = TopicName::new(message.topic()).expect("checked when it was published");
            let routes = self.topics.routes_of(key, topic);
            let Some(receiver) = routes.receivers().first() else {
                return self.drop_paged(key, number, DropReason::Unsubscribed);
            };
            identifiers = Some(routes.identifiers_of(receiver).to_vec());
        }
        let session = self.sessions.get_mut(key).expect("the caller has it");
        let mut copy: PagedCopy = session.outbound.take_paged(number).expect("looked at just now");
        let is_other = identifiers.is_some_and(|left| copy.retain_identifiers(|id| left.contains(&id)));
        let kept = copy.kept;
        if session.is_durable() {
            self.bodies.page_in(kept.body, &message);
            let copy = copy.with(message, Some(kept));
            let revised = is_other.then(|| copy.clone());
            session.outbound.page_in(copy);
            self.record_revised(key, revised.into_iter().collect());
        } else {
            // The log has forgotten the session, and kept its messages until they are read.
            self.bodies.release_paged(kept.body);
            session.outbound.page_in(copy.with(message, None));
        }
    }

    fn drop_unreadable(&mut self, key: SessionKey, number: CopyNumber) -> u64 {
        self.drop_paged(key, number, DropReason::Unreadable);
        1
    }

    fn drop_paged(&mut self, key: SessionKey, number: CopyNumber, reason: DropReason) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        let Some(copy) = session.outbound.take_paged(number) else { return };
        self.drop_copies(reason, 1);
        self.finish_paged(key, &[copy.kept]);
    }

    /// Copies of the session are gone that were on disk.
    pub(super) fn finish_paged(&mut self, key: SessionKey, gone: &[KeptCopy]) {
        if gone.is_empty() {
            return;
        }
        if self.sessions.get(key).is_some_and(|session| session.is_durable()) {
            let numbers: Vec<CopyNumber> = gone.iter().map(|kept| kept.number).collect();
            self.record_finished(key, &numbers);
        }
        gone.iter().for_each(|kept| self.bodies.release_paged(kept.body));
    }

    pub(super) fn report_unreadable(&mut self, key: SessionKey, copies: u64) {
        if copies > 0 {
            let session = self.sessions.get(key).expect("the caller has it");
            let client_id = session.client_id.clone();
            self.report(Event::Unreadable { client_id, copies });
        }
    }
}
