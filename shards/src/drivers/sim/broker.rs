//! The broker of a run, as it is put together at each of its starts.

use super::coordinator_thread::CoordinatorLoop;
use super::driver::{Alarm, Loop};
use super::logging::Logging;
use super::profile::Profile;
use super::stored::Found;
use crate::base::hash::HashKey;
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::Planted;
use crate::base::random::Random;
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::coordinator::Coordinator;
use crate::drivers::turn::{CoordinatorSeat, Seat};
use crate::mesh::{Wake, mesh_with_slots};
use crate::shard::{Extensions, Shard, ShardConfig, Terms};
use std::sync::Arc;

/// What a start of the broker is told.
pub struct Start<'a> {
    /// Its hash key, the same at all starts.
    pub key: &'a HashKey,
    /// The bug in the engine.
    pub planted: Planted,
    /// Its number.
    pub incarnation: Incarnation,
    /// When it starts.
    pub now: Time,
    /// Its logs and what they say, where there are any.
    pub found: Option<Found>,
}

/// The threads of one start of the broker.
pub struct Broker {
    /// The shards.
    pub loops: Vec<Loop>,
    /// The coordinator, where it does not live with shard 0.
    pub coordinator: Option<CoordinatorLoop>,
}

impl Broker {
    /// A broker as `profile` wants it, that nobody has connected to.
    pub fn start(profile: &Profile, start: Start<'_>, random: &mut Random) -> Broker {
        let Start { key, planted, incarnation, now, found } = start;
        let shards = profile.shards;
        let alarms: Vec<Arc<Alarm>> = (0..shards).map(|_| Arc::default()).collect();
        let own_alarm = Arc::<Alarm>::default();
        let coordinators = if profile.coordinator_thread { &own_alarm } else { &alarms[0] };
        let wakes = alarms.iter().map(|alarm| alarm.clone() as Arc<dyn Wake>).collect();
        let lanes = mesh_with_slots(wakes, coordinators.clone(), profile.lane_slots, planted);
        let mut core = Coordinator::new(shards, profile.limits.connections_max, key.clone(), planted);
        found.iter().for_each(|found| core.recover(&found.images));
        let seat = CoordinatorSeat::new(core, lanes.coordinator);
        let (mut inline, mut thread) = (None, None);
        if profile.coordinator_thread {
            thread = Some(CoordinatorLoop::new(seat, own_alarm.clone()));
        } else {
            inline = Some(seat);
        }
        let (images, logs) = found.map_or_else(Default::default, |found| (found.images, found.logs));
        let (mut images, mut logs) = (images.into_iter(), logs.into_iter());
        let loops = lanes.ports.into_iter().zip(&alarms).enumerate().map(|(number, (port, alarm))| {
            let mut shard = Shard::new(ShardConfig {
                id: ShardId::new(number),
                shards,
                limits: profile.limits.clone(),
                key: key.clone(),
                seed: random.next_u64(),
                secret: u128::from(incarnation.0) << 64 | number as u128,
                fingerprint_bits: profile.fingerprint_bits,
                doorways: Vec::new(),
                authentication: Default::default(),
                share_strategies: profile.share_strategies(),
                extensions: Extensions::default(),
                terms: Terms::default(),
                connection_warm_up: 0,
                planted,
            });
            let (mut disk, mut committed) = (None, Lsn::NONE);
            if let Some(((log, its_disk), image)) = logs.next().zip(images.next()) {
                shard.restore(now, log, image);
                (disk, committed) = (its_disk, Lsn::before(incarnation));
            }
            let seat = Seat::new(shard, port, inline.take(), Arc::default());
            let log = Logging::new(disk, profile.lagging, committed);
            Loop::new(seat, alarm.clone(), profile.late_lanes, log)
        });
        Broker { loops: loops.collect(), coordinator: thread }
    }
}
