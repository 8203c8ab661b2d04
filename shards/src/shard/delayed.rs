//! Delayed messages: what is published to `$delayed/SECONDS/TOPIC` is published to `TOPIC` after that many seconds, as in EMQX.
//!
//! The publisher may be gone by then. Messages of the same instant keep their order; they wait in this shard's memory, within a count and bytes of
//! their own, and the gauge `delayed` has them. Message expiry runs from the moment of acceptance: a message that expires first is never published.

use super::deadlines::Deadline;
use super::input::Flow;
use super::log_room::LogRoom;
use super::peers::LaneWaiter;
use super::reply::Reply;
use super::session::SessionKey;
use super::will_queue::{Kept, KeptMessage};
use super::{ConnectionKey, Shard};
use crate::base::limits::{DELAY_SECONDS_MAX, Limits};
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::base::wheel::TimerKey;
use crate::log::{Cause, Occasion};
use crate::session::Publication;
use crate::topics::TopicName;
use crate::wire::{Message, PacketId, Publish, QoS, ReasonCode, Violation};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

/// What a delayed message is published to, and what nobody may subscribe to.
const PREFIX: &str = "$delayed/";

/// A topic that asks for delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DelayedTopic<'a> {
    /// To be published to this topic name after so long.
    After(Duration, &'a str),
    /// No whole number of seconds up to [`DELAY_SECONDS_MAX`], or no topic name behind it.
    Invalid,
}

/// What `topic` asks for; `None` when it is not for delay.
pub(super) fn delayed_topic(topic: &str) -> Option<DelayedTopic<'_>> {
    let (seconds, topic) = topic.strip_prefix(PREFIX)?.split_once('/').unwrap_or_default();
    let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = seconds.parse::<u32>().ok().filter(|seconds| digits && *seconds <= DELAY_SECONDS_MAX);
    Some(match seconds {
        // One delay is enough: a second one would outlive every bound on the first.
        Some(seconds) if TopicName::new(topic).is_ok() && !topic.starts_with(PREFIX) => {
            DelayedTopic::After(Duration::from_secs(u64::from(seconds)), topic)
        }
        _ => DelayedTopic::Invalid,
    })
}

/// Whether `filter` asks for delayed messages, which nobody gets before they are due.
pub(super) fn is_delayed_filter(filter: &str) -> bool {
    filter.starts_with(PREFIX)
}

/// The messages of one shard that wait for their time, in its order.
#[derive(Default)]
pub(super) struct Delayed {
    waiting: BTreeMap<(Time, u64), KeptMessage>,
    bytes: usize,
    accepted: u64,
    /// For the first of `waiting`.
    timer: Option<(Time, TimerKey)>,
    /// The first of `waiting` may go.
    due: bool,
    /// Stands among the waiters of a lane.
    pub(super) blocked: bool,
}

impl Delayed {
    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first behind `key`, with its key.
    pub(super) fn behind(&mut self, key: Option<(Time, u64)>) -> Option<((Time, u64), &mut KeptMessage)> {
        let bound = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.waiting.range_mut((bound, Bound::Unbounded)).next().map(|(key, kept)| (*key, kept))
    }

    fn has_room(&self, message: &Message, limits: &Limits) -> bool {
        self.waiting.len() < limits.delayed_messages_max
            && self.bytes + message.memory_bytes() <= limits.delayed_bytes_max
    }

    pub(super) fn can_go(&self) -> bool {
        self.due && !self.blocked
    }

    fn first(&self) -> Option<&KeptMessage> {
        self.waiting.first_key_value().map(|(_, first)| first)
    }
}

impl Shard {
    /// A PUBLISH that is to be published to `topic` later. It is acknowledged as any other; a full store answers 0x97, and closes a v3 client, since
    /// an acknowledgement would promise to keep the message.
    pub(super) fn delay_publish(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: Publish<'_>,
        (delay, topic): (Duration, &str),
    ) -> Result<Flow, Violation> {
        let expires_at =
            publish.properties.message_expiry.map(|seconds| now + Duration::from_secs(u64::from(seconds)));
        let message = Message::from_publish(&publish, topic, expires_at);
        if !self.delayed.has_room(&message, &self.limits) {
            self.counters.delayed_refused += 1;
            return self.refuse_or_close(now, key, &publish, ReasonCode::QuotaExceeded);
        }
        match self.room_in_log_for_later(key, &publish) {
            LogRoom::Yes => {}
            LogRoom::Behind => return Ok(Flow::Park),
            LogRoom::No => return self.refuse_or_close(now, key, &publish, ReasonCode::QuotaExceeded),
        }
        let connection = self.connections.get(key).expect("the caller has looked");
        let (v5, of) = (connection.version.is_v5(), connection.session);
        let of = of.expect("a connected client has its session");
        let session = self.sessions.get_mut(of).expect("a connected client has its session");
        let quota = v5.then_some(self.limits.receive_maximum);
        let publication = match (publish.qos, publish.packet_id) {
            (QoS::ExactlyOnce, Some(packet_id)) => session.inbound.exactly_once(packet_id, quota)?,
            (QoS::AtLeastOnce, _) => session.inbound.at_least_once(quota).map(|()| Publication::Fresh)?,
            _ => Publication::Fresh,
        };
        let lsn = if publication == Publication::Repeated {
            self.newest_lsn()
        } else {
            self.accept_delayed(now, now + delay, (message, of), publish.packet_id)
        };
        match (publish.qos, publish.packet_id) {
            (QoS::ExactlyOnce, Some(id)) => self.reply(now, key, lsn, Reply::Pubrec(id, ReasonCode::Success)),
            (_, Some(id)) => self.reply(now, key, lsn, Reply::Puback(id, ReasonCode::Success)),
            (_, None) => return Ok(Flow::Continue),
        }
        self.check_reply_backlog(now, key)
    }

