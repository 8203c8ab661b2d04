//! A granted CONNECT at home: takeover, resume or a new session, and the CONNACK (MQTT 5 sections 3.1.4 and 3.2).

use super::connect::expiry_seconds;
use super::connection::Phase;
use super::reply::Reply;
use super::session::{Session, SessionKey};
use super::{Action, CloseMode, ConnectionKey, Shard};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::mesh::Epoch;
use crate::session::{Inbound, KeepAlive, Outbound, Will};
use crate::topics::{FilterSet, Standing};
use crate::wire::{Connack, ConnackProperties, Connect, Packet, ReasonCode, Split, split};
use std::num::{NonZeroU16, NonZeroU32};

impl Shard {
    /// The coordinator has granted `epoch` to a connection whose session is, or is to be, here.
    pub(super) fn establish(&mut self, now: Time, key: ConnectionKey, epoch: Epoch) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let input = std::mem::take(&mut connection.unread);
        let Ok(Split::Whole(frame)) = split(&input, self.limits.packet_bytes_max as usize) else {
            unreachable!("a claim is made for a whole CONNECT, which is kept in front of the input")
        };
        let connect = Connect::decode(frame).expect("a claim is made for a valid CONNECT");
        connection.version = connect.version;
        connection.epoch = epoch;
        connection.unread = input[frame.wire_bytes()..].to_vec();
        let assigned = connection.extra.as_ref().and_then(|extra| extra.assigned_client_id.clone());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        if connection.moved_in {
            self.arrived(client_id, epoch);
        }
        if self.is_stopping() {
            return self.refuse(now, key, ReasonCode::ServerUnavailable);
        }
        let identity = self.identities.get_or_insert(client_id);
        if epoch < identity.epoch && !self.planted.is(Bug::StaleClaimAccepted) {
            self.counters.stale_claims += 1;
            return self.close_broken(now, key, CloseMode::Now);
        }
        identity.epoch = identity.epoch.max(epoch);
        let existing = identity.session;
        // Nobody resumes under a name that was made up now, even if somebody has guessed it before [MQTT-3.2.2-16].
        let resumes = !connect.clean_start && assigned.is_none();
        let (session, present) = self.session_for(now, resumes, client_id, existing);
        self.attach(key, session, &connect);
        self.leave_will(key, session, &connect);
        self.compose_connack(key, &connect, present, assigned.as_deref());
        self.await_interest_for_connack(now, key, session, present);
    }

    /// The session that a CONNECT resumes or starts. Whatever spoke for it before is closed.
    fn session_for(
        &mut self,
        now: Time,
        resumes: bool,
        client_id: &str,
        existing: Option<SessionKey>,
    ) -> (SessionKey, bool) {
        if let Some(old) =
            existing.and_then(|session| self.sessions.get(session)).and_then(|session| session.connection)
        {
            self.take_over(now, old);
        }
        // The takeover has ended a session that was not to outlive its connection.
        let existing = existing.filter(|session| self.sessions.get(*session).is_some());
        match existing {
            Some(session) if resumes => return (session, true),
            Some(session) => self.end_session(now, session),
            None => {}
        }
        let session = self.sessions.insert(Session {
            client_id: client_id.into(),
            connection: None,
            epoch: Epoch::default(),
            expiry_seconds: 0,
            offline_since: now,
            timer: None,
            filters: FilterSet::default(),
            congested: false,
            inbound: Inbound::default(),
            outbound: Outbound::new(self.limits.in_flight_max),
            will: None,
            replays: Vec::new(),
        });
        self.offline_sessions += 1;
        self.identities.get_or_insert(client_id).session = Some(session);
        (session, false)
    }

    fn attach(&mut self, key: ConnectionKey, session_key: SessionKey, connect: &Connect<'_>) {
        let expiry_seconds = expiry_seconds(connect, &self.limits);
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        connection.phase = Phase::AwaitConnack;
        connection.session = Some(session_key);
        connection.packet_bytes_max =
            connect.properties.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get);
        let keep_alive = KeepAlive::from_secs(connect.keep_alive);
        let capped = keep_alive.capped(self.limits.keep_alive_max).filter(|_| connect.version.is_v5());
        connection.keep_alive = capped.unwrap_or(keep_alive);
        if let Some(timer) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        let epoch = connection.epoch;
        let window = connect
            .properties
            .receive_maximum
            .map_or(u16::MAX, NonZeroU16::get)
            .min(self.limits.in_flight_max);
        let session = self.sessions.get_mut(session_key).expect("the caller has it");
        session.connection = Some(key);
        session.epoch = epoch;
        session.expiry_seconds = expiry_seconds;
        if !self.planted.is(Bug::ResumeForgetsInFlight) {
            session.outbound.resume(window);
        }
        if let Some(timer) = session.timer.take() {
            self.wheel.cancel(timer);
        }
        self.offline_sessions -= 1;
    }

    /// The will of this CONNECT. One that still waits for its delay is void once the session is resumed (MQTT 5 section 3.1.3.2.2).
    fn leave_will(&mut self, key: ConnectionKey, session: SessionKey, connect: &Connect<'_>) {
        if self.extensions.concern_publishers() {
            let connection = self.connections.get_mut(key).expect("the caller has looked");
            connection.extra_mut().user_name = connect.username.map(Into::into);
        }
        let will = connect.will.as_ref().map(|will| Box::new(Will::new(will, self.will_author(key))));
        self.sessions.get_mut(session).expect("the caller has it").will = will;
    }

    fn compose_connack(
        &mut self,
        key: ConnectionKey,
        connect: &Connect<'_>,
        present: bool,
        assigned: Option<&str>,
    ) {
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        let limits = &self.limits;
        let granted = expiry_seconds(connect, limits);
        let asked = connect.properties.session_expiry.unwrap_or(0);
        let keep_alive = connection.keep_alive.seconds();
        let connack = Connack {
            session_present: present,
            reason: ReasonCode::Success,
            properties: ConnackProperties {
                session_expiry: (granted != asked).then_some(granted),
                receive_maximum: NonZeroU16::new(limits.receive_maximum),
                maximum_packet_size: NonZeroU32::new(limits.packet_bytes_max),
                assigned_client_id: assigned,
                topic_alias_maximum: Some(limits.topic_alias_max),
                server_keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
                ..ConnackProperties::default()
            },
        };
        let mut bytes = Vec::new();
        connack.encode(connect.version, &mut bytes);
        connection.extra_mut().connack = bytes;
    }

    /// The CONNACK of a durable session waits for its log record, and for interest that its resumed subscriptions depend on.
    pub(super) fn connack_when_logged(&mut self, now: Time, key: ConnectionKey) {
        let Some(session) = self.connections.get(key).and_then(|connection| connection.session) else {
            return;
        };
        let durable = self.sessions.get(session).is_some_and(Session::is_durable);
        let lsn = if durable { self.gate.append() } else { Lsn::NONE };
        self.reply(now, key, lsn, Reply::Connack);
    }

    /// CONNACK goes out: the connection is in service.
    pub(super) fn send_connack(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase != Phase::AwaitConnack {
            return;
        }
        connection.phase = Phase::Connected;
        self.half_open -= 1;
        self.counters.connected += 1;
        let (connack, session) = (connection.take_connack(), connection.session);
        self.write(key, |out| out.extend_from_slice(&connack));
        self.arm_keep_alive(now, key);
        self.outputs.actions.push_back(Action::Read(key));
        self.pump(now, key);
        if let Some(session) = session {
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

    /// Sends what waits for the session of `key`, as far as it may.
    pub(super) fn pump(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(session) = connection.session.and_then(|session| self.sessions.get_mut(session)) else {
            return;
        };
        if connection.phase != Phase::Connected {
            return;
        }
        for replay in &session.replays {
            self.retained.wake(*replay);
        }
        if session.outbound.is_idle() {
            return self.outputs.flush(key, connection);
        }
        let (version, packet_bytes_max) = (connection.version, connection.packet_bytes_max);
        let out = connection.out_mut(&mut self.buffers);
        let writer = crate::session::Writer { out, version, packet_bytes_max };
        let pumped = session.outbound.pump(now, writer, &self.limits);
        self.counters.messages_out += u64::from(pumped.published);
        self.counters.delivered += u64::from(pumped.delivered);
        self.counters.expired += u64::from(pumped.expired);
        let congested = session.congested.then_some(connection.session).flatten();
        self.outputs.flush(key, connection);
        self.drop_copies(crate::session::DropReason::PacketTooLarge, u64::from(pumped.too_large));
        if let Some(session) = congested {
            self.relieve_congestion(session);
        }
    }

    /// Encodes a packet to `key` in its own version.
    pub(super) fn send_packet(&mut self, key: ConnectionKey, packet: &Packet<'_>) {
        let Some(version) = self.connections.get(key).map(|connection| connection.version) else { return };
        self.write(key, |out| packet.encode(version, out));
    }
}
