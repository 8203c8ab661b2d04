//! The generator's clock.

use std::time::{Duration, Instant};

/// Nanoseconds since the generator started; read once per event, not once per message.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at 0.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Now, in nanoseconds.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        nanos(self.start.elapsed())
    }
}

/// A span in nanoseconds, at most some 584 years.
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
