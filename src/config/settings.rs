//! The configuration file as it is written: every field with its range and its default.

use super::authentication::AuthenticationSettings;
use super::bounded::{Bytes, Number, Span};
use super::debug::DebugSettings;
use super::extensions::{AutoSubscription, DelayedMessages, ExclusiveSubscriptions, RewriteRule};
use super::terms::{Capabilities, Redirect};
use serde::Deserialize;
use shardmq_shards::base::limits::{LOG_SEGMENT_BYTES, Limits};
use shardmq_shards::base::shard_set::SHARDS_MAX;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Longest span that MQTT can express for a session: seconds in 32 bits.
const EXPIRY_SECONDS_MAX: u64 = u32::MAX as u64;

/// How many shards a broker can have.
pub type ShardCount = Number<1, { SHARDS_MAX as u64 }>;

/// A configuration file. What it leaves out has the default that config/default.ron shows.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Whether clients may connect without authentication; unsaid it is so where there are no users, on loopback only.
    pub allow_anonymous: Option<bool>,
    /// Who may connect.
    pub authentication: AuthenticationSettings,
    /// Shards, one thread each; unsaid one per core that the process may use.
    pub shards: Option<ShardCount>,
    /// What the shards wait with.
    pub io: Io,
    /// Which core a shard runs on.
    pub placement: Placement,
    /// Where durable state is kept.
    pub data_dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Bytes of its file system that the log leaves to others; unsaid the smaller of 1 GiB and a tenth of it.
    pub disk_watermark: Option<Bytes<0, 1_099_511_627_776>>,
    /// Bytes of one segment of a shard's log.
    pub log_segment: Bytes<1_048_576, 1_073_741_824>,
    /// What is logged unless RUST_LOG or the command line say otherwise.
    pub log_level: LogLevel,
    /// Span between two statistics lines; 0: none.
    pub stats_interval: Span<0, 86_400>,
    /// Connections over all shards.
    pub max_connections: Number<1, 10_000_000>,
    /// Submission entries of each shard's io_uring.
    pub ring_entries: Number<16, 32_768>,
    /// Connection records made at start, over all shards.
    pub connection_warm_up: Number<0, 10_000_000>,
    /// Receivers of one message that are served per turn.
    pub fan_out_batch: Number<1, 1_000_000>,
    /// How shared subscriptions spread their messages.
    pub shared_subscriptions: SharedSubscriptions,
    /// What clients may use.
    pub capabilities: Capabilities,
    /// What clients that ask are told to build their response topics from.
    pub response_information: Option<String>,
    /// Another server for the clients.
    pub redirect: Option<Redirect>,
    /// Whether payloads that are said to be text are looked at.
    pub check_payload_format: bool,
    /// Messages that are published later.
    pub delayed: DelayedMessages,
    /// Subscriptions of one client at a time.
    pub exclusive: ExclusiveSubscriptions,
    /// Rules that replace topics by others.
    pub rewrite: Vec<RewriteRule>,
    /// Subscriptions that every client gets at CONNECT.
    pub auto_subscribe: Vec<AutoSubscription>,
    /// What one client may take.
    pub limits: ClientLimits,
    /// Ways that differ from the usual ones, for tests.
    pub debug: DebugSettings,
}

/// How shared subscriptions spread their messages.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedSubscriptions {
    /// Of every group that is not named below.
    pub strategy: Strategy,
    /// Groups with a strategy of their own.
    pub groups: Vec<ShareGroup>,
}

/// The groups of one share name.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareGroup {
    /// What stands between `$share/` and the filter.
    pub name: String,
    /// Which member gets the next message.
    pub strategy: Strategy,
}

/// Which member of a group gets the next message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The same as last time.
    Sticky,
    /// By the publisher's client id.
    HashClient,
    /// By the topic.
    HashTopic,
    /// One after the other on the publisher's shard, elsewhere only when that has none.
    Local,
}

