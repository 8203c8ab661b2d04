//! Shards in their seats, sockets as byte queues, and virtual time, in one thread.
//!
//! [`World::run`] turns every shard until all of them sleep, as the drivers do: a shard that sleeps turns again only when it is woken, when a
//! socket has something for it, or when its deadline has passed. A core that never goes to sleep, or sleeps on work, fails the test.

use crate::accounting;
use crate::network::{Link, Reading, Wire};
use crate::platter::Platter;
use shardmq_shards::base::hash::HashKey;
use shardmq_shards::base::limits::Limits;
use shardmq_shards::base::lsn::{Incarnation, Lsn};
use shardmq_shards::base::planted::Planted;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::base::time::Time;
use shardmq_shards::coordinator::Coordinator;
use shardmq_shards::drivers::board::StatisticsBoard;
use shardmq_shards::drivers::turn::{CoordinatorSeat, Seat};
use shardmq_shards::log::{DiskDone, DiskError, DiskRequest, Log, Record, ShardImage};
use shardmq_shards::mesh::{ListenerId, MeshHandle, Socket, Wake, mesh_with_slots};
use shardmq_shards::session::Authentication;
use shardmq_shards::shard::{
    Action, CloseMode, ConnectionKey, Doorway, End, Event, Extensions, Shard, ShardConfig, Terms,
};
use shardmq_shards::topics::ShareStrategies;
use shardmq_shards::wire::Version;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Turns in which a broker of this size must have become quiet.
const TURNS_MAX: usize = 20_000;
/// As the drivers bound the last output of a closing connection.
const CLOSE_FLUSH: Duration = Duration::from_secs(5);

/// Names a client's socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Client(pub usize);

impl Client {
    /// Where its socket comes from.
    pub fn address(self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 10_000 + self.0 as u16))
    }
}

/// What a test wants other than the defaults.
#[derive(Clone)]
pub struct Settings {
    pub shards: usize,
    pub limits: Limits,
    pub lane_slots: usize,
    pub doorways: Vec<Doorway>,
    pub authentication: Authentication,
    pub share_strategies: ShareStrategies,
    pub extensions: Extensions,
    pub terms: Terms,
    /// The shards have logs, which outlive a crash.
    pub logs: bool,
    /// They are in segments of so many bytes, which are cleaned.
    pub segment_bytes: Option<u64>,
    /// The bug in the shards, if any.
    pub planted: Planted,
}

impl Default for Settings {
    fn default() -> Settings {
        // Without a cap on keep-alive a silent client stays, so that tests may let days pass.
        let limits = Limits { keep_alive_max: Duration::ZERO, ..Limits::default() };
        let (doorways, authentication, share_strategies, extensions, terms) = Default::default();
        Settings {
            shards: 1,
            limits,
            lane_slots: 16,
            doorways,
            authentication,
            share_strategies,
            extensions,
            terms,
            logs: false,
            segment_bytes: None,
            planted: Planted::default(),
        }
    }
}

struct WokenFlag(AtomicBool);

impl Wake for WokenFlag {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One shard and what its driver knows.
pub struct Place {
    pub seat: Seat,
    links: BTreeMap<usize, Link>,
    arrivals: VecDeque<(Client, ListenerId)>,
    woken: Arc<WokenFlag>,
    asleep: bool,
    /// Not turned: its lanes are late.
    pub frozen: bool,
    /// Its log is late.
    pub log_held: bool,
    /// Messages that it wants to be read back from its log.
    pub reads: Vec<DiskRequest>,
    /// What else it wants of its disk while that is late.
    pub stalled: VecDeque<DiskRequest>,
    /// Those are late.
    pub reads_held: bool,
    /// Those fail.
    pub reads_fail: bool,
    /// As far as its log is on disk.
    pub committed: Lsn,
    pub turns: u64,
}

impl Place {
    fn deadline(&self) -> Option<Time> {
        [self.seat.shard.poll_deadline(), self.seat.log_deadline()].into_iter().flatten().min()
    }
}

/// A broker and its clients.
pub struct World {
    pub now: Time,
    pub places: Vec<Place>,
    pub wires: Vec<Wire>,
    /// What the operator's log was told.
    pub events: Vec<Event>,
    /// Bytes that one read of a socket gives at most.
    pub read_bytes_max: usize,
    /// What each shard's log has had on disk.
    pub disks: Vec<Vec<(Lsn, Record<'static>)>>,
    /// The segments of each, where there are any.
    pub platters: Vec<Platter>,
    pub incarnation: Incarnation,
    pub settings: Settings,
    pub handle: MeshHandle,
}

impl World {
    pub fn new(shards: usize) -> World {
        World::with(Settings { shards, ..Settings::default() })
    }

