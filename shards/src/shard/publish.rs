//! A PUBLISH from a client: checks, slots, then out to the local receivers, the other shards and the retained store
//! (MQTT 5 section 3.3).

use super::connection::{Connection, Parked};
use super::input::Flow;
use super::log_room::LogRoom;
use super::peers::LaneWaiter;
use super::reply::Reply;
use super::retained_room::RetainedRoom;
use super::session::SessionKey;
use super::share::Plan;
use super::{ConnectionKey, Shard};
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::log::Cause;
use crate::session::{Incoming, Publication};
use crate::topics::TopicName;
use crate::wire::{Publish, QoS, ReasonCode, Version, Violation};
use std::num::NonZeroU16;
use std::time::Duration;

/// Who published, as far as No Local has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Publisher {
    /// A session of this shard, or one that was: its will comes after it.
    Session(SessionKey),
    /// A session of another shard, or the broker: no session here is the publisher.
    Elsewhere,
}

impl Shard {
    pub(super) fn handle_publish(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: Publish<'_>,
    ) -> Result<Flow, Violation> {
        if self.work.is_exhausted() {
            return Ok(self.yield_reading(key));
        }
        if !publish.properties.subscription_ids.is_empty() {
            return Err(Violation::SubscriptionIdFromClient);
        }
        self.terms.capabilities.check_message(publish.qos, publish.retain)?;
        let Some(alias) = publish.properties.topic_alias else {
            return self.publish_as(now, key, publish, publish.topic);
        };
        let alias_max = self.limits.topic_alias_max;
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        let topic = take_alias(connection, alias, publish.topic, alias_max)?;
        let flow = self.publish_as(now, key, publish, &topic);
        if let Some(connection) = self.connections.get_mut(key) {
            let of = &mut connection.extra_mut().aliases[usize::from(alias.get()) - 1];
            if of.is_none() || !self.planted.is(Bug::AliasKeepsTopic) {
                *of = Some(topic);
            }
        }
        flow
    }

    fn publish_as(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: Publish<'_>,
        topic: &str,
    ) -> Result<Flow, Violation> {
        if !self.terms.payload_is_as_said(&publish) {
            // At QoS 0 there is no acknowledgement to say it.
            publish.packet_id.ok_or(Violation::PayloadNotText)?;
            return self.refuse_publish(now, key, &publish, ReasonCode::PayloadFormatInvalid);
        }
        if self.extensions.concern_publish(topic) {
            return self.admit_publish(now, key, publish, topic);
        }
        self.publish_from(now, key, publish, topic)
    }

