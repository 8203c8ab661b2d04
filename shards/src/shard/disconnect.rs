//! The end of a connection, and of a session.

use super::connection::{Parked, Phase};
use super::deadlines::Deadline;
use super::input::Flow;
use super::peers::News;
use super::session::{EXPIRY_NEVER, SessionKey};
use super::{Action, CloseMode, ConnectionKey, End, Event, Shard};
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::mesh::Release;
use crate::session::{DropReason, WriteBuffer};
use crate::wire::{Disconnect, ReasonCode, Violation};
use std::time::Duration;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Farewell {
    /// The peer said DISCONNECT: its will is forgotten.
    Clean,
    /// Anything else: its will is due.
    Broken,
}

impl Shard {
    /// The peer closed the socket, or it failed.
    pub fn handle_end(&mut self, now: Time, key: ConnectionKey, end: End) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match connection.phase {
            Phase::Closing => {}
            // The claim must reach its home; the connection is closed there.
            Phase::Claiming | Phase::Moving => connection.ended = true,
            // A publisher may send its last messages and close at once: what is parked unread counts as received.
            Phase::Connected if end == End::Eof && connection.parked == Parked::Waiting => {
                connection.ended = true
            }
            _ => self.close(now, key, CloseMode::Now, Farewell::Broken),
        }
    }

    /// The driver is done with a closed socket.
    pub fn handle_closed(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.remove(key) else { return };
        debug_assert_eq!(connection.phase, Phase::Closing, "the driver closes only what it was told to");
        self.coordination.ended += u32::from(connection.counted);
        // Its last output had a watch of its own.
        if let Some(timer) = connection.stall_timer {
            self.wheel.cancel(timer);
        }
    }

    pub(super) fn handle_disconnect(
        &mut self,
        now: Time,
        key: ConnectionKey,
        disconnect: &Disconnect<'_>,
    ) -> Result<Flow, Violation> {
        let session = self.connections.get(key).and_then(|connection| connection.session);
        if !disconnect.reason.is_sent_by_clients() {
            return Err(Violation::ReasonCodeInvalid);
        }
        if disconnect.properties.server_reference.is_some() {
            return Err(Violation::ServerPropertyFromClient);
        }
        if let (Some(seconds), Some(session)) =
            (disconnect.properties.session_expiry, session.and_then(|session| self.sessions.get_mut(session)))
        {
            if session.expiry_seconds == 0 && seconds > 0 {
                return Err(Violation::SessionExpiryRaised);
            }
            if !self.planted.is(Bug::DisconnectExpiryIgnored) {
                session.expiry_seconds = seconds.min(cap_seconds(self.limits.session_expiry_max));
            }
        }
        let farewell =
            if disconnect.reason == ReasonCode::Success { Farewell::Clean } else { Farewell::Broken };
        self.close(now, key, CloseMode::Flush, farewell);
        Ok(Flow::Stop)
    }

    /// The session of `key` goes to a newer connection.
    pub(super) fn take_over(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get(key) else { return };
        if self.planted.is(Bug::TakeoverKeepsOld) {
            self.offline_sessions += 1;
            let session = connection.session.and_then(|session| self.sessions.get_mut(session));
            return session.into_iter().for_each(|session| session.connection = None);
        }
        let (peer, session) = (connection.peer, connection.session);
        let client_id =
            session.and_then(|session| self.sessions.get(session)).map(|session| session.client_id.clone());
        self.counters.taken_over += 1;
        self.report(Event::TakenOver { peer, client_id: client_id.unwrap_or_default() });
        self.fail(now, key, ReasonCode::SessionTakenOver);
    }

    pub(super) fn close_broken(&mut self, now: Time, key: ConnectionKey, mode: CloseMode) {
        self.close(now, key, mode, Farewell::Broken);
    }

    fn close(&mut self, now: Time, key: ConnectionKey, mode: CloseMode, farewell: Farewell) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        if connection.phase != Phase::Connected {
            self.half_open -= 1;
        }
        connection.phase = Phase::Closing;
        connection.unread = Vec::new();
        connection.retire_extra();
        connection.topic_aliases = None;
        let session = connection.session.take();
        for timer in [connection.timer.take(), connection.stall_timer.take()].into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        if mode == CloseMode::Now
            && !connection.writing
            && let Some(out) = connection.out.take()
        {
            self.buffers.give_back(out);
        }
        self.outputs.actions.push_back(Action::Close(key, mode));
        self.abandon_exclusive(key, session);
        if let Some(session) = session {
            self.leave(now, session, farewell);
        }
    }

    /// The session is without connection from here on.
    fn leave(&mut self, now: Time, key: SessionKey, farewell: Farewell) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.connection = None;
        session.offline_since = now;
        session.inbound.restart();
        let session_ends = session.expiry_seconds == 0;
        self.member_offline(now, key, session_ends);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let dropped = session.outbound.disconnected();
        self.offline_sessions += 1;
        if farewell == Farewell::Clean || self.planted.is(Bug::WillForgotten) {
            session.will = None;
        }
        self.drop_copies(DropReason::Offline, dropped as u64);
        if session_ends {
            return self.end_session(now, key);
        }
        self.log_offline(key);
        // The broker's own end: what is due next is for its next run.
        if !(self.is_stopping() && self.log.keeps()) {
            self.await_end(now, key);
        }
    }

    /// The session has no connection: sets the timer for its will, or its end; what is due already happens.
    pub(super) fn await_end(&mut self, now: Time, key: SessionKey) {
        let session = self.sessions.get(key).expect("the caller has it");
        let ends_at = session_end(session.expiry_seconds, session.offline_since);
        if ends_at <= now {
            return self.end_session(now, key);
        }
        let too_early = self.planted.is(Bug::WillTooEarly);
        let delay = session.will.as_ref().map(|will| if too_early { Duration::ZERO } else { will.delay() });
        let will_at = delay.map_or(Time::NEVER, |delay| session.offline_since + delay);
        if will_at <= now {
            self.publish_will(now, key);
            self.arm_expiry(now, key);
        } else if will_at < ends_at {
            let timer = self.wheel.arm(now, will_at, Deadline::Session(key));
            self.sessions.get_mut(key).expect("looked at above").timer = Some(timer);
        } else {
            self.arm_expiry(now, key);
        }
    }

    /// The will's delay or the session's expiry has passed.
    pub(super) fn session_deadline(&mut self, now: Time, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.timer = None;
        let ends_at = session_end(session.expiry_seconds, session.offline_since);
        if ends_at <= now {
            return self.end_session(now, key);
        }
        self.publish_will(now, key);
        self.arm_expiry(now, key);
    }

    fn arm_expiry(&mut self, now: Time, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let at = session_end(session.expiry_seconds, session.offline_since);
        if at != Time::NEVER {
            session.timer = Some(self.wheel.arm(now, at, Deadline::Session(key)));
        }
    }

    /// Publishes the will of `key`, if it still has one.
    pub(super) fn publish_will(&mut self, now: Time, key: SessionKey) {
        let Some(will) = self.sessions.get_mut(key).and_then(|session| session.will.take()) else { return };
        if self.extensions.concern_publish(will.topic()) {
            return self.admit_will(now, &will, key);
        }
        self.will_is_due(will.publish(now), key);
    }

    /// The session is gone: its will is due at the latest now, what waits for it is dropped and counted, its id released.
    pub(super) fn end_session(&mut self, now: Time, key: SessionKey) {
        self.publish_will(now, key);
        self.leave_shares(key);
        let Some(mut session) = self.sessions.remove(key) else { return };
        debug_assert!(session.connection.is_none(), "a session ends after its connection");
        self.offline_sessions -= 1;
        if let Some(timer) = session.timer.take() {
            self.wheel.cancel(timer);
        }
        let lost = session.outbound.queued() + session.outbound.in_flight();
        self.drop_copies(DropReason::SessionEnded, lost as u64);
        session.outbound.kept().for_each(|kept| self.bodies.release(kept.body));
        session.outbound.paged().for_each(|copy| self.bodies.release_paged(copy.kept.body));
        for replay in session.replays.iter() {
            self.retained.end_replay(replay);
        }
        self.work.remove_filters(key, std::mem::take(&mut session.filters));
        let lsn = self.log_end(&session);
        self.give_up_all_exclusive(key, lsn);
        let identity = self.identities.get_mut(&session.client_id).expect("every session has its identity");
        identity.session = None;
        // Its own epoch: when a newer claim ends it, the coordinator must not forget the id that the newer one has.
        // Only when the log has the end: another shard's log may have the id then.
        let release = Release { client_id: session.client_id, epoch: session.epoch };
        self.tell(lsn, News::Release(release));
        self.advance_redispatch(now);
    }

    /// Progress of a write that the driver was given; `finished` gives the buffer back.
    pub fn handle_sent(
        &mut self,
        now: Time,
        key: ConnectionKey,
        bytes: usize,
        finished: Option<Box<WriteBuffer>>,
    ) {
        self.counters.bytes_out += bytes as u64;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if bytes > 0 {
            connection.last_progress = now;
        }
        let Some(buffer) = finished else { return };
        connection.writing = false;
        self.buffers.give_back(buffer);
        match connection.phase {
            Phase::Connected if connection.out.is_none() => {
                self.outputs.flush(key, connection);
                self.pump(now, key);
            }
            // The handshake is answered, or AUTH is on its way to the client, who has it to answer.
            Phase::AwaitConnect => self.outputs.actions.push_back(Action::ReadOnce(key)),
            Phase::Authenticating if connection.is_drained() => {
                self.outputs.actions.push_back(Action::ReadOnce(key));
            }
            Phase::Authenticated if connection.is_drained() => self.claim_when_written(now, key),
            _ => self.outputs.flush(key, connection),
        }
    }
}

fn expiry(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

fn session_end(expiry_seconds: u32, offline_since: Time) -> Time {
    if expiry_seconds == EXPIRY_NEVER { Time::NEVER } else { offline_since + expiry(expiry_seconds) }
}

/// A duration of the configuration as the protocol counts it.
pub(super) fn cap_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