    /// One shard with these limits.
    pub fn limited(change: impl FnOnce(&mut Limits)) -> World {
        World::limited_with_shards(1, change)
    }

    pub fn limited_with_shards(shards: usize, change: impl FnOnce(&mut Limits)) -> World {
        let mut settings = Settings { shards, ..Settings::default() };
        change(&mut settings.limits);
        World::with(settings)
    }

    pub fn with(settings: Settings) -> World {
        let logs = settings.logs || std::env::var("ENGINE_LOGS").is_ok_and(|set| set == "1");
        let settings = Settings { logs, ..settings };
        let images = settings.logs.then(|| vec![ShardImage::default(); settings.shards]);
        let now = Time::from_micros(1_000_000);
        let incarnation = Incarnation(1);
        let platters: Vec<_> = (0..settings.shards).map(|_| Platter::default()).collect();
        let (places, handle) = start(&settings, now, incarnation, images, &platters);
        World {
            platters,
            now,
            places,
            wires: Vec::new(),
            events: Vec::new(),
            read_bytes_max: 64 * 1024,
            disks: vec![Vec::new(); settings.shards],
            incarnation,
            settings,
            handle,
        }
    }

    pub fn shard(&self, shard: usize) -> &Shard {
        &self.places[shard].seat.shard
    }

    /// A new socket, accepted by `shard` through `listener`.
    pub fn arrive(&mut self, shard: usize, listener: u16, version: Version) -> Client {
        let client = Client(self.wires.len());
        self.wires.push(Wire::new(version));
        self.places[shard].arrivals.push_back((client, ListenerId(listener)));
        client
    }

    pub fn request_shutdown(&mut self) {
        self.handle.request_shutdown();
    }

    /// Turns all shards until they sleep.
    pub fn run(&mut self) {
        for _ in 0..TURNS_MAX {
            let due: Vec<usize> = (0..self.places.len()).filter(|shard| self.is_due(*shard)).collect();
            if due.is_empty() {
                return;
            }
            for shard in due {
                self.turn(shard);
            }
        }
        panic!("a shard is never done: {:?}", self.places[0].seat.shard.sizes());
    }

    /// One turn of every shard, asleep or not.
    pub fn turn_once(&mut self) {
        for shard in 0..self.places.len() {
            if !self.places[shard].frozen {
                self.turn(shard);
            }
        }
    }

    /// Lets time pass, waking shards exactly when they have asked for it.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.run();
        while let Some(next) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(next);
            self.run();
        }
        self.now = end;
        self.run();
    }

