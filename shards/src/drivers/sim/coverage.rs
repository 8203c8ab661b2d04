//! Which states the random workload has reached: a checker that never saw its state has checked nothing.

use super::disk::SimDisk;
use super::world::World;
use std::collections::BTreeMap;
use std::fmt;

/// What only runs with crashes reach.
pub const CRASH_STATES: [&str; 3] =
    ["the broker crashes", "the broker crashes while it recovers", "a session survives a crash"];

/// What only runs with crashes reach whose logs are on disks.
pub const DISK_STATES: [&str; 8] = [
    "a write is torn",
    "a batch is held back",
    "a round of cleaning ends",
    "a segment is retired",
    "the broker crashes during a round of cleaning",
    "a queue is read back from the log",
    "a disk fails",
    "the broker starts with another number of shards",
];

/// States that a set of runs must reach, each at least once.
pub const STATES: [&str; 42] = [
    "a claim is refused as stale: claims arrive in reverse order",
    "a release is overtaken by a claim",
    "a fingerprint collision between subscribed filters",
    "a SUBACK waits for another client's transition",
    "a reply waits for interest",
    "a sleeper finds something at its second look",
    "a publisher is parked for a lane",
    "a fan-out becomes a cursor",
    "a session is taken over",
    "a session is resumed",
    "a connection moves to another shard",
    "a QoS 2 message is sent again",
    "a reply waits for the log",
    "a replay or its query waits for lanes",
    "a retained copy is suppressed",
    "a retained message is delivered to a new subscription",
    "a queue is full",
    "a QoS 0 message meets an offline session",
    "a message expires",
    "a session with messages ends",
    "a will is published at once",
    "a will is published after its delay",
    "a will is void after a resume",
    "a deadline closes a connection",
    "a client stops reading",
    "a client vanishes",
    "a client connects again without closing",
    "a client gives up before CONNACK and connects again",
    "a client publishes before it has its CONNACK",
    "a CONNECT is never completed",
    "a CONNECT is refused",
    "a hostile client is closed",
    "a shard sleeps until a deadline",
    "the coordinator has its own thread",
    "messages cross shards",
    "a lane is full",
    "an alias stands for a topic",
    "an alias comes to stand for another topic",
    "a client refuses a QoS 2 message",
    "a shared group is steady",
    "a copy goes to another member",
    "a DISCONNECT changes the session's expiry",
];

fn all_states() -> impl Iterator<Item = &'static str> {
    STATES.into_iter().chain(CRASH_STATES).chain(DISK_STATES)
}

/// How often each state was reached.
#[derive(Clone, Default, Debug)]
pub struct Coverage {
    reached: BTreeMap<&'static str, u64>,
    /// Runs that this adds up.
    pub runs: u64,
    /// Steps over all of them.
    pub steps: u64,
    /// Messages that clients received.
    pub deliveries: u64,
    /// Deliveries that were promised and checked.
    pub promised: u64,
}

impl Coverage {
    /// A state is reached.
    pub fn reach(&mut self, state: &'static str) {
        self.add(state, 1);
    }

    fn add(&mut self, state: &'static str, times: u64) {
        debug_assert!(all_states().any(|known| known == state), "{state}");
        if times > 0 {
            *self.reached.entry(state).or_default() += times;
        }
    }

    /// Adds what another run has reached.
    pub fn merge(&mut self, other: &Coverage) {
        for (state, times) in &other.reached {
            self.add(state, *times);
        }
        self.runs += other.runs;
        self.steps += other.steps;
        self.deliveries += other.deliveries;
        self.promised += other.promised;
    }

    /// States never reached.
    pub fn missing(&self) -> Vec<&'static str> {
        self.missing_of(&STATES)
    }

    /// Those of `states` that were never reached.
    pub fn missing_of(&self, states: &[&'static str]) -> Vec<&'static str> {
        states.iter().copied().filter(|state| !self.reached.contains_key(state)).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Coverage { runs, steps, deliveries, promised, .. } = self;
        writeln!(f, "{runs} runs, {steps} steps, {deliveries} deliveries, {promised} promises kept")?;
        for state in all_states() {
            writeln!(f, "{:>10}  {state}", self.reached.get(state).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

impl World {
    /// Reads off the broker's own counters what the run has reached.
    pub(super) fn read_counters(&mut self) {
        let mut coverage = std::mem::take(&mut self.coverage);
        for shard in &self.loops {
            let statistics = shard.seat.shard.statistics();
            let (counters, dropped) = (statistics.counters, statistics.dropped);
            let reached = [
                ("a claim is refused as stale: claims arrive in reverse order", counters.stale_claims),
                ("a SUBACK waits for another client's transition", counters.foreign_interest_waits),
                ("a reply waits for interest", counters.interest_waits),
                ("a sleeper finds something at its second look", shard.sleep_refused),
                ("a publisher is parked for a lane", counters.parked_for_lane),
                ("a fan-out becomes a cursor", counters.cursors),
                ("a session is taken over", counters.taken_over),
                ("a connection moves to another shard", counters.handed_off),
                ("a replay or its query waits for lanes", counters.retained_waits),
                ("a retained copy is suppressed", counters.retained_suppressed),
                ("a queue is full", dropped[0]),
                ("a QoS 0 message meets an offline session", dropped[1]),
                ("a session with messages ends", dropped[3]),
                ("a message expires", counters.expired),
                ("a deadline closes a connection", counters.timed_out),
                ("a shard sleeps until a deadline", shard.deadline_wakes),
                ("messages cross shards", counters.remote_in),
                ("a reply waits for the log", shard.replies_held),
                ("a lane is full", shard.lanes_full),
                ("a batch is held back", shard.batches_held),
                ("a copy goes to another member", counters.moved),
                ("a round of cleaning ends", shard.seat.shard.cleaning_rounds()),
                ("a segment is retired", shard.log.disk().map_or(0, SimDisk::retirements)),
                ("a queue is read back from the log", shard.log.disk().map_or(0, SimDisk::reads)),
            ];
            for (state, times) in reached {
                coverage.add(state, times);
            }
        }
        let stale_releases = self.with_coordinator(|coordinator| coordinator.stale_releases());
        coverage.add("a release is overtaken by a claim", stale_releases);
        coverage.add("the coordinator has its own thread", u64::from(self.coordinator.is_some()));
        coverage.add("a fingerprint collision between subscribed filters", self.collisions());
        coverage.runs = 1;
        coverage.steps = self.step;
        self.coverage = coverage;
    }

    /// Pairs of filters that one session after another has subscribed and that peers cannot tell apart.
    fn collisions(&self) -> u64 {
        let mask = u64::MAX >> (64 - self.profile.fingerprint_bits);
        let mut texts: Vec<&str> = self
            .ledger
            .sessions
            .iter()
            .flat_map(|session| &session.subscriptions)
            .map(|subscription| subscription.filter.text())
            .filter(|text| !text.contains(['+', '#']))
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let mut fingerprints: Vec<u64> =
            texts.iter().map(|text| self.key.hash(text.as_bytes()) & mask).collect();
        fingerprints.sort_unstable();
        fingerprints.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
    }
}
