//! Saying no, as far as the client can be told: CONNACK with a refusal, DISCONNECT with its reason, acknowledgements with an error.
//!
//! Nothing larger than the client's Maximum Packet Size goes out: reason strings are the first to be left out, then the server reference. A
//! client that has asked for no problem information gets no reason strings at all.

use super::connection::Phase;
use super::{CloseMode, ConnectionKey, Event, Shard};
use crate::base::time::Time;
use crate::wire::{
    Ack, AckProperties, Connack, ConnackProperties, Connect, Disconnect, DisconnectProperties, Packet,
    PacketId, ReasonCode, Version, Violation,
};
use std::num::NonZeroU32;

/// What a client is told at its end.
#[derive(Clone, Copy)]
struct Notice<'a> {
    reason: ReasonCode,
    why: Option<&'a str>,
    server_reference: Option<&'a str>,
}

impl<'a> Notice<'a> {
    /// From the whole notice to the bare code.
    fn forms(self, wants_why: bool) -> [Notice<'a>; 3] {
        let whole = Notice { why: self.why.filter(|_| wants_why), ..self };
        let terse = Notice { why: None, ..self };
        [whole, terse, Notice { server_reference: None, ..terse }]
    }

    fn connack(self) -> Packet<'a> {
        let properties = ConnackProperties {
            reason_string: self.why,
            server_reference: self.server_reference,
            ..ConnackProperties::default()
        };
        Packet::Connack(Connack { session_present: false, reason: self.reason, properties })
    }

    fn disconnect(self) -> Packet<'a> {
        let properties = DisconnectProperties {
            reason_string: self.why,
            server_reference: self.server_reference,
            ..DisconnectProperties::default()
        };
        Packet::Disconnect(Disconnect { reason: self.reason, properties })
    }
}

/// Appends the first of `forms` that is at most `bytes_max` long, or nothing.
pub(super) fn put_what_fits<'a>(
    forms: impl IntoIterator<Item = Packet<'a>>,
    version: Version,
    bytes_max: u32,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    for form in forms {
        form.encode(version, out);
        if out.len() - start <= bytes_max as usize {
            return;
        }
        out.truncate(start);
    }
}

