//! The glommio executor around the loop: placement now, a home for background work beside the message path later.

use std::os::fd::OwnedFd;
use std::time::Duration;

use glommio::{CpuSet, LocalExecutor, LocalExecutorBuilder, Placement as GlommioPlacement};
use tracing::info;

use super::run::RingLoop;
use super::{DriverError, DriverOptions, Placement};
use crate::drivers::driven::Driven;
use crate::drivers::eventfd::EventFd;
use crate::drivers::files::KeeperPort;
use crate::mesh::ListenerId;

/// Bytes that glommio registers for its own storage I/O; its least. The message path has its own buffers.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Entries of each of glommio's own three rings: they carry background work only.
const RING_DEPTH: usize = 32;
/// How long a task may run before its executor asks it to yield. The loop is the only task and never yields, so only the start counts:
/// glommio 0.9 parks for ever, with the task runnable, when the timer fires between its arming and the first look at the queues
/// (`run_task_queues` then answers "nothing ran"). At 1 ms a busy machine loses a shard in one of some hundred starts. Background tasks will
/// want a short timer, set after the loop runs.
const PREEMPT_TIMER: Duration = Duration::from_secs(60);

/// Serves one shard on the calling thread until the core has stopped and drained.
///
/// `disk` is who looks after the segments of its log, if it keeps one. The loop never awaits: nothing else runs on the executor, so blocking in the ring's enter blocks nobody.
pub fn run<D: Driven>(
    core: D,
    listeners: Vec<(ListenerId, OwnedFd)>,
    options: DriverOptions,
    bell: EventFd,
    disk: Option<KeeperPort>,
) -> Result<(), DriverError> {
    let executor = start(&options.placement)?;
    executor.run(async move {
        let mut turns = RingLoop::new(core, listeners, &options, bell)?;
        turns.set_disk(disk);
        let counters = &options.counters;
        info!(
            shard = %options.name,
            submission_entries = counters.submission_entries.get(),
            completion_entries = counters.completion_entries.get(),
            buffers = counters.buffers.get(),
            "ring set up"
        );
        turns.run()
    })
}

/// An executor on the calling thread, which it pins as told.
pub(super) fn start(placement: &Placement) -> Result<LocalExecutor, DriverError> {
    let failed = |error: glommio::GlommioError<()>| DriverError::Executor(error.to_string());
    let placement = match placement {
        Placement::Unpinned => GlommioPlacement::Unbound,
        Placement::Cpu(cpu) => GlommioPlacement::Fixed(*cpu),
        Placement::Cpus(cpus) => {
            let online = CpuSet::online().map_err(failed)?;
            GlommioPlacement::Fenced(online.filter(|location| cpus.contains(&location.cpu)))
        }
    };
    LocalExecutorBuilder::new(placement)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER)
        .make()
        .map_err(failed)
}
