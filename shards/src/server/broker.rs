//! A broker's start: ports first, then lanes, then a thread per shard; and its end.

use super::config::BrokerConfig;
use super::data::{DataDirectory, DataError};
use super::handle::{Handle, Running};
use super::machine::{self, Demand};
use super::placement::{self, PlacementError};
use super::report::Reporter;
use super::shard_thread::{self, KeptShard, Post, StartReport};
use super::storage::{self, Kept};
use crate::base::hash::HashKey;
use crate::base::planted::Planted;
use crate::base::shard_set::{SHARDS_MAX, ShardId};
use crate::coordinator::{Coordinator, INLINE_SHARDS_MAX};
use crate::drivers::board::StatisticsBoard;
use crate::drivers::clock::Clock;
use crate::drivers::eventfd::EventFd;
use crate::drivers::files::Keeper;
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a port may be in use before the start fails: far above what the kernel takes to end a process, short for whoever waits for the error.
const PORT_IN_USE_PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts.
const PORT_IN_USE_PAUSE: Duration = Duration::from_millis(10);

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
    /// What is kept on disk cannot be used.
    Data(DataError),
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
            StartError::Data(error) => write!(f, "cannot start: {error}"),
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
        // The port first: two brokers that are started twice by mistake meet there, and nothing is touched yet.
        let (addresses, sockets) = open_listeners(&config, cores.len())?;
        let kept = config.storage.as_ref().map(|storage| storage::open(storage, cores.len())).transpose();
        let parts =
            Parts { driver: chosen.driver, cores: &cores, sockets, kept: kept.map_err(StartError::Data)? };
        let broker = assemble(&config, parts, addresses)?;
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
        let (address, fds) = listen_patiently(listener.address, shards).map_err(StartError::Listen)?;
        addresses.push(address);
        for (shard, fd) in fds.into_iter().enumerate() {
            sockets[shard].push((id, fd));
        }
    }
    Ok((addresses, sockets))
}

/// The kernel takes a killed process's ring apart some milliseconds after the process is gone, and the listeners that the ring holds with it: a
/// supervisor that starts the broker anew at once would find the port in use by nobody.
fn listen_patiently(address: SocketAddr, shards: usize) -> Result<(SocketAddr, Vec<OwnedFd>), ListenError> {
    let patience_ends = Instant::now() + PORT_IN_USE_PATIENCE;
    loop {
        match listen_per_shard(address, shards) {
            Err(ListenError::PortInUse(_)) if Instant::now() < patience_ends => {
                std::thread::sleep(PORT_IN_USE_PAUSE);
            }
            listened => return listened,
        }
    }
}

/// 64 bits of the system's randomness: the standard library keys its hash maps with it.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A bell for every shard, and the one that wakes whoever runs the coordinator.
fn make_bells(shards: usize) -> Result<(Vec<EventFd>, EventFd), StartError> {
    let bell = || EventFd::new().map_err(|error| StartError::System("eventfd", error));
    let bells = (0..shards).map(|_| bell()).collect::<Result<Vec<_>, _>>()?;
    let coordinator = if shards <= INLINE_SHARDS_MAX { bells[0].clone() } else { bell()? };
    Ok((bells, coordinator))
}

/// What a broker is made of, besides its configuration.
struct Parts<'a> {
    driver: Driver,
    cores: &'a [Option<usize>],
    sockets: ShardSockets,
    kept: Option<Kept>,
}

