//! Model clients: what a well-behaved client remembers of its session, and of each connection.

use super::ledger::{ClientId, MessageId, SessionId};
use super::network::SocketId;
use super::publish::ALIASES;
use super::topics::Topic;
use crate::base::time::Time;
use crate::wire::{PacketId, Version};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is due for an outgoing message with QoS > 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outgoing {
    /// PUBLISH QoS 1 is sent.
    Puback(MessageId),
    /// PUBLISH QoS 2 is sent.
    Pubrec(MessageId),
    /// PUBREL is sent.
    Pubcomp(MessageId),
}

/// A client: one id, over all its connections.
#[derive(Debug)]
pub struct Client {
    /// Its client id.
    pub name: String,
    /// The version that it always speaks.
    pub version: Version,
    /// Whether its sessions outlive connections.
    pub durable: bool,
    /// The link that it uses; older ones it has forgotten.
    pub current: Option<SocketId>,
    /// Whether it reads.
    pub reading: bool,
    /// Its session as the broker has it, as far as was seen.
    pub session: Option<SessionId>,
    /// The session that `incoming` belongs to. A real client cannot tell a session that began while its CONNACK was lost from the one
    /// before; this one can, so that exactly once can be checked.
    pub state_of: Option<SessionId>,
    /// Outgoing messages that are not finished.
    pub outgoing: BTreeMap<PacketId, Outgoing>,
    /// QoS 2 packet ids received and not released.
    pub incoming: BTreeSet<PacketId>,
    /// QoS 2 packet ids whose PUBLISH was answered with an error.
    pub refused: BTreeSet<PacketId>,
    next_id: PacketId,
    early_ids: u16,
}

impl Client {
    /// A client that has never connected.
    pub fn new(name: String, version: Version, durable: bool) -> Client {
        Client {
            name,
            version,
            durable,
            current: None,
            reading: true,
            session: None,
            state_of: None,
            outgoing: BTreeMap::new(),
            incoming: BTreeSet::new(),
            refused: BTreeSet::new(),
            next_id: PacketId::MIN,
            early_ids: 0,
        }
    }

    /// A packet id that nothing uses; where it is to be the `lowest`, one that was just in use is used again.
    pub fn packet_id(&mut self, link: &Link, lowest: bool) -> PacketId {
        if link.state == LinkState::Connecting {
            // Its connection may be given up and served all the same: such an id is never used again.
            self.early_ids += 1;
            return PacketId::new(10_000 + self.early_ids).expect("a run is short");
        }
        if lowest {
            self.next_id = PacketId::MIN;
        }
        loop {
            let id = self.next_id;
            // A small range, so that ids come round.
            self.next_id = PacketId::new(id.get() % 40 + 1).expect("1 to 40");
            if !self.outgoing.contains_key(&id) && !link.requests.contains_key(&id) {
                return id;
            }
        }
    }
}

/// What a SUBSCRIBE or UNSUBSCRIBE asked for: indices of the session's subscriptions.
#[derive(Clone, Debug)]
pub enum Request {
    /// SUBACK is due.
    Subscribe(Vec<usize>),
    /// UNSUBACK is due.
    Unsubscribe(Vec<usize>),
}

/// A packet that matters when the broker has its last byte.
#[derive(Clone, Copy, Debug)]
pub enum Sent {
    /// CONNECT.
    Connect,
    /// PUBLISH.
    Publish(MessageId),
    /// DISCONNECT, which forgets the will or not.
    Disconnect(bool),
    /// Any other.
    Other,
}

/// Where a link stands, as its client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// CONNACK is due.
    Connecting,
    /// CONNACK was read.
    Up,
    /// Refused, closed or given up.
    Over,
}

/// The session that the broker attached a link to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attached {
    /// Which.
    pub session: SessionId,
    /// Whether it had been there before.
    pub present: bool,
    /// Whether the broker's order of events was visible in full.
    pub sure: bool,
    /// In which step.
    pub step: u64,
    /// When.
    pub at: crate::base::time::Time,
}

/// One connection of a client. Its number is its socket's.
#[derive(Debug)]
pub struct Link {
    /// Whose.
    pub client: ClientId,
    /// Sends what no client sends.
    pub hostile: bool,
    /// The CONNECT is cut short for ever.
    pub mute: bool,
    /// Has published before its CONNACK.
    pub early: bool,
    /// Asked for a new session.
    pub clean: bool,
    /// Seconds that the session outlives it.
    pub expiry: u32,
    /// Seconds; 0 is none.
    pub keep_alive: u16,
    /// The will's message and its delay in seconds.
    pub will: Option<(MessageId, u32)>,
    /// Where it stands.
    pub state: LinkState,
    /// Where packets end in the stream to the broker.
    pub boundaries: VecDeque<(u64, Sent)>,
    sent: u64,
    /// Bytes read and not parsed.
    pub inbox: Vec<u8>,
    /// Bytes parsed.
    pub parsed: u64,
    /// When it was opened.
    pub opened: Time,
    /// When CONNECT was at the broker.
    pub connect_arrived: Option<u64>,
    /// When DISCONNECT was at the broker.
    pub disconnect_arrived: Option<u64>,
    /// The session expiry that its DISCONNECT asks for.
    pub expiry_at_end: Option<u32>,
    /// When any DISCONNECT was at the broker.
    pub left: Option<u64>,
    /// Bytes that the broker has been given.
    pub taken: u64,
    /// When the broker last got a byte.
    pub last_arrived: Time,
    /// When the client last read.
    pub last_read: Time,
    /// It once read nothing for as long as the broker waits for who takes no byte.
    pub slow: bool,
    /// The broker's side of it.
    pub attached: Option<Attached>,
    /// The broker has let go of it as speaker for its session.
    pub detached: bool,
    /// It was seen as connected: what its CONNECT says is on disk.
    pub greeted: bool,
    /// Acknowledgements that the client has not sent yet.
    pub replies: VecDeque<Vec<u8>>,
    /// SUBSCRIBE and UNSUBSCRIBE without answer.
    pub requests: BTreeMap<PacketId, Request>,
    /// The client has stopped reading it for a while.
    pub stalled: bool,
    /// PINGREQ without answer.
    pub pings: u32,
    /// Topic aliases that the broker takes; none before CONNACK says so.
    pub alias_max: u16,
    /// What the client's aliases stand for.
    pub aliases: [Option<Topic>; ALIASES as usize],
    /// QoS > 0 messages that the broker takes at a time; few before CONNACK says how many.
    pub quota: usize,
}

impl Link {
    /// A link that was just opened.
    pub fn new(client: ClientId, now: Time) -> Link {
        Link {
            client,
            hostile: false,
            mute: false,
            early: false,
            clean: true,
            expiry: 0,
            keep_alive: 0,
            will: None,
            state: LinkState::Connecting,
            boundaries: VecDeque::new(),
            sent: 0,
            inbox: Vec::new(),
            parsed: 0,
            opened: now,
            connect_arrived: None,
            disconnect_arrived: None,
            expiry_at_end: None,
            left: None,
            taken: 0,
            last_arrived: now,
            last_read: now,
            slow: false,
            attached: None,
            detached: false,
            greeted: false,
            replies: VecDeque::new(),
            requests: BTreeMap::new(),
            stalled: false,
            pings: 0,
            alias_max: 0,
            aliases: [None; ALIASES as usize],
            quota: 3,
        }
    }

    /// Notes where a packet of `bytes` bytes ends.
    pub fn note(&mut self, bytes: usize, sent: Sent) {
        self.sent += bytes as u64;
        self.boundaries.push_back((self.sent, sent));
    }
}