/// One address on which clients connect.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port; port 0 takes any free one.
    pub address: SocketAddr,
    /// The protocol versions accepted here; unsaid all of them.
    #[serde(default)]
    pub versions: Option<Vec<ProtocolVersion>>,
    /// What the packets travel in.
    #[serde(default)]
    pub transport: Transport,
}

impl Listener {
    /// One that takes every version.
    pub fn tcp(address: SocketAddr) -> Listener {
        Listener { address, versions: None, transport: Transport::Tcp }
    }
}

/// What a listener's packets travel in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Nothing: MQTT over TCP.
    #[default]
    Tcp,
    /// WebSocket, with the subprotocol `mqtt`, on any path.
    Websocket,
}

/// A protocol version as the configuration names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum ProtocolVersion {
    /// MQTT 3.1 (`MQIsdp`).
    #[serde(rename = "V3_1")]
    V31,
    /// MQTT 3.1.1.
    #[serde(rename = "V3_1_1")]
    V311,
    /// MQTT 5.0.
    V5,
}

/// What the shards wait with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// glommio where io_uring works, else epoll; the log says which and why.
    Auto,
    /// io_uring, or refuse to start.
    Glommio,
    /// epoll, which works everywhere.
    Epoll,
}

/// What an acknowledgement promises, named by what it outlives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Kept over the loss of power.
    Fsync,
    /// Kept over the end of the process, not over that of the system.
    Os,
    /// Kept as long as the process runs: nothing is written.
    Memory,
}

/// Which core a shard runs on.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// The scheduler decides.
    None,
    /// One shard per core, in the order of the core numbers.
    Cores,
    /// One shard per physical core: hyper-threads stay free for the kernel's network work.
    Physical,
    /// One shard per core of these NUMA nodes, in this order.
    Nodes(Vec<u16>),
}

/// What is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What stops the broker or a part of it.
    Error,
    /// What the operator should change.
    Warn,
    /// Start, stop and statistics.
    Info,
    /// Every client's mistakes, with the clause that they break.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Its name in a RUST_LOG directive.
    pub fn directive(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// What one client may take.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientLimits {
    /// From accept to a whole CONNECT.
    pub connect_deadline: Span<1, 600>,
    /// One packet from a client.
    pub packet_bytes_max: Bytes<128, 268_435_460>,
    /// Filters per client.
    pub filters_per_client_max: Number<1, 10_000_000>,
    /// QoS > 0 PUBLISH packets that a client may have unacknowledged towards the broker.
    pub receive_maximum: Number<1, 65_535>,
    /// QoS > 0 messages in flight towards one client.
    pub in_flight_max: Number<1, 65_535>,
    /// Messages that wait for one client.
    pub queue_messages_max: Number<1, 100_000_000>,
    /// Memory of the messages that wait for one client.
    pub queue_bytes_max: Bytes<1_024, { u32::MAX as u64 }>,
    /// Messages that wait for one durable client on disk.
    pub queue_disk_bytes_max: Bytes<0, 1_099_511_627_776>,
    /// Topic aliases that a v5 client may use.
    pub topic_alias_max: Number<0, 65_535>,
    /// Topic aliases used towards one v5 client.
    pub topic_alias_to_client_max: Number<0, 256>,
    /// Longest keep-alive that a client may ask for.
    pub keep_alive_max: Span<5, 65_535>,
    /// A peer that takes no byte for this long is closed.
    pub write_stall: Span<1, 600>,
    /// How long a session of a v3 client with clean_session=0 outlives its connection.
    pub session_expiry_v3: Span<0, EXPIRY_SECONDS_MAX>,
    /// Longest session expiry that a v5 client may ask for.
    pub session_expiry_max: Span<0, EXPIRY_SECONDS_MAX>,
    /// Retained messages over all shards.
    pub retained_messages_max: Number<0, 1_000_000_000>,
    /// Memory of the retained messages over all shards.
    pub retained_bytes_max: Bytes<0, 1_099_511_627_776>,
}

