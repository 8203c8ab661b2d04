//! What can end a run early, and what exit code it means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{fmt, io};

/// Why there is no report.
#[derive(Debug)]
pub enum BenchError {
    /// The arguments contradict each other or the machine; the text says how.
    Usage(String),
    /// A target that is not loopback, without `--allow-remote`.
    NotLoopback(SocketAddr),
    /// A call to the system failed.
    System {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The broker closed a connection that the run still needed.
    Closed {
        /// Whose connection.
        who: String,
    },
    /// The broker sent what no correct broker sends here.
    Protocol {
        /// Whose connection.
        who: String,
        /// What was wrong with it.
        what: String,
    },
    /// A file does not hold what was written to it.
    Disk {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The broker did not answer in time.
    Timeout {
        /// Whose connection.
        who: String,
        /// For what it waited.
        waiting_for: &'static str,
    },
}

impl BenchError {
    /// Wraps a system error with what was being done.
    pub fn system(doing: impl Into<String>, source: impl Into<io::Error>) -> BenchError {
        BenchError::System { doing: doing.into(), source: source.into() }
    }

    /// 1: the broker, or the disk, failed the check. 2: the run could not be made.
    pub fn exit_code(&self) -> u8 {
        match self {
            BenchError::Closed { .. }
            | BenchError::Protocol { .. }
            | BenchError::Disk { .. }
            | BenchError::Timeout { .. } => 1,
            BenchError::Usage(_) | BenchError::NotLoopback(_) | BenchError::System { .. } => 2,
        }
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Usage(text) => f.write_str(text),
            BenchError::NotLoopback(target) => {
                write!(
                    f,
                    "{target} is not a loopback address; add --allow-remote if that broker is yours to load"
                )
            }
            BenchError::System { doing, source } => write!(f, "{doing}: {source}"),
            BenchError::Closed { who } => write!(f, "the broker closed the connection of {who}"),
            BenchError::Protocol { who, what } => write!(f, "protocol error towards {who}: {what}"),
            BenchError::Disk { path, what } => write!(f, "{}: {what}", path.display()),
            BenchError::Timeout { who, waiting_for } => write!(f, "{who} waited in vain for {waiting_for}"),
        }
    }
}

impl std::error::Error for BenchError {}
