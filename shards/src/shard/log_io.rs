//! The log's side of a turn: what its disk is to do, what it has done, and its end.

use super::Shard;
use crate::base::time::Time;
use crate::log::{DiskDone, DiskRequest, LogFailure};

impl Shard {
    /// A turn of the log begins.
    pub fn turn_log(&mut self, now: Time) {
        self.log.turn(now);
    }

    /// What the log asks of its disk next. Asked last in a turn: all that it has appended becomes one write.
    pub fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.log.poll_disk()
    }

    /// The disk has done something; what waited for a record that is now committed goes on.
    pub fn handle_disk(&mut self, now: Time, done: DiskDone) {
        let done = match done {
            DiskDone::Read { tag, result } => return self.handle_read(now, tag, result),
            done => done,
        };
        self.log.turn(now);
        // A failure stays to be asked for: nothing is committed after it.
        if let Ok(Some(committed)) = self.log.handle_disk(done) {
            self.handle_committed(now, committed);
        }
    }

    /// Why nothing is committed any more, if so: the broker has to end.
    pub fn log_failure(&self) -> Option<LogFailure> {
        self.log.failure()
    }

    /// Asks the disk once more for the room that it did not have: once a second while [`Log::room`](crate::log::Log::room) is low.
    pub fn retry_log_room(&mut self) {
        self.log.retry_room();
    }

    /// Ends the log. After [`Shard::is_drained`], and nothing may be handled after it but what the disk has done.
    pub fn stop_log(&mut self) {
        self.log.stop();
    }

    /// Whether everything appended is on disk.
    pub fn is_log_quiet(&self) -> bool {
        self.log.is_quiet()
    }
}
