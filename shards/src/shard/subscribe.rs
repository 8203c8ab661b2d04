//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5 sections 3.8 to 3.11).

use super::exclusive::exclusive_filter;
use super::interest::Afterwards;
use super::refuse::{in_words, put_what_fits};
use super::replay::ReplayKey;
use super::reply::Reply;
use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::limits::SUBSCRIBE_FILTERS_MIN;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::topics::{Ticket, TopicFilter};
use crate::wire::{
    AckProperties, Packet, QoS, ReasonCode, RetainHandling, Suback, Subscribe, SubscribeFilter,
    SubscriptionOptions, Unsuback, Unsubscribe, Version, Violation, ack_of_codes_bytes,
};
use smallvec::SmallVec;
use std::num::NonZeroU32;

/// One filter's result, and what SUBACK has to wait for because of it.
pub(super) struct Granted {
    code: u8,
    ticket: Ticket,
    replay: Option<ReplayKey>,
}

impl Shard {
    pub(super) fn handle_subscribe(
        &mut self,
        now: Time,
        key: ConnectionKey,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), Violation> {
        let connection = self.connections.get(key).expect("the caller has looked");
        let (version, Some(session)) = (connection.version, connection.session) else { return Ok(()) };
        if !self.suback_fits(key, subscribe.filters.len()) {
            let why = "SUBACK would be larger than the client's maximum packet size";
            self.fail_because(now, key, ReasonCode::PacketTooLarge, why);
            return Ok(());
        }
        if subscribe.subscription_id.is_some() && !self.terms.capabilities.subscription_identifiers {
            return Err(Violation::SubscriptionIdNotAvailable);
        }
        let shared = |filter: &str| TopicFilter::new(filter).is_ok_and(|filter| filter.shared().is_some());
        if subscribe.filters.iter().any(|entry| entry.options.no_local && shared(entry.filter)) {
            return Err(Violation::NoLocalOnShared);
        }
        let identifier = subscribe.subscription_id.and_then(NonZeroU32::new);
        let before = self.newest_lsn();
        let mut codes: SmallVec<[u8; 8]> = SmallVec::new();
        // Also what a refusal in the middle leaves behind is to be announced.
        self.interest_changed();
        let mut replays = SmallVec::new();
        let mut ticket = Ticket::ZERO;
        self.work.charge(subscribe.filters.len());
        let most = SUBSCRIBE_FILTERS_MIN.max(self.limits.filters_per_client_max as usize);
        for (at, filter) in subscribe.filters.iter().enumerate() {
            let granted = if at < most {
                self.subscribe_one((key, session), &filter, identifier, version)?
            } else {
                refused(ReasonCode::QuotaExceeded, version)?
            };
            codes.push(granted.code);
            ticket = ticket.max(granted.ticket);
            replays.extend(granted.replay);
        }
        let packet_id = subscribe.packet_id;
        let encoded = self.with_reason_string(key, &codes, |properties, codes| {
            Packet::Suback(Suback { packet_id, properties, codes })
        });
        let lsn = self.logged_since(before, session);
        self.after_interest(now, ticket, Afterwards::Suback { key, replays, lsn, encoded });
        Ok(())
    }

