//! CONNECT on the accepting shard: checks, the claim, and the handoff to the home shard (MQTT 5 section 3.1).

use super::connection::Phase;
use super::input::Flow;
use super::{Action, CloseMode, ConnectionKey, Shard};
use crate::base::limits::{CLAIM_BATCH_CREDITS, CLAIM_BATCH_MAX};
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::mesh::{Claim, ClaimBatch, ClaimReplies, Control, Epoch, Handoff, Outcome, Socket};
use crate::topics::TopicName;
use crate::wire::{Connect, Frame, PacketType, ReasonCode, Version, Violation};

impl Shard {
    pub(super) fn handle_connect(
        &mut self,
        now: Time,
        key: ConnectionKey,
        frame: Frame<'_>,
    ) -> Result<Flow, Violation> {
        if frame.packet_type() != PacketType::Connect {
            return Err(Violation::FirstPacketNotConnect);
        }
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        if let Ok(version) = Connect::version_of(frame) {
            connection.version = version;
        }
        let listener = connection.listener;
        let connect = match Connect::decode(frame).and_then(check_will_topic) {
            Ok(connect) => connect,
            Err(violation) => {
                self.refuse_violation(now, key, violation);
                return Ok(Flow::Stop);
            }
        };
        self.note_what_it_takes(key, &connect);
        let doorway = self.doorways.get(usize::from(listener.0));
        let web_socket = self.connections.get_mut(key).and_then(|connection| connection.web_socket_mut());
        if doorway.is_some_and(|doorway| !doorway.versions.contains(&connect.version))
            || connect.version != Version::V31
                && web_socket.is_some_and(|web_socket| web_socket.is_v31_only())
        {
            self.refuse(now, key, ReasonCode::UnsupportedProtocolVersion);
            return Ok(Flow::Stop);
        }
        if self.redirect_connect(now, key) {
            return Ok(Flow::Stop);
        }
        if self.is_stopping() {
            self.refuse(now, key, ReasonCode::ServerUnavailable);
            return Ok(Flow::Stop);
        }
        if let Err(violation) = self.terms.check_will(&connect) {
            self.refuse_because(now, key, violation.reason(), &violation.to_string());
            return Ok(Flow::Stop);
        }
        if let Some(flow) = self.authenticate(now, key, frame, &connect) {
            return Ok(flow);
        }
        if let Err(reason) = self.claim(key, &connect) {
            self.refuse(now, key, reason);
            return Ok(Flow::Stop);
        }
        Ok(Flow::Hold)
    }

    /// A breach before CONNACK: counted, logged, and refused.
    pub(super) fn refuse_violation(&mut self, now: Time, key: ConnectionKey, violation: Violation) {
        let Some(connection) = self.connections.get(key) else { return };
        let peer = connection.peer;
        self.counters.violations += 1;
        self.report(super::Event::Violation { peer, violation });
        self.refuse_malformed(now, key, violation);
    }

    /// v5 is told what is wrong with its CONNECT. v3 is told of what it has a return code for, everything else closes without CONNACK
    /// (3.1.1: MQTT-3.1.4-1).
    fn refuse_malformed(&mut self, now: Time, key: ConnectionKey, violation: Violation) {
        let reason = violation.reason();
        let version = self.connections.get(key).map(|connection| connection.version);
        let told =
            matches!(reason, ReasonCode::UnsupportedProtocolVersion | ReasonCode::ClientIdentifierNotValid);
        if told || version.is_some_and(Version::is_v5) {
            return self.refuse_because(now, key, reason, &violation.to_string());
        }
        self.close_broken(now, key, CloseMode::Now);
    }

    /// Asks the coordinator for the client id of `connect`, which stands or is to stand in front of the unread input.
    pub(super) fn claim(&mut self, key: ConnectionKey, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let mut assigned = None;
        let client_id: Box<str> = if connect.client_id.is_empty() {
            // An id without a session to come back to is of no use in v3 [MQTT-3.1.3-8], and 3.1 knows no empty id at all.
            if connect.version == Version::V31 || connect.version == Version::V311 && !connect.clean_start {
                return Err(ReasonCode::ClientIdentifierNotValid);
            }
            let id: Box<str> = format!("auto-{}-{:032x}", self.id, self.assigned_ids.next_u128()).into();
            assigned = Some(id.clone());
            id
        } else {
            connect.client_id.into()
        };
        // Looked at before the claim: a granted one has to be carried to its end.
        if connect.properties.maximum_packet_size.is_some()
            && self.compose_connack(key, connect, false, assigned.as_deref()).is_none()
        {
            return Err(ReasonCode::PacketTooLarge);
        }
        let durable = expiry_seconds(connect, &self.limits) > 0;
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        connection.phase = Phase::Claiming;
        if assigned.is_some() {
            connection.extra_mut().assigned_client_id = assigned;
        }
        self.coordination.claims.push_back(Claim { connection: key.to_bits(), client_id, durable });
        Ok(())
    }

