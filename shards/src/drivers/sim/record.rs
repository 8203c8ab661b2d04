//! The driver's record of one connection.

use super::driver::FLUSH_TIME;
use super::network::{ClientEnd, Network, SocketId};
use crate::base::random::Random;
use crate::base::time::Time;
use crate::session::WriteBuffer;
use crate::shard::CloseMode;

/// How a connection is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Not.
    No,
    /// Until something came.
    Once,
    /// All that comes.
    Stream,
}

/// The driver's record of one connection.
pub struct Record {
    /// Its socket.
    pub socket: SocketId,
    /// Whether it is read.
    pub reading: Reading,
    /// What is being sent, and how much of it is.
    pub out: Option<(Box<WriteBuffer>, usize)>,
    /// Since when it is being closed, and how.
    pub closing: Option<(CloseMode, Time)>,
    /// It is to be let go of.
    pub detaching: bool,
    /// The shard knows of its end.
    pub end_told: bool,
}

impl Record {
    /// Of a socket that was just accepted or adopted.
    pub fn new(socket: SocketId) -> Record {
        Record { socket, reading: Reading::No, out: None, closing: None, detaching: false, end_told: false }
    }
}

/// Changes how a connection is read, if it is still there.
pub fn set_reading(record: Option<&mut Record>, reading: Reading) {
    if let Some(record) = record {
        record.reading = reading;
    }
}

impl Record {
    /// Whether a turn could do something for it.
    pub fn is_ready(&self, now: Time, network: &Network) -> bool {
        let socket = network.peek(self.socket);
        if self.detaching {
            return true;
        }
        if self.out.is_some() && socket.room() > 0 {
            return true;
        }
        if let Some((mode, since)) = self.closing {
            return mode == CloseMode::Now || self.out.is_none() || now.since(since) > FLUSH_TIME;
        }
        let listening = self.reading != Reading::No;
        match socket.client {
            ClientEnd::Open => listening && socket.readable() > 0,
            ClientEnd::Finished => listening && (socket.readable() > 0 || !self.end_told),
            ClientEnd::Reset => (listening || self.out.is_some()) && !self.end_told,
            ClientEnd::Vanished => false,
        }
    }
}

/// A part of `count` bytes: often all, sometimes one, sometimes none.
pub fn cut(random: &mut Random, count: usize) -> usize {
    match random.below(4) {
        0 => random.below(count as u64 + 1) as usize,
        1 => count.min(1 + random.below(7) as usize),
        _ => count,
    }
}
