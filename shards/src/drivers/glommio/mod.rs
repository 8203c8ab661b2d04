//! The production driver: the shard's loop as one task on a glommio executor, with its own io_uring nested inside.
//!
//! The message path waits in exactly one place, the enter of the nested ring: one system call per turn that submits and waits
//! (DESIGN.md section 3). glommio gives placement and, for what is not the message path, an executor. Every name of glommio's is
//! in this folder, so that the executor can be replaced in a day.
//!
//! Follow a connection by file: `accept` → `receive` → (the core) → `send` → `close`; `run` is the turn, `links` what is kept per
//! connection, `ring` and `buffers` the kernel interface, `tag` how a completion finds its connection; `log` writes the shard's log on the same ring.

mod accept;
mod buffers;
mod check;
mod close;
mod counters;
mod executor;
mod links;
mod log;
mod options;
mod receive;
mod ring;
mod run;
mod send;
mod tag;
#[cfg(test)]
mod tests;

pub use check::check;
pub use counters::{Counter, RingCounters};
pub use executor::run;
pub use options::{DriverError, DriverOptions, Placement};
