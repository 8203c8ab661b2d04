//! The end of the broker in the middle of everything, and its next start over what its logs have.
//!
//! Nothing but the logs survives: shards, lanes and the coordinator are dropped between two steps, every socket is reset. Clients keep what
//! clients keep (`client`), the reference what was promised (`aftermath`).

use super::broker::{Broker, Start};
use super::client::LinkState;
use super::disk::SimDisk;
use super::failure::{Checked, fail};
use super::network::{ClientEnd, SocketId};
use super::stored::Found;
use super::world::World;
use crate::base::lsn::Incarnation;
use crate::session::DropReason;
use std::time::Duration;

/// Steps within which a start is over.
const RECOVERY_STEPS_MAX: u32 = 100_000;

/// When the broker is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashPoint {
    /// After this step.
    Step(u64),
    /// When so many records were appended, or log writes asked for where there are disks, to all logs together.
    Log(u64),
    /// When disks have given so many segments up, all together, of which none stays: what was written in the meantime may be on its way.
    Retired(u64),
    /// When clients have read so many PUBCOMPs, after the one that was the last of them.
    Pubcomp(u64),
}

impl World {
    /// The broker is to end then.
    pub(super) fn plan_crash(&mut self, at: CrashPoint) {
        if matches!(at, CrashPoint::Retired(_)) {
            self.loops.iter_mut().for_each(|shard| shard.log.keep_no_retired());
        }
        self.crash_at = Some(at);
    }

    /// The broker ends, as by `kill -9` or the loss of power, and starts again.
    pub(super) fn crash(&mut self) -> Checked {
        self.coverage.reach("the broker crashes");
        self.trace(|| "the broker crashes".into());
        self.read_last_words()?;
        for socket in 0..self.links.len() {
            self.cut_off(socket);
        }
        self.read_counters();
        for shard in &self.loops {
            let dropped = shard.seat.shard.statistics().dropped;
            self.dropped_before.iter_mut().zip(dropped).for_each(|(sum, dropped)| *sum += dropped);
        }
        if self.loops.iter().any(|shard| shard.seat.shard.is_cleaning()) {
            self.coverage.reach("the broker crashes during a round of cleaning");
        }
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        let found = self.salvage()?;
        self.note_crash();
        self.plan_next();
        self.restart(found)
    }

    /// What the broker had written may have reached its client before the end, in part.
    fn read_last_words(&mut self) -> Checked {
        for client in 0..self.clients.len() {
            let Some(socket) = self.clients[client].current else { continue };
            if self.random.one_in(2) && self.is_open(socket) {
                let count = if self.random.one_in(2) { usize::MAX } else { self.random.below(60) as usize };
                self.client_reads(socket, count)?;
            }
        }
        Ok(())
    }

    /// Nothing comes from or goes to the broker over this socket any more.
    fn cut_off(&mut self, socket: SocketId) {
        let endpoint = self.network.socket(socket);
        endpoint.client = ClientEnd::Reset;
        endpoint.broker_closed = true;
        if self.links[socket].state != LinkState::Over {
            self.give_up(socket);
        }
    }

    /// The next start, some time later, and whom it has.
    fn restart(&mut self, found: Option<Found>) -> Checked {
        let down = [0, 1_000, 3_000_000, 40_000_000];
        let longest = *self.random.pick(&down);
        self.now += Duration::from_micros(self.random.below(1 + longest));
        let (key, planted, incarnation, now) = (&self.key, self.planted, self.incarnation, self.now);
        let start = Start { key, planted, incarnation, now, found };
        let broker = Broker::start(&self.profile, start, &mut self.random);
        (self.loops, self.coordinator) = (broker.loops, broker.coordinator);
        self.recognise()?;
        self.recover()
    }

    /// Until what was restored is in force everywhere nobody can connect. The broker may end again meanwhile.
    pub(super) fn recover(&mut self) -> Checked {
        for _ in 0..RECOVERY_STEPS_MAX {
            if self.loops.iter().all(|shard| shard.seat.shard.is_restored()) {
                return Ok(());
            }
            self.step += 1;
            self.pass_time();
            let threads = self.loops.len() + usize::from(self.coordinator.is_some());
            let thread = self.random.below(threads as u64) as usize;
            self.step_thread(thread)?;
            if self.crash_is_due() {
                self.coverage.reach("the broker crashes while it recovers");
                return self.crash();
            }
        }
        fail("wedge", format!("not restored after {RECOVERY_STEPS_MAX} steps"))
    }

    /// Whether the broker is to end now.
    pub(super) fn crash_is_due(&self) -> bool {
        // With nobody else having anything to do the rest of the broker waits for whose disk has failed.
        if self.calm && self.loops.iter().any(|shard| shard.log.has_failed()) {
            return true;
        }
        match self.crash_at {
            None => false,
            Some(CrashPoint::Step(step)) => self.step >= step,
            Some(CrashPoint::Log(point)) => self.log_points() >= point,
            Some(CrashPoint::Retired(count)) => self.retirements() >= count,
            Some(CrashPoint::Pubcomp(left)) => left == 0,
        }
    }

    /// A client has its PUBCOMP.
    pub(super) fn note_pubcomp(&mut self) {
        if let Some(CrashPoint::Pubcomp(left)) = &mut self.crash_at {
            *left = left.saturating_sub(1);
        }
    }

    /// Segments that disks have given up since the last start.
    fn retirements(&self) -> u64 {
        self.loops.iter().filter_map(|shard| shard.log.disk()).map(SimDisk::retirements).sum()
    }

    /// A shard's thread has ended, since its log cannot be written. The others do not end in the same moment.
    pub(super) fn note_disk_failure(&mut self) {
        self.coverage.reach("a disk fails");
        let end = self.step + self.random.below(40);
        if !matches!(self.crash_at, Some(CrashPoint::Step(step)) if step <= end) {
            self.crash_at = Some(CrashPoint::Step(end));
        }
    }

    /// After a crash another one may follow, often soon.
    fn plan_next(&mut self) {
        let steps = *self.random.pick(&[10, 100, 1_000]);
        let again = self.random.one_in(3);
        self.crash_at = again.then(|| CrashPoint::Step(self.step + 1 + self.random.below(steps)));
    }

    /// Copies dropped for `reason` since the run began.
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        let of_shards = self.loops.iter().map(|shard| shard.seat.shard.statistics().dropped[reason as usize]);
        self.dropped_before[reason as usize] + of_shards.sum::<u64>()
    }
}
