//! What a broker is started with: values that are right already, wherever they were read from.

use super::placement::Placement;
use crate::base::limits::Limits;
use crate::drivers::files::{Watermark, Ways};
use crate::drivers::probe::IoChoice;
use crate::session::Authentication;
use crate::shard::{Doorway, Extensions, Terms};
use crate::topics::ShareStrategies;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a broker needs to know at its start.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where clients connect, at least one.
    pub listeners: Vec<ListenerConfig>,
    /// Shards, 1 to [`crate::base::shard_set::SHARDS_MAX`]; `None`: one per core that the placement offers.
    pub shards: Option<usize>,
    /// What the shards wait with.
    pub io: IoChoice,
    /// Which core a shard runs on.
    pub placement: Placement,
    /// Entries of each shard's io_uring submission queue.
    pub ring_entries: u32,
    /// Connection records made at start, over all shards.
    pub connection_warm_up: usize,
    /// What clients may take.
    pub limits: Limits,
    /// Which clients may connect how.
    pub authentication: Authentication,
    /// How shared subscriptions spread their messages.
    pub share_strategies: ShareStrategies,
    /// What the broker does beyond the protocol's own rules.
    pub extensions: Extensions,
    /// What clients are offered.
    pub terms: Terms,
    /// How durable state is kept; `None`: nothing is written.
    pub storage: Option<StorageConfig>,
    /// Span between two statistics lines in the log; zero: none.
    pub stats_interval: Duration,
}

/// How durable state is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageConfig {
    /// Where.
    pub data_dir: PathBuf,
    /// What is acknowledged outlives the loss of power, not only the process.
    pub durable: bool,
    /// What is left to others on that file system.
    pub watermark: Watermark,
    /// Bytes of one segment of a shard's log.
    pub segment_bytes: u64,
    /// How its files are kept.
    pub ways: Ways,
    /// Logs are cleaned while the broker runs; else they grow.
    pub cleaned: bool,
}

/// One address on which clients connect.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// What it accepts.
    pub doorway: Doorway,
}