    /// A will that is to be published to `topic` later; dropped and counted when there is no room.
    pub(super) fn delay_will(
        &mut self,
        now: Time,
        will: &Message,
        of: SessionKey,
        (delay, topic): (Duration, &str),
    ) {
        let message = will.with_topic(topic);
        if self.delayed.has_room(&message, &self.limits) {
            let kept = self.keep_message(message, of);
            let kept = self.park_will(kept, of, Occasion::At(now + delay));
            self.keep_delayed(now, now + delay, kept);
        } else {
            self.log_will_lost(of);
            self.counters.delayed_refused += 1;
        }
    }

    /// Takes a message of a session in. Returns the log record that its acknowledgement waits for.
    fn accept_delayed(
        &mut self,
        now: Time,
        at: Time,
        (message, of): (Message, SessionKey),
        packet_id: Option<PacketId>,
    ) -> Lsn {
        let session = self.sessions.get(of).expect("a connected client has its session");
        let cause = match packet_id.filter(|_| message.qos() == QoS::ExactlyOnce && session.is_durable()) {
            Some(packet_id) => Cause::Received(session.number, packet_id),
            None => Cause::None,
        };
        let mut kept = self.keep_message(message, of);
        // QoS 0 that is to be retained is promised to nobody, and no reason to touch the reserve.
        let taken = kept.message.qos() > QoS::AtMostOnce || !self.disk_is_full();
        if taken && KeptMessage::is_logged(&kept.message) {
            kept = self.log_parked(kept, Occasion::At(at), cause);
        }
        let lsn = if kept.cause == Cause::None { Lsn::NONE } else { self.newest_lsn() };
        self.keep_delayed(now, at, kept);
        lsn
    }

    /// Keeps a message until `at`.
    pub(super) fn keep_delayed(&mut self, now: Time, at: Time, kept: KeptMessage) {
        let bytes = kept.message.memory_bytes();
        let delayed = &mut self.delayed;
        delayed.bytes += bytes;
        delayed.accepted += 1;
        delayed.waiting.insert((at, delayed.accepted), kept);
        self.counters.delayed_accepted += 1;
        self.arm_delayed(now);
    }

    /// One timer stands for all: that of the first.
    fn arm_delayed(&mut self, now: Time) {
        let Some((&(first, _), _)) = self.delayed.waiting.first_key_value() else { return };
        match self.delayed.timer {
            Some((at, _)) if at <= first => return,
            Some((_, later)) => {
                self.wheel.cancel(later);
            }
            None => {}
        }
        if !self.delayed.due {
            self.delayed.timer = Some((first, self.wheel.arm(now, first, Deadline::Delayed)));
        }
    }

    /// The first may go.
    pub(super) fn delayed_deadline(&mut self) {
        self.delayed.timer = None;
        self.delayed.due = true;
    }

    /// Whether one that is due may go.
    pub(super) fn delayed_can_go(&self) -> bool {
        self.delayed.can_go() && self.delayed.first().is_none_or(|first| self.may_publish_kept(first))
    }

    /// Publishes the delayed messages that are due, as far as the slots last.
    pub(super) fn publish_delayed(&mut self, now: Time) {
        while self.delayed.can_go() && !self.work.is_exhausted() {
            let first = self.delayed.waiting.first_entry().filter(|first| first.key().0 <= now);
            let Some(first) = first else {
                self.delayed.due = false;
                return self.arm_delayed(now);
            };
            let waiting = first.get().clone();
            if !self.may_publish_kept(&waiting) {
                return;
            }
            let message = &waiting.message;
            if message.expires_at().is_some_and(|at| at <= now) {
                self.counters.delayed_expired += 1;
                self.log_unparked(waiting.cause);
            } else {
                match self.publish_kept(now, &waiting) {
                    Kept::Published => {}
                    Kept::NoSlot(lane) => {
                        self.delayed.blocked = true;
                        return self.peers[lane].waiters.push_back(LaneWaiter::Delayed);
                    }
                    Kept::NoCursor => return,
                }
            }
            self.work.charge(1);
            self.delayed.waiting.pop_first();
            self.delayed.bytes -= message.memory_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_whole_seconds_and_a_topic_follows() {
        let after = |seconds, topic| Some(DelayedTopic::After(Duration::from_secs(seconds), topic));
        assert_eq!(delayed_topic("$delayed/0/a"), after(0, "a"));
        assert_eq!(delayed_topic("$delayed/4294967/a/b"), after(4_294_967, "a/b"));
        assert_eq!(delayed_topic("$delayed/007//a"), after(7, "/a"));
        assert_eq!(delayed_topic("$delayed/1/$SYS/x"), after(1, "$SYS/x"));
        for invalid in
            ["", "1", "1/", "/a", "-1/a", "+1/a", "1.5/a", "4294968/a", "99999999999/a", "x/a", " 1/a"]
        {
            assert_eq!(
                delayed_topic(&format!("$delayed/{invalid}")),
                Some(DelayedTopic::Invalid),
                "{invalid}"
            );
        }
        assert_eq!(delayed_topic("$delayed/1/$delayed/1/a"), Some(DelayedTopic::Invalid));
        assert_eq!(delayed_topic("$delayed"), None);
        assert_eq!(delayed_topic("delayed/1/a"), None);
    }
}
