//! What the simulator's checkers may see of a shard. Read only; every call is a full scan.

use super::connection::Phase;
use super::{ConnectionKey, Session, SessionKey, Shard};
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::base::time::Time;
use crate::mesh::Epoch;
use crate::wire::PacketId;

/// One session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionView {
    /// Its key; a new session of the same client id has another.
    pub key: SessionKey,
    /// Names it in the log, if it is durable.
    pub number: SessionNumber,
    /// Its client id.
    pub client_id: Box<str>,
    /// The claim that speaks for it.
    pub epoch: Epoch,
    /// The connection that speaks for it.
    pub connection: Option<ConnectionKey>,
    /// Whether that connection's CONNACK is out.
    pub connected: bool,
    /// Copies that wait.
    pub queued: usize,
    /// Copies sent and not known to have arrived.
    pub in_flight: usize,
    /// Seconds that it outlives its connection.
    pub expiry_seconds: u32,
    /// When its connection ended.
    pub offline_since: Time,
}

/// What of a durable session its log must have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DurableView {
    /// Its number.
    pub number: SessionNumber,
    /// Its client id.
    pub client_id: Box<str>,
    /// Whose it is.
    pub user: Option<Box<str>>,
    /// The claim that speaks for it.
    pub epoch: Epoch,
    /// Seconds that it outlives its connection.
    pub expiry_seconds: u32,
    /// Since when it has no connection.
    pub offline_since: Option<Time>,
    /// Whether a will is waiting.
    pub has_will: bool,
    /// What it has subscribed, in alphabetical order.
    pub filters: Vec<String>,
    /// QoS 2 ids from the client between PUBLISH and PUBREL.
    pub received: Vec<PacketId>,
    /// Copies that have not arrived, sorted.
    pub copies: Vec<CopyNumber>,
}

/// How much a shard holds, for what must be bounded or must come back to nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Connection records.
    pub connections: usize,
    /// Connections before their CONNACK.
    pub half_open: usize,
    /// Sessions.
    pub sessions: usize,
    /// Client ids remembered.
    pub identities: usize,
    /// Timers set.
    pub timers: usize,
    /// Bytes of the longest unread input.
    pub unread_bytes_max: usize,
    /// Bytes of the longest output that the driver has not taken.
    pub output_bytes_max: usize,
    /// Replies that wait for the log.
    pub held_replies: usize,
    /// QoS 2 copies in flight that wait for the log.
    pub held_copies: usize,
    /// Messages of which the log has a body that somebody needs.
    pub bodies: usize,
    /// Those of them whose message is in memory.
    pub bodies_in_memory: usize,
    /// Messages that some other shard may not have logged.
    pub outbox: usize,
    /// Messages in fan-out cursors.
    pub cursor_messages: usize,
    /// Retained replays under way.
    pub replays: usize,
    /// Replies that wait for interest.
    pub interest_waiters: usize,
    /// Connections parked.
    pub parked: usize,
    /// Messages for lanes that the turn has not pushed.
    pub unsent: usize,
    /// Copies of shared groups between two members.
    pub between_members: usize,
    /// Delayed messages.
    pub delayed: usize,
    /// Fingerprints that the peers have, as this shard knows.
    pub remote_interest: usize,
    /// Filters that own sessions subscribe.
    pub filters: usize,
}

impl Shard {
    /// All sessions, in slot order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView> {
        self.sessions.iter().map(|(key, session)| {
            let connection = session.connection.and_then(|key| self.connections.get(key));
            SessionView {
                key,
                number: session.number,
                client_id: session.client_id.clone(),
                epoch: session.epoch,
                connection: session.connection,
                connected: connection.is_some_and(|connection| connection.phase == Phase::Connected),
                queued: session.outbound.queued(),
                in_flight: session.outbound.in_flight(),
                expiry_seconds: session.expiry_seconds,
                offline_since: session.offline_since,
            }
        })
    }

    /// All durable sessions, by number.
    pub fn durable_sessions(&self) -> Vec<DurableView> {
        let durable = self.sessions.iter().filter(|(_, session)| session.is_durable());
        let mut views: Vec<_> = durable.map(|(_, session)| self.durable_view(session)).collect();
        views.sort_unstable_by_key(|view| view.number);
        views
    }

    fn durable_view(&self, session: &Session) -> DurableView {
        let mut filters: Vec<String> = self.topics.filters(&session.filters).map(Into::into).collect();
        filters.sort_unstable();
        let mut copies: Vec<_> = session.outbound.kept().map(|kept| kept.number).collect();
        copies.extend(session.outbound.paged().map(|copy| copy.kept.number));
        copies.sort_unstable();
        DurableView {
            number: session.number,
            client_id: session.client_id.clone(),
            user: session.user.as_deref().map(Into::into),
            epoch: session.epoch,
            expiry_seconds: session.expiry_seconds,
            offline_since: session.connection.is_none().then_some(session.offline_since),
            has_will: session.will.is_some(),
            filters,
            received: session.inbound.received().collect(),
            copies,
        }
    }

    /// The retained messages of this shard's partition.
    pub fn retained_len(&self) -> usize {
        self.retained.store.len()
    }

    /// What the session of `client_id` has subscribed, in alphabetical order.
    pub fn session_filters(&self, client_id: &str) -> Vec<String> {
        let of = self.sessions.iter().filter(|(_, session)| &*session.client_id == client_id);
        let filters = of.flat_map(|(_, session)| self.topics.filters(&session.filters));
        let mut filters: Vec<String> = filters.map(Into::into).collect();
        filters.sort_unstable();
        filters
    }

    /// Every connection that is in service: its key and its client id.
    pub fn speakers(&self) -> impl Iterator<Item = (ConnectionKey, &str)> {
        self.connections.iter().filter_map(|(key, connection)| {
            let session = self.sessions.get(connection.session?)?;
            (connection.phase == Phase::Connected).then_some((key, &*session.client_id))
        })
    }

    /// How much there is of everything.
    pub fn sizes(&self) -> Sizes {
        let connections = || self.connections.iter().map(|(_, connection)| connection);
        let output = |connection: &super::Connection| connection.out.as_ref().map_or(0, |out| out.len());
        let parked = |connection: &&super::Connection| {
            connection.parked == super::connection::Parked::Waiting && connection.phase != Phase::Closing
        };
        Sizes {
            connections: self.connections.len(),
            half_open: self.half_open,
            sessions: self.sessions.len(),
            identities: self.identities.len(),
            timers: self.wheel.len(),
            unread_bytes_max: connections().map(|connection| connection.unread.len()).max().unwrap_or(0),
            output_bytes_max: connections().map(output).max().unwrap_or(0),
            held_replies: self.gate.len(),
            held_copies: self.holds.len(),
            bodies: self.bodies.len(),
            bodies_in_memory: self.bodies.in_memory(),
            outbox: self.outbox.len(),
            cursor_messages: self.fan_out.messages(),
            replays: self.retained.replays_len(),
            interest_waiters: self.interest.len(),
            parked: connections().filter(parked).count(),
            unsent: self.peers.unsent(),
            between_members: self.redispatch.len(),
            delayed: self.delayed.len(),
            remote_interest: self.topics.remote_interest_len(),
            filters: self.topics.filters_len(),
        }
    }
}
