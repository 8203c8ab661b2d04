//! Retained messages whose expiry has passed leave the store, a bounded number per turn and not more often than once a second: nobody is sent
//! them in between.

use super::Shard;
use super::deadlines::Deadline;
use crate::base::limits::{RETAINED_EXPIRED_PER_TURN, RETAINED_SWEEP_EVERY};
use crate::base::time::Time;
use crate::base::wheel::TimerKey;
use crate::log::Record;
use std::borrow::Cow;

/// When the store is swept. Without a message that expires there is no timer.
#[derive(Default)]
pub(super) struct Sweep {
    timer: Option<(Time, TimerKey)>,
    last: Time,
    /// Under way.
    pub(super) running: bool,
}

impl Shard {
    /// Sets the timer for the message that expires next.
    pub(super) fn arm_sweep(&mut self, now: Time) {
        let sweep = &mut self.retained.sweep;
        let Some(next) = self.retained.store.next_expiry().filter(|_| !sweep.running) else { return };
        let at = next.max(sweep.last + RETAINED_SWEEP_EVERY);
        match sweep.timer {
            Some((armed, _)) if armed <= at => return,
            Some((_, timer)) => {
                self.wheel.cancel(timer);
            }
            None => {}
        }
        sweep.timer = Some((at, self.wheel.arm(now, at, Deadline::RetainedSweep)));
    }

    /// The timer has fired.
    pub(super) fn start_sweep(&mut self, now: Time) {
        let sweep = &mut self.retained.sweep;
        *sweep = Sweep { timer: None, last: now, running: true };
    }

    /// One slice of a sweep.
    pub(super) fn sweep_retained(&mut self, now: Time) {
        if !self.retained.sweep.running {
            return;
        }
        for _ in 0..RETAINED_EXPIRED_PER_TURN {
            let Some(expired) = self.retained.store.expire(now) else {
                self.retained.sweep.running = false;
                return self.arm_sweep(now);
            };
            let topic = Cow::Borrowed(expired.topic());
            self.log.append(&Record::RetainedCleared { topic });
            self.counters.retained_expired += 1;
        }
    }
}
