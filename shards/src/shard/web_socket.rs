//! Input that travels in a WebSocket (MQTT 5 chapter 6).

use super::connection::{Parked, Phase};
use super::{CloseMode, ConnectionKey, Event, Shard};
use crate::base::time::Time;
use crate::transport::Received;

/// What the scratch buffer for unwrapped input keeps from one read to the next.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

impl Shard {
    /// Bytes from the socket of a connection with a WebSocket.
    pub(super) fn handle_wrapped(&mut self, now: Time, key: ConnectionKey, bytes: &[u8]) {
        let mut packets = std::mem::take(&mut self.unwrapped);
        let web_socket = self.connections.get_mut(key).and_then(|connection| connection.web_socket_mut());
        let received = web_socket.expect("the caller has looked").receive(bytes, &mut packets);
        if packets.is_empty() {
            self.read_more_until_connect(key);
        } else {
            self.handle_packets(now, key, &packets);
        }
        packets.clear();
        packets.shrink_to(SCRATCH_BYTES_KEPT);
        self.unwrapped = packets;
        let Some(connection) = self.connections.get_mut(key).filter(|found| found.phase != Phase::Closing)
        else {
            return;
        };
        match received {
            Ok(Received::Data) => self.outputs.flush(key, connection),
            // A claim cannot be abandoned: it ends at home. No later end could tell it there, these bytes are gone.
            Ok(Received::Closed) if connection.is_claiming() => connection.ended = true,
            // What is parked unread counts as received, as at the end of a plain stream.
            Ok(Received::Closed) if connection.parked == Parked::Waiting => connection.ended = true,
            Ok(Received::Closed) => self.close_broken(now, key, CloseMode::Flush),
            Err(error) => {
                let peer = connection.peer;
                self.counters.violations += 1;
                let claiming = connection.is_claiming();
                connection.ended |= claiming;
                self.report(Event::WebSocket { peer, error });
                if !claiming {
                    self.close_broken(now, key, CloseMode::Flush);
                }
            }
        }
    }
}
