//! A shard: the connections of one core, their sessions, and what the rest of the broker must know of them.
//!
//! # The contract
//!
//! [`Shard`] is synchronous and sans-IO. A driver calls `handle_*` with what happened and the time, then drains `poll_*` until they are
//! empty, in any grouping it likes within a turn:
//!
//! 1. what the sockets did: [`Shard::handle_accept`], [`Shard::handle_input`], [`Shard::handle_sent`], [`Shard::handle_end`],
//!    [`Shard::handle_closed`], [`Shard::handle_detached`]
//! 2. what peers and coordinator said: [`Shard::handle_lane_space`], [`Shard::handle_control`], [`Shard::handle_data`] (while
//!    [`Shard::accepts_data`]), [`Shard::handle_replies`]
//! 3. [`Shard::handle_deadlines`], [`Shard::handle_committed`], [`Shard::handle_work`], once per turn
//! 4. out: [`Shard::poll_action`], [`Shard::poll_flush`] with [`Shard::take_output`], [`Shard::poll_data`], [`Shard::poll_control`],
//!    [`Shard::poll_claims`], [`Shard::poll_event`]
//! 5. sleep until [`Shard::poll_deadline`] unless [`Shard::has_work`]
//!
//! Where there is a log, [`Shard::restore`] comes before the first turn, and nothing is accepted before every shard says
//! [`Shard::is_restored`].
//!
//! At most one buffer of a connection is with the driver. After [`Action::Close`] the driver owes one `handle_closed`, after
//! [`Action::Detach`] one `handle_detached`; only they free the key. Every call may come for a key that is gone: it is ignored.
//!
//! One file per thing that happens; this one holds the state and the doors.

mod accept;
mod acknowledge;
mod admit;
mod authenticate;
mod auto_subscribe;
mod cleaning;
mod cleaning_low;
mod cleaning_pace;
mod cleaning_turn;
mod connack;
mod connect;
mod connection;
mod deadlines;
mod delayed;
mod deliver;
mod disconnect;
mod draft;
mod establish;
mod event;
mod exclusive;
mod extensions;
mod fan_out;
mod input;
mod inspect;
mod interest;
mod live_bytes;
mod log_io;
mod log_room;
mod outbox;
mod output;
mod paging;
mod peer;
mod peers;
mod permission;
mod progress;
mod publication;
mod publish;
mod read_again;
mod redispatch;
mod refuse;
mod replay;
mod replays;
mod reply;
mod restore;
mod restore_copies;
mod retained;
mod retained_expiry;
mod retained_room;
mod rewrite;
mod session;
mod session_log;
mod share;
mod shutdown;
mod statistics;
mod subscribe;
mod terms;
mod unsubscribed;
mod web_socket;
mod will_queue;
mod work;
mod written_again;

pub use auto_subscribe::AutoSubscription;
pub use connection::{Connection, ConnectionKey};
pub use event::Event;
pub use extensions::Extensions;
pub use inspect::{DurableView, SessionView, Sizes};
pub use output::{Action, CloseMode};
pub use permission::Permission;
pub use session::{Session, SessionKey};
pub use statistics::{Counters, Dropped, Gauges, Statistics};
pub use terms::{Capabilities, Redirect, Terms};

use crate::base::hash::HashKey;
use crate::base::limits::Limits;
use crate::base::planted::Planted;
use crate::base::random::Random;
use crate::base::secret::SecretNumbers;
use crate::base::shard_set::ShardId;
use crate::base::slab::Slab;
use crate::base::wheel::Wheel;
use crate::log::{Bodies, Gate, Log};
use crate::session::Authentication;
use crate::topics::retained::{RetainedBounds, RetainedStore};
use crate::topics::{ShareStrategies, TopicIndex};
use crate::transport::Transport;
use crate::wire::Version;
use cleaning::Cleaning;
use connection::BufferPool;
use deadlines::Deadline;
use delayed::Delayed;
use deliver::Encodings;
use draft::Draft;
use event::Events;
use exclusive::Exclusive;
use fan_out::FanOut;
use interest::InterestWaiters;
use log_room::Backlog;
use outbox::Outbox;
use output::Outputs;
use paging::Paging;
use peers::{Coordination, Peers};
use progress::{Holds, Marks};
use redispatch::Redispatch;
use reply::HeldReply;
use restore::Restoring;
use retained::Retained;
use session::Identities;
use shutdown::Stopping;
use will_queue::WillQueue;
use work::Work;

/// How the peer's socket ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The peer closed it.
    Eof,
    /// It failed.
    Failed,
}

/// What one listener accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doorway {
    /// Protocol versions.
    pub versions: Vec<Version>,
    /// What the packets travel in.
    pub transport: Transport,
}

impl Doorway {
    /// These versions, over TCP.
    pub fn tcp(versions: &[Version]) -> Doorway {
        Doorway { versions: versions.to_vec(), transport: Transport::Tcp }
    }
}

