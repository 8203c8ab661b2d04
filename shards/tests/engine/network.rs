//! Sockets: what lies on the wire, and what a driver knows of its end.

use crate::world::Client;
use shardmq_shards::base::time::Time;
use shardmq_shards::session::WriteBuffer;
use shardmq_shards::shard::{CloseMode, ConnectionKey, End};
use shardmq_shards::wire::Version;
use std::collections::VecDeque;

/// One socket, seen from the network.
pub struct Wire {
    pub version: Version,
    pub to_broker: VecDeque<u8>,
    pub from_broker: Vec<u8>,
    /// Bytes that the client still takes before its receive buffer is full.
    pub space: usize,
    /// What the client did to its end.
    pub ended: Option<End>,
    /// The broker has closed its end.
    pub closed: bool,
    /// The test was told of that.
    pub closed_told: bool,
    pub next_packet_id: u16,
}

impl Wire {
    pub fn new(version: Version) -> Wire {
        Wire {
            version,
            to_broker: VecDeque::new(),
            from_broker: Vec::new(),
            space: usize::MAX,
            ended: None,
            closed: false,
            closed_told: false,
            next_packet_id: 1_000,
        }
    }

    /// Takes what the client has room for of `buffer` behind `skip`; how many bytes that were.
    pub fn take(&mut self, buffer: &WriteBuffer, skip: usize) -> usize {
        if self.ended.is_some() {
            return buffer.len() - skip;
        }
        let mut pieces: Vec<&[u8]> = Vec::new();
        buffer.slices(skip, &mut pieces);
        let before = self.from_broker.len();
        for piece in pieces {
            let bytes = piece.len().min(self.space);
            self.from_broker.extend_from_slice(&piece[..bytes]);
            self.space -= if self.space == usize::MAX { 0 } else { bytes };
        }
        self.from_broker.len() - before
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    Paused,
    Once,
    Stream,
}

/// A driver's record of one connection.
pub struct Link {
    pub key: ConnectionKey,
    pub client: Client,
    pub reading: Reading,
    /// The buffer being sent, and how far.
    pub output: Option<(Box<WriteBuffer>, usize)>,
    pub closing: Option<CloseMode>,
    pub close_by: Option<Time>,
    pub end_told: bool,
}

impl Link {
    pub fn new(key: ConnectionKey, client: Client) -> Link {
        Link {
            key,
            client,
            reading: Reading::Paused,
            output: None,
            closing: None,
            close_by: None,
            end_told: false,
        }
    }

    /// Whether the socket has something for its shard.
    pub fn is_ready(&self, wire: &Wire, now: Time) -> bool {
        let input = self.reading != Reading::Paused
            && self.closing.is_none()
            && (!wire.to_broker.is_empty() || wire.ended.is_some() && !self.end_told);
        let output = self.output.is_some() && (wire.space > 0 || wire.ended.is_some());
        input || output || self.close_by.is_some_and(|at| at <= now)
    }
}
