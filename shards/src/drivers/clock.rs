//! Where [`Time`] comes from.

use crate::base::time::Time;
#[cfg(test)]
use std::time::Duration;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The clock of a broker, the same for all its shards: the wall clock's reading at the broker's start, and monotonic from there.
///
/// Setting the system's clock while the broker runs moves nothing, and records of one run are in order; those of the next run go by the
/// wall clock as it is then.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Time,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        // A clock before 1970 was never set; what is a few microseconds after ZERO is as good as anything then.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), wall: Time::ZERO + wall }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.wall + self.started.elapsed()
    }

    /// When the broker started, for spans that only this process measures.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Sets it forward, for tests of what waits.
    #[cfg(test)]
    pub(super) fn advance(&mut self, span: Duration) {
        self.wall += span;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_by_the_wall_and_never_back() {
        let wall = |at: SystemTime| Time::ZERO + at.duration_since(UNIX_EPOCH).expect("after 1970");
        let before = wall(SystemTime::now());
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second && first.since(before) < Duration::from_secs(60), "{before:?} {first:?}");
        // A second thread reads the same clock.
        let third = std::thread::spawn(move || clock.now()).join().expect("reading does not panic");
        assert!(third >= second);
    }
}
