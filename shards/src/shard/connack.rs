//! CONNACK with success: what it says, and when it goes out (MQTT 5 section 3.2).

use super::connect::expiry_seconds;
use super::connection::Phase;
use super::reply::Reply;
use super::{Action, CloseMode, ConnectionKey, Shard};
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::session::KeepAlive;
use crate::topics::Standing;
use crate::wire::{Connack, ConnackProperties, Connect, ReasonCode};
use std::num::{NonZeroU16, NonZeroU32};

impl Shard {
    /// The keep-alive that a CONNECT gets.
    pub(super) fn keep_alive_for(&self, connect: &Connect<'_>) -> KeepAlive {
        let asked = KeepAlive::from_secs(connect.keep_alive);
        let capped = asked.capped(self.limits.keep_alive_max).filter(|_| connect.version.is_v5());
        capped.unwrap_or(asked)
    }

    /// The CONNACK that accepts `connect`, which came from `key`; `None` when the client does not take a packet of that size.
    pub(super) fn compose_connack(
        &self,
        key: ConnectionKey,
        connect: &Connect<'_>,
        present: bool,
        assigned: Option<&str>,
    ) -> Option<Vec<u8>> {
        let extra = self.connections.get(key).and_then(|connection| connection.extra.as_ref());
        let authenticated = extra.and_then(|extra| extra.authenticated.as_ref());
        let (limits, capabilities) = (&self.limits, &self.terms.capabilities);
        let granted = expiry_seconds(connect, limits);
        let asked = connect.properties.session_expiry.unwrap_or(0);
        let keep_alive = self.keep_alive_for(connect).seconds();
        let response_information = self.response_information(connect, assigned.unwrap_or(connect.client_id));
        let refused = |available: bool| (!available).then_some(false);
        let connack = |response_information| Connack {
            session_present: present,
            reason: ReasonCode::Success,
            properties: ConnackProperties {
                session_expiry: (granted != asked).then_some(granted),
                receive_maximum: NonZeroU16::new(limits.receive_maximum),
                maximum_qos: Some(capabilities.maximum_qos),
                retain_available: refused(capabilities.retain),
                maximum_packet_size: NonZeroU32::new(limits.packet_bytes_max),
                assigned_client_id: assigned,
                topic_alias_maximum: Some(limits.topic_alias_max),
                wildcard_available: refused(capabilities.wildcard_subscriptions),
                subscription_ids_available: refused(capabilities.subscription_identifiers),
                shared_available: refused(capabilities.shared_subscriptions),
                server_keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
                response_information,
                authentication_method: authenticated.map(|authenticated| authenticated.method.name()),
                authentication_data: authenticated.and_then(|authenticated| authenticated.data.as_deref()),
                ..ConnackProperties::default()
            },
        };
        let bytes_max = connect.properties.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get) as usize;
        // Response Information is a hint; without the others the client would not know what it may do.
        [response_information.as_deref(), None].into_iter().find_map(|response_information| {
            let mut bytes = Vec::new();
            connack(response_information).encode(connect.version, &mut bytes);
            (bytes.len() <= bytes_max).then_some(bytes)
        })
    }

    /// The interest that resumed subscriptions depend on is applied: CONNACK waits for the log, if its CONNECT changed what that has.
    pub(super) fn connack_when_logged(&mut self, now: Time, key: ConnectionKey) {
        // Its records are those that the connection waits for since it was attached.
        self.reply(now, key, Lsn::NONE, Reply::Connack);
    }

    /// CONNACK goes out: the connection is in service.
    pub(super) fn send_connack(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase != Phase::AwaitConnack {
            return;
        }
        connection.phase = Phase::Connected;
        if let Some(timer) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        self.half_open -= 1;
        self.counters.connected += 1;
        let (connack, session) = (connection.take_connack(), connection.session);
        self.write(key, |out| out.extend_from_slice(&connack));
        self.arm_keep_alive(now, key);
        self.outputs.actions.push_back(Action::Read(key));
        self.pump(now, key);
        if let Some(session) = session {
            self.start_auto_replays(session);
            self.set_standing(session, Standing::Ready);
        }
        self.read_unread(now, key);
        self.close_if_ended(now, key);
    }

    /// The peer had closed its end while the connection could not be closed.
    pub(super) fn close_if_ended(&mut self, now: Time, key: ConnectionKey) {
        let over = self.connections.get(key).is_some_and(|connection| {
            connection.ended
                && connection.parked == super::connection::Parked::No
                && connection.phase == Phase::Connected
        });
        if over {
            self.close_broken(now, key, CloseMode::Now);
        }
    }
}
