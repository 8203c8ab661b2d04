//! Anticipation: the next write waits until those whom the last one has answered have sent again.
//!
//! Whoever waits for its acknowledgements sends in answer to them. A write that starts as soon as the one before is done goes without these, and they
//! find it under way: what is in flight falls into two halves that are written in turn, and each waits for two writes. Clients that answer sooner than
//! a write takes are better waited for: then everything goes with each write. Clients that do not answer, because they send when they please, or are
//! further away than that, are soon waited for no more.

use super::Journal;
use crate::base::limits::{LOG_HOLD_MAX, LOG_HOLDS_PASSED_MAX};
use crate::base::time::Time;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// A smoothed time goes one part in so many towards each new one.
const SMOOTHING: u32 = 8;
/// One part in so many of those who are answered: as many others may have come during a write that was worth waiting for.
const STRAYS_PART: u32 = 4;

/// Whether a batch waits for company.
#[derive(Default, Debug)]
pub(super) struct Hold {
    now: Time,
    /// When the write under way was asked for.
    asked: Time,
    /// How long a write takes, smoothed.
    write: Duration,
    /// Records of the write that is done, until the batch behind it is looked at.
    answered: Option<u32>,
    /// The batch is held until it has so many records, or it is so late.
    until: Option<(u32, Time)>,
    /// Something was held, and is still.
    holds: bool,
    /// What was held last was met, and is being written.
    met: bool,
    /// Opportunities to pass, and how many they were after the last hold in vain.
    passing: u32,
    passed: u32,
}

impl Journal {
    /// It is `now`. A log that is never told holds nothing back.
    pub(in crate::log) fn turn(&mut self, now: Time) {
        self.hold.now = now;
    }

    /// Until when a batch is held back at most, if one is: the disk has nothing to do meanwhile.
    pub(in crate::log) fn held_until(&self) -> Option<Time> {
        self.hold.until.filter(|_| self.hold.holds).map(|(_, at)| at)
    }
}

impl Hold {
    /// A write is asked for.
    pub(super) fn write_begins(&mut self) {
        (self.asked, self.until, self.holds) = (self.now, None, false);
    }

    /// The write of so many records is done.
    pub(super) fn write_ends(&mut self, records: u32) {
        let took = self.now.since(self.asked);
        let before = if self.write.is_zero() { took } else { self.write };
        self.write = (before * (SMOOTHING - 1) + took) / SMOOTHING;
        self.answered = Some(records);
    }

    /// So many records wait already, at the end of the turn in which others were answered, who are going to send again.
    pub(super) fn round_begins(&mut self, waiting: u32) {
        let Some(answered) = self.answered.take() else { return };
        if std::mem::take(&mut self.met) {
            // Those who came meanwhile had no answer to wait for: so would have those who were waited for.
            self.judge(waiting <= answered / STRAYS_PART);
        }
        if self.passing > 0 {
            self.passing -= 1;
            return;
        }
        let limit = self.write.min(LOG_HOLD_MAX);
        if !limit.is_zero() {
            // What waits came from others than those who are answered now: a round is both.
            self.until = Some((answered + waiting, self.now + limit));
        }
    }

    /// Whether a batch of so many records, one at least, is to be written now.
    pub(super) fn lets_go(&mut self, waiting: u32) -> bool {
        let Some((records, at)) = self.until else { return true };
        let complete = waiting >= records;
        if !complete && self.now < at {
            self.holds = true;
            return false;
        }
        self.met = complete && self.holds;
        if !complete && self.holds {
            self.judge(false);
        }
        true
    }

    /// Holding was worth it, or in vain.
    fn judge(&mut self, worth_it: bool) {
        self.passed = if worth_it { 0 } else { (2 * self.passed).clamp(1, LOG_HOLDS_PASSED_MAX) };
        self.passing = self.passed;
    }
}
