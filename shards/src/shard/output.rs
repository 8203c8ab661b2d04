//! What the driver is asked to do.

use super::connection::Phase;
use super::{Connection, ConnectionKey, Shard};
use crate::base::slab::Slab;
use crate::base::time::Time;
use crate::mesh::Socket;
use crate::session::WriteBuffer;
use crate::transport::WebSocket;
use std::collections::VecDeque;

/// One request to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Receive once (until CONNACK, so that the socket can move with nothing in flight).
    ReadOnce(ConnectionKey),
    /// Receive until told to pause.
    Read(ConnectionKey),
    /// Stop receiving. What still arrives is passed to [`Shard::handle_input`] all the same.
    Pause(ConnectionKey),
    /// Let go of the socket, with nothing in flight, and answer with [`Shard::handle_detached`].
    Detach(ConnectionKey),
    /// Adopt a socket from another shard under this key.
    Attach(ConnectionKey, Socket),
    /// Close the socket and answer with [`Shard::handle_closed`].
    Close(ConnectionKey, CloseMode),
}

/// How to close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseMode {
    /// Send what [`Shard::take_output`] still gives, for a bounded time, then close.
    Flush,
    /// At once.
    Now,
}

/// Requests and flushes that the driver has not polled yet.
#[derive(Default)]
pub(super) struct Outputs {
    pub(super) actions: VecDeque<Action>,
    pub(super) flush: VecDeque<ConnectionKey>,
}

impl Outputs {
    /// Puts `key` on the list of connections to flush, if it has something that the driver could take.
    pub(super) fn flush(&mut self, key: ConnectionKey, connection: &mut Connection) {
        if !connection.flushing && connection.is_flushable() {
            connection.flushing = true;
            self.flush.push_back(key);
        }
    }
}

/// Makes one WebSocket message of the packets in `out`.
fn wrap(web_socket: &mut WebSocket, out: &mut WriteBuffer) {
    let mut lead = Vec::new();
    web_socket.lead(out.len(), &mut lead);
    out.precede_with(&lead);
    web_socket.trail(out.bytes_mut());
}

impl Shard {
    /// The next request to the driver.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outputs.actions.pop_front()
    }

    /// The next connection that has output and no buffer at the driver.
    pub fn poll_flush(&mut self) -> Option<ConnectionKey> {
        let key = self.outputs.flush.pop_front()?;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.flushing = false;
        }
        Some(key)
    }

    /// The output of `key`, to be given back by [`Shard::handle_sent`] once it is written; `None` when there is none, or a buffer is out.
    pub fn take_output(&mut self, now: Time, key: ConnectionKey) -> Option<Box<WriteBuffer>> {
        let connection = self.connections.get_mut(key)?;
        if !connection.is_flushable() {
            return None;
        }
        connection.writing = true;
        connection.last_progress = now;
        // The driver itself bounds the last output of a connection that it closes.
        if connection.stall_timer.is_none() && connection.phase != Phase::Closing {
            self.watch_stall(now, key);
        }
        let connection = self.connections.get_mut(key)?;
        let out = connection.out.take();
        match connection.web_socket_mut() {
            None => out,
            Some(web_socket) => {
                let mut out = out.unwrap_or_else(|| self.buffers.take());
                wrap(web_socket, &mut out);
                Some(out)
            }
        }
    }

    /// Appends to the output of `key` with `write`, and puts it on the list to flush.
    pub(super) fn write(&mut self, key: ConnectionKey, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = self.connections.get_mut(key) {
            write(connection.out_mut(&mut self.buffers).bytes_mut());
            self.outputs.flush(key, connection);
        }
    }

    /// Connection records, for the driver's own checks.
    pub fn connections(&self) -> &Slab<Connection> {
        &self.connections
    }
}
