//! A broker's start: ports first, then lanes, then a thread per shard; and its end.

use super::config::BrokerConfig;
use super::handle::{Handle, Running};
use super::machine::{self, Demand};
use super::placement::{self, PlacementError};
use super::report::Reporter;
use super::shard_thread::{self, Post};
use crate::base::hash::HashKey;
use crate::base::planted::Planted;
use crate::base::shard_set::{SHARDS_MAX, ShardId};
use crate::coordinator::{Coordinator, INLINE_SHARDS_MAX};
use crate::drivers::board::StatisticsBoard;
use crate::drivers::eventfd::EventFd;
use crate::drivers::probe::{self, Driver, ProbeError};
use crate::drivers::socket::{ListenError, listen_per_shard};
use crate::drivers::turn::CoordinatorSeat;
use crate::mesh::{Coordination, ListenerId, Wake, mesh};
use crate::shard::ShardConfig;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

/// Why a broker cannot start. Nothing of it is left running.
#[derive(Debug)]
pub enum StartError {
    /// Shards cannot be placed as asked.
    Placement(PlacementError),
    /// The driver that was asked for cannot run here.
    Probe(ProbeError),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// The system refuses something that every broker needs.
    System(&'static str, io::Error),
    /// A shard's loop could not be set up.
    Shard(ShardId, String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Placement(error) => error.fmt(f),
            StartError::Probe(error) => error.fmt(f),
            StartError::Listen(error) => error.fmt(f),
            StartError::System(what, error) => write!(f, "cannot start: {what}: {error}"),
            StartError::Shard(shard, error) => write!(f, "cannot start shard {shard}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Starts brokers.
pub struct Broker;

impl Broker {
    /// Starts a broker and returns once every shard serves.
    ///
    /// # Errors
    /// See [`StartError`]; ports, threads and descriptors are given back.
    pub fn start(mut config: BrokerConfig) -> Result<Handle, StartError> {
        let cores = config
            .placement
            .plan(config.shards, SHARDS_MAX, &placement::usable_cores())
            .map_err(StartError::Placement)?;
        let chosen = probe::choose(config.io).map_err(StartError::Probe)?;
        tracing::info!("io: {}, because {}", chosen.driver, chosen.why);
        let capacity = machine::prepare(Demand {
            connections_max: config.limits.connections_max,
            shards: cores.len(),
            listeners: config.listeners.len(),
            rings: chosen.driver == Driver::Glommio,
        });
        for advice in &capacity.advice {
            tracing::warn!("{advice}");
        }
        config.limits.connections_max = capacity.connections_max;
        let (addresses, sockets) = open_listeners(&config, cores.len())?;
        let broker = assemble(&config, chosen.driver, &cores, sockets, addresses)?;
        for address in broker.addresses() {
            tracing::info!("listening on {address}");
        }
        tracing::info!(
            "ready: {} shards, at most {} connections",
            cores.len(),
            config.limits.connections_max
        );
        Ok(broker)
    }
}

/// The listening sockets of each shard.
type ShardSockets = Vec<Vec<(ListenerId, OwnedFd)>>;

fn open_listeners(
    config: &BrokerConfig,
    shards: usize,
) -> Result<(Vec<SocketAddr>, ShardSockets), StartError> {
    let mut addresses = Vec::new();
    let mut sockets: ShardSockets = (0..shards).map(|_| Vec::new()).collect();
    for (index, listener) in config.listeners.iter().enumerate() {
        let id = ListenerId(u16::try_from(index).expect("a configuration has fewer than 65,536 listeners"));
        let (address, fds) = listen_per_shard(listener.address, shards).map_err(StartError::Listen)?;
        addresses.push(address);
        for (shard, fd) in fds.into_iter().enumerate() {
            sockets[shard].push((id, fd));
        }
    }
    Ok((addresses, sockets))
}

/// 64 bits of the system's randomness: the standard library keys its hash maps with it.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn assemble(
    config: &BrokerConfig,
    driver: Driver,
    cores: &[Option<usize>],
    sockets: ShardSockets,
    addresses: Vec<SocketAddr>,
) -> Result<Handle, StartError> {
    let shards = cores.len();
    let started = Instant::now();
    let key = HashKey::from_seed(random_seed());
    let bell = || EventFd::new().map_err(|error| StartError::System("eventfd", error));
    let bells = (0..shards).map(|_| bell()).collect::<Result<Vec<_>, _>>()?;
    let inline = shards <= INLINE_SHARDS_MAX;
    let coordinator_bell = if inline { bells[0].clone() } else { bell()? };
    let wake = |bell: &EventFd| Arc::new(bell.clone()) as Arc<dyn Wake>;
    let Coordination { ports, coordinator, handle } =
        mesh(bells.iter().map(wake).collect(), wake(&coordinator_bell), Planted::default());
    let seat = CoordinatorSeat::new(
        Coordinator::new(shards, config.limits.connections_max, key.clone(), Planted::default()),
        coordinator,
    );
    let (mut inline_seat, thread_seat) = if inline { (Some(seat), None) } else { (None, Some(seat)) };
    let boards: Vec<_> = (0..shards).map(|_| Arc::new(StatisticsBoard::default())).collect();
    let mut running = Running::new(handle.clone(), boards.clone(), started, config);
    let (report_start, started_shards) = mpsc::channel();
    let parts = ports.into_iter().zip(sockets).zip(bells).zip(boards).enumerate();
    for (index, (((port, listeners), bell), board)) in parts {
        let post = Post {
            config: shard_config(config, index, shards, &key),
            port,
            coordinator: inline_seat.take(),
            board,
            listeners,
            bell,
            core: cores[index],
            driver,
            ring_entries: config.ring_entries,
            started,
            report_start: report_start.clone(),
            mesh: handle.clone(),
        };
        let thread = shard_thread::spawn(post).map_err(|error| StartError::System("thread", error))?;
        running.shards.push(thread);
    }
    drop(report_start);
    if let Some(seat) = thread_seat {
        let thread = shard_thread::spawn_coordinator(seat, coordinator_bell)
            .map_err(|error| StartError::System("thread", error))?;
        running.coordinator = Some(thread);
    }
    // Every shard says once whether it serves; whoever fails takes the others along (dropping `running` stops them).
    for _ in 0..shards {
        let (shard, result) =
            started_shards.recv().expect("every shard reports before it lets go of the channel");
        result.map_err(|error| StartError::Shard(shard, error))?;
    }
    let reporter = Reporter::spawn(running.reader(), config.stats_interval);
    running.reporter = reporter.map_err(|error| StartError::System("thread", error))?;
    Ok(Handle::new(addresses, running))
}

fn shard_config(config: &BrokerConfig, index: usize, shards: usize, key: &HashKey) -> ShardConfig {
    ShardConfig {
        id: ShardId::new(index),
        shards,
        limits: config.limits.clone(),
        key: key.clone(),
        seed: random_seed(),
        fingerprint_bits: 64,
        listener_versions: config.listeners.iter().map(|listener| listener.versions.clone()).collect(),
        connection_warm_up: config.connection_warm_up.div_ceil(shards),
        planted: Planted::default(),
    }
}