    pub(super) fn publish_from(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: Publish<'_>,
        topic: &str,
    ) -> Result<Flow, Violation> {
        let connection = self.connections.get(key).expect("the caller has looked");
        let version = connection.version;
        let session_key = connection.session.expect("a connected client has its session");
        let name = TopicName::new(topic).map_err(|_| Violation::TopicTooLong)?;
        let told = version.is_v5() && publish.qos > QoS::AtMostOnce;
        let keep = publish.retain.then(|| self.keep_for(session_key, told));
        let plan = self.plan(name, Publisher::Session(session_key), keep);
        match self.retained_room(key, &publish, topic, &plan) {
            RetainedRoom::Yes => {}
            RetainedRoom::No => return self.refuse_retained(now, key, &publish),
            RetainedRoom::Unknown => return Ok(Flow::Park),
        }
        match self.room_in_log(key, &publish, &plan) {
            LogRoom::Yes => {}
            LogRoom::Behind => return Ok(Flow::Park),
            LogRoom::No => return self.refuse_or_close(now, key, &publish, ReasonCode::QuotaExceeded),
        }
        if self.park_without_slots(key, topic, &plan) {
            return Ok(Flow::Park);
        }
        if keep.is_some() {
            self.room_used(key);
        }
        let session = self.sessions.get_mut(session_key).expect("a connected client has its session");
        let quota = version.is_v5().then_some(self.limits.receive_maximum);
        match (publish.qos, publish.packet_id) {
            (QoS::ExactlyOnce, Some(packet_id)) => {
                let publication = session.inbound.exactly_once(packet_id, quota)?;
                if publication == Publication::Repeated && !self.planted.is(Bug::DuplicateNotRecognised) {
                    // The record of the first one may not be on disk yet, when that came over an earlier connection.
                    let lsn = self.newest_lsn();
                    self.reply(now, key, lsn, Reply::Pubrec(packet_id, ReasonCode::Success));
                    return self.check_reply_backlog(now, key);
                }
            }
            (QoS::AtLeastOnce, _) => session.inbound.at_least_once(quota)?,
            _ => {}
        }
        let cause = match publish.packet_id {
            // The packet id of a durable session is part of what must survive, also when nobody gets the message.
            Some(packet_id) if publish.qos == QoS::ExactlyOnce && session.is_durable() => {
                Cause::Received(session.number, packet_id)
            }
            _ => Cause::None,
        };
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        let expiry =
            publish.properties.message_expiry.map(|seconds| now + Duration::from_secs(u64::from(seconds)));
        let mut publish = publish;
        if self.planted.is(Bug::ContentTypeForgotten) {
            publish.properties.content_type = None;
        }
        let mut incoming = Incoming::borrowed(publish, topic, expiry);
        let lsn = self.publish(now, &mut incoming, &plan, (Publisher::Session(session_key), cause));
        let Some(packet_id) = packet_id else { return Ok(Flow::Continue) };
        let reason = if version == Version::V5 && plan.routes.is_nowhere() {
            ReasonCode::NoMatchingSubscribers
        } else {
            ReasonCode::Success
        };
        if qos == QoS::ExactlyOnce {
            self.reply(now, key, lsn, Reply::Pubrec(packet_id, reason));
        } else {
            self.reply(now, key, lsn, Reply::Puback(packet_id, reason));
        }
        self.check_reply_backlog(now, key)
    }

    /// Reserves what one PUBLISH needs. Without it the connection is put on a list of waiters, first come, first served.
    fn park_without_slots(&mut self, key: ConnectionKey, topic: &str, plan: &Plan) -> bool {
        if let Some(lane) = self.peers.blocked(plan.targets(self.id), self.fan_out.resumed) {
            self.counters.parked_for_lane += 1;
            self.park(key);
            self.peers[lane].waiters.push_back(LaneWaiter::Connection(key));
            return true;
        }
        let needs_cursor = self.needs_cursor(topic, &plan.routes);
        if needs_cursor && !self.fan_out.has_room() {
            self.counters.parked_for_cursor += 1;
            self.park(key);
            self.fan_out.wait(key);
            return true;
        }
        false
    }

    /// The turn's share is used up: the connection goes on in the next.
    pub(super) fn yield_reading(&mut self, key: ConnectionKey) -> Flow {
        self.counters.yielded += 1;
        self.park(key);
        self.work.yield_turn(key);
        Flow::Park
    }

    pub(super) fn park(&mut self, key: ConnectionKey) {
        self.connections.get_mut(key).expect("the caller has looked").parked = Parked::Waiting;
    }
}

/// The topic of a PUBLISH with an alias, taken out of the table for the time of its handling. An empty topic asks for what the alias stands for,
/// any other sets it (MQTT 5 section 3.3.2.3.4).
fn take_alias(
    connection: &mut Connection,
    alias: NonZeroU16,
    topic: &str,
    alias_max: u16,
) -> Result<Box<str>, Violation> {
    if alias.get() > alias_max {
        return Err(Violation::TopicAliasTooLarge);
    }
    let aliases = &mut connection.extra_mut().aliases;
    let index = usize::from(alias.get()) - 1;
    if aliases.len() <= index {
        aliases.resize_with(index + 1, || None);
    }
    if topic.is_empty() {
        aliases[index].take().ok_or(Violation::TopicAliasUnknown)
    } else {
        Ok(topic.into())
    }
}
