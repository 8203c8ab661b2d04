//! A socket arrives: from the listener, or from another shard.

use super::connection::Connection;
use super::deadlines::Deadline;
use super::{Action, ConnectionKey, Shard};
use crate::base::limits::HALF_OPEN_MAX;
use crate::base::time::Time;
use crate::mesh::{Handoff, ListenerId};
use crate::transport::Transport;
use std::net::SocketAddr;

impl Shard {
    /// Whether the driver should accept: false while too many connections have not sent their CONNECT.
    pub fn accepts(&self) -> bool {
        self.half_open < HALF_OPEN_MAX && !self.is_stopping()
    }

    /// A socket was accepted. The driver keeps it under the key that comes back.
    pub fn handle_accept(&mut self, now: Time, listener: ListenerId, peer: SocketAddr) -> ConnectionKey {
        let key = self.connections.insert(Connection::new(now, listener, peer));
        self.half_open += 1;
        if self
            .doorways
            .get(usize::from(listener.0))
            .is_some_and(|doorway| doorway.transport == Transport::WebSocket)
        {
            self.connections.get_mut(key).expect("just inserted").extra_mut().web_socket =
                Some(Box::default());
        }
        let timer = self.wheel.arm(now, now + self.limits.connect_deadline, Deadline::Connection(key));
        self.connections.get_mut(key).expect("just inserted").timer = Some(timer);
        self.outputs.actions.push_back(Action::ReadOnce(key));
        key
    }

    /// A connection of one of our sessions arrives from the shard that accepted it.
    pub(super) fn adopt(&mut self, now: Time, handoff: Handoff) {
        let mut connection = Connection::new(now, handoff.listener, handoff.peer);
        connection.counted = true;
        connection.moved_in = true;
        connection.beyond_maximum = handoff.beyond_maximum;
        connection.ended = handoff.ended;
        connection.unread = handoff.input;
        if let Some(assigned) = handoff.assigned_client_id {
            connection.extra_mut().assigned_client_id = Some(assigned);
        }
        if let Some(web_socket) = handoff.web_socket {
            connection.extra_mut().web_socket = Some(web_socket);
        }
        if let Some(authenticated) = handoff.authenticated {
            connection.extra_mut().authenticated = Some(authenticated);
        }
        let key = self.connections.insert(connection);
        self.half_open += 1;
        self.outputs.actions.push_back(Action::Attach(key, handoff.socket));
        self.establish(now, key, handoff.epoch);
    }
}
