//! The simulator's driver loop: the same turn as in the real loops, cut into steps that the scheduler interleaves with those of all others.

use super::logging::Logging;
use super::network::{Network, SocketId};
use super::record::{Reading, Record, set_reading};
use crate::base::random::Random;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::drivers::driven::Driven;
use crate::drivers::turn::Seat;
use crate::mesh::{ListenerId, Wake};
use crate::shard::{Action, ConnectionKey, Event};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a closing connection may take to get rid of its output.
pub const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Bytes that one read brings at most.
pub const READ_BYTES_MAX: usize = 16 * 1024;

/// Wakes one simulated thread.
#[derive(Default)]
pub struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Alarm {
    /// Whether it rang since it was last silenced.
    pub fn rings(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Heard.
    pub fn silence(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What all loops act upon in one step.
pub struct Surroundings<'a> {
    /// Virtual time.
    pub now: Time,
    /// The step's number.
    pub step: u64,
    /// All sockets.
    pub network: &'a mut Network,
    /// The run's randomness.
    pub random: &'a mut Random,
    /// No faults: everything is taken whole and at once.
    pub calm: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Sockets,
    In,
    Work,
    Out,
    Push,
    Sleep,
}

/// One shard's thread.
pub struct Loop {
    /// The shard and its lanes.
    pub seat: Seat,
    alarm: Arc<Alarm>,
    stage: Stage,
    asleep: bool,
    nothing_to_do: bool,
    pub(super) records: BTreeMap<ConnectionKey, Record>,
    /// Its log.
    pub log: Logging,
    /// Whether lanes can be late for many turns.
    late_lanes: bool,
    /// The lane that is late, as the bit of its source.
    late: u64,
    /// Lanes that a scenario keeps it from looking at.
    pub blind: ShardSet,
    /// Reads bring one byte, and in between none.
    pub byte_by_byte: bool,
    /// Times that a deadline ended the sleep.
    pub deadline_wakes: u64,
    /// Times that the look before sleeping found something.
    pub sleep_refused: u64,
    /// Times that replies were waiting for the log at the end of a turn.
    pub replies_held: u64,
    /// Times that a lane was full at the end of a turn.
    pub lanes_full: u64,
    /// Times that a batch of the log was held back at the end of a turn.
    pub batches_held: u64,
    /// What the shard reported.
    pub events: Vec<Event>,
}

impl Loop {
    /// The thread of `seat`, which `alarm` wakes, with late lanes or not.
    pub fn new(seat: Seat, alarm: Arc<Alarm>, late_lanes: bool, log: Logging) -> Loop {
        Loop {
            seat,
            alarm,
            stage: Stage::Sockets,
            asleep: false,
            nothing_to_do: false,
            records: BTreeMap::new(),
            log,
            late_lanes,
            late: 0,
            blind: ShardSet::EMPTY,
            byte_by_byte: false,
            deadline_wakes: 0,
            sleep_refused: 0,
            replies_held: 0,
            lanes_full: 0,
            batches_held: 0,
            events: Vec::new(),
        }
    }

    /// The shard's number.
    pub fn id(&self) -> ShardId {
        self.seat.shard.id()
    }

    /// A client connects to this shard's listener.
    pub fn accept(&mut self, now: Time, socket: SocketId) {
        let port = 1024 + (socket % 60_000) as u16;
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let key = self.seat.shard.handle_accept(now, ListenerId(0), peer);
        self.records.insert(key, Record::new(socket));
        self.actions(now);
        // As an accept in the ring: it completes a turn, awake or not.
        self.alarm.wake();
    }

    /// The socket of a connection.
    pub fn socket_of(&self, key: ConnectionKey) -> Option<SocketId> {
        self.records.get(&key).map(|record| record.socket)
    }

    /// Whether a step of this thread would do anything: it is awake, or something wakes it.
    pub fn is_runnable(&self, now: Time, calm: bool, network: &Network) -> bool {
        if self.log.has_failed() {
            return false;
        }
        !self.asleep
            || self.alarm.rings()
            || self.is_due(now)
            || self.log.rings(now, calm, self.seat.shard.newest_lsn())
            || self.records.values().any(|record| record.is_ready(now, network))
    }

    fn is_due(&self, now: Time) -> bool {
        self.poll_deadline().is_some_and(|at| at <= now)
    }

    /// When it has to wake up next.
    pub fn poll_deadline(&self) -> Option<Time> {
        Driven::poll_deadline(&self.seat)
    }

    /// One step of the turn.
    pub fn step(&mut self, around: &mut Surroundings<'_>) {
        if self.asleep {
            self.wake_up(around);
        }
        self.stage = match self.stage {
            Stage::Sockets => {
                self.log.answers(&mut self.seat, around);
                if self.log.has_failed() {
                    return;
                }
                self.sockets(around);
                Stage::In
            }
            Stage::In => {
                let visible = self.visible_lanes(around);
                self.seat.exchange_in_from(around.now, visible);
                Stage::Work
            }
            Stage::Work => {
                self.log.work(&mut self.seat, around);
                Stage::Out
            }
            Stage::Out => {
                self.outputs(around);
                Stage::Push
            }
            Stage::Push => {
                self.seat.exchange_out(around.now);
                self.log.requests(&mut self.seat, around);
                self.nothing_to_do = !self.seat.busy();
                self.count_waits();
                Stage::Sleep
            }
            Stage::Sleep => {
                if self.nothing_to_do {
                    self.asleep = self.seat.try_sleep(around.now);
                    self.sleep_refused += u64::from(!self.asleep);
                }
                Stage::Sockets
            }
        };
        self.actions(around.now);
    }

    /// Wakes it as a socket would.
    pub fn stir(&self) {
        self.alarm.wake();
    }

    /// Whether the next step is to go to sleep, or not.
    pub fn is_about_to_sleep(&self) -> bool {
        self.stage == Stage::Sleep
    }

    /// Whether the thread is at the start of a turn: all that it made is out.
    pub fn is_between_turns(&self) -> bool {
        self.stage == Stage::Sockets
    }

    /// The lanes that this turn looks at: one may be late for many turns, the others now and then.
    fn visible_lanes(&mut self, around: &mut Surroundings<'_>) -> ShardSet {
        let all = ShardSet::first(self.seat.port.shards()).to_bits();
        if around.calm {
            return ShardSet::from_bits(all & !self.blind.to_bits());
        }
        if self.late_lanes && around.random.one_in(8) {
            let one = 1 << around.random.below(self.seat.port.shards() as u64);
            self.late = if self.late == 0 { one } else { 0 };
        }
        let seen = around.random.next_u64() | around.random.next_u64();
        ShardSet::from_bits(all & seen & !self.late)
    }

    fn count_waits(&mut self) {
        let (port, shard) = (&self.seat.port, &self.seat.shard);
        let others = (0..port.shards()).map(ShardId::new).filter(|peer| *peer != port.own());
        self.lanes_full += others.filter(|peer| port.free_data_slots(*peer) == 0).count() as u64;
        self.replies_held += u64::from(shard.sizes().held_replies > 0);
        self.batches_held += u64::from(shard.log().held_until().is_some());
    }

    fn wake_up(&mut self, around: &mut Surroundings<'_>) {
        let only_due = self.is_due(around.now)
            && !self.alarm.rings()
            && !self.log.rings(around.now, around.calm, self.seat.shard.newest_lsn())
            && !self.records.values().any(|record| record.is_ready(around.now, around.network));
        self.deadline_wakes += u64::from(only_due);
        self.asleep = false;
        self.alarm.silence();
        self.seat.woke();
    }

    fn outputs(&mut self, around: &mut Surroundings<'_>) {
        self.actions(around.now);
        while let Some(key) = self.seat.shard.poll_flush() {
            let Some(record) = self.records.get_mut(&key) else { continue };
            if let Some(buffer) = self.seat.shard.take_output(around.now, key) {
                assert!(record.out.is_none(), "at most one buffer of a connection is with the driver");
                record.out = Some((buffer, 0));
                // Some drivers write at once, others hear of it in a later turn.
                if around.calm || around.random.one_in(2) {
                    self.send(around, key);
                }
            }
        }
        self.actions(around.now);
        while let Some(event) = self.seat.shard.poll_event() {
            self.events.push(event);
        }
    }

    fn actions(&mut self, now: Time) {
        while let Some(action) = self.seat.shard.poll_action() {
            self.act(now, action);
        }
    }

    fn act(&mut self, now: Time, action: Action) {
        match action {
            Action::ReadOnce(key) => set_reading(self.records.get_mut(&key), Reading::Once),
            Action::Read(key) => set_reading(self.records.get_mut(&key), Reading::Stream),
            Action::Pause(key) => set_reading(self.records.get_mut(&key), Reading::No),
            Action::Detach(key) => {
                let record = self.records.get_mut(&key).expect("it moves once");
                assert!(record.out.is_none() && record.reading == Reading::No, "nothing is in flight");
                record.detaching = true;
            }
            Action::Attach(key, socket) => {
                let taken = self.records.insert(key, Record::new(socket.0 as usize));
                assert!(taken.is_none(), "a key is new to its driver");
            }
            Action::Close(key, mode) => {
                let record = self.records.get_mut(&key).expect("it closes once");
                assert!(record.closing.is_none(), "a connection is closed once");
                record.closing = Some((mode, now));
            }
        }
    }
}
