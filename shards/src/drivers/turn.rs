//! The steps of a turn that are the same in all three loops: lanes in, deadlines, one slice of work, lanes out, and going to sleep.
//!
//! A driver's turn: sockets in, [`Seat::exchange_in`], [`Seat::work`], actions and flushes out, [`Seat::exchange_out`], then
//! [`Seat::try_sleep`] and wait, or wait for nothing while [`Seat::busy`].

use super::board::StatisticsBoard;
use super::log_seat::LogState;
use crate::base::limits::LANE_DRAIN_PER_TURN;
use crate::base::lsn::Lsn;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::coordinator::Coordinator;
use crate::mesh::{ClaimReplies, CoordinatorPort, Port};
use crate::shard::{Event, Shard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A busy shard publishes its statistics this often, beside each time that it goes to sleep.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// A coordinator and its ends of the lanes.
pub struct CoordinatorSeat {
    coordinator: Coordinator,
    port: CoordinatorPort,
}

impl CoordinatorSeat {
    /// A coordinator at its port.
    pub fn new(coordinator: Coordinator, port: CoordinatorPort) -> CoordinatorSeat {
        CoordinatorSeat { coordinator, port }
    }

    /// Answers every batch that has come: at most the credits of all shards.
    pub fn turn(&mut self) {
        while let Some((shard, batch)) = self.port.receive() {
            let answer = self.coordinator.handle_batch(shard, batch);
            self.port.send(shard, answer);
            if let Some(shard) = self.coordinator.poll_turn() {
                self.port.send(shard, ClaimReplies { turn: true, ..ClaimReplies::default() });
            }
        }
    }

    /// Before its thread blocks. `false`: something arrived.
    pub fn try_sleep(&mut self) -> bool {
        self.port.try_sleep()
    }

    /// Awake again.
    pub fn woke(&mut self) {
        self.port.woke();
    }

    /// Whether its own thread is to end.
    pub fn shutdown_requested(&self) -> bool {
        self.port.shutdown_requested()
    }

    /// The coordinator, for checkers.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }
}

/// A shard with its ends of the lanes, as a driver loop owns it. Lives on the shard's thread.
pub struct Seat {
    /// The core.
    pub shard: Shard,
    /// Its lanes.
    pub port: Port,
    /// The coordinator, inside shard 0's turn with few shards.
    pub coordinator: Option<CoordinatorSeat>,
    /// Where the shard's statistics are published.
    pub board: Arc<StatisticsBoard>,
    published: Time,
    /// How far the others know the shard's log to be committed.
    told: Lsn,
    /// Called at the end of the turn from which on the shard can serve.
    on_ready: Option<Box<dyn FnOnce() + Send>>,
    /// Set when all shards can; connections wait in the kernel until then.
    open: Arc<AtomicBool>,
    pub(super) log: LogState,
}

impl Seat {
    /// A shard at its port.
    pub fn new(
        shard: Shard,
        port: Port,
        coordinator: Option<CoordinatorSeat>,
        board: Arc<StatisticsBoard>,
    ) -> Seat {
        let mut shard = shard;
        shard.handle_lane_slots(port.data_lane_slots());
        Seat {
            shard,
            port,
            coordinator,
            board,
            published: Time::ZERO,
            told: Lsn::NONE,
            on_ready: None,
            open: Arc::new(AtomicBool::new(true)),
            log: LogState::default(),
        }
    }

    /// Has `tell` called once the shard's loop is set up and all that was recovered is in force everywhere. No connection is accepted before `open` is
    /// set; whoever sets it rings the shard's bell.
    pub fn open_when_ready(&mut self, open: Arc<AtomicBool>, tell: impl FnOnce() + Send + 'static) {
        self.open = open;
        self.on_ready = Some(Box::new(tell));
    }

    /// Whether the broker takes connections yet.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Steps 2 and 3 of the turn: what the mesh brought, and what is due.
    pub fn exchange_in(&mut self, now: Time) {
        self.exchange_in_from(now, ShardSet::first(self.port.shards()));
    }

    /// As [`Seat::exchange_in`], looking only at the lanes of `visible`: the simulator's way to delay the others.
    pub fn exchange_in_from(&mut self, now: Time, visible: ShardSet) {
        if self.log_has_ended() {
            // The others may still need the coordinator.
            self.coordinate();
            return;
        }
        self.refresh_lane_space();
        self.tend_log(now);
        self.read_progress(now);
        if self.shard.accepts_data() {
            self.port.take_up();
        }
        let pending = self.port.take_pending();
        for from in pending.iter().filter(|from| visible.contains(*from)) {
            self.receive_from(now, from);
        }
        self.coordinate();
        while let Some(answer) = self.port.receive_replies() {
            self.shard.handle_replies(now, answer);
        }
        self.shard.handle_deadlines(now);
        if self.port.take_shutdown() {
            self.shard.handle_shutdown();
        }
    }

    fn refresh_lane_space(&mut self) {
        // Taken so that the bit does not keep the shard awake; the slots themselves are looked at below.
        self.port.take_space();
        for peer in 0..self.port.shards() {
            let peer = ShardId::new(peer);
            if peer != self.port.own() && self.shard.lane_is_low(peer) {
                self.shard.handle_lane_space(peer, self.port.free_data_slots(peer));
            }
        }
    }

    /// How far the other shards' logs are, if this one's is more than a number.
    fn read_progress(&mut self, now: Time) {
        if !self.shard.log_keeps() {
            return;
        }
        let mut full_elsewhere = false;
        for peer in (0..self.port.shards()).map(ShardId::new).filter(|peer| *peer != self.port.own()) {
            let (committed, kept) = (self.port.committed_of(peer), self.port.kept_by(peer));
            self.shard.handle_progress(now, peer, committed, kept);
            full_elsewhere |= self.port.is_full(peer);
        }
        self.shard.handle_full_elsewhere(full_elsewhere);
    }

    fn publish_progress(&mut self) {
        if !self.shard.log_keeps() {
            return;
        }
        let committed = self.shard.committed_lsn();
        if committed > self.told {
            self.port.publish_committed(committed, self.shard.peers_that_wait(self.told));
            self.told = committed;
        }
        while let Some((source, lsn)) = self.shard.poll_kept() {
            self.port.publish_kept(source, lsn);
        }
    }

    fn receive_from(&mut self, now: Time, from: ShardId) {
        for _ in 0..LANE_DRAIN_PER_TURN {
            let Some(control) = self.port.receive_control(from) else { break };
            self.shard.handle_control(now, from, control);
        }
        for _ in 0..LANE_DRAIN_PER_TURN {
            if !self.shard.accepts_data() {
                break;
            }
            let Some(message) = self.port.receive_data(from) else { break };
            self.shard.handle_data(now, from, message);
        }
        self.port.finish_receiving(from, self.shard.accepts_data());
    }

    fn coordinate(&mut self) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.turn();
        }
    }

    /// One slice of what is left over. Where the log is in memory its records are committed as soon as the turn has made them.
    pub fn work(&mut self, now: Time) {
        if self.log_has_ended() {
            self.end_log(now);
            return;
        }
        self.work_uncommitted(now);
        // One on a tape is committed as one in memory is: nobody else says so.
        if self.shard.log().journal().is_some() {
            self.end_log(now);
            return;
        }
        // A CONNACK that is released lets the packets behind its CONNECT go on, which may make records of their own: without another
        // look their acknowledgements would wait for whatever wakes the shard next.
        let mut committed = None;
        while committed != Some(self.shard.newest_lsn()) {
            committed = Some(self.shard.newest_lsn());
            self.shard.handle_committed(now, self.shard.newest_lsn());
        }
    }

    /// As [`Seat::work`], for a driver with a log of its own, which says itself how far its records are committed.
    pub fn work_uncommitted(&mut self, now: Time) {
        self.shard.handle_work(now);
        if self.coordinator.is_some() {
            // The claims of this turn are answered within it, without a trip through the bell.
            self.send_claims();
            self.coordinate();
            while let Some(answer) = self.port.receive_replies() {
                self.shard.handle_replies(now, answer);
            }
        }
    }

    fn send_claims(&mut self) {
        while let Some(batch) = self.shard.poll_claims() {
            let sent = self.port.send_claims(batch);
            assert!(sent.is_ok(), "a shard has no more batches unanswered than the lane has slots");
        }
    }

    /// Step 6: what the turn has for others, waking only who sleeps; the statistics and the operator's log.
    pub fn exchange_out(&mut self, now: Time) {
        for peer in 0..self.port.shards() {
            let peer = ShardId::new(peer);
            if peer != self.port.own() {
                self.send_to(peer);
            }
        }
        self.send_claims();
        self.tell_cleaning();
        self.publish_progress();
        self.port.ring_peers();
        for peer in self.shard.lanes_waited_for().iter() {
            if self.port.want_space(peer) {
                self.shard.handle_lane_space(peer, self.port.free_data_slots(peer));
            }
        }
        if now.since(self.published) >= PUBLISH_EVERY {
            self.publish_statistics(now);
        }
        while let Some(event) = self.shard.poll_event() {
            let shard = self.port.own().index();
            if matches!(event, Event::Unreadable { .. }) {
                tracing::warn!(shard, "{event}");
            } else {
                // What clients do wrong is theirs: an operator who wants to see it asks for it.
                tracing::debug!(shard, "{event}");
            }
        }
        if self.shard.is_restored()
            && let Some(tell) = self.on_ready.take()
        {
            tell();
        }
    }

    fn publish_statistics(&mut self, now: Time) {
        self.published = now;
        self.board.publish(&self.shard.statistics(), self.port.bells_rung());
    }

    fn send_to(&mut self, peer: ShardId) {
        while let Some(control) = self.shard.poll_control(peer) {
            assert!(
                self.port.send_control(peer, control).is_ok(),
                "every control message holds a credit of its lane"
            );
        }
        while let Some(message) = self.shard.poll_data(peer) {
            assert!(self.port.send_data(peer, message).is_ok(), "every data message has reserved its slot");
        }
    }

    /// Whether the next turn has something to do already.
    pub fn busy(&self) -> bool {
        if self.log_has_ended() {
            // What others still send is left: it would be there for ever.
            return self.log_end_is_due();
        }
        self.shard.has_work()
            || self.log_end_is_due()
            || self.port.has_pending()
            || self.port.holds_data() && self.shard.accepts_data()
    }

    /// Announces that the driver is about to block. `false`: something arrived, do another turn.
    pub fn try_sleep(&mut self, now: Time) -> bool {
        if !self.log_has_ended() && !self.port.try_sleep() {
            return false;
        }
        self.publish_statistics(now);
        let coordinator_sleeps = self.coordinator.as_mut().is_none_or(CoordinatorSeat::try_sleep);
        if !coordinator_sleeps {
            self.port.woke();
        }
        coordinator_sleeps
    }

    /// Awake again.
    pub fn woke(&mut self) {
        self.port.woke();
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.woke();
        }
    }
}