    pub fn pass_secs(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    fn next_event(&self) -> Option<Time> {
        let running = || self.places.iter().filter(|place| !place.frozen);
        let deadlines = running().filter_map(Place::deadline);
        let closes = running().flat_map(|place| place.links.values()).filter_map(|link| link.close_by);
        deadlines.chain(closes).min()
    }

    fn is_due(&self, shard: usize) -> bool {
        let place = &self.places[shard];
        if place.frozen {
            return false;
        }
        let deadline = place.deadline().is_some_and(|at| at <= self.now);
        !place.asleep
            || place.woken.0.load(Ordering::Relaxed)
            || deadline
            || !place.reads.is_empty() && !place.reads_held
            || !place.arrivals.is_empty() && place.seat.shard.accepts()
            || place.links.values().any(|link| link.is_ready(&self.wires[link.client.0], self.now))
    }

    /// One turn of `shard`.
    pub fn turn(&mut self, shard: usize) {
        let now = self.now;
        let place = &mut self.places[shard];
        if place.asleep {
            place.woken.0.store(false, Ordering::Relaxed);
            place.seat.woke();
            place.asleep = false;
        }
        place.turns += 1;
        let reads = if place.reads_held { Vec::new() } else { std::mem::take(&mut place.reads) };
        for request in reads {
            let read = self.platters[shard].answer(&request, self.settings.segment_bytes.is_none());
            let fails = if place.reads_fail { Err(DiskError::Failed(5)) } else { read };
            let DiskRequest::Read { tag, .. } = request else { unreachable!("only reads are among them") };
            place.seat.shard.handle_disk(now, DiskDone::Read { tag, result: fails });
        }
        self.sockets_in(shard);
        let place = &mut self.places[shard];
        place.seat.exchange_in(now);
        if place.log_held {
            place.seat.work_uncommitted(now);
        } else {
            place.seat.work(now);
            place.committed = place.seat.shard.newest_lsn();
        }
        self.platters[shard].serve(now, place);
        self.carry_out(shard);
        let place = &mut self.places[shard];
        // Before the seat writes them to the log.
        self.events.extend(std::iter::from_fn(|| place.seat.shard.poll_event()));
        place.seat.exchange_out(now);
        self.platters[shard].serve(now, place);
        place.asleep = !place.seat.busy() && place.seat.try_sleep(now);
    }

    fn sockets_in(&mut self, shard: usize) {
        let place = &mut self.places[shard];
        while place.seat.shard.accepts() {
            let Some((client, listener)) = place.arrivals.pop_front() else { break };
            let key = place.seat.shard.handle_accept(self.now, listener, client.address());
            place.links.insert(key.index(), Link::new(key, client));
        }
        let links: Vec<usize> = place.links.keys().copied().collect();
        for link in links {
            self.receive(shard, link);
            self.transmit(shard, link);
        }
    }

    fn receive(&mut self, shard: usize, link: usize) {
        let place = &mut self.places[shard];
        let Some(link) = place.links.get_mut(&link) else { return };
        let wire = &mut self.wires[link.client.0];
        if link.reading == Reading::Paused || link.closing.is_some() {
            return;
        }
        if !wire.to_broker.is_empty() {
            let bytes = wire.to_broker.len().min(self.read_bytes_max);
            let input: Vec<u8> = wire.to_broker.drain(..bytes).collect();
            if link.reading == Reading::Once {
                link.reading = Reading::Paused;
            }
            place.seat.shard.handle_input(self.now, link.key, &input);
        } else if let Some(end) = wire.ended.filter(|_| !link.end_told) {
            link.end_told = true;
            place.seat.shard.handle_end(self.now, link.key, end);
        }
    }

    /// Hands bytes to the client as far as it takes them, and the buffer back once it is empty.
    fn transmit(&mut self, shard: usize, index: usize) {
        let place = &mut self.places[shard];
        let Some(link) = place.links.get_mut(&index) else { return };
        let wire = &mut self.wires[link.client.0];
        let key = link.key;
        if let Some((buffer, sent)) = link.output.take() {
            let taken = wire.take(&buffer, sent);
            if sent + taken < buffer.len() {
                link.output = Some((buffer, sent + taken));
                if taken > 0 {
                    place.seat.shard.handle_sent(self.now, key, taken, None);
                }
            } else {
                place.seat.shard.handle_sent(self.now, key, taken, Some(buffer));
            }
        }
        self.finish_close(shard, index);
    }

    fn finish_close(&mut self, shard: usize, index: usize) {
        let place = &mut self.places[shard];
        let Some(link) = place.links.get_mut(&index).filter(|link| link.closing.is_some()) else { return };
        let overdue = link.close_by.is_some_and(|at| at <= self.now);
        let done = link.closing == Some(CloseMode::Now) || overdue || {
            if link.output.is_none()
                && let Some(buffer) = place.seat.shard.take_output(self.now, link.key)
            {
                link.output = Some((buffer, 0));
                return self.transmit(shard, index);
            }
            link.output.is_none()
        };
        if done {
            self.wires[link.client.0].closed = true;
            let key = link.key;
            place.links.remove(&index);
            place.seat.shard.handle_closed(key);
        }
    }

    fn carry_out(&mut self, shard: usize) {
        loop {
            if let Some(action) = self.places[shard].seat.shard.poll_action() {
                self.act(shard, action);
            } else if let Some(key) = self.places[shard].seat.shard.poll_flush() {
                self.flush(shard, key);
            } else {
                return;
            }
        }
    }

    fn flush(&mut self, shard: usize, key: ConnectionKey) {
        let place = &mut self.places[shard];
        let Some(link) = place.links.get_mut(&key.index()).filter(|link| link.key == key) else { return };
        if let Some(buffer) = place.seat.shard.take_output(self.now, key) {
            assert!(link.output.is_none(), "at most one buffer of a connection is with the driver");
            link.output = Some((buffer, 0));
            self.transmit(shard, key.index());
        }
    }

    fn act(&mut self, shard: usize, action: Action) {
        let now = self.now;
        let place = &mut self.places[shard];
        let mut read = |key: ConnectionKey, reading| {
            if let Some(link) = place.links.get_mut(&key.index()).filter(|link| link.key == key) {
                link.reading = reading;
            }
        };
        match action {
            Action::ReadOnce(key) => read(key, Reading::Once),
            Action::Read(key) => read(key, Reading::Stream),
            Action::Pause(key) => read(key, Reading::Paused),
            Action::Attach(key, Socket(client)) => {
                let taken = place.links.insert(key.index(), Link::new(key, Client(client as usize)));
                assert!(taken.is_none(), "a slot is used again only after handle_closed or handle_detached");
            }
            Action::Detach(key) => {
                let link = place.links.remove(&key.index()).expect("a moving connection has its link");
                assert!(link.output.is_none(), "nothing is sent before CONNACK");
                place.seat.shard.handle_detached(now, key, Socket(link.client.0 as u64));
            }
            Action::Close(key, mode) => {
                let link = place.links.get_mut(&key.index()).expect("a connection is closed once");
                assert!(link.key == key && link.closing.is_none(), "a connection is closed once");
                link.closing = Some(mode);
                link.close_by = Some(now + CLOSE_FLUSH);
                self.finish_close(shard, key.index());
            }
        }
    }

    /// Closes or resets the client's end.
    pub fn end(&mut self, client: Client, end: End) {
        self.wires[client.0].ended = Some(end);
    }

    /// Lets the log of `shard` catch up.
    pub fn commit(&mut self, shard: usize) {
        let place = &mut self.places[shard];
        place.log_held = false;
        if self.settings.segment_bytes.is_some() {
            return self.turn(shard);
        }
        let newest = place.seat.shard.newest_lsn();
        place.seat.shard.handle_committed(self.now, newest);
        place.committed = newest;
        self.turn(shard);
    }
}

/// The shards of a broker that starts, with what their logs said.
pub fn start(
    settings: &Settings,
    now: Time,
    incarnation: Incarnation,
    images: Option<Vec<ShardImage>>,
    platters: &[Platter],
) -> (Vec<Place>, MeshHandle) {
    let shards = settings.shards;
    let woken: Vec<_> = (0..shards).map(|_| Arc::new(WokenFlag(AtomicBool::new(false)))).collect();
    let wakes = woken.iter().map(|flag| flag.clone() as Arc<dyn Wake>).collect();
    let mesh = mesh_with_slots(wakes, woken[0].clone(), settings.lane_slots, Planted::default());
    let key = HashKey::from_seed(7);
    let connections_max = settings.limits.connections_max;
    let mut coordinator = Coordinator::new(shards, connections_max, key, Planted::default());
    images.iter().for_each(|images| coordinator.recover(images));
    let mut coordinator = Some(CoordinatorSeat::new(coordinator, mesh.coordinator));
    let mut images = images.map(Vec::into_iter);
    let places = mesh.ports.into_iter().zip(woken).enumerate().map(|(index, (port, woken))| {
        let mut shard = new_shard(settings, index);
        if let Some(image) = images.as_mut().and_then(Iterator::next) {
            let log = match settings.segment_bytes {
                Some(bytes) => platters[index].log(index, incarnation, bytes, settings.planted),
                None => Log::taped_in(incarnation),
            };
            shard.restore(now, log, image);
        }
        Place {
            seat: Seat::new(shard, port, coordinator.take(), Arc::new(StatisticsBoard::default())),
            links: BTreeMap::new(),
            arrivals: VecDeque::new(),
            woken,
            asleep: false,
            frozen: false,
            log_held: false,
            reads: Vec::new(),
            stalled: VecDeque::new(),
            reads_held: false,
            reads_fail: false,
            committed: Lsn::NONE,
            turns: 0,
        }
    });
    (places.collect(), mesh.handle)
}

fn new_shard(settings: &Settings, index: usize) -> Shard {
    Shard::new(ShardConfig {
        id: ShardId::new(index),
        shards: settings.shards,
        limits: settings.limits.clone(),
        key: HashKey::from_seed(7),
        seed: index as u64,
        secret: index as u128,
        fingerprint_bits: 64,
        doorways: settings.doorways.clone(),
        authentication: settings.authentication.clone(),
        share_strategies: settings.share_strategies.clone(),
        extensions: settings.extensions.clone(),
        terms: settings.terms.clone(),
        connection_warm_up: 0,
        planted: settings.planted,
    })
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            accounting::settle(self);
        }
    }
}
