//! The coordinator's own thread.

use super::driver::Alarm;
use crate::drivers::turn::CoordinatorSeat;
use std::sync::Arc;

/// See the module's documentation.
pub struct CoordinatorLoop {
    /// The coordinator and its lanes.
    pub seat: CoordinatorSeat,
    alarm: Arc<Alarm>,
    asleep: bool,
}

impl CoordinatorLoop {
    /// The thread of `seat`, which `alarm` wakes.
    pub fn new(seat: CoordinatorSeat, alarm: Arc<Alarm>) -> CoordinatorLoop {
        CoordinatorLoop { seat, alarm, asleep: false }
    }

    /// Whether a step would do anything.
    pub fn is_runnable(&self) -> bool {
        !self.asleep || self.alarm.rings()
    }

    /// A turn, or going to sleep.
    pub fn step(&mut self) {
        if self.asleep {
            self.asleep = false;
            self.alarm.silence();
            self.seat.woke();
            return self.seat.turn();
        }
        self.asleep = self.seat.try_sleep();
        if !self.asleep {
            self.seat.turn();
        }
    }
}
