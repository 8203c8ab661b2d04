//! The loop on the real ring, driven by a scripted core, so that rare states are reached on purpose and shown to be by a counter.

mod accepting;
mod closing;
mod logging;
mod receiving;
mod sending;
mod waiting;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::links::Reading;
use super::run::RingLoop;
use super::{DriverOptions, RingCounters};
use crate::base::slab::Key;
use crate::base::time::Time;
use crate::drivers::driven::{Driven, Output};
use crate::drivers::eventfd::EventFd;
use crate::drivers::socket::listen_per_shard;
use crate::log::{DiskDone, DiskRequest};
use crate::mesh::{ListenerId, Socket};
use crate::shard::{Action, ConnectionKey, End};

/// No state of the ring takes longer to reach, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Output of one or several pieces.
#[derive(Clone, Debug, PartialEq)]
struct Pieces(Vec<Vec<u8>>);

impl Output for Pieces {
    fn byte_count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
    fn contiguous(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
    fn pieces<'a>(&'a self, skip: usize, pieces: &mut impl Extend<&'a [u8]>) {
        let mut skip = skip;
        for piece in &self.0 {
            let cut = skip.min(piece.len());
            skip -= cut;
            if cut < piece.len() {
                pieces.extend([&piece[cut..]]);
            }
        }
    }
}

/// What the script knows of one tenant of a slot.
#[derive(Default)]
struct Client {
    input: Vec<u8>,
    inputs: usize,
    end: Option<End>,
    output: VecDeque<Pieces>,
    buffer_out: bool,
    sent: usize,
}

/// A core that does what its test says.
struct Script {
    slots: Vec<(u32, Option<Client>)>,
    actions: VecDeque<Action>,
    flushes: VecDeque<ConnectionKey>,
    detached: Vec<(ConnectionKey, Socket)>,
    keys: Vec<ConnectionKey>,
    closed: Vec<ConnectionKey>,
    accepts: bool,
    /// How a new connection is read.
    reading: Reading,
    /// Sends back what arrives.
    echo: bool,
    /// Pauses a connection as soon as something arrives from it.
    pause_on_input: bool,
    /// Closes what has ended.
    close_on_end: bool,
    /// Bytes of the kernel's send buffer of accepted sockets.
    send_buffer: Option<usize>,
    /// Longest wait; none waits for completions alone.
    wait_most: Option<Duration>,
    stopping: bool,
    now: Time,
    disk_requests: VecDeque<DiskRequest>,
    disk_done: Vec<DiskDone>,
    log_failure: Option<String>,
}

impl Script {
    fn client(&mut self, key: ConnectionKey) -> &mut Client {
        let (generation, client) = &mut self.slots[key.index()];
        assert_eq!(*generation, key.generation(), "the driver names only keys that are not closed");
        client.as_mut().expect("the driver names only keys that are not closed")
    }

    fn insert(&mut self, client: Client) -> ConnectionKey {
        let free = self.slots.iter().position(|(_, client)| client.is_none());
        let index = free.unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() - 1
        });
        self.slots[index].1 = Some(client);
        let key = Key::from_bits(u64::from(self.slots[index].0) << 32 | index as u64);
        self.keys.push(key);
        key
    }

    fn remove(&mut self, key: ConnectionKey) -> Client {
        let client = self.slots[key.index()].1.take().expect("closed once");
        self.slots[key.index()].0 += 1;
        client
    }

    fn send(&mut self, key: ConnectionKey, output: Pieces) {
        self.client(key).output.push_back(output);
        if !self.client(key).buffer_out {
            self.flushes.push_back(key);
        }
    }
}

impl Driven for Script {
    type Output = Pieces;