    pub(super) fn subscribe_one(
        &mut self,
        (connection, key): (ConnectionKey, SessionKey),
        entry: &SubscribeFilter<'_>,
        identifier: Option<NonZeroU32>,
        version: Version,
    ) -> Result<Granted, Violation> {
        let filters_max = self.limits.filters_per_client_max as usize;
        let (text, exclusive) = exclusive_filter(entry.filter);
        let filter = match TopicFilter::new(text) {
            Ok(filter) if !exclusive || self.extensions.exclusive && filter.shared().is_none() => filter,
            _ => return refused(ReasonCode::TopicFilterInvalid, version),
        };
        if let Err(violation) = self.terms.capabilities.check_filter(filter) {
            // v5 was told in CONNACK, so that it breaks the protocol.
            return if version.is_v5() { Err(violation) } else { refused(violation.reason(), version) };
        }
        let qos = entry.options.qos.min(self.terms.capabilities.maximum_qos);
        let options = SubscriptionOptions { qos, ..entry.options };
        if !self.may_subscribe(connection, filter) {
            return refused(ReasonCode::NotAuthorized, version);
        }
        let rewritten = self.rewrite_filter(connection, filter);
        let Some(filter) = self.filter_in_use(rewritten.as_deref(), filter) else {
            return refused(ReasonCode::TopicFilterInvalid, version);
        };
        if exclusive && !self.holds_exclusive(key, filter) {
            return refused(ReasonCode::QuotaExceeded, version);
        }
        let session = self.sessions.get_mut(key).expect("a connected client has its session");
        if self.topics.is_share_full(filter) {
            return refused(ReasonCode::QuotaExceeded, version);
        }
        if session.filters.len() >= filters_max && self.topics.subscription(key, filter).is_none() {
            return refused(ReasonCode::QuotaExceeded, version);
        }
        if self.is_subscription_too_much(key, filter, (options, identifier)) {
            self.counters.disk_refused += 1;
            return refused(ReasonCode::QuotaExceeded, version);
        }
        let session = self.sessions.get_mut(key).expect("a connected client has its session");
        let durable = session.is_durable() && qos > QoS::AtMostOnce;
        let subscribed =
            self.topics.subscribe(key, filter, options, identifier, durable, &mut session.filters);
        if !subscribed.existed {
            self.weigh_filter(key, filter.as_str());
        }
        self.log_subscribed(key, filter, (options, identifier), exclusive);
        if subscribed.existed {
            // It is replaced completely [MQTT-3.8.4-3]: nothing comes with what the old one asked for.
            self.fan_out.note_change(key);
        }
        let wants_retained = match options.retain_handling {
            // MQTT 5 section 4.8.2: a shared subscription is not sent retained messages when it is made.
            _ if filter.shared().is_some() => false,
            _ if self.planted.is(Bug::RetainHandlingIgnored) => true,
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !subscribed.existed,
            RetainHandling::DoNotSend => false,
        };
        let replay = wants_retained.then(|| {
            let replay = self.retained.begin(key, filter, options, identifier);
            self.add_replay(key, filter.as_str(), replay);
            replay
        });
        let own = self.is_own_transition(subscribed.ticket);
        self.counters.foreign_interest_waits +=
            u64::from(!own && subscribed.ticket > self.topics.settled_ticket());
        let ignored = !own && self.planted.is(Bug::SubackIgnoresForeignTransition);
        let ticket = if ignored { Ticket::ZERO } else { subscribed.ticket };
        Ok(Granted { code: qos as u8, ticket, replay })
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        now: Time,
        key: ConnectionKey,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<(), Violation> {
        let connection = self.connections.get(key).expect("the caller has looked");
        let (version, Some(session_key)) = (connection.version, connection.session) else { return Ok(()) };
        if !self.suback_fits(key, unsubscribe.filters.len()) {
            let why = "UNSUBACK would be larger than the client's maximum packet size";
            self.fail_because(now, key, ReasonCode::PacketTooLarge, why);
            return Ok(());
        }
        let mut codes: SmallVec<[u8; 8]> = SmallVec::new();
        let mut left = SmallVec::new();
        let before = self.newest_lsn();
        self.interest_changed();
        self.work.charge(unsubscribe.filters.len());
        for text in unsubscribe.filters.iter() {
            let text = if self.extensions.exclusive { exclusive_filter(text).0 } else { text };
            let code = match TopicFilter::new(text) {
                Err(_) if version.is_v5() => ReasonCode::TopicFilterInvalid,
                Err(_) => return Err(Violation::TopicFilterInvalid),
                Ok(filter) => {
                    let rewritten = self.rewrite_filter(key, filter);
                    match self.filter_in_use(rewritten.as_deref(), filter) {
                        None => ReasonCode::NoSubscriptionExisted,
                        Some(filter) => {
                            left.extend(self.identifier_of(session_key, filter));
                            self.unsubscribe_one(session_key, filter)
                        }
                    }
                }
            };
            codes.push(code as u8);
        }
        self.advance_redispatch(now);
        if codes.contains(&(ReasonCode::Success as u8)) {
            self.withdraw_unsubscribed(now, key, session_key, left);
        }
        let packet_id = unsubscribe.packet_id;
        let encoded = self.with_reason_string(key, &codes, |properties, codes| {
            Packet::Unsuback(Unsuback { packet_id, properties, codes })
        });
        let lsn = self.logged_since(before, session_key);
        self.reply(now, key, lsn, Reply::Encoded(encoded));
        Ok(())
    }
}

impl Shard {
    fn identifier_of(&self, key: SessionKey, filter: TopicFilter<'_>) -> Option<u32> {
        self.topics.subscription(key, filter)?.identifier().map(NonZeroU32::get)
    }

    /// Whether the client takes a SUBACK or UNSUBACK of so many codes.
    fn suback_fits(&self, key: ConnectionKey, codes: usize) -> bool {
        let bytes_max = self.connections.get(key).map_or(u32::MAX, |connection| connection.packet_bytes_max);
        ack_of_codes_bytes(codes) <= bytes_max as usize
    }

    /// An encoded SUBACK or UNSUBACK, with the first refusal among its codes in words, if the client wants and takes them.
    fn with_reason_string<'c>(
        &self,
        key: ConnectionKey,
        codes: &'c [u8],
        packet: impl Fn(AckProperties<'c>, &'c [u8]) -> Packet<'c>,
    ) -> Box<[u8]> {
        let connection = self.connections.get(key).expect("the caller has looked");
        let mut encoded = Vec::new();
        let refusal = codes.iter().find_map(|code| ReasonCode::try_from(*code).ok().filter(|r| r.is_error()));
        let reason_string = refusal.filter(|_| connection.wants_reasons).and_then(in_words);
        let worded = AckProperties { reason_string, ..AckProperties::default() };
        let forms = [packet(worded, codes), packet(AckProperties::default(), codes)];
        put_what_fits(forms, connection.version, connection.packet_bytes_max, &mut encoded);
        encoded.into()
    }

    fn unsubscribe_one(&mut self, key: SessionKey, filter: TopicFilter<'_>) -> ReasonCode {
        self.leave_share(key, filter);
        let session = self.sessions.get_mut(key).expect("a connected client has its session");
        if !self.topics.unsubscribe(key, filter, &mut session.filters) {
            return ReasonCode::NoSubscriptionExisted;
        }
        self.end_replay_of(key, filter.as_str());
        let lsn = self.log_unsubscribed(key, filter);
        self.give_up_exclusive(key, filter.as_str(), lsn);
        ReasonCode::Success
    }
}

/// A filter that is not granted: v5 is told why, 3.1.1 that it failed. 3.1 has no word for it: what is no filter closes the connection, anything
/// else is acknowledged with QoS 0 all the same, as its section on SUBSCRIBE asks for.
fn refused(reason: ReasonCode, version: Version) -> Result<Granted, Violation> {
    let code = match version {
        Version::V5 => reason as u8,
        Version::V311 => ReasonCode::UnspecifiedError as u8,
        Version::V31 if reason == ReasonCode::TopicFilterInvalid => {
            return Err(Violation::TopicFilterInvalid);
        }
        Version::V31 => ReasonCode::Success as u8,
    };
    Ok(Granted { code, ticket: Ticket::ZERO, replay: None })
}
