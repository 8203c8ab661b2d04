//! `--io auto`: which driver this machine can run, found by trying, and why.

use std::fmt;

use super::glommio::{self, DriverError};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// The best that works here.
    Auto,
    /// io_uring on glommio, or an error.
    Glommio,
    /// epoll.
    Epoll,
}

/// A driver for sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring on glommio.
    Glommio,
    /// epoll.
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Driver::Glommio => "glommio",
            Driver::Epoll => "epoll",
        })
    }
}

/// The driver to run and, in one sentence for the log, why.
#[derive(Debug)]
pub struct Chosen {
    /// What to run.
    pub driver: Driver,
    /// Why.
    pub why: String,
}

/// The driver that was asked for cannot run here; says what to do.
#[derive(Debug)]
pub struct ProbeError(pub DriverError);

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--io glommio cannot run: {}", self.0)
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Chooses a driver, trying out a ring where one is asked for.
pub fn choose(request: IoChoice) -> Result<Chosen, ProbeError> {
    let (driver, why) = match request {
        IoChoice::Epoll => (Driver::Epoll, "it was asked for".to_owned()),
        IoChoice::Glommio => {
            glommio::check().map_err(ProbeError)?;
            (Driver::Glommio, "it was asked for, and a trial ring works".to_owned())
        }
        IoChoice::Auto => match glommio::check() {
            Ok(()) => (Driver::Glommio, "a trial ring works and it costs least per message".to_owned()),
            Err(error) => (Driver::Epoll, error.to_string()),
        },
    };
    Ok(Chosen { driver, why })
}

#[cfg(test)]
mod tests;
