//! The threads of a broker: one per shard, and the coordinator's when there are many shards.

use super::placement::pin_this_thread;
use crate::base::shard_set::ShardId;
use crate::drivers::board::StatisticsBoard;
use crate::drivers::clock::Clock;
use crate::drivers::epoll;
use crate::drivers::eventfd::EventFd;
use crate::drivers::glommio::{self, DriverOptions};
use crate::drivers::probe::Driver;
use crate::drivers::turn::{CoordinatorSeat, Seat};
use crate::mesh::{ListenerId, MeshHandle, Port};
use crate::shard::{Shard, ShardConfig};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{Builder, JoinHandle};

/// Whether a shard serves, or why not.
pub(super) type StartReport = (ShardId, Result<(), String>);

/// Everything that a shard's thread needs; the shard itself is made there, so that its memory is on its own NUMA node.
pub(super) struct Post {
    pub config: ShardConfig,
    pub port: Port,
    pub coordinator: Option<CoordinatorSeat>,
    pub board: Arc<StatisticsBoard>,
    pub listeners: Vec<(ListenerId, OwnedFd)>,
    pub bell: EventFd,
    /// The core to run on; `None`: any.
    pub core: Option<usize>,
    pub driver: Driver,
    pub ring_entries: u32,
    pub clock: Clock,
    pub report_start: Sender<StartReport>,
    /// Stops the other shards when this one fails.
    pub mesh: MeshHandle,
}

/// A panic is a bug, and a broker without one of its shards would lie to its clients: the process ends, whatever the profile.
struct AbortOnPanic(String);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{} panicked: this is a bug; the process aborts", self.0);
            std::process::abort();
        }
    }
}

/// Starts a shard's thread. It ends when the shard was stopped and has drained, or with the reason why its loop failed.
pub(super) fn spawn(post: Post) -> io::Result<JoinHandle<Result<(), String>>> {
    let name = format!("shardmq-{}", post.config.id);
    Builder::new().name(name.clone()).spawn(move || {
        let _guard = AbortOnPanic(name.clone());
        serve(post, &name)
    })
}

fn serve(post: Post, name: &str) -> Result<(), String> {
    let shard = post.config.id;
    if let Some(core) = post.core
        && let Err(error) = pin_this_thread(core)
    {
        tracing::warn!("{name} cannot be pinned to core {core} and runs anywhere: {error}");
    }
    let (report, mesh) = (post.report_start.clone(), post.mesh);
    let ready = move || {
        // Nobody listens any more when another shard has failed to start.
        let _ = post.report_start.send((shard, Ok(())));
    };
    let mut seat = Seat::new(Shard::new(post.config), post.port, post.coordinator, post.board);
    seat.on_first_turn(ready);
    let result = match post.driver {
        Driver::Epoll => epoll::run(seat, post.listeners, post.bell, post.clock, None)
            .map(|_| ())
            .map_err(|e| e.to_string()),
        Driver::Glommio => {
            let mut options = DriverOptions::new(name, post.ring_entries);
            options.clock = post.clock;
            glommio::run(seat, post.listeners, options, post.bell, None).map_err(|error| error.to_string())
        }
    };
    if let Err(error) = &result {
        tracing::error!("{name} cannot go on, the broker stops: {error}");
        let _ = report.send((shard, Err(error.clone())));
        mesh.request_shutdown();
    }
    result
}

/// Starts the coordinator on a thread of its own.
pub(super) fn spawn_coordinator(mut seat: CoordinatorSeat, bell: EventFd) -> io::Result<JoinHandle<()>> {
    Builder::new().name("shardmq-coord".to_owned()).spawn(move || {
        let _guard = AbortOnPanic("the coordinator".to_owned());
        while !seat.shutdown_requested() {
            seat.turn();
            if seat.try_sleep() {
                // A signal may end the wait early: then there is just nothing to do.
                let _ = poll(&mut [PollFd::new(&bell, PollFlags::IN)], None);
                bell.drain();
                seat.woke();
            }
        }
    })
}
