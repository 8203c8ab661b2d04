//! A running broker, seen from outside its shards.

use super::config::BrokerConfig;
use super::data::DataDirectory;
use super::report::{Reader, Reporter};
use crate::drivers::board::StatisticsBoard;
use crate::mesh::MeshHandle;
use crate::shard::Statistics;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The threads of a broker. Dropping it stops them and waits for their end.
pub(super) struct Running {
    mesh: MeshHandle,
    reader: Reader,
    pub shards: Vec<JoinHandle<Result<(), String>>>,
    pub coordinator: Option<JoinHandle<()>>,
    pub reporter: Option<Reporter>,
    /// The data directory is this broker's until its last thread has ended.
    pub data: Option<DataDirectory>,
}

impl Running {
    pub fn new(
        mesh: MeshHandle,
        boards: Vec<Arc<StatisticsBoard>>,
        started: Instant,
        config: &BrokerConfig,
    ) -> Running {
        let reader = Reader { boards, started, connections_max: config.limits.connections_max };
        Running { mesh, reader, shards: Vec::new(), coordinator: None, reporter: None, data: None }
    }

    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Waits until every shard has ended, then ends what served them; the first shard's failure, if one failed.
    fn join(&mut self) -> Result<(), RunError> {
        let mut result = Ok(());
        for shard in self.shards.drain(..) {
            let ended = shard.join().expect("a shard that panics aborts the process");
            result = result.and(ended.map_err(RunError));
        }
        self.mesh.stop_coordinator();
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.join().expect("a coordinator that panics aborts the process");
        }
        self.reporter = None;
        self.data = None;
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.mesh.request_shutdown();
        // Whoever drops it instead of waiting has an error of its own to tell.
        let _ = self.join();
    }
}

/// A shard failed while the broker ran; the others were stopped in order.
#[derive(Debug)]
pub struct RunError(String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a shard failed: {}", self.0)
    }
}

impl std::error::Error for RunError {}

/// A running broker. Dropping it stops it.
pub struct Handle {
    addresses: Vec<SocketAddr>,
    running: Running,
}

/// Stops a broker from any thread.
#[derive(Clone)]
pub struct Stopper(MeshHandle);

impl Stopper {
    /// Asks every shard to stop; [`Handle::wait`] returns when they have.
    pub fn stop(&self) {
        self.0.request_shutdown();
    }
}

impl Handle {
    pub(super) fn new(addresses: Vec<SocketAddr>, running: Running) -> Handle {
        Handle { addresses, running }
    }

    /// Where it listens, with the ports that were chosen, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// For who must stop it while another waits.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.running.mesh.clone())
    }

    /// Stops it: no more accepts, DISCONNECT to v5 clients, output flushed, connections closed.
    pub fn shutdown(&self) {
        self.stopper().stop();
    }

    /// The sum over all shards; each shard's part is at most a turn old.
    pub fn statistics(&self) -> Statistics {
        self.running.reader.read()
    }

    /// Waits until it was stopped and its connections are closed.
    ///
    /// # Errors
    /// A shard failed on the way.
    pub fn wait(mut self) -> Result<(), RunError> {
        let result = self.running.join();
        tracing::info!("stopped");
        result
    }
}