fn assemble(
    config: &BrokerConfig,
    parts: Parts<'_>,
    addresses: Vec<SocketAddr>,
) -> Result<Handle, StartError> {
    let Parts { driver, cores, sockets, kept } = parts;
    let shards = cores.len();
    let clock = Clock::start();
    let key = HashKey::from_seed(kept.as_ref().map_or_else(random_seed, |kept| kept.hash_seed));
    let (bells, coordinator_bell) = make_bells(shards)?;
    let wake = |bell: &EventFd| Arc::new(bell.clone()) as Arc<dyn Wake>;
    let Coordination { ports, coordinator, handle } =
        mesh(bells.iter().map(wake).collect(), wake(&coordinator_bell), Planted::default());
    let mut core = Coordinator::new(shards, config.limits.connections_max, key.clone(), Planted::default());
    if let Some(kept) = &kept {
        core.recover(&kept.images);
    }
    let mut seat = Some(CoordinatorSeat::new(core, coordinator));
    let boards: Vec<_> = (0..shards).map(|_| Arc::new(StatisticsBoard::default())).collect();
    let mut running = Running::new(handle.clone(), boards.clone(), clock.started(), config);
    let cleaned = config.storage.as_ref().is_none_or(|storage| storage.cleaned);
    let (directory, kept) = kept_shards(kept, &bells, cleaned)?;
    running.data = directory;
    let doors = Doors { open: Arc::new(AtomicBool::new(false)), bells: bells.clone() };
    let (report_start, reports) = mpsc::channel();
    let parts = ports.into_iter().zip(sockets).zip(bells).zip(boards).zip(kept).enumerate();
    let posts = parts
        .map(|(index, ((((port, listeners), bell), board), kept))| Post {
            config: shard_config(config, index, shards, &key),
            port,
            coordinator: seat.take_if(|_| shards <= INLINE_SHARDS_MAX),
            board,
            listeners,
            bell,
            core: cores[index],
            driver,
            ring_entries: config.ring_entries,
            clock,
            report_start: report_start.clone(),
            open: doors.open.clone(),
            kept,
            mesh: handle.clone(),
        })
        .collect();
    drop(report_start);
    let running = start_threads(running, posts, seat.map(|seat| (seat, coordinator_bell)), reports)?;
    doors.open();
    let running = start_reporter(running, config)?;
    Ok(Handle::new(addresses, running))
}

/// What keeps clients out until every shard is ready.
struct Doors {
    open: Arc<AtomicBool>,
    bells: Vec<EventFd>,
}

impl Doors {
    fn open(self) {
        self.open.store(true, Ordering::Relaxed);
        self.bells.iter().for_each(EventFd::ring);
    }
}

/// What each shard goes on from, and the directory, to be held; nothing where nothing is kept.
#[allow(clippy::type_complexity)] // two results, each plain
fn kept_shards(
    kept: Option<Kept>,
    bells: &[EventFd],
    cleaned: bool,
) -> Result<(Option<DataDirectory>, Vec<Option<KeptShard>>), StartError> {
    let Some(Kept { directory, images, logs, .. }) = kept else {
        return Ok((None, bells.iter().map(|_| None).collect()));
    };
    let (folders, journals): (Vec<_>, Vec<_>) = logs.into_iter().map(|log| (log.folder, log.journal)).unzip();
    let ports = Keeper::start(folders.into_iter().zip(bells.iter().cloned()).collect())
        .map_err(|error| StartError::System("thread", error))?;
    let parts = ports.into_iter().zip(journals).zip(images);
    let shards = parts.map(|((port, journal), image)| Some(KeptShard { journal, port, image, cleaned }));
    Ok((Some(directory), shards.collect()))
}

/// Starts every shard, and the coordinator when it has a thread of its own; returns once all shards serve.
///
/// Whoever fails takes the others along: dropping `running` stops them.
fn start_threads(
    mut running: Running,
    posts: Vec<Post>,
    coordinator: Option<(CoordinatorSeat, EventFd)>,
    reports: mpsc::Receiver<StartReport>,
) -> Result<Running, StartError> {
    let failed = |error| StartError::System("thread", error);
    let shards = posts.len();
    for post in posts {
        running.shards.push(shard_thread::spawn(post).map_err(failed)?);
    }
    if let Some((seat, bell)) = coordinator {
        running.coordinator = Some(shard_thread::spawn_coordinator(seat, bell).map_err(failed)?);
    }
    for _ in 0..shards {
        let (shard, result) = reports.recv().expect("every shard reports before it lets go of the channel");
        result.map_err(|error| StartError::Shard(shard, error))?;
    }
    Ok(running)
}

fn start_reporter(mut running: Running, config: &BrokerConfig) -> Result<Running, StartError> {
    let reporter = Reporter::spawn(running.reader(), config.stats_interval);
    running.reporter = reporter.map_err(|error| StartError::System("thread", error))?;
    Ok(running)
}

fn shard_config(config: &BrokerConfig, index: usize, shards: usize, key: &HashKey) -> ShardConfig {
    ShardConfig {
        id: ShardId::new(index),
        shards,
        limits: config.limits.clone(),
        key: key.clone(),
        seed: random_seed(),
        secret: u128::from(random_seed()) << 64 | u128::from(random_seed()),
        fingerprint_bits: 64,
        doorways: config.listeners.iter().map(|listener| listener.doorway.clone()).collect(),
        authentication: config.authentication.clone(),
        share_strategies: config.share_strategies.clone(),
        extensions: config.extensions.clone(),
        terms: config.terms.clone(),
        connection_warm_up: config.connection_warm_up.div_ceil(shards),
        planted: Planted::default(),
    }
}
