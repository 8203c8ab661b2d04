//! What a PUBLISH that the log has to keep waits for, or is refused for: a log that is behind, which drains by itself, a disk that has not said yet whether
//! it has room, and one that is full.
//!
//! All logs of a broker lie on one file system: what is full for one shard is taken as full for all, so that nobody goes on sending to a shard that
//! cannot keep it.

use super::session::{Session, SessionKey};
use super::share::Plan;
use super::will_queue::KeptMessage;
use super::{ConnectionKey, Shard};
use crate::base::time::Time;
use crate::log::Room;
use crate::topics::TopicFilter;
use crate::wire::{Publish, QoS, SubscriptionOptions};
use std::collections::VecDeque;
use std::num::NonZeroU32;

/// Whether the log takes a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LogRoom {
    /// Or it has not to keep it.
    Yes,
    /// The connection waits until the log has caught up, or the disk has said whether there is room.
    Behind,
    /// The disk is full: its publisher is to be told.
    No,
}

/// Publishers that wait for the log.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<ConnectionKey>,
    /// The disk of another shard's log is full.
    low_elsewhere: bool,
}

impl Shard {
    /// Whether the log takes the PUBLISH that is next in the input of `key`.
    #[inline]
    pub(super) fn room_in_log(&mut self, key: ConnectionKey, publish: &Publish<'_>, plan: &Plan) -> LogRoom {
        if publish.qos == QoS::AtMostOnce && !publish.retain || self.log_takes_all() {
            return LogRoom::Yes;
        }
        self.room_in_log_now(key, publish, plan)
    }

    /// The same for one that is to be kept for its time.
    pub(super) fn room_in_log_for_later(&mut self, key: ConnectionKey, publish: &Publish<'_>) -> LogRoom {
        let received = publish.packet_id.is_some_and(|packet_id| {
            let session = self.publishing_session(key);
            publish.qos == QoS::ExactlyOnce && session.inbound.is_received(packet_id)
        });
        if publish.qos == QoS::AtMostOnce || received || self.log_takes_all() {
            return LogRoom::Yes;
        }
        self.wait_or_refuse(key)
    }

    fn log_takes_all(&self) -> bool {
        !self.backlog.low_elsewhere && !self.log.is_backlogged() && self.log.room() == Room::Ample
    }

    /// Whether the disk is full: nothing is taken that only takes space.
    pub(super) fn disk_is_full(&self) -> bool {
        self.backlog.low_elsewhere || self.log.room() == Room::Low
    }

    #[cold]
    fn room_in_log_now(&mut self, key: ConnectionKey, publish: &Publish<'_>, plan: &Plan) -> LogRoom {
        if publish.qos == QoS::AtMostOnce && self.disk_is_full() {
            // Nobody can be told: it is delivered, and not retained.
            return LogRoom::Yes;
        }
        if self.is_to_be_logged(self.publishing_session(key), publish, plan) {
            self.wait_or_refuse(key)
        } else {
            LogRoom::Yes
        }
    }

    fn wait_or_refuse(&mut self, key: ConnectionKey) -> LogRoom {
        if self.disk_is_full() {
            self.counters.disk_refused += 1;
            return LogRoom::No;
        }
        self.counters.parked_for_backlog += 1;
        self.park(key);
        self.backlog.waiting.push_back(key);
        LogRoom::Behind
    }

    fn publishing_session(&self, key: ConnectionKey) -> &Session {
        let session = self.connections.get(key).and_then(|connection| connection.session);
        let session = session.and_then(|session| self.sessions.get(session));
        session.expect("a connected client has its session")
    }

    fn is_to_be_logged(&self, session: &Session, publish: &Publish<'_>, plan: &Plan) -> bool {
        // What clears a retained message frees more than it takes.
        let clears = publish.retain && publish.payload.is_empty();
        if publish.qos == QoS::AtMostOnce {
            // Of these only the shard that keeps the topic has a record. On another one the lane stands still until there is room.
            return !clears && self.log.keeps() && plan.keep.is_some_and(|(keeper, _)| keeper == self.id);
        }
        match publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce) {
            // What has been taken is not refused when it comes again.
            Some(packet_id) if session.inbound.is_received(packet_id) => false,
            _ if clears && !plan.has_durable_receivers() => false,
            Some(_) if session.is_durable() => true,
            _ => plan.is_kept(),
        }
    }

    /// Whether a message that nobody can be refused may be published: one that is not logged, or while the reserve has room for it.
    pub(super) fn may_publish_kept(&self, kept: &KeptMessage) -> bool {
        !KeptMessage::is_logged(&kept.message) || self.log.has_room_for_accepted()
    }

    /// Whether data may be taken off the lanes as far as the log goes. On a full disk it may: nothing more is sent there, and what is gets
    /// acknowledged.
    pub(super) fn log_takes_arrivals(&self) -> bool {
        !self.log.is_backlogged() && (self.log.has_room_for_accepted() || self.log.room() == Room::Low)
    }

    /// Whether a full disk forbids this subscription: one more, or another in the place of the one there is.
    pub(super) fn is_subscription_too_much(
        &self,
        key: SessionKey,
        filter: TopicFilter<'_>,
        granted: (SubscriptionOptions, Option<NonZeroU32>),
    ) -> bool {
        self.disk_is_full()
            && self.sessions.get(key).is_some_and(Session::is_durable)
            && self
                .topics
                .subscription(key, filter)
                .is_none_or(|held| (held.options, held.identifier()) != granted)
    }

    /// Whether the disk of some other shard's log is full.
    pub fn handle_full_elsewhere(&mut self, full: bool) {
        self.backlog.low_elsewhere = full;
    }

    pub(super) fn backlog_can_go(&self) -> bool {
        !self.backlog.waiting.is_empty() && self.answers_publishers()
    }

    /// Those that wait are taken, or refused.
    fn answers_publishers(&self) -> bool {
        self.disk_is_full() || self.log_takes_all()
    }

    /// Goes on with the publishers that wait, as far as the log takes more.
    pub(super) fn resume_backlog(&mut self, now: Time) {
        for _ in 0..self.backlog.waiting.len() {
            if !self.answers_publishers() || self.work.is_exhausted() {
                return;
            }
            let Some(key) = self.backlog.waiting.pop_front() else { return };
            self.resume(now, key);
        }
    }
}