/// What a shard is told at its start. The same for all shards of a broker but for `id` and `seed`.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This shard's number.
    pub id: ShardId,
    /// Shards of the broker.
    pub shards: usize,
    /// The operator's limits.
    pub limits: Limits,
    /// The broker's hash key.
    pub key: HashKey,
    /// Seed of this shard's own randomness, which need not be secret.
    pub seed: u64,
    /// What the client ids that it assigns are made from: nobody may guess the next one.
    pub secret: u128,
    /// Bits of an interest fingerprint: 64; the simulator takes 8, so that they collide everywhere.
    pub fingerprint_bits: u32,
    /// What each listener accepts, by [`crate::mesh::ListenerId`]; without an entry every version, over TCP.
    pub doorways: Vec<Doorway>,
    /// Which clients may connect how.
    pub authentication: Authentication,
    /// How shared subscriptions spread their messages.
    pub share_strategies: ShareStrategies,
    /// What the broker does beyond the protocol's own rules.
    pub extensions: Extensions,
    /// What clients are offered.
    pub terms: Terms,
    /// Connection records to make room for at the start.
    pub connection_warm_up: usize,
    /// The planted bug of this run.
    pub planted: Planted,
}

/// See the module's documentation. Lives on one core; nobody else reads or writes it.
pub struct Shard {
    id: ShardId,
    limits: Limits,
    terms: Terms,
    planted: Planted,
    doorways: Vec<Doorway>,
    extensions: Extensions,
    authentication: Authentication,
    random: Random,
    assigned_ids: SecretNumbers,
    connections: Slab<Connection>,
    half_open: usize,
    sessions: Slab<Session>,
    offline_sessions: u64,
    identities: Identities,
    topics: TopicIndex<SessionKey>,
    retained: Retained,
    wheel: Wheel<Deadline>,
    log: Log,
    gate: Gate<HeldReply>,
    /// Connections whose input waits for a commit.
    awaiting_commit: Vec<ConnectionKey>,
    bodies: Bodies,
    draft: Draft,
    holds: Holds,
    marks: Marks,
    outbox: Outbox,
    paging: Paging,
    backlog: Backlog,
    cleaning: Cleaning,
    interest: InterestWaiters,
    peers: Peers,
    coordination: Coordination,
    fan_out: FanOut,
    wills: WillQueue,
    delayed: Delayed,
    exclusive: Exclusive,
    redispatch: Redispatch,
    work: Work,
    outputs: Outputs,
    buffers: BufferPool,
    encodings: Encodings,
    counters: Counters,
    dropped: Dropped,
    events: Events,
    stopping: Stopping,
    restoring: Restoring,
    /// Scratch for input taken out of a WebSocket; empty between two reads.
    unwrapped: Vec<u8>,
}

impl Shard {
    /// A shard without connections.
    pub fn new(config: ShardConfig) -> Shard {
        let ShardConfig { id, shards, limits, key, .. } = config;
        let mut connections = Slab::new();
        connections.reserve(config.connection_warm_up);
        let store = RetainedStore::new(RetainedBounds::share(&limits, shards));
        let mut topics = TopicIndex::new(id, shards, key.clone(), config.fingerprint_bits);
        topics.plant(config.planted);
        topics.spread_shares(config.share_strategies);
        Shard {
            id,
            terms: config.terms,
            planted: config.planted,
            doorways: config.doorways,
            extensions: config.extensions,
            authentication: config.authentication,
            random: Random::from_seed(config.seed),
            assigned_ids: SecretNumbers::new(config.secret),
            connections,
            half_open: 0,
            sessions: Slab::new(),
            offline_sessions: 0,
            identities: Identities::new(key.clone()),
            topics,
            retained: Retained::new(id, shards, key, store),
            wheel: Wheel::new(),
            log: Log::in_memory(),
            gate: Gate::default(),
            awaiting_commit: Vec::new(),
            bodies: Bodies::default(),
            draft: Draft::default(),
            holds: Holds::default(),
            marks: Marks::new(shards),
            outbox: Outbox::new(shards),
            paging: Paging::default(),
            backlog: Backlog::default(),
            cleaning: Cleaning::default(),
            interest: InterestWaiters::default(),
            peers: Peers::new(id, shards),
            coordination: Coordination::default(),
            fan_out: FanOut::default(),
            wills: WillQueue::default(),
            delayed: Delayed::default(),
            exclusive: Exclusive::default(),
            redispatch: Redispatch::default(),
            work: Work::default(),
            outputs: Outputs::default(),
            buffers: BufferPool::default(),
            encodings: Encodings::default(),
            counters: Counters::default(),
            dropped: Dropped::default(),
            events: Events::default(),
            stopping: Stopping::No,
            restoring: Restoring::default(),
            unwrapped: Vec::new(),
            limits,
        }
    }

    /// This shard's number.
    pub fn id(&self) -> ShardId {
        self.id
    }
}
