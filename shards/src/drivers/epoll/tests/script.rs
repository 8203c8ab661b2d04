//! A core that does what its test says.

use crate::base::slab::{Key, Slab};
use crate::base::time::Time;
use crate::drivers::driven::{Driven, Output};
use crate::log::{DiskDone, DiskRequest};
use crate::mesh::{ListenerId, Socket};
use crate::shard::{Action, ConnectionKey, End};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Output of one or several pieces.
#[derive(Clone)]
pub(super) struct Pieces(pub(super) Vec<Vec<u8>>);

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
    fn pieces<'a>(&'a self, mut skip: usize, pieces: &mut impl Extend<&'a [u8]>) {
        for piece in &self.0 {
            let cut = skip.min(piece.len());
            skip -= cut;
            pieces.extend((cut < piece.len()).then(|| &piece[cut..]));
        }
    }
}

/// What the script knows of one connection.
#[derive(Default)]
pub(super) struct Client {
    pub(super) input: Vec<u8>,
    pub(super) end: Option<End>,
    pub(super) output: VecDeque<Pieces>,
    pub(super) buffer_out: bool,
    pub(super) sent: usize,
}

/// A core that does what its test says.
#[derive(Default)]
pub(super) struct Script {
    pub(super) clients: Slab<Client>,
    pub(super) actions: VecDeque<Action>,
    pub(super) flushes: VecDeque<ConnectionKey>,
    pub(super) detached: Vec<Socket>,
    pub(super) accepted: Vec<ConnectionKey>,
    pub(super) refuses: bool,
    pub(super) unread: bool,
    pub(super) pause_on_input: bool,
    pub(super) stopping: bool,
    pub(super) now: Time,
    pub(super) disk_requests: VecDeque<DiskRequest>,
    pub(super) disk_done: Vec<DiskDone>,
    pub(super) log_failure: Option<String>,
}

impl Script {
    pub(super) fn client(&mut self, key: ConnectionKey) -> &mut Client {
        self.clients
            .get_mut(Key::from_bits(key.to_bits()))
            .expect("the driver names only keys that are not closed")
    }

    pub(super) fn insert(&mut self) -> ConnectionKey {
        ConnectionKey::from_bits(self.clients.insert(Client::default()).to_bits())
    }

    fn remove(&mut self, key: ConnectionKey) {
        self.clients.remove(Key::from_bits(key.to_bits())).expect("closed once");
    }

    pub(super) fn send(&mut self, key: ConnectionKey, pieces: Vec<Vec<u8>>) {
        self.client(key).output.push_back(Pieces(pieces));
        self.flushes.push_back(key);
    }
}

impl Driven for Script {
    type Output = Pieces;

    fn accepts(&self) -> bool {
        !self.refuses
    }
    fn handle_accept(&mut self, _: Time, _: ListenerId, _: SocketAddr) -> ConnectionKey {
        let key = self.insert();
        self.accepted.push(key);
        if !self.unread {
            self.actions.push_back(Action::Read(key));
        }
        key
    }
    fn handle_input(&mut self, _: Time, key: ConnectionKey, bytes: &[u8]) {
        self.client(key).input.extend_from_slice(bytes);
        if self.pause_on_input {
            self.actions.push_back(Action::Pause(key));
        }
    }
    fn handle_end(&mut self, _: Time, key: ConnectionKey, end: End) {
        assert!(self.client(key).end.replace(end).is_none(), "a connection ends once");
    }
    fn handle_sent(&mut self, _: Time, key: ConnectionKey, bytes: usize, finished: Option<Pieces>) {
        let client = self.client(key);
        client.sent += bytes;
        if finished.is_some() {
            client.buffer_out = false;
            self.flushes.push_back(key);
        }
    }
    fn handle_closed(&mut self, key: ConnectionKey) {
        self.remove(key);
    }
    fn handle_detached(&mut self, _: Time, key: ConnectionKey, socket: Socket) {
        self.remove(key);
        self.detached.push(socket);
    }
    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
    fn poll_flush(&mut self) -> Option<ConnectionKey> {
        self.flushes.pop_front()
    }
    fn take_output(&mut self, _: Time, key: ConnectionKey) -> Option<Pieces> {
        let client = self.client(key);
        if client.buffer_out {
            return None;
        }
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
        Some(self.now + Duration::from_millis(2))
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
        self.clients.is_empty()
    }
}
