//! What a seed decides about a run: the size of the broker, its limits, and what clients do how often.

use super::topics::SHARE_NAMES;
use crate::base::limits::Limits;
use crate::base::random::Random;
use crate::topics::{ShareStrategies, ShareStrategy};
use std::time::Duration;

/// All of them; round robin, which promises most, a bit more often.
const STRATEGIES: [ShareStrategy; 7] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::RoundRobin,
    ShareStrategy::Random,
    ShareStrategy::Sticky,
    ShareStrategy::HashClient,
    ShareStrategy::HashTopic,
    ShareStrategy::Local,
];

/// The kind of run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// A bit of everything.
    Mixed,
    /// Queues that never fill: nothing may be missing at all.
    Roomy,
    /// Client ids that change their connection all the time.
    Takeover,
    /// Many subscribers of few topics, tiny fan-out batches.
    FanOut,
    /// Retained topics and new subscriptions.
    Retained,
    /// Subscriptions that come and go, fingerprints that collide.
    Interest,
    /// Shared groups whose members come and go.
    Shared,
    /// Logs on tapes, and a broker that crashes.
    Crash,
    /// Logs on disks, in tiny segments, and a broker that crashes.
    Disk,
}

impl Flavor {
    /// Those without crashes.
    pub const ALL: [Flavor; 7] = [
        Flavor::Mixed,
        Flavor::Roomy,
        Flavor::Takeover,
        Flavor::FanOut,
        Flavor::Retained,
        Flavor::Interest,
        Flavor::Shared,
    ];
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The kind.
    pub flavor: Flavor,
    /// Shards.
    pub shards: usize,
    /// Clients.
    pub clients: usize,
    /// Slots of a data lane.
    pub lane_slots: usize,
    /// Bits of a fingerprint.
    pub fingerprint_bits: u32,
    /// Whether the coordinator has its own thread.
    pub coordinator_thread: bool,
    /// Whether the logs keep what they are told.
    pub keeps: bool,
    /// Bytes of a segment, where logs are on disks; else they are on tapes, if they keep anything.
    pub segment_bytes: Option<u64>,
    /// The longest that the slowest disk takes for anything.
    pub disk_latency: Duration,
    /// In one of so many steps a disk fails, if one has not yet.
    pub disk_fails_one_in: u64,
    /// One of so many starts after the first is with another number of shards.
    pub rehomed_one_in: u64,
    /// Whether a log on a tape confirms late.
    pub lagging: bool,
    /// Whether lanes can be late for many turns.
    pub late_lanes: bool,
    /// A thread that seldom has its turn.
    pub laggard: Option<usize>,
    /// Steps between two rests, on average.
    pub rest_every: u64,
    /// Bytes that a socket holds for a client that does not read.
    pub window: usize,
    /// One SUBSCRIBE or UNSUBSCRIBE in so many is about a shared group.
    pub shares_one_in: u64,
    /// How the groups spread their messages, in the order of their names.
    pub strategies: [ShareStrategy; SHARE_NAMES.len()],
    /// The operator's limits.
    pub limits: Limits,
    /// Of 1,000 actions of a connected client, how many are of each kind.
    pub weights: Weights,
}

/// Of 1,000 actions of a connected client; the rest is reading and acknowledging.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// PUBLISH.
    pub publish: u64,
    /// SUBSCRIBE.
    pub subscribe: u64,
    /// UNSUBSCRIBE.
    pub unsubscribe: u64,
    /// PINGREQ.
    pub ping: u64,
    /// The connection ends, in any way.
    pub leave: u64,
    /// The client connects again without closing.
    pub again: u64,
    /// It stops reading, or goes on.
    pub stall: u64,
}

