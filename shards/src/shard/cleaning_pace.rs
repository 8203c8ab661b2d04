//! How much of cleaning a turn does: as little as lets the log stay within its bound, in slices that nobody notices.
//!
//! What cleaning does is counted in *work*: looking at one place of a table is one of it, and everything else as many as take as long. All that lives
//! is gone through while others append what is left of the bound, so a turn owes
//!
//! ```text
//! what others have appended × (work of one time through ÷ CLEAN_AHEAD_PARTS) ÷ bytes left to the bound
//! ```
//!
//! The closer the bound, the faster: where a time through frees much the log stays where both hold each other, two thirds of the way from what lives to
//! the bound; where it frees nothing for a while, the pace rises, and the bound is not met before all is gone through. What one turn may not do,
//! since its slice is bounded or the disk is behind, the next ones owe.

use super::Shard;
use super::cleaning::{Round, Stage};
use super::written_again::STRIDE;
use crate::base::kept::Written;
use crate::base::limits::{
    CLEAN_AHEAD_PARTS, CLEAN_COPY_WORK, CLEAN_LATE_TURN_WORK_MAX, CLEAN_RECORD_WORK, CLEAN_ROUND_PART,
    CLEAN_TURN_WORK_IDLE, CLEAN_TURN_WORK_MAX, CLEAN_TURN_WORK_MIN, CLEAN_VISIT_WORK, CLEAN_WORK_BYTES,
    COPY_RECORD_BYTES,
};
use crate::log::BLOCK_BYTES;

/// What a turn may still do for cleaning.
#[derive(Clone, Copy)]
pub(super) struct Share {
    work: u64,
}

impl Share {
    fn spend(&mut self, work: u64) {
        self.work = self.work.saturating_sub(work);
    }

    /// So many places were looked at.
    pub(super) fn look(&mut self, places: usize) {
        self.spend(places as u64);
    }

    /// A message was looked at.
    pub(super) fn visit(&mut self) {
        self.spend(CLEAN_VISIT_WORK);
    }

    /// A record with so many bytes beside its fields was written, or read.
    pub(super) fn record(&mut self, bytes: usize) {
        self.spend(CLEAN_RECORD_WORK + bytes as u64 / CLEAN_WORK_BYTES);
    }

    /// So many copies of a queue were written.
    pub(super) fn copies(&mut self, copies: usize) {
        self.spend(copies as u64 * CLEAN_COPY_WORK);
    }

    /// What is left of it.
    pub(super) fn left(self) -> u64 {
        self.work
    }
}

impl Shard {
    /// What this turn may do of the round, after others have appended so many bytes; the rest is owed.
    pub(super) fn take_share(&mut self, appended: u64, round: &Round) -> Share {
        let owed = match appended {
            0 if self.cleaning.late => CLEAN_TURN_WORK_MAX,
            0 => CLEAN_TURN_WORK_IDLE,
            // Small writes fill a block each.
            more => self.work_owed(more + BLOCK_BYTES as u64, round).max(CLEAN_TURN_WORK_MIN),
        };
        let owed = (self.cleaning.owed + owed).min(CLEAN_LATE_TURN_WORK_MAX);
        let max = if self.cleaning.late { CLEAN_LATE_TURN_WORK_MAX } else { CLEAN_TURN_WORK_MAX };
        let waits = owed < CLEAN_TURN_WORK_IDLE || self.waits_for_disk();
        let work = if waits { 0 } else { owed.min(max) };
        self.cleaning.owed = owed - work;
        Share { work }
    }

    /// See the module's documentation.
    fn work_owed(&self, appended: u64, round: &Round) -> u64 {
        let Some(journal) = self.log.journal() else { return 0 };
        let (live, used) = (self.live_log_bytes(), journal.used().1);
        let segment = journal.segment_bytes();
        // What the round is still to write is there twice when it has.
        let goes = (used / CLEAN_ROUND_PART).max(segment).min(live);
        let twice = (goes + round.sessions).saturating_sub(self.cleaning.again - round.again);
        let bound = 2 * (live + segment);
        let left = bound.saturating_sub(used + twice).max(appended);
        let owed =
            u128::from(appended) * u128::from(self.work_through()) / u128::from(CLEAN_AHEAD_PARTS * left);
        u64::try_from(owed).unwrap_or(u64::MAX)
    }

    /// Adds up what of the sessions is to be written: where the heads of all lie together, that is all queues before a segment is given up.
    pub(super) fn weigh_sessions(
        &self,
        from: usize,
        through: Written,
        bytes: &mut u64,
        share: &mut Share,
    ) -> Stage {
        let end = from + STRIDE;
        let Some(key) = self.sessions.next_key_before(from, end) else {
            share.look(STRIDE);
            return if end < self.sessions.slots() { Stage::Weigh(end) } else { Stage::Bodies(0) };
        };
        let next = key.index() + 1;
        share.look(next - from);
        let session = self.sessions.get(key).expect("found just now");
        if session.is_durable() && session.written.is_within(through) {
            let copies = session.outbound.queued() + session.outbound.in_flight_slots();
            *bytes += u64::from(session.record_bytes) + copies as u64 * COPY_RECORD_BYTES;
        }
        Stage::Weigh(next)
    }

    /// Work of one time through all that the log has: each round looks at everything.
    fn work_through(&self) -> u64 {
        let Some(journal) = self.log.journal() else { return 0 };
        let (segments, bytes) = journal.used();
        let rounds = (segments as u64).min(CLEAN_ROUND_PART);
        let (sessions, retained) = (self.sessions.slots() as u64, self.retained.store.len() as u64);
        let places = self.bodies.places() as u64 + sessions + retained;
        let records = self.bodies.len() as u64 + sessions + retained;
        rounds * (places + self.bodies.len() as u64 * CLEAN_VISIT_WORK)
            + records * CLEAN_RECORD_WORK
            + self.live_log_bytes().min(bytes) / CLEAN_WORK_BYTES
            + self.bodies.references() * CLEAN_COPY_WORK
    }
}
