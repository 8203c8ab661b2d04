//! The engine of ShardMQ: an MQTT broker whose cores each own a shard of the connections.
//!
//! `ARCHITECTURE.md` beside this crate tells the walk of a PUBLISH and of a CONNECT, the decisions and the invariants.
//! Imports go only downward: base < wire · transport < topics < session < mesh < log < shard · coordinator < drivers < server.

pub mod base;
pub mod coordinator;
pub mod drivers;
pub mod log;
pub mod mesh;
pub mod server;
pub mod session;
pub mod shard;
pub mod topics;
pub mod transport;
pub mod wire;
