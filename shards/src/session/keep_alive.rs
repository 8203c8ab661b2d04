//! Keep alive: a client silent for one and a half times its period is gone [MQTT-3.1.2-22].

use crate::base::time::Time;
use std::time::Duration;

/// The keep-alive period of a connection; 0 switches it off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeepAlive {
    seconds: u16,
}

impl KeepAlive {
    /// The period that CONNECT asks for.
    pub fn from_secs(seconds: u16) -> KeepAlive {
        KeepAlive { seconds }
    }

    /// The period in seconds, 0 for none.
    pub fn seconds(self) -> u16 {
        self.seconds
    }

    /// What a v5 client is told instead (Server Keep Alive) when it asks for none or for more than `max`.
    pub fn capped(self, max: Duration) -> Option<KeepAlive> {
        let max = u16::try_from(max.as_secs()).unwrap_or(u16::MAX);
        (max != 0 && (self.seconds == 0 || self.seconds > max)).then_some(KeepAlive { seconds: max })
    }

    /// When a client last heard at `last_heard` counts as gone; [`Time::NEVER`] without keep-alive.
    pub fn deadline(self, last_heard: Time) -> Time {
        if self.seconds == 0 {
            return Time::NEVER;
        }
        last_heard + Duration::from_millis(u64::from(self.seconds) * 1_500)
    }
}
