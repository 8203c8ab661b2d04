//! The threads of a broker: one per shard, and the coordinator's when there are many shards.

use super::placement::pin_this_thread;
use crate::base::shard_set::ShardId;
use crate::drivers::board::StatisticsBoard;
use crate::drivers::clock::Clock;
use crate::drivers::epoll;
use crate::drivers::eventfd::EventFd;
use crate::drivers::files::{FileDisk, KeeperPort};
use crate::drivers::glommio::{self, DriverOptions};
use crate::drivers::memory;
use crate::drivers::probe::Driver;
use crate::drivers::turn::{CoordinatorSeat, Seat};
use crate::log::{Journal, Log, ShardImage};
use crate::mesh::{ListenerId, MeshHandle, Port};
use crate::shard::{Shard, ShardConfig};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::thread::{Builder, JoinHandle};

/// Whether a shard serves, or why not.
pub(super) type StartReport = (ShardId, Result<(), String>);

/// What a shard goes on from.
pub(super) struct KeptShard {
    pub journal: Journal,
    pub port: KeeperPort,
    pub image: ShardImage,
    pub cleaned: bool,
}

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
    /// Set once all shards are ready.
    pub open: Arc<AtomicBool>,
    /// What it had in the run before, and where its log goes on; `None`: nothing is kept.
    pub kept: Option<KeptShard>,
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
    let id = post.config.id;
    if let Some(core) = post.core
        && let Err(error) = pin_this_thread(core)
    {
        tracing::warn!("{name} cannot be pinned to core {core} and runs anywhere: {error}");
    }
    let (report, mesh) = (post.report_start.clone(), post.mesh);
    let ready = move || {
        // Nobody listens any more when another shard has failed to start.
        let _ = post.report_start.send((id, Ok(())));
    };
    let mut shard = Shard::new(post.config);
    let disk = post.kept.map(|kept| {
        shard.restore(post.clock.now(), Log::over(kept.journal), kept.image);
        memory::give_back();
        if !kept.cleaned {
            shard.leave_log_uncleaned();
        }
        kept.port
    });
    let mut seat = Seat::new(shard, post.port, post.coordinator, post.board);
    seat.open_when_ready(post.open, ready);
    let result = match post.driver {
        Driver::Epoll => start_flusher(id, disk, &post.bell)
            .and_then(|disk| epoll::run(seat, post.listeners, post.bell, post.clock, disk))
            .map(|_| ())
            .map_err(|error| error.to_string()),
        Driver::Glommio => {
            let mut options = DriverOptions::new(name, post.ring_entries);
            options.clock = post.clock;
            glommio::run(seat, post.listeners, options, post.bell, disk).map_err(|error| error.to_string())
        }
    };
    if let Err(error) = &result {
        tracing::error!("{name} cannot go on, the broker stops: {error}");
        let _ = report.send((id, Err(error.clone())));
        mesh.request_shutdown();
    }
    result
}

/// The epoll driver writes with a thread of its own.
fn start_flusher(shard: ShardId, port: Option<KeeperPort>, bell: &EventFd) -> io::Result<Option<FileDisk>> {
    let name = format!("shardmq-log-{shard}");
    port.map(|port| FileDisk::start(&name, port, bell.clone())).transpose()
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