impl Default for Settings {
    fn default() -> Settings {
        let limits = Limits::default();
        Settings {
            listeners: vec![Listener {
                address: ([127, 0, 0, 1], 1883).into(),
                versions: None,
                transport: Transport::Tcp,
            }],
            allow_anonymous: None,
            authentication: AuthenticationSettings::default(),
            shards: None,
            io: Io::Auto,
            placement: Placement::None,
            data_dir: PathBuf::from("data"),
            durability: Durability::Fsync,
            disk_watermark: None,
            log_segment: Bytes::new(LOG_SEGMENT_BYTES),
            log_level: LogLevel::Info,
            stats_interval: Span::new(Duration::from_secs(5)),
            max_connections: Number::new(limits.connections_max.into()),
            ring_entries: Number::new(256),
            connection_warm_up: Number::new(1_024),
            fan_out_batch: Number::new(limits.fan_out_batch.into()),
            shared_subscriptions: SharedSubscriptions::default(),
            capabilities: Capabilities::default(),
            response_information: None,
            redirect: None,
            check_payload_format: false,
            delayed: DelayedMessages::default(),
            exclusive: ExclusiveSubscriptions::default(),
            rewrite: Vec::new(),
            auto_subscribe: Vec::new(),
            limits: ClientLimits::default(),
            debug: DebugSettings::default(),
        }
    }
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        let limits = Limits::default();
        ClientLimits {
            connect_deadline: Span::new(limits.connect_deadline),
            packet_bytes_max: Bytes::new(limits.packet_bytes_max.into()),
            filters_per_client_max: Number::new(limits.filters_per_client_max.into()),
            receive_maximum: Number::new(limits.receive_maximum.into()),
            in_flight_max: Number::new(limits.in_flight_max.into()),
            queue_messages_max: Number::new(limits.queue_messages_max.into()),
            queue_bytes_max: Bytes::new(limits.queue_bytes_max.into()),
            queue_disk_bytes_max: Bytes::new(limits.queue_disk_bytes_max),
            topic_alias_max: Number::new(limits.topic_alias_max.into()),
            topic_alias_to_client_max: Number::new(limits.topic_alias_to_client_max.into()),
            keep_alive_max: Span::new(limits.keep_alive_max),
            write_stall: Span::new(limits.write_stall),
            session_expiry_v3: Span::new(limits.session_expiry_v3),
            session_expiry_max: Span::new(limits.session_expiry_max),
            retained_messages_max: Number::new(limits.retained_messages_max as u64),
            retained_bytes_max: Bytes::new(limits.retained_bytes_max as u64),
        }
    }
}

impl Settings {
    /// The limits of the engine that these settings stand for.
    pub fn engine_limits(&self) -> Limits {
        let client = &self.limits;
        Limits {
            connections_max: self.max_connections.get(),
            connect_deadline: client.connect_deadline.get(),
            packet_bytes_max: client.packet_bytes_max.get(),
            filters_per_client_max: client.filters_per_client_max.get(),
            receive_maximum: client.receive_maximum.get(),
            in_flight_max: client.in_flight_max.get(),
            queue_messages_max: client.queue_messages_max.get(),
            queue_bytes_max: client.queue_bytes_max.get(),
            queue_disk_bytes_max: client.queue_disk_bytes_max.get(),
            topic_alias_max: client.topic_alias_max.get(),
            topic_alias_to_client_max: client.topic_alias_to_client_max.get(),
            keep_alive_max: client.keep_alive_max.get(),
            write_stall: client.write_stall.get(),
            session_expiry_v3: client.session_expiry_v3.get(),
            session_expiry_max: client.session_expiry_max.get(),
            fan_out_batch: self.fan_out_batch.get(),
            retained_messages_max: client.retained_messages_max.get(),
            retained_bytes_max: client.retained_bytes_max.get(),
            delayed_messages_max: self.delayed.messages_max.get(),
            delayed_bytes_max: self.delayed.bytes_max.get(),
        }
    }
}
