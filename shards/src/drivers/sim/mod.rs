//! The simulator: N shards, the coordinator and model clients in one thread, from one seed.
//!
//! It is a driver like the others: a loop around the same [`Seat`](crate::drivers::turn::Seat)s with real lanes, only that its sockets are
//! byte queues, its clock is a number and its log confirms when it likes. The scheduler picks from the seed which thread takes its next step;
//! a shard that sleeps steps again only when its bell rang, a socket moved or its deadline passed, so a missed wake-up shows as a wedge.
//!
//! A naive reference broker (`ledger`) knows what was promised to whom; one checker per promise (`checkers`) asks at every step or
//! whenever everything has come to rest. A failing run prints its seed.

mod act;
mod aftermath;
mod broker;
mod checkers;
mod client;
mod connect;
mod coordinator_thread;
mod coverage;
mod crash;
mod disk;
mod driver;
mod failure;
mod ledger;
mod logging;
mod network;
mod observe;
mod profile;
mod properties;
mod publish;
mod read;
mod receive;
mod record;
mod rest;
mod run;
mod scenario;
mod shared;
mod sockets;
mod stored;
mod subscribe;
mod topics;
mod verdict;
mod world;

pub use coverage::{CRASH_STATES, Coverage, DISK_STATES, STATES};
pub use crash::CrashPoint;
pub use disk::SimDisk;
pub use failure::{Failure, RunFailure};
pub use profile::Flavor;
pub use run::{run, run_crashing};
pub use scenario::{Scenario, Who};
pub use world::World;
