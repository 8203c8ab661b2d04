//! One socket's record: from accept to the last completion of its close.

use super::authenticate::Exchange;
use super::session::SessionKey;
use crate::base::lsn::Lsn;
use crate::base::shard_set::ShardId;
use crate::base::slab::Key;
use crate::base::time::Time;
use crate::base::wheel::TimerKey;
use crate::mesh::{Epoch, ListenerId};
use crate::session::{Authenticated, KeepAlive, TopicAliases, WriteBuffer, Writer};
use crate::transport::WebSocket;
use crate::wire::Version;
use std::net::SocketAddr;
use std::sync::Arc;

/// Names a connection within its shard. The driver keeps its own record at [`Key::index`].
pub type ConnectionKey = Key<Connection>;

/// Where a connection stands.
///
/// ```text
/// AwaitConnect ─CONNECT─► Claiming ─granted here─► AwaitConnack ─interest applied, logged─► Connected
///      │  └CONNECT with     ▲└─granted elsewhere─► Moving ─► (the home shard's AwaitConnack)     │
///      │   method▼          └─AUTH written───┐                                                   │
///      │   Authenticating ─success─► Authenticated                                               │
///      └────────── violation, deadline, end of stream, takeover, DISCONNECT ──► Closing ◄────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Accepted; a whole CONNECT is due by its deadline.
    AwaitConnect,
    /// AUTH goes to and fro. The CONNECT deadline goes on.
    Authenticating,
    /// The exchange has succeeded. Nothing may be on its way out when the socket moves: the claim waits until the last AUTH is written.
    Authenticated,
    /// The coordinator is asked. Cannot be abandoned: every granted claim arrives at its home.
    Claiming,
    /// On its way to the home shard.
    Moving,
    /// Attached to its session; the CONNACK waits.
    AwaitConnack,
    /// Between CONNACK and the end.
    Connected,
    /// The driver was told to close it.
    Closing,
}

/// Status of a WebSocket close that blames nobody (RFC 6455 section 7.4.1).
const WEB_SOCKET_NORMAL_CLOSURE: u16 = 1000;

/// Why input waits unread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parked {
    /// It does not.
    No,
    /// For a slot of a lane, a fan-out cursor, or the next turn. The connection stands in exactly one list of waiters.
    Waiting,
}

/// See the module's documentation.
pub struct Connection {
    pub(super) phase: Phase,
    pub(super) version: Version,
    pub(super) parked: Parked,
    /// The driver was told to stop reading.
    pub(super) paused: bool,
    /// Stands in the list of connections to flush.
    pub(super) flushing: bool,
    /// The driver has a buffer of it.
    pub(super) writing: bool,
    /// It came from another shard; the coordinator is to hear of its arrival.
    pub(super) moved_in: bool,
    /// The coordinator counts it.
    pub(super) counted: bool,
    /// There is no room for it but that of the connection whose session it takes over.
    pub(super) beyond_maximum: bool,
    /// The peer ended it while it could not be closed.
    pub(super) ended: bool,
    pub(super) keep_alive: KeepAlive,
    pub(super) listener: ListenerId,
    pub(super) peer: SocketAddr,
    pub(super) session: Option<SessionKey>,
    pub(super) epoch: Epoch,
    /// Where it moves to, while it does.
    pub(super) home: ShardId,
    /// Input that is not handled yet: a partial packet, or all that came while parked.
    pub(super) unread: Vec<u8>,
    /// Output that the driver does not have yet.
    pub(super) out: Option<Box<WriteBuffer>>,
    pub(super) last_heard: Time,
    /// When the driver last got rid of a byte, or took a buffer.
    pub(super) last_progress: Time,
    /// The CONNECT deadline, then keep-alive.
    pub(super) timer: Option<TimerKey>,
    /// Watches a write that makes no progress.
    pub(super) stall_timer: Option<TimerKey>,
    /// No acknowledgement overtakes the one of an earlier record [MQTT-4.6.0-2].
    pub(super) last_lsn: Lsn,
    /// Bytes of its replies that wait for the log.
    pub(super) held_bytes: u32,
    /// The client's Maximum Packet Size: nothing larger is sent.
    pub(super) packet_bytes_max: u32,
    /// Topic aliases that it may be sent.
    pub(super) alias_max: u16,
    /// Those in use; made when the first message goes out.
    pub(super) topic_aliases: Option<Box<TopicAliases>>,
    /// The client has not asked to be spared reason strings (Request Problem Information).
    pub(super) wants_reasons: bool,
    /// What only some connections have.
    pub(super) extra: Option<Box<Extra>>,
}

/// The rarely used part of a connection.
#[derive(Default)]
pub(super) struct Extra {
    /// Topic aliases that the client has set, by alias - 1.
    pub(super) aliases: Vec<Option<Box<str>>>,
    /// What its packets travel in, if not alone.
    pub(super) web_socket: Option<Box<WebSocket>>,
    /// The client id that this broker chose.
    pub(super) assigned_client_id: Option<Box<str>>,
    /// The user name, where the broker has rules that ask for it.
    pub(super) user_name: Option<Box<str>>,
    /// Whether a full retained partition keeps the PUBLISH that is next in `unread`, once it has answered.
    pub(super) retained_room: Option<bool>,
    /// The CONNACK that waits.
    pub(super) connack: Vec<u8>,
    /// How the client has authenticated.
    pub(super) authenticated: Option<Authenticated>,
    /// The authentication that is going on, before CONNACK or again after it.
    pub(super) exchange: Option<Exchange>,
}

