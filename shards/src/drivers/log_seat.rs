//! The log of a shard in its seat: what a turn does for it, disks that are full, and the end in order.

use super::turn::Seat;
use crate::base::limits::{DISK_RETRY_EVERY, LOG_STOP_MAX};
use crate::base::time::Time;
use crate::log::{DiskDone, DiskRequest, Room};

/// How far the log of a seat has come besides its records.
#[derive(Default, Debug)]
pub(super) struct LogState {
    /// When the disk is asked again for the room that it did not have.
    retry_at: Option<Time>,
    /// The operator was told that the disk is full, and not of room since.
    told_full: bool,
    /// When the operator is told that there is room, unless it is gone by then: on a disk that is nearly full it comes and goes with each segment.
    tell_room_at: Option<Time>,
    /// The operator's log says that the log is being cleaned.
    cleaning: bool,
    ending: Ending,
}

/// The end of a log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Ending {
    #[default]
    No,
    /// The shard has ended; what it appended is waited for until then, so that nothing is left that could go on when the last record is committed.
    Draining(Time),
    /// Its last record is appended, and waited for until then.
    Stopping(Time),
    /// It is on disk, or the disk hangs.
    Over,
}

impl Seat {
    /// What the log asks of its disk.
    pub fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.shard.poll_disk()
    }

    /// The disk has done something.
    pub fn handle_disk(&mut self, now: Time, done: DiskDone) {
        self.shard.handle_disk(now, done);
        let shard = self.port.own().index();
        match (self.shard.log().room(), self.log.retry_at) {
            (Room::Low, None) => {
                if !std::mem::replace(&mut self.log.told_full, true) {
                    tracing::warn!(
                        shard,
                        "the disk has no room for more of the log: publishers of QoS 1 and 2 are refused until it has"
                    );
                }
                self.port.publish_full(true);
                self.log.tell_room_at = None;
                self.log.retry_at = Some(now + DISK_RETRY_EVERY);
            }
            (Room::Ample | Room::Awaited, Some(_)) => {
                self.port.publish_full(false);
                self.log.retry_at = None;
                self.log.tell_room_at = Some(now + DISK_RETRY_EVERY);
            }
            (Room::Low, Some(_)) | (Room::Ample | Room::Awaited, None) => {}
        }
    }

    /// Asks again for room that was refused, if it is time.
    pub(super) fn tend_log(&mut self, now: Time) {
        self.shard.turn_log(now);
        if self.log.retry_at.is_some_and(|at| at <= now) {
            self.shard.retry_log_room();
            self.log.retry_at = Some(now + DISK_RETRY_EVERY);
        }
        if self.log.tell_room_at.is_some_and(|at| at <= now) {
            tracing::info!(shard = self.port.own().index(), "the disk has room for the log again");
            (self.log.tell_room_at, self.log.told_full) = (None, false);
        }
    }

    /// A round of cleaning has begun or ended.
    pub(super) fn tell_cleaning(&mut self) {
        let Some(journal) =
            self.shard.log().journal().filter(|_| self.shard.is_cleaning() != self.log.cleaning)
        else {
            return;
        };
        self.log.cleaning = !self.log.cleaning;
        let (shard, (segments, bytes)) = (self.port.own().index(), journal.used());
        let what = if self.log.cleaning { "begins" } else { "ends" };
        tracing::debug!(
            shard,
            segments,
            bytes,
            live = self.shard.live_log_bytes(),
            "a round of cleaning {what}"
        );
    }

    /// When the log wants a turn.
    pub fn log_deadline(&self) -> Option<Time> {
        let own = match self.log.ending {
            Ending::Draining(at) | Ending::Stopping(at) => Some(at),
            Ending::No => self.log.retry_at.into_iter().chain(self.log.tell_room_at).min(),
            Ending::Over => return None,
        };
        [own, self.shard.log().held_until()].into_iter().flatten().min()
    }

    /// Whether the end of the log takes its next step in the next turn: what it waited for, a connection that was closed as the last thing of a
    /// turn above all, wakes nobody.
    pub(super) fn log_end_is_due(&self) -> bool {
        self.shard.log().journal().is_some()
            && match self.log.ending {
                Ending::No => self.shard.is_drained(),
                Ending::Draining(_) | Ending::Stopping(_) => self.shard.is_log_quiet(),
                Ending::Over => false,
            }
    }

    /// Whether the log's last record is appended: nothing may be handled any more that could append another.
    pub(super) fn log_has_ended(&self) -> bool {
        matches!(self.log.ending, Ending::Stopping(_) | Ending::Over)
    }

    /// Ends the log once its shard has, and waits until that is on disk. What other shards still send is in their outboxes, and comes after the
    /// next start.
    pub(super) fn end_log(&mut self, now: Time) {
        if self.log.ending == Ending::No && self.shard.is_drained() {
            self.log.ending = Ending::Draining(now + LOG_STOP_MAX);
        }
        // Each step is waited for by the disk's next answer only: a log that is quiet already takes the next at once.
        match self.log.ending {
            Ending::Draining(at) if self.shard.is_log_quiet() => {
                self.shard.stop_log();
                self.log.ending = Ending::Stopping(at);
            }
            Ending::Stopping(_) if self.shard.is_log_quiet() => self.log.ending = Ending::Over,
            Ending::Draining(at) | Ending::Stopping(at) if at <= now => {
                tracing::warn!(
                    "the disk has not taken the end of the log within {LOG_STOP_MAX:?} and is left"
                );
                self.log.ending = Ending::Over;
            }
            Ending::No | Ending::Draining(_) | Ending::Stopping(_) | Ending::Over => {}
        }
    }

    /// Whether no connection is left, and nothing of the log that is not on disk.
    pub(super) fn has_ended(&self) -> bool {
        self.shard.is_drained() && (self.shard.log().journal().is_none() || self.log.ending == Ending::Over)
    }
}
