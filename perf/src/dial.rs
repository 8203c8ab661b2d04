//! Opens TCP connections to the broker, from many source addresses if need be, so that ports suffice.

use crate::error::BenchError;
use crate::limits::{DESCRIPTORS_SPARE, TIMER_SLACK_NS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Opens connections to one broker.
#[derive(Clone, Debug)]
pub struct Dialer {
    target: SocketAddr,
    sources: Vec<IpAddr>,
    turn: usize,
}

impl Dialer {
    /// A dialer to `target` that uses `sources` in turn; none leaves the choice to the kernel.
    pub fn new(target: SocketAddr, sources: Vec<IpAddr>) -> Dialer {
        Dialer { target, sources, turn: 0 }
    }

    /// Starts a connection without waiting; its socket does not block, and becomes writable when the outcome is known
    /// (to be asked with [`outcome`]).
    pub fn start(&mut self) -> Result<TcpStream, BenchError> {
        let family = if self.target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)
            .map_err(|error| BenchError::system("opening a socket (ulimit -n?)", error))?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(|error| BenchError::system("TCP_NODELAY", error))?;
        if !self.sources.is_empty() {
            let source = self.sources[self.turn % self.sources.len()];
            self.turn += 1;
            bind(&socket, &SocketAddr::new(source, 0)).map_err(|error| {
                BenchError::system(format!("binding to {source} (more --ifaddr addresses?)"), error)
            })?;
        }
        match connect(&socket, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
            Err(Errno::ADDRNOTAVAIL) => Err(BenchError::Usage(
                "no free port left: give --ifaddr 127.0.0.1,127.0.0.2,… to use more source addresses".into(),
            )),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Opens a connection and waits for it; its socket blocks, each read for at most `limit`.
    pub fn open(&mut self, limit: Duration) -> Result<TcpStream, BenchError> {
        let stream = self.start()?;
        let timeout = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&timeout)) {
            Ok(0) => {
                let who = self.target.to_string();
                return Err(BenchError::Timeout { who, waiting_for: "the TCP connection" });
            }
            Ok(_) => {}
            Err(error) => return Err(BenchError::system("poll", error)),
        }
        self.outcome(&stream)?;
        let system = |error| BenchError::system("preparing a socket", error);
        stream.set_nonblocking(false).map_err(system)?;
        stream.set_read_timeout(Some(limit)).map_err(system)?;
        stream.set_write_timeout(Some(limit)).map_err(system)?;
        Ok(stream)
    }

    /// What became of a started connection.
    pub fn outcome(&self, stream: &TcpStream) -> Result<(), BenchError> {
        match sockopt::socket_error(stream) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: Errno) -> BenchError {
        BenchError::system(format!("connecting to {}", self.target), error)
    }
}

/// Readies this process for `connections`: descriptors, timer slack, the CPU it is to run on.
pub fn prepare_process(connections: u64, cpu: Option<usize>) -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| BenchError::system("raising RLIMIT_NOFILE", error))?;
    let needed = connections + DESCRIPTORS_SPARE;
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        let maximum = limit.maximum.unwrap_or_default();
        let text = format!(
            "{connections} connections need {needed} descriptors, the hard limit is {maximum} (ulimit -Hn)"
        );
        return Err(BenchError::Usage(text));
    }
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS))
        .map_err(|error| BenchError::system("setting the timer slack", error))?;
    if let Some(cpu) = cpu {
        if cpu >= rustix::thread::CpuSet::MAX_CPU {
            return Err(BenchError::Usage(format!("--cpu {cpu}: there is no such CPU")));
        }
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)
            .map_err(|error| BenchError::system(format!("pinning to CPU {cpu}"), error))?;
    }
    Ok(())
}