impl Shard {
    /// Takes from a CONNECT what decides how the client may be answered.
    pub(super) fn note_what_it_takes(&mut self, key: ConnectionKey, connect: &Connect<'_>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let properties = &connect.properties;
        connection.packet_bytes_max = properties.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get);
        connection.alias_max =
            properties.topic_alias_maximum.unwrap_or(0).min(self.limits.topic_alias_to_client_max);
        connection.wants_reasons = properties.request_problem_information != Some(false);
    }

    /// A peer broke the protocol: tells it (v5), logs it, closes it.
    pub(super) fn violated(&mut self, now: Time, key: ConnectionKey, violation: Violation) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.phase == Phase::Authenticating {
            // Known to be v5, and DISCONNECT does not come before CONNACK (MQTT-3.14.0-1).
            return self.refuse_violation(now, key, violation);
        }
        let peer = connection.peer;
        self.counters.violations += 1;
        self.report(Event::Violation { peer, violation });
        self.fail_because(now, key, violation.reason(), &violation.to_string());
    }

    /// Closes a connection for `reason`, which a v5 client is told.
    pub(super) fn fail(&mut self, now: Time, key: ConnectionKey, reason: ReasonCode) {
        let notice = Notice { reason, why: in_words(reason), server_reference: None };
        self.tell_and_close(now, key, notice);
    }

    /// As [`Shard::fail`], in words of its own.
    pub(super) fn fail_because(&mut self, now: Time, key: ConnectionKey, reason: ReasonCode, why: &str) {
        self.tell_and_close(now, key, Notice { reason, why: Some(why), server_reference: None });
    }

    fn tell_and_close(&mut self, now: Time, key: ConnectionKey, notice: Notice<'_>) {
        let Some(connection) = self.connections.get(key) else { return };
        let (version, bytes_max) = (connection.version, connection.packet_bytes_max);
        if version.is_v5() && connection.phase == Phase::Connected {
            let forms = notice.forms(connection.wants_reasons).map(Notice::disconnect);
            self.write(key, |out| put_what_fits(forms, version, bytes_max, out));
        }
        self.close_broken(now, key, CloseMode::Flush);
    }

    /// Answers CONNECT with a refusal and closes. v3 gets the return code that comes nearest.
    pub(super) fn refuse(&mut self, now: Time, key: ConnectionKey, reason: ReasonCode) {
        self.refuse_with(now, key, Notice { reason, why: in_words(reason), server_reference: None });
    }

    /// As [`Shard::refuse`], in words of its own.
    pub(super) fn refuse_because(&mut self, now: Time, key: ConnectionKey, reason: ReasonCode, why: &str) {
        self.refuse_with(now, key, Notice { reason, why: Some(why), server_reference: None });
    }

    fn refuse_with(&mut self, now: Time, key: ConnectionKey, notice: Notice<'_>) {
        let Some(connection) = self.connections.get(key) else { return };
        let (version, peer, bytes_max) = (connection.version, connection.peer, connection.packet_bytes_max);
        let forms = notice.forms(connection.wants_reasons).map(Notice::connack);
        self.counters.refused += 1;
        self.report(Event::Refused { peer, reason: notice.reason });
        self.write(key, |out| put_what_fits(forms, version, bytes_max, out));
        self.close_broken(now, key, CloseMode::Flush);
    }

    /// Sends a new client to the other server, if there is one (MQTT 5 section 4.11). Whether it was sent away.
    pub(super) fn redirect_connect(&mut self, now: Time, key: ConnectionKey) -> bool {
        let stopping = self.is_stopping();
        let redirect =
            self.terms.redirect.as_ref().filter(|redirect| stopping || !redirect.only_when_stopping);
        let Some(redirect) = redirect.cloned() else { return false };
        let reason = moved(redirect.permanent);
        self.refuse_with(now, key, Notice { reason, why: None, server_reference: Some(&redirect.to) });
        true
    }

    /// The broker stops: a v5 client is told, with the other server if there is one.
    pub(super) fn send_away(&mut self, now: Time, key: ConnectionKey) {
        match self.terms.redirect.clone() {
            None => self.fail(now, key, ReasonCode::ServerShuttingDown),
            Some(redirect) => {
                let reason = moved(redirect.permanent);
                let notice = Notice { reason, why: None, server_reference: Some(&redirect.to) };
                self.tell_and_close(now, key, notice);
            }
        }
    }

    /// An acknowledgement with its reason in words, if the client wants and takes them.
    #[inline]
    pub(super) fn write_ack(
        &mut self,
        key: ConnectionKey,
        (packet_id, reason): (PacketId, ReasonCode),
        packet: impl Fn(Ack<'static>) -> Packet<'static>,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (version, bytes_max) = (connection.version, connection.packet_bytes_max);
        let why = if reason.is_error() && connection.wants_reasons { in_words(reason) } else { None };
        let out = connection.out_mut(&mut self.buffers).bytes_mut();
        let bare = Ack::with_reason(packet_id, reason);
        match why {
            // Whoever has taken our CONNACK takes five bytes.
            None => packet(bare).encode(version, out),
            Some(why) => {
                let properties = AckProperties { reason_string: Some(why), ..AckProperties::default() };
                put_what_fits([packet(Ack { properties, ..bare }), packet(bare)], version, bytes_max, out);
            }
        }
        self.outputs.flush(key, connection);
    }
}

fn moved(permanent: bool) -> ReasonCode {
    if permanent { ReasonCode::ServerMoved } else { ReasonCode::UseAnotherServer }
}

/// What a code means here, where it does not say that itself.
pub(super) fn in_words(reason: ReasonCode) -> Option<&'static str> {
    Some(match reason {
        ReasonCode::PacketIdentifierNotFound => "no exchange with this packet identifier is under way",
        ReasonCode::PayloadFormatInvalid => "the payload is said to be UTF-8 text and is not",
        ReasonCode::TopicFilterInvalid => "a filter is malformed, or longer than this server accepts",
        ReasonCode::SessionTakenOver => {
            "another connection with the same client identifier has taken the session"
        }
        ReasonCode::KeepAliveTimeout => "nothing was heard for one and a half keep-alive periods",
        ReasonCode::ClientIdentifierNotValid => "an empty client identifier needs a clean session",
        ReasonCode::BadAuthenticationMethod => "no such authentication method",
        ReasonCode::QuotaExceeded => "a limit of this server is reached",
        ReasonCode::NotAuthorized => "not allowed by the rules of this server",
        _ => return None,
    })
}
