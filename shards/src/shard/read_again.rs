//! Messages that are on disk only and lie in segments that go: they are read, checked, and written again like the others.
//!
//! The round looks on while they come, as long as what is under way is not much, and goes on to the queues that name them when all are there. What
//! cannot be read is lost with its segment: each session drops its copies of it, tells, and keeps the rest of its queue.

use super::Shard;
use super::cleaning::Stage;
use super::cleaning_pace::Share;
use super::session::SessionKey;
use super::written_again::STRIDE;
use crate::base::kept::BodyKey;
use crate::base::limits::{CLEAN_READ_BYTES_MAX, PAGE_READ_BYTES_MAX};
use crate::log::{DiskError, Place};
use crate::session::DropReason;
use std::collections::{BTreeMap, VecDeque};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct BodyReads {
    /// To be sorted by where they lie, and asked for together.
    gathered: Vec<(BodyKey, Place)>,
    /// Of the messages of those.
    gathered_bytes: u32,
    /// To be asked for when what is under way is less.
    waiting: VecDeque<Run>,
    /// By the tags of the reads.
    asked: BTreeMap<u64, Run>,
    /// Of those.
    bytes: u64,
    /// Some could not be read.
    lost: bool,
}

/// Bodies that lie together in the log, and where each does.
struct Run {
    span: Place,
    bodies: Vec<(BodyKey, Place)>,
}

impl Run {
    /// Bodies in the order in which they lie, one at least.
    fn of(bodies: Vec<(BodyKey, Place)>) -> Run {
        let ((_, first), (_, last)) = (bodies[0], bodies[bodies.len() - 1]);
        Run { span: first.through(last), bodies }
    }
}

impl BodyReads {
    /// Whether as much is under way as may be.
    pub(super) fn are_many(&self) -> bool {
        self.bytes >= CLEAN_READ_BYTES_MAX || !self.waiting.is_empty()
    }

    /// Whether any is under way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }
}

impl Shard {
    /// The message is on disk only: it is read with those that lie beside it.
    pub(super) fn read_again(&mut self, key: BodyKey, share: &mut Share) {
        let place =
            self.bodies.get(key).place.expect("a message that is not in memory has its place on disk");
        share.record(place.bytes as usize);
        let reads = &mut self.cleaning.reads;
        reads.gathered.push((key, place));
        reads.gathered_bytes = reads.gathered_bytes.saturating_add(place.bytes);
        if reads.gathered_bytes >= PAGE_READ_BYTES_MAX {
            self.ask_for_gathered();
        }
    }

    /// Nothing more is gathered.
    pub(super) fn ask_for_gathered(&mut self) {
        let reads = &mut self.cleaning.reads;
        let mut gathered = std::mem::take(&mut reads.gathered);
        reads.gathered_bytes = 0;
        gathered.sort_unstable_by_key(|(_, place)| (place.segment, place.offset));
        for (key, place) in gathered {
            match reads.waiting.back_mut() {
                Some(run) if run.span.reaches(place, PAGE_READ_BYTES_MAX) => {
                    run.span = run.span.through(place);
                    run.bodies.push((key, place));
                }
                _ => reads.waiting.push_back(Run::of(vec![(key, place)])),
            }
        }
        self.ask_for_waiting();
    }

    fn ask_for_waiting(&mut self) {
        while self.cleaning.reads.bytes < CLEAN_READ_BYTES_MAX
            && let Some(run) = self.cleaning.reads.waiting.pop_front()
        {
            let tag = self.paging.new_tag();
            self.log.read(run.span, tag);
            self.cleaning.reads.bytes += u64::from(run.span.bytes);
            self.cleaning.reads.asked.insert(tag, run);
        }
    }

    /// The disk has read what cleaning asked for, or has not. False: it was somebody else who asked.
    pub(super) fn handle_body_read(&mut self, tag: u64, result: &Result<Vec<u8>, DiskError>) -> bool {
        let Some(mut run) = self.cleaning.reads.asked.remove(&tag) else { return false };
        self.cleaning.reads.bytes -= u64::from(run.span.bytes);
        if self.is_stopping() {
            return true;
        }
        if result.is_err() && run.bodies.len() > 1 {
            // Not all that lies together need be lost.
            let rest = run.bodies.split_off(run.bodies.len() / 2);
            self.cleaning.reads.waiting.extend([Run::of(run.bodies), Run::of(rest)]);
            self.ask_for_waiting();
            return true;
        }
        let before = self.log.appended_bytes();
        for (key, place) in run.bodies {
            // Nobody else writes it again: where it lay it lies, if anybody still needs it.
            let Some(body) = self.bodies.find(key) else { continue };
            let read = || self.log.message_in(result.as_deref().ok()?, run.span, place, body.id);
            match body.message.clone().or_else(read) {
                Some(message) => self.write_body_again(key, &message),
                None => {
                    self.bodies.lose(key);
                    self.cleaning.reads.lost = true;
                }
            }
        }
        // It is no reason to clean faster.
        let again = self.log.appended_bytes() - before;
        self.cleaning.appended += again;
        self.cleaning.again += again;
        self.ask_for_waiting();
        true
    }

    /// What was read is written again: on to the queues, by way of those that have lost something.
    pub(super) fn after_bodies(&self) -> Stage {
        if self.cleaning.reads.lost { Stage::Lost(0) } else { Stage::Sessions(0) }
    }

    /// Sessions without the copies whose messages are lost.
    pub(super) fn clean_lost(&mut self, from: usize, share: &mut Share) -> Stage {
        let end = from + STRIDE;
        let Some(key) = self.sessions.next_key_before(from, end) else {
            share.look(STRIDE);
            if end < self.sessions.slots() {
                return Stage::Lost(end);
            }
            self.cleaning.reads.lost = false;
            return Stage::Sessions(0);
        };
        share.look(key.index() + 1 - from);
        self.drop_lost(key);
        Stage::Lost(key.index() + 1)
    }

    fn drop_lost(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key).expect("found just now");
        let bodies = &self.bodies;
        let lost = session.outbound.drop_paged(|copy| bodies.get(copy.kept.body).lost);
        self.drop_copies(DropReason::Unreadable, lost.len() as u64);
        self.finish_paged(key, &lost);
        self.report_unreadable(key, lost.len() as u64);
    }
}
