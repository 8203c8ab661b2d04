//! Simulated sockets: two byte streams each, with a window, and the ways in which a peer can go.

use crate::base::time::Time;
use std::collections::VecDeque;

/// Names a socket; the same number names the client's link over it.
pub type SocketId = usize;

/// When something was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// In which step.
    pub step: u64,
    /// At which time.
    pub at: Time,
}

/// What the client has done with its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientEnd {
    /// Open.
    Open,
    /// Closed after everything sent: the broker reads the rest, then end of stream.
    Finished,
    /// Reset: what was on its way is gone.
    Reset,
    /// Gone without a word: nothing arrives, nothing is read, nothing is refused.
    Vanished,
}

/// One socket.
pub struct Endpoint {
    to_broker: VecDeque<u8>,
    /// Bytes that the broker has been given.
    pub taken: u64,
    to_client: VecDeque<u8>,
    /// Bytes that the broker has written.
    written: u64,
    /// Bytes that the client has read.
    pub read: u64,
    /// Up to which byte the broker had written when.
    marks: VecDeque<(u64, Moment)>,
    /// The client's end.
    pub client: ClientEnd,
    /// The broker has closed its end.
    pub broker_closed: bool,
    window: usize,
}

impl Endpoint {
    fn new(window: usize) -> Endpoint {
        Endpoint {
            to_broker: VecDeque::new(),
            taken: 0,
            to_client: VecDeque::new(),
            written: 0,
            read: 0,
            marks: VecDeque::new(),
            client: ClientEnd::Open,
            broker_closed: false,
            window,
        }
    }

    /// Bytes on their way to the broker.
    pub fn readable(&self) -> usize {
        if matches!(self.client, ClientEnd::Reset | ClientEnd::Vanished) { 0 } else { self.to_broker.len() }
    }

    /// Takes `count` bytes for the broker.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.taken += count as u64;
        self.to_broker.drain(..count).collect()
    }

    /// Bytes that the broker can write now. A closed or reset end swallows everything.
    pub fn room(&self) -> usize {
        match self.client {
            ClientEnd::Open | ClientEnd::Vanished => self.window.saturating_sub(self.to_client.len()),
            ClientEnd::Finished | ClientEnd::Reset => usize::MAX,
        }
    }

    /// The broker writes.
    pub fn write(&mut self, bytes: &[u8], moment: Moment) {
        self.written += bytes.len() as u64;
        if matches!(self.client, ClientEnd::Open | ClientEnd::Vanished) {
            self.to_client.extend(bytes);
            self.marks.push_back((self.written, moment));
        }
    }

    /// The client sends.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.client == ClientEnd::Open && !self.broker_closed {
            self.to_broker.extend(bytes);
        }
    }

    /// The client reads at most `count` bytes.
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.to_client.len());
        self.read += count as u64;
        self.to_client.drain(..count).collect()
    }

    /// Whether the client has something to read, the end of the stream included.
    pub fn has_news(&self) -> bool {
        self.client == ClientEnd::Open && (!self.to_client.is_empty() || self.broker_closed)
    }

    /// Whether the client has read everything and the broker has closed.
    pub fn is_over(&self) -> bool {
        self.broker_closed && self.to_client.is_empty()
    }

    /// When the broker had written the bytes before `offset`. Offsets must rise from call to call.
    pub fn written_at(&mut self, offset: u64) -> Moment {
        while self.marks.front().is_some_and(|(end, _)| *end < offset) {
            self.marks.pop_front();
        }
        self.marks.front().expect("the client reads only what was written").1
    }
}

/// All sockets of a run.
#[derive(Default)]
pub struct Network {
    sockets: Vec<Endpoint>,
}

impl Network {
    /// A new socket that buffers `window` bytes towards the client.
    pub fn open(&mut self, window: usize) -> SocketId {
        self.sockets.push(Endpoint::new(window));
        self.sockets.len() - 1
    }

    /// The socket `id`.
    pub fn socket(&mut self, id: SocketId) -> &mut Endpoint {
        &mut self.sockets[id]
    }

    /// The socket `id`, to look at.
    pub fn peek(&self, id: SocketId) -> &Endpoint {
        &self.sockets[id]
    }
}
