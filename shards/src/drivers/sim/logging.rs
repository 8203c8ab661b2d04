//! The log of a simulated thread: on a disk that takes its time, or on a tape that says when it likes how far it is committed.

use super::disk::SimDisk;
use super::driver::Surroundings;
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::drivers::turn::Seat;
use crate::log::Disk;

/// See the module's documentation.
pub struct Logging {
    /// Whether the tape confirms late.
    lagging: bool,
    disk: Option<SimDisk>,
    committed: Lsn,
    /// How far the log had confirmed from which step on.
    commits: Vec<(u64, Lsn)>,
    /// The disk has failed: the thread has ended.
    failed: bool,
}

impl Logging {
    /// A log that is `committed` so far: on `disk`, or without one confirmed late or not.
    pub fn new(disk: Option<SimDisk>, lagging: bool, committed: Lsn) -> Logging {
        let lagging = lagging && disk.is_none();
        Logging { lagging, disk, committed, commits: vec![(0, committed)], failed: false }
    }

    /// How far it has confirmed.
    pub fn committed(&self) -> Lsn {
        self.committed
    }

    /// How far it had confirmed in `step`.
    pub fn committed_at(&self, step: u64) -> Lsn {
        let later = self.commits.partition_point(|(from, _)| *from <= step);
        self.commits[later - 1].1
    }

    /// Whether the disk has failed, and with it the thread.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The disk, if it is on one.
    pub fn disk(&self) -> Option<&SimDisk> {
        self.disk.as_ref()
    }

    /// Whether every write fails from here on.
    pub fn set_failing(&mut self, failing: bool) {
        self.disk.iter_mut().for_each(|disk| disk.set_failing(failing));
    }

    /// What is retired goes from the disk at once.
    pub fn keep_no_retired(&mut self) {
        self.disk.iter_mut().for_each(SimDisk::keep_no_retired);
    }

    /// The disk, which outlives the thread.
    pub fn take_disk(&mut self) -> Option<SimDisk> {
        self.disk.take()
    }

    /// Whether it has something to say that wakes the thread. In calm a disk takes no time.
    pub fn rings(&self, now: Time, calm: bool, newest: Lsn) -> bool {
        let due = self.disk.as_ref().and_then(SimDisk::next_due);
        due.is_some_and(|due| calm || due <= now) || self.lagging && newest > self.committed
    }

    /// The beginning of a turn: what the disk has done.
    pub fn answers(&mut self, seat: &mut Seat, around: &Surroundings<'_>) {
        let Some(disk) = &mut self.disk else { return };
        let due = disk.next_due().filter(|_| around.calm).unwrap_or(around.now);
        disk.turn(around.now.max(due));
        while let Some(done) = disk.poll() {
            seat.handle_disk(around.now, done);
            if seat.shard.log_failure().is_some() {
                self.failed = true;
                return;
            }
        }
        self.confirm(around.step, seat.shard.committed_lsn());
    }

    /// One slice of what is left over, with what the tape confirms.
    pub fn work(&mut self, seat: &mut Seat, around: &mut Surroundings<'_>) {
        if !self.lagging {
            seat.work(around.now);
            let on_disk = self.disk.is_some();
            let committed = if on_disk { seat.shard.committed_lsn() } else { seat.shard.newest_lsn() };
            return self.confirm(around.step, committed);
        }
        seat.work_uncommitted(around.now);
        let newest = seat.shard.newest_lsn();
        let behind = newest.0 - self.committed.0;
        if behind > 0 && (around.calm || around.random.one_in(4)) {
            let more = if around.calm { behind } else { 1 + around.random.below(behind) };
            let committed = Lsn(self.committed.0 + more);
            seat.shard.handle_committed(around.now, committed);
            self.confirm(around.step, committed);
        }
    }

    /// The end of a turn: all that was appended becomes one write, unless one is under way.
    pub fn requests(&mut self, seat: &mut Seat, around: &Surroundings<'_>) {
        let Some(disk) = &mut self.disk else { return };
        disk.turn(around.now);
        while let Some(request) = seat.poll_disk() {
            disk.submit(request);
        }
        // In calm nothing is held back either: it is as late as that at once.
        if let Some(late) = seat.shard.log().held_until().filter(|_| around.calm) {
            seat.shard.turn_log(late);
            while let Some(request) = seat.poll_disk() {
                disk.submit(request);
            }
        }
    }

    fn confirm(&mut self, step: u64, committed: Lsn) {
        if committed > self.committed {
            self.committed = committed;
            self.commits.push((step, committed));
        }
    }
}