impl Profile {
    /// What `seed` decides, for a run of this kind.
    pub fn of(flavor: Flavor, random: &mut Random) -> Profile {
        let shards = match flavor {
            Flavor::Mixed => 1 + random.below(6) as usize,
            Flavor::Retained => 3 + random.below(3) as usize,
            _ => 2 + random.below(4) as usize,
        };
        let tiny = match flavor {
            Flavor::Roomy => false,
            Flavor::Shared | Flavor::Crash | Flavor::Disk => random.one_in(4),
            Flavor::Retained => random.one_in(5),
            _ => random.one_in(2),
        };
        let crashes = matches!(flavor, Flavor::Crash | Flavor::Disk);
        let fan_out = flavor == Flavor::FanOut || random.one_in(3);
        Profile {
            flavor,
            shards,
            clients: 3 + random.below(
                if matches!(flavor, Flavor::FanOut | Flavor::Retained | Flavor::Shared) { 12 } else { 7 },
            ) as usize,
            lane_slots: if random.one_in(2) { 2 + random.below(3) as usize } else { 64 },
            fingerprint_bits: *random.pick(&[1, 3, 8, 8, 64]),
            coordinator_thread: shards > 4 || random.one_in(3),
            keeps: crashes,
            segment_bytes: (flavor == Flavor::Disk).then(|| 1024 * *random.pick(&[32, 48, 64])),
            disk_latency: Duration::from_micros(*random.pick(&[10_000, 100_000, 1_000_000])),
            disk_fails_one_in: if flavor == Flavor::Disk && random.one_in(6) { 3_000 } else { u64::MAX },
            rehomed_one_in: if flavor == Flavor::Disk && random.one_in(3) { 2 } else { u64::MAX },
            lagging: crashes || random.one_in(3),
            late_lanes: flavor == Flavor::Retained || random.one_in(2),
            laggard: random.one_in(3).then(|| random.below(shards as u64) as usize),
            rest_every: if flavor == Flavor::Retained || crashes { 600 } else { 400 },
            window: *random.pick(&[128, 1_000, 20_000, 200_000]),
            shares_one_in: match flavor {
                Flavor::Shared => 2,
                _ if crashes => u64::MAX,
                _ => 8,
            },
            strategies: std::array::from_fn(|_| *random.pick(&STRATEGIES)),
            limits: limits(tiny, flavor == Flavor::Disk, fan_out, random),
            weights: weights(flavor),
        }
    }
}

impl Profile {
    /// The strategies as the broker wants them.
    pub fn share_strategies(&self) -> ShareStrategies {
        let groups = SHARE_NAMES.into_iter().map(Box::from).zip(self.strategies).collect();
        ShareStrategies::new(ShareStrategy::default(), groups)
    }

    /// The strategy of the group with this share name.
    pub fn strategy(&self, name: &str) -> ShareStrategy {
        let number = SHARE_NAMES.iter().position(|known| *known == name);
        self.strategies[number.expect("a name of the pool")]
    }
}

fn limits(tiny: bool, on_disk: bool, fan_out: bool, random: &mut Random) -> Limits {
    // What is beyond these waits on disk, or is dropped where it cannot.
    let (queue_bytes_max, queue_disk_bytes_max) = match (tiny, on_disk) {
        (true, _) => (4_000, 0),
        (false, true) if random.one_in(2) => (200 + random.below(2_000) as u32, 100_000_000),
        (false, _) => (100_000_000, 0),
    };
    Limits {
        connections_max: if random.one_in(8) { 6 } else { 1_000 },
        receive_maximum: if tiny { 3 } else { 20 },
        in_flight_max: if tiny { 3 } else { 64 },
        queue_messages_max: if tiny { 5 } else { 100_000 },
        queue_bytes_max,
        queue_disk_bytes_max,
        session_expiry_v3: Duration::from_secs(40),
        fan_out_batch: if fan_out { 1 + random.below(3) as u32 } else { 100 },
        ..Limits::default()
    }
}

fn weights(flavor: Flavor) -> Weights {
    let mixed =
        Weights { publish: 220, subscribe: 70, unsubscribe: 20, ping: 10, leave: 12, again: 12, stall: 15 };
    match flavor {
        Flavor::Mixed => mixed,
        Flavor::Roomy | Flavor::Crash | Flavor::Disk => Weights { publish: 300, ..mixed },
        Flavor::Takeover => Weights { leave: 40, again: 80, subscribe: 50, ..mixed },
        Flavor::FanOut => Weights { publish: 330, subscribe: 90, leave: 6, again: 4, ..mixed },
        Flavor::Retained => {
            Weights { publish: 120, subscribe: 300, unsubscribe: 200, leave: 5, again: 5, stall: 3, ..mixed }
        }
        Flavor::Shared => {
            Weights { publish: 300, subscribe: 50, unsubscribe: 30, leave: 8, again: 6, ..mixed }
        }
        Flavor::Interest => Weights { publish: 200, subscribe: 150, unsubscribe: 100, ..mixed },
    }
}
