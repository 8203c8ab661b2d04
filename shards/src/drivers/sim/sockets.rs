//! The driver's work with sockets: reads, writes, ends, closes.

use super::driver::{FLUSH_TIME, Loop, READ_BYTES_MAX, Surroundings};
use super::network::{ClientEnd, Moment};
use super::record::{Reading, cut};
use crate::mesh::Socket;
use crate::shard::{CloseMode, ConnectionKey, End};

impl Loop {
    /// What the sockets have for the shard, and can take from it.
    pub(super) fn sockets(&mut self, around: &mut Surroundings<'_>) {
        let keys: Vec<ConnectionKey> = self.records.keys().copied().collect();
        for key in keys {
            if around.calm || !around.random.one_in(3) {
                self.send(around, key);
                self.receive(around, key);
                self.let_go(around, key);
            }
        }
    }

    fn receive(&mut self, around: &mut Surroundings<'_>, key: ConnectionKey) {
        let Some(record) = self.records.get_mut(&key) else { return };
        if record.closing.is_some() || record.detaching {
            return;
        }
        let socket = around.network.socket(record.socket);
        let readable = socket.readable();
        if record.reading != Reading::No && readable > 0 {
            let readable = readable.min(READ_BYTES_MAX);
            let count = match (self.byte_by_byte, around.calm) {
                (true, _) => 1,
                (false, true) => readable,
                (false, false) => cut(around.random, readable).max(1),
            };
            let bytes = socket.take(count);
            if record.reading == Reading::Once {
                record.reading = Reading::No;
            }
            if self.byte_by_byte {
                self.seat.shard.handle_input(around.now, key, &[]);
            }
            return self.seat.shard.handle_input(around.now, key, &bytes);
        }
        let end = match socket.client {
            ClientEnd::Finished if readable == 0 && record.reading != Reading::No => End::Eof,
            ClientEnd::Reset if record.reading != Reading::No || record.out.is_some() => End::Failed,
            _ => return,
        };
        if !record.end_told {
            record.end_told = true;
            self.seat.shard.handle_end(around.now, key, end);
        }
    }

    /// Writes what the socket takes of the connection's output.
    pub(super) fn send(&mut self, around: &mut Surroundings<'_>, key: ConnectionKey) {
        let Some(record) = self.records.get_mut(&key) else { return };
        let Some((buffer, sent)) = &mut record.out else { return };
        let socket = around.network.socket(record.socket);
        let mut pieces: Vec<&[u8]> = Vec::new();
        buffer.slices(*sent, &mut pieces);
        let bytes = pieces.concat();
        let room = socket.room().min(bytes.len());
        let count = if around.calm { room } else { cut(around.random, room) };
        socket.write(&bytes[..count], Moment { step: around.step, at: around.now });
        *sent += count;
        let finished = if count == bytes.len() { record.out.take().map(|(buffer, _)| buffer) } else { None };
        if count > 0 || finished.is_some() {
            self.seat.shard.handle_sent(around.now, key, count, finished);
        }
    }

    /// Closes and detaches what is to be, when nothing is in flight.
    fn let_go(&mut self, around: &mut Surroundings<'_>, key: ConnectionKey) {
        let Some(record) = self.records.get_mut(&key) else { return };
        if record.detaching {
            let record = self.records.remove(&key).expect("looked at above");
            return self.seat.shard.handle_detached(around.now, key, Socket(record.socket as u64));
        }
        let Some((mode, since)) = record.closing else { return };
        if mode == CloseMode::Flush && record.out.is_none() {
            record.out = self.seat.shard.take_output(around.now, key).map(|buffer| (buffer, 0));
        }
        let over = mode == CloseMode::Now || record.out.is_none() || around.now.since(since) > FLUSH_TIME;
        if over {
            around.network.socket(record.socket).broker_closed = true;
            self.records.remove(&key);
            self.seat.shard.handle_closed(key);
        }
    }
}
