//! What a PUBLISH that the log has to keep waits for, or is refused for: a log that is behind, which drains by itself, and a disk that is full.

use super::session::SessionKey;
use super::share::Plan;
use super::{ConnectionKey, Shard};
use crate::base::time::Time;
use crate::log::Room;
use crate::wire::{Publish, QoS};
use std::collections::VecDeque;

/// Whether the log takes a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogRoom {
    /// Or it has not to keep it.
    Yes,
    /// The connection waits until the log has caught up.
    Behind,
    /// The disk is full: its publisher is to be told.
    No,
}

/// Publishers that wait for the log.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<ConnectionKey>,
}

impl Shard {
    /// Whether the log takes the PUBLISH that is next in the input of `key`.
    #[inline]
    pub(super) fn room_in_log(&mut self, key: ConnectionKey, publish: &Publish<'_>, plan: &Plan) -> LogRoom {
        if publish.qos == QoS::AtMostOnce || !self.log.is_backlogged() && self.log.room() == Room::Ample {
            return LogRoom::Yes;
        }
        self.room_in_log_now(key, publish, plan)
    }

    #[cold]
    fn room_in_log_now(&mut self, key: ConnectionKey, publish: &Publish<'_>, plan: &Plan) -> LogRoom {
        let session = self.connections.get(key).and_then(|connection| connection.session);
        let session = session.expect("a connected client has its session");
        if !self.is_to_be_logged(session, publish, plan) {
            return LogRoom::Yes;
        }
        if self.log.room() == Room::Low {
            self.counters.disk_refused += 1;
            return LogRoom::No;
        }
        self.counters.parked_for_backlog += 1;
        self.park(key);
        self.backlog.waiting.push_back(key);
        LogRoom::Behind
    }

    fn is_to_be_logged(&self, session: SessionKey, publish: &Publish<'_>, plan: &Plan) -> bool {
        let session = self.sessions.get(session).expect("a connected client has its session");
        match publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce) {
            // What has been taken is not refused when it comes again.
            Some(packet_id) if session.inbound.is_received(packet_id) => false,
            Some(_) if session.is_durable() => true,
            _ => plan.is_kept(),
        }
    }

    pub(super) fn backlog_can_go(&self) -> bool {
        !self.backlog.waiting.is_empty() && !self.log.is_backlogged()
    }

    /// Goes on with the publishers that wait, as far as the log takes more.
    pub(super) fn resume_backlog(&mut self, now: Time) {
        for _ in 0..self.backlog.waiting.len() {
            if self.log.is_backlogged() || self.work.is_exhausted() {
                return;
            }
            let Some(key) = self.backlog.waiting.pop_front() else { return };
            self.resume(now, key);
        }
    }
}