    /// The next batch for the coordinator, if there is something to say and a credit to say it with.
    pub fn poll_claims(&mut self) -> Option<ClaimBatch> {
        let coordination = &mut self.coordination;
        let has_news = coordination.has_news() || self.cleaning.turn.has_news();
        if coordination.unanswered >= CLAIM_BATCH_CREDITS || !has_news {
            return None;
        }
        coordination.unanswered += 1;
        let claims = coordination.claims.len().min(CLAIM_BATCH_MAX);
        let arrived = coordination.arrived.len().min(CLAIM_BATCH_MAX);
        let releases = coordination.releases.len().min(CLAIM_BATCH_MAX);
        let exclusive = coordination.exclusive.len().min(CLAIM_BATCH_MAX);
        Some(ClaimBatch {
            claims: coordination.claims.drain(..claims).collect(),
            arrived: coordination.arrived.drain(..arrived).collect(),
            releases: coordination.releases.drain(..releases).collect(),
            exclusive: coordination.exclusive.drain(..exclusive).collect(),
            ended: std::mem::take(&mut coordination.ended),
            cleaning: self.cleaning.turn.take_news(),
        })
    }

    /// The coordinator's answer to a batch.
    pub fn handle_replies(&mut self, now: Time, answer: ClaimReplies) {
        if answer.turn {
            return self.cleaning.turn.come();
        }
        self.coordination.unanswered -= 1;
        for reply in answer.replies {
            let key = ConnectionKey::from_bits(reply.connection);
            debug_assert!(
                self.connections.get(key).is_some_and(|connection| connection.phase == Phase::Claiming)
            );
            match reply.outcome {
                Outcome::Full => self.refuse(now, key, ReasonCode::QuotaExceeded),
                Outcome::Granted { home, epoch, beyond_maximum } => {
                    if let Some(connection) = self.connections.get_mut(key) {
                        connection.beyond_maximum = beyond_maximum;
                    }
                    self.granted(now, key, home, epoch);
                }
            }
        }
        for forgotten in answer.forgotten {
            self.identities.forget(&forgotten.client_id, forgotten.epoch);
        }
        for reply in answer.exclusive {
            self.exclusive_answered(now, reply);
        }
    }

    fn granted(&mut self, now: Time, key: ConnectionKey, home: ShardId, epoch: Epoch) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.counted = true;
        if home == self.id {
            return self.establish(now, key, epoch);
        }
        connection.phase = Phase::Moving;
        connection.epoch = epoch;
        let peer = &mut self.peers[home];
        peer.moving.push_back(key);
        self.detach_next(home);
    }

    /// Lets connections go to `home` as far as the handoff credits last.
    pub(super) fn detach_next(&mut self, home: ShardId) {
        let peer = &mut self.peers[home];
        while peer.handoff_credits > 0 {
            let Some(key) = peer.moving.pop_front() else { return };
            peer.handoff_credits -= 1;
            let connection = self.connections.get_mut(key).expect("a moving connection is not closed");
            connection.home = home;
            self.outputs.actions.push_back(Action::Detach(key));
        }
    }

    /// The driver has let go of the socket.
    pub fn handle_detached(&mut self, _now: Time, key: ConnectionKey, socket: Socket) {
        let Some(connection) = self.connections.remove(key) else { return };
        debug_assert_eq!(connection.phase, Phase::Moving, "only moving connections are detached");
        self.half_open -= 1;
        for timer in [connection.timer, connection.stall_timer].into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        self.counters.handed_off += 1;
        let extra = connection.extra.map(|extra| *extra).unwrap_or_default();
        let handoff = Handoff {
            socket,
            listener: connection.listener,
            peer: connection.peer,
            epoch: connection.epoch,
            beyond_maximum: connection.beyond_maximum,
            assigned_client_id: extra.assigned_client_id,
            // A plain socket tells its end again there, behind what is still in it.
            ended: connection.ended && extra.web_socket.is_some(),
            web_socket: extra.web_socket,
            authenticated: extra.authenticated,
            input: connection.unread,
        };
        self.peers[connection.home].control.push_back(Control::Handoff(Box::new(handoff)));
    }
}

/// The will is published later, when nobody is left to be told that its topic is none.
fn check_will_topic(connect: Connect<'_>) -> Result<Connect<'_>, Violation> {
    match connect.will.map(|will| TopicName::new(will.topic)) {
        Some(Err(_)) => Err(Violation::TopicTooLong),
        _ => Ok(connect),
    }
}

/// How long the session of `connect` outlives its connection, in seconds.
pub(super) fn expiry_seconds(connect: &Connect<'_>, limits: &crate::base::limits::Limits) -> u32 {
    use super::disconnect::cap_seconds;
    if connect.version.is_v5() {
        connect.properties.session_expiry.unwrap_or(0).min(cap_seconds(limits.session_expiry_max))
    } else if connect.clean_start {
        0
    } else {
        cap_seconds(limits.session_expiry_v3)
    }
}
