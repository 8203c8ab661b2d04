//! Cleaning while the disk is full: in rounds of one segment, which the reserve can take, and for less than otherwise.
//!
//! What lives is only estimated, and one time through the log may free nothing: so the log is gone through once, and again only when it has changed.

use super::Shard;
use super::cleaning::{Round, Stage};
use crate::base::limits::CLEAN_LOW_PART;
use crate::log::{BLOCK_BYTES, Room};

/// What is left of one time through a log without room.
#[derive(Default)]
pub(super) struct LowPass {
    /// Bytes of the log that others than cleaning have taken in this run.
    others: u64,
    /// Rounds that may begin before the log has changed.
    rounds: usize,
    /// Bytes that others had taken, and that lived, when it began.
    began: (u64, u64),
}

impl LowPass {
    /// Others than cleaning have appended so many bytes in a turn: as a batch of its own it takes a block more.
    pub(super) fn count(&mut self, appended: u64) {
        self.others += if appended > 0 { appended + BLOCK_BYTES as u64 } else { 0 };
    }
}

impl Shard {
    /// Whether a log without room, which has so many bytes and is not due for cleaning, is to be cleaned all the same: as soon as it has an eighth more than
    /// what lives, or whatever it has if the reserve is being used up.
    pub(super) fn is_low_round_due(&mut self, used: u64) -> bool {
        if self.log.room() != Room::Low {
            return false;
        }
        let (live, Some(journal)) = (self.live_log_bytes(), self.log.journal()) else { return false };
        let segment = journal.segment_bytes();
        let due = if self.log.has_room_for_accepted() {
            used > live + live / CLEAN_LOW_PART + segment
        } else {
            // As dense as the others on average, the oldest segment has to fit into what is ready.
            live.min(used).saturating_mul(segment) / used.max(1) <= journal.ready_to_clean()
        };
        if !due {
            return false;
        }
        let (segments, change) = (journal.used().0, segment / 64);
        let pass = &mut self.cleaning.low_pass;
        let (others, lived) = pass.began;
        if others == 0 || pass.others >= others + change || live + change <= lived {
            (pass.rounds, pass.began) = (segments, (pass.others.max(1), live));
        }
        let goes = pass.rounds > 0;
        pass.rounds = pass.rounds.saturating_sub(1);
        goes
    }

    /// A round that has much to write again when the disk turns out to be full frees its first segment only.
    pub(super) fn narrow(&self, round: &mut Round) {
        if self.log.room() == Room::Low
            && !matches!(round.stage, Stage::FanOuts | Stage::Committing(_))
            && let Some(first) = self.log.full_through(0)
        {
            round.through = round.through.min(first);
        }
    }
}