impl Connection {
    pub(super) fn new(now: Time, listener: ListenerId, peer: SocketAddr) -> Connection {
        Connection {
            phase: Phase::AwaitConnect,
            version: Version::V311,
            parked: Parked::No,
            paused: false,
            flushing: false,
            writing: false,
            moved_in: false,
            counted: false,
            beyond_maximum: false,
            ended: false,
            keep_alive: KeepAlive::default(),
            listener,
            peer,
            session: None,
            epoch: Epoch::default(),
            home: ShardId::new(0),
            unread: Vec::new(),
            out: None,
            last_heard: now,
            last_progress: now,
            timer: None,
            stall_timer: None,
            last_lsn: Lsn::NONE,
            held_bytes: 0,
            packet_bytes_max: u32::MAX,
            alias_max: 0,
            topic_aliases: None,
            wants_reasons: true,
            extra: None,
        }
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Whether it is on its way to its session: until it is there it must not be closed.
    pub(super) fn is_claiming(&self) -> bool {
        matches!(self.phase, Phase::Claiming | Phase::Moving)
    }

    /// The CONNACK that waited. Of the rarely used part only what outlives it is kept.
    pub(super) fn take_connack(&mut self) -> Vec<u8> {
        let Some(mut extra) = self.extra.take() else { return Vec::new() };
        let connack = std::mem::take(&mut extra.connack);
        extra.assigned_client_id = None;
        if let Some(authenticated) = &mut extra.authenticated {
            authenticated.data = None;
        }
        let lasting =
            extra.web_socket.is_some() || extra.user_name.is_some() || extra.authenticated.is_some();
        self.extra = lasting.then_some(extra);
        connack
    }

    /// At the close: only the WebSocket is still needed, to say farewell.
    pub(super) fn retire_extra(&mut self) {
        if let Some(mut web_socket) = self.extra.take().and_then(|extra| extra.web_socket) {
            web_socket.close(WEB_SOCKET_NORMAL_CLOSURE);
            self.extra_mut().web_socket = Some(web_socket);
        }
    }

    /// As whom the client has authenticated; `None` for one that did not.
    pub(super) fn user(&self) -> Option<&Arc<str>> {
        let authenticated = self.extra.as_ref()?.authenticated.as_ref()?;
        Some(&authenticated.user)
    }

    /// The buffer to append output to.
    pub(super) fn out_mut(&mut self, pool: &mut BufferPool) -> &mut WriteBuffer {
        self.out.get_or_insert_with(|| pool.take())
    }

    /// Whether everything written has left the driver.
    pub(super) fn is_drained(&self) -> bool {
        !self.writing && self.out.as_ref().is_none_or(|out| out.is_empty())
    }

    /// The end to append messages to.
    #[inline]
    pub(super) fn writer(&mut self, pool: &mut BufferPool) -> Writer<'_> {
        let max = self.alias_max;
        let aliases = &mut self.topic_aliases;
        Writer {
            version: self.version,
            packet_bytes_max: self.packet_bytes_max,
            aliases: (max > 0)
                .then(|| &mut **aliases.get_or_insert_with(|| Box::new(TopicAliases::new(max)))),
            out: self.out.get_or_insert_with(|| pool.take()),
        }
    }

    /// Whether there is output that the driver could take.
    pub(super) fn is_flushable(&self) -> bool {
        !self.writing && (self.out.as_ref().is_some_and(|out| !out.is_empty()) || self.has_layer_answer())
    }

    pub(super) fn web_socket_mut(&mut self) -> Option<&mut WebSocket> {
        self.extra.as_mut()?.web_socket.as_deref_mut()
    }

    /// Whether its WebSocket has something to say. Between claim and CONNACK it waits: a socket moves with nothing to send.
    fn has_layer_answer(&self) -> bool {
        let web_socket = self.extra.as_ref().and_then(|extra| extra.web_socket.as_ref());
        web_socket.is_some_and(|web_socket| web_socket.has_answer())
            && matches!(
                self.phase,
                Phase::AwaitConnect | Phase::Authenticating | Phase::Connected | Phase::Closing
            )
    }
}

/// Write buffers between two uses. Idle connections own none.
#[derive(Default)]
pub(super) struct BufferPool {
    #[expect(clippy::vec_box, reason = "the box itself is what is pooled: a connection holds one pointer")]
    free: Vec<Box<WriteBuffer>>,
}

/// Buffers kept for reuse: as many connections as one turn typically writes to.
const POOLED_BUFFERS_MAX: usize = 1024;
/// A buffer that has grown past this is given back to the allocator.
const POOLED_BUFFER_BYTES_MAX: usize = 16 * 1024;

impl BufferPool {
    pub(super) fn take(&mut self) -> Box<WriteBuffer> {
        self.free.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, mut buffer: Box<WriteBuffer>) {
        if self.free.len() < POOLED_BUFFERS_MAX && buffer.capacity() <= POOLED_BUFFER_BYTES_MAX {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}
