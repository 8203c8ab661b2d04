//! A granted CONNECT at home: takeover, resume or a new session, and the CONNACK (MQTT 5 sections 3.1.4 and 3.2).

use super::connect::expiry_seconds;
use super::connection::Phase;
use super::deadlines::Deadline;
use super::session::{Session, SessionKey};
use super::{CloseMode, ConnectionKey, Shard};
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::mesh::{Epoch, Release};
use crate::session::{Inbound, Outbound, Will};
use crate::topics::FilterSet;
use crate::wire::{Connect, ReasonCode, Split, split};
use std::num::NonZeroU16;

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
        let moved_in = connection.moved_in;
        self.note_what_it_takes(key, &connect);
        if moved_in {
            self.arrived(client_id, epoch);
        }
        let before = self.newest_lsn();
        let identity = self.identities.get_or_insert(client_id);
        // Its last session has ended, but the coordinator does not know yet: perhaps the log has not got it either.
        let ended = identity.session.is_none() && identity.epoch > Epoch::default();
        if epoch < identity.epoch && !self.planted.is(Bug::StaleClaimAccepted) {
            self.counters.stale_claims += 1;
            return self.close_broken(now, key, CloseMode::Now);
        }
        identity.epoch = identity.epoch.max(epoch);
        let existing = identity.session;
        if self.is_stopping() {
            self.leave_epoch(existing, client_id, epoch);
            return self.refuse(now, key, ReasonCode::ServerUnavailable);
        }
        if self.is_beyond_maximum(key, existing) {
            self.leave_epoch(existing, client_id, epoch);
            return self.refuse(now, key, ReasonCode::QuotaExceeded);
        }
        if existing.is_none() && self.disk_is_full() && expiry_seconds(&connect, &self.limits) > 0 {
            // Who has a session comes back to it, and takes what waits there.
            self.leave_epoch(existing, client_id, epoch);
            self.counters.disk_refused += 1;
            return self.refuse_because(
                now,
                key,
                ReasonCode::QuotaExceeded,
                "the disk of this server is full",
            );
        }
        // Nobody resumes under a name that was made up now, even if somebody has guessed it before [MQTT-3.2.2-16].
        let resumes = !connect.clean_start && assigned.is_none() && self.is_own_session(key, existing);
        let awaited = self.awaited_by_present_connection(existing);
        let (session, present) = self.session_for(now, resumes, (client_id, epoch), existing);
        let was_durable = self.attach(now, key, session, &connect);
        self.leave_will(key, session, &connect);
        self.log_connect(session, present && was_durable);
        let connack = self.compose_connack(key, &connect, present, assigned.as_deref());
        self.connections.get_mut(key).expect("just attached").extra_mut().connack =
            connack.expect("its size was looked at before the claim");
        self.auto_subscribe(key, session);
        let newest = self.newest_lsn();
        self.connections.get_mut(key).expect("just attached").last_lsn =
            if ended || newest > before { newest } else { awaited };
        self.await_interest_for_connack(now, key, session, present);
    }

    /// What the connection waits for whose place is taken: it may have ended a session that the log has not got the end of yet.
    fn awaited_by_present_connection(&self, existing: Option<SessionKey>) -> Lsn {
        let present = existing.and_then(|session| self.sessions.get(session)?.connection);
        present.and_then(|key| self.connections.get(key)).map_or(Lsn::NONE, |present| present.last_lsn)
    }

    /// Whether the broker is full and the connection takes nobody's place.
    fn is_beyond_maximum(&self, key: ConnectionKey, existing: Option<SessionKey>) -> bool {
        let takes_over = existing.and_then(|session| self.sessions.get(session)?.connection).is_some();
        !takes_over && self.connections.get(key).is_some_and(|connection| connection.beyond_maximum)
    }

    /// A granted claim is refused. It is the newest of its id, so that the id's release, now or later, has to carry its epoch.
    fn leave_epoch(&mut self, existing: Option<SessionKey>, client_id: &str, epoch: Epoch) {
        match existing.and_then(|session| self.sessions.get_mut(session)) {
            Some(session) => session.epoch = epoch,
            None => self.coordination.releases.push_back(Release { client_id: client_id.into(), epoch }),
        }
    }

    /// Whether the session belongs to whom `key` has authenticated as: what waits in it is for nobody else, whatever client id he takes.
    fn is_own_session(&self, key: ConnectionKey, session: Option<SessionKey>) -> bool {
        let user = self.connections.get(key).and_then(|connection| connection.user());
        let session = session.and_then(|session| self.sessions.get(session));
        session.is_none_or(|session| session.user.as_ref() == user)
    }

    /// The session that a CONNECT, granted `epoch`, resumes or starts. Whatever spoke for it before is closed.
    fn session_for(
        &mut self,
        now: Time,
        resumes: bool,
        (client_id, epoch): (&str, Epoch),
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
            number: SessionNumber(epoch.0),
            client_id: client_id.into(),
            user: None,
            connection: None,
            epoch: Epoch::default(),
            durable: false,
            expiry_seconds: 0,
            offline_since: now,
            timer: None,
            filters: FilterSet::default(),
            congested: false,
            inbound: Inbound::default(),
            outbound: Outbound::new(self.limits.in_flight_max),
            next_copy: CopyNumber::default(),
            written: self.log.written(),
            record_bytes: 0,
            will: None,
            replays: Default::default(),
        });
        self.offline_sessions += 1;
        self.identities.get_or_insert(client_id).session = Some(session);
        (session, false)
    }

    /// The session has a connection. Whether it outlived the one before.
    fn attach(
        &mut self,
        now: Time,
        key: ConnectionKey,
        session_key: SessionKey,
        connect: &Connect<'_>,
    ) -> bool {
        let expiry_seconds = expiry_seconds(connect, &self.limits);
        let keep_alive = self.keep_alive_for(connect);
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        connection.phase = Phase::AwaitConnack;
        connection.session = Some(session_key);
        connection.keep_alive = keep_alive;
        if let Some(timer) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        // The CONNACK may wait for the log, but not for ever.
        let timer = self.wheel.arm(now, now + self.limits.connect_deadline, Deadline::Connection(key));
        connection.timer = Some(timer);
        let (epoch, user) = (connection.epoch, connection.user().cloned());
        let window = connect
            .properties
            .receive_maximum
            .map_or(u16::MAX, NonZeroU16::get)
            .min(self.limits.in_flight_max);
        let session = self.sessions.get_mut(session_key).expect("the caller has it");
        session.connection = Some(key);
        session.user = user;
        session.epoch = epoch;
        session.expiry_seconds = expiry_seconds;
        let was_durable = std::mem::replace(&mut session.durable, expiry_seconds > 0);
        if !self.planted.is(Bug::ResumeForgetsInFlight) {
            session.outbound.resume(window);
        }
        if let Some(timer) = session.timer.take() {
            self.wheel.cancel(timer);
        }
        self.offline_sessions -= 1;
        was_durable
    }

    /// Tells the log of a CONNECT; `known`: it has the session.
    fn log_connect(&mut self, key: SessionKey, known: bool) {
        if self.sessions.get(key).expect("just attached").is_durable() {
            self.log_head(key, !known);
        } else if known {
            self.becomes_volatile(key);
        }
    }

    /// The will of this CONNECT. One that still waits for its delay is void once the session is resumed (MQTT 5 section 3.1.3.2.2).
    fn leave_will(&mut self, key: ConnectionKey, session: SessionKey, connect: &Connect<'_>) {
        if self.extensions.ask_for_author() {
            let connection = self.connections.get_mut(key).expect("the caller has looked");
            // Where users can prove who they are, a name that is only said is nobody's.
            let said = connect.username.filter(|_| self.authentication.methods.is_empty());
            connection.extra_mut().user_name = connection.user().map(|user| &**user).or(said).map(Into::into);
        }
        let will = connect.will.as_ref().map(|will| Box::new(Will::new(will, self.will_author(key))));
        self.sessions.get_mut(session).expect("the caller has it").will = will;
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
        for replay in session.replays.iter() {
            self.retained.wake(replay);
        }
        if session.outbound.is_idle() {
            return self.outputs.flush(key, connection);
        }
        let stands_still = self.planted.is(Bug::ExpiryStandsStill);
        let now = if stands_still { session.offline_since.min(now) } else { now };
        let pumped = session.outbound.pump(now, connection.writer(&mut self.buffers), &self.limits);
        let of = connection.session.expect("looked at above");
        self.counters.messages_out += u64::from(pumped.published);
        self.counters.delivered += u64::from(pumped.delivered);
        self.counters.expired += u64::from(pumped.expired);
        let congested = session.congested.then_some(connection.session).flatten();
        self.outputs.flush(key, connection);
        self.drop_copies(crate::session::DropReason::PacketTooLarge, u64::from(pumped.too_large));
        self.finish_copies(of, &pumped.finished);
        self.record_started(of, &pumped.started);
        self.want_paged(of);
        if let Some(session) = congested {
            self.relieve_congestion(session);
        }
    }
}
