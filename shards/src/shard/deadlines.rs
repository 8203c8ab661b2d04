//! Timers of connections and sessions. Packets never touch them: keep-alive and stalls look at what was last seen when they fire.

use super::connection::Phase;
use super::session::SessionKey;
use super::{CloseMode, ConnectionKey, Event, Shard};
use crate::base::limits::DEADLINES_PER_TURN;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::wire::ReasonCode;
use std::time::Duration;

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deadline {
    /// CONNECT is due, or keep-alive.
    Connection(ConnectionKey),
    /// A write may have stalled.
    Stall(ConnectionKey),
    /// A will is due, or a session's end.
    Session(SessionKey),
    /// A retained message has expired.
    RetainedSweep,
    /// A delayed message may be due.
    Delayed,
}

impl Shard {
    /// Expires what is due, a bounded number per call.
    pub fn handle_deadlines(&mut self, now: Time) {
        for _ in 0..DEADLINES_PER_TURN {
            match self.wheel.expire(now) {
                None => return,
                Some(Deadline::Connection(key)) => self.connection_deadline(now, key),
                Some(Deadline::Stall(key)) => self.stall_deadline(now, key),
                Some(Deadline::Session(key)) => self.session_deadline(now, key),
                Some(Deadline::RetainedSweep) => self.start_sweep(now),
                Some(Deadline::Delayed) => self.delayed_deadline(),
            }
        }
    }

    /// When the shard must wake at the latest.
    pub fn poll_deadline(&self) -> Option<Time> {
        self.wheel.next_deadline()
    }

    fn connection_deadline(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.timer = None;
        let peer = connection.peer;
        match connection.phase {
            Phase::AwaitConnect | Phase::Authenticating | Phase::Authenticated => {
                let what = match connection.phase {
                    Phase::AwaitConnect => "no complete CONNECT within the deadline",
                    _ => "not authenticated within the CONNECT deadline",
                };
                self.counters.timed_out += 1;
                self.report(Event::TimedOut { peer, what });
                self.close_broken(now, key, CloseMode::Now);
            }
            // We do not read it, so that its silence is ours.
            Phase::Connected if connection.paused => {
                connection.last_heard = now;
                self.arm_keep_alive(now, key);
            }
            Phase::Connected if connection.keep_alive.deadline(connection.last_heard) <= now => {
                self.counters.timed_out += 1;
                self.report(Event::TimedOut { peer, what: "silent for one and a half keep-alive periods" });
                self.fail(now, key, ReasonCode::KeepAliveTimeout);
            }
            Phase::Connected => self.arm_keep_alive(now, key),
            Phase::AwaitConnack => {
                self.counters.timed_out += 1;
                self.report(Event::TimedOut { peer, what: "no CONNACK within the deadline" });
                self.refuse(now, key, ReasonCode::ServerUnavailable);
            }
            // Every granted claim arrives at its home, where the deadline runs anew.
            Phase::Claiming | Phase::Moving | Phase::Closing => {}
        }
    }

    pub(super) fn arm_keep_alive(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut at = connection.keep_alive.deadline(connection.last_heard);
        if self.planted.is(Bug::IdleTimerSpins) {
            at = now + Duration::from_millis(100);
        }
        if at != Time::NEVER {
            connection.timer = Some(self.wheel.arm(now, at, Deadline::Connection(key)));
        }
    }

    /// One timer watches all writes of a connection, as long as there are any.
    pub(super) fn watch_stall(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let at = connection.last_progress + self.limits.write_stall;
        connection.stall_timer = Some(self.wheel.arm(now, at, Deadline::Stall(key)));
    }

    fn stall_deadline(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.stall_timer = None;
        if !connection.writing {
            return;
        }
        if connection.last_progress + self.limits.write_stall > now {
            return self.watch_stall(now, key);
        }
        let peer = connection.peer;
        self.counters.timed_out += 1;
        self.report(Event::TimedOut { peer, what: "took no byte for the write-stall time" });
        self.close_broken(now, key, CloseMode::Now);
    }
}