    fn accepts(&self) -> bool {
        self.accepts
    }
    fn handle_accept(&mut self, _: Time, _: ListenerId, _: SocketAddr) -> ConnectionKey {
        let key = self.insert(Client::default());
        match self.reading {
            Reading::Paused => {}
            Reading::Once => self.actions.push_back(Action::ReadOnce(key)),
            Reading::Stream => self.actions.push_back(Action::Read(key)),
        }
        key
    }
    fn handle_input(&mut self, _: Time, key: ConnectionKey, bytes: &[u8]) {
        let client = self.client(key);
        client.input.extend_from_slice(bytes);
        client.inputs += 1;
        if self.echo {
            self.send(key, Pieces(vec![bytes.to_vec()]));
        }
        if self.pause_on_input && self.client(key).inputs == 1 {
            self.actions.push_back(Action::Pause(key));
        }
    }
    fn handle_end(&mut self, _: Time, key: ConnectionKey, end: End) {
        assert_eq!(self.client(key).end.replace(end), None, "a connection ends once");
        if self.close_on_end {
            self.actions.push_back(Action::Close(key, crate::shard::CloseMode::Now));
        }
    }
    fn handle_sent(&mut self, _: Time, key: ConnectionKey, bytes: usize, finished: Option<Pieces>) {
        let client = self.client(key);
        client.sent += bytes;
        if finished.is_some() {
            client.buffer_out = false;
            if !client.output.is_empty() {
                self.flushes.push_back(key);
            }
        }
    }
    fn handle_closed(&mut self, key: ConnectionKey) {
        self.remove(key);
        self.closed.push(key);
    }
    fn handle_detached(&mut self, _: Time, key: ConnectionKey, socket: Socket) {
        self.remove(key);
        self.detached.push((key, socket));
    }
    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
    fn poll_flush(&mut self) -> Option<ConnectionKey> {
        self.flushes.pop_front()
    }
    fn take_output(&mut self, _: Time, key: ConnectionKey) -> Option<Pieces> {
        let client = self.client(key);
        assert!(!client.buffer_out, "one buffer at a time");
        let output = client.output.pop_front();
        client.buffer_out = output.is_some();
        output
    }
    fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.disk_requests.pop_front()
    }
    fn handle_disk(&mut self, _: Time, done: DiskDone) {
        self.disk_done.push(done);
    }
    fn log_failure(&self) -> Option<String> {
        self.log_failure.clone()
    }
    fn exchange_in(&mut self, now: Time) {
        self.now = now;
    }
    fn work(&mut self, _: Time) {}
    fn exchange_out(&mut self, _: Time) {}
    fn poll_deadline(&self) -> Option<Time> {
        self.wait_most.map(|most| self.now + most)
    }
    fn busy(&self) -> bool {
        !self.actions.is_empty() || !self.flushes.is_empty() || !self.disk_requests.is_empty()
    }
    fn try_sleep(&mut self, _: Time) -> bool {
        true
    }
    fn woke(&mut self) {}
    fn is_stopping(&self) -> bool {
        self.stopping
    }
    fn is_drained(&self) -> bool {
        self.slots.iter().all(|(_, client)| client.is_none())
    }
}

/// A script on a ring with a listener, turned by the test itself.
struct Rig {
    ring_loop: RingLoop<Script>,
    address: SocketAddr,
    bell: EventFd,
}

fn script() -> Script {
    Script {
        slots: Vec::new(),
        actions: VecDeque::new(),
        flushes: VecDeque::new(),
        detached: Vec::new(),
        keys: Vec::new(),
        closed: Vec::new(),
        accepts: true,
        reading: Reading::Stream,
        echo: false,
        pause_on_input: false,
        close_on_end: true,
        send_buffer: None,
        wait_most: Some(Duration::from_millis(2)),
        stopping: false,
        now: Time::ZERO,
        disk_requests: VecDeque::new(),
        disk_done: Vec::new(),
        log_failure: None,
    }
}

fn options(ring_entries: u32) -> DriverOptions {
    DriverOptions::new("test", ring_entries)
}

impl Rig {
    fn new(script: Script, options: &DriverOptions) -> Rig {
        let (address, sockets) = listen_per_shard(([127, 0, 0, 1], 0).into(), 1).expect("a free port");
        if let Some(bytes) = script.send_buffer {
            // Accepted sockets inherit it.
            sockopt::set_socket_send_buffer_size(&sockets[0], bytes).expect("any size is taken");
        }
        let listeners = sockets.into_iter().map(|socket| (ListenerId(0), socket)).collect();
        let bell = EventFd::new().expect("descriptors are available");
        let ring_loop =
            RingLoop::new(script, listeners, options, bell.clone()).expect("this machine has io_uring");
        let mut rig = Rig { ring_loop, address, bell };
        rig.ring_loop.turn();
        rig
    }

    fn script(&mut self) -> &mut Script {
        &mut self.ring_loop.core
    }

    fn counters(&self) -> &RingCounters {
        &self.ring_loop.counters
    }

    fn turn(&mut self) {
        self.ring_loop.wait().expect("the ring can be entered");
        self.ring_loop.turn();
    }

    /// Turns until it is so.
    fn turn_until(&mut self, what: &str, mut so: impl FnMut(&mut Script) -> bool) {
        let start = Instant::now();
        while !so(&mut self.ring_loop.core) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
            self.ring_loop.wait().expect("the ring can be entered");
            self.ring_loop.turn();
        }
    }

    /// Connects a client and turns until it is accepted.
    fn connect(&mut self) -> (TcpStream, ConnectionKey) {
        let before = self.script().keys.len();
        let client = TcpStream::connect(self.address).expect("the listener listens");
        client.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
        self.turn_until("an accept", |script| script.keys.len() > before);
        (client, self.ring_loop.core.keys[before])
    }
}

/// Bytes that show where they belong: no two stretches are alike.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at / 251) ^ at ^ (seed * 31)) as u8).collect()
}
