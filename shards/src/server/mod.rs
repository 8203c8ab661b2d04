//! Assembly: what a broker is made of on this machine, its start and its stop.
//!
//! [`Broker::start`] binds every port, makes lanes and bells, and starts a thread per shard that runs a driver's loop;
//! [`Handle`] is what the outside keeps of it.

mod broker;
mod config;
pub mod data;
mod handle;
mod machine;
pub mod placement;
mod read_log;
mod report;
mod shard_thread;
mod storage;
pub mod stored;

pub use crate::drivers::files::{Watermark, Ways};
pub use broker::{Broker, StartError};
pub use config::{BrokerConfig, ListenerConfig, StorageConfig};
pub use handle::{Handle, RunError, Stopper};
