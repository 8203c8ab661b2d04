//! Arbitrary valid packets. Strings are leaked, so that packets can borrow: a few MiB per test run.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shardmq_shards::wire::*;
use std::num::{NonZeroU16, NonZeroU32};

fn leak<T>(items: Vec<T>) -> &'static [T] {
    Vec::leak(items)
}

fn leak_str(text: String) -> &'static str {
    String::leak(text)
}

pub fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(String::new()), "[a-z]{1,8}", "[^\u{0}]{1,6}"].prop_map(leak_str)
}

pub fn topic() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => "[a-z/ $é中]{1,20}", 1 => "[a-z/]{4000,4096}"].prop_map(leak_str)
}

pub fn filter() -> impl Strategy<Value = &'static str> {
    "[a-z/+#é]{0,20}".prop_map(leak_str)
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..12).prop_map(leak)
}

/// Lengths on both sides of where the remaining length takes another byte.
pub fn payload() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        2 => vec(any::<u8>(), 90..140),
        1 => vec(any::<u8>(), 16_340..16_400),
    ]
    .prop_map(leak)
}

pub fn user() -> impl Strategy<Value = UserProperties<'static>> {
    prop_oneof![
        Just(UserProperties::NONE),
        vec((text(), text()), 0..4).prop_map(|pairs| UserProperties::from_pairs(leak(pairs))),
    ]
}

pub fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).expect("not 0"))
}

pub fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(&QoS::ALL)
}

pub fn subscription_id() -> impl Strategy<Value = u32> {
    prop_oneof![1..200u32, 16_000..17_000u32, 2_097_000..2_098_000u32, 268_435_000..=268_435_455u32]
}

fn non_zero_u16() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|n| NonZeroU16::new(n).expect("not 0"))
}

fn non_zero_u32() -> impl Strategy<Value = NonZeroU32> {
    (1..=u32::MAX).prop_map(|n| NonZeroU32::new(n).expect("not 0"))
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let allowed: Vec<_> = ReasonCode::ALL.iter().copied().filter(|reason| reason.stands_in(packet)).collect();
    prop::sample::select(allowed)
}

/// Properties in v5, the default elsewhere.
fn in_v5<T: Default + Clone + std::fmt::Debug + 'static>(
    version: Version,
    properties: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version.is_v5() {
        prop_oneof![1 => Just(T::default()), 3 => properties].boxed()
    } else {
        Just(T::default()).boxed()
    }
}

fn will_properties() -> impl Strategy<Value = WillProperties<'static>> {
    (
        option::of(any::<u32>()),
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(text()),
        option::of(topic()),
        option::of(binary()),
        user(),
    )
        .prop_map(
            |(delay, utf8, message_expiry, content_type, response_topic, correlation_data, user)| {
                WillProperties {
                    delay,
                    payload_format_utf8: utf8,
                    message_expiry,
                    content_type,
                    response_topic,
                    correlation_data,
                    user,
                }
            },
        )
}

pub fn will(version: Version) -> impl Strategy<Value = Will<'static>> {
    (qos(), any::<bool>(), topic(), binary(), in_v5(version, will_properties())).prop_map(
        |(qos, retain, topic, payload, properties)| Will { qos, retain, topic, payload, properties },
    )
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties<'static>> {
    (
        option::of(any::<u32>()),
        option::of(non_zero_u16()),
        option::of(non_zero_u32()),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of((text(), option::of(binary()))),
        user(),
    )
        .prop_map(|(session_expiry, receive_maximum, size, aliases, response, problem, auth, user)| {
            ConnectProperties {
                session_expiry,
                receive_maximum,
                maximum_packet_size: size,
                topic_alias_maximum: aliases,
                request_response_information: response,
                request_problem_information: problem,
                authentication_method: auth.map(|(method, _)| method),
                authentication_data: auth.and_then(|(_, data)| data),
                user,
            }
        })
}

pub fn connect(version: Version) -> impl Strategy<Value = Connect<'static>> {
    (
        (any::<bool>(), any::<u16>(), text()),
        option::of(will(version)),
        option::of(text()),
        option::of(binary()),
        in_v5(version, connect_properties()),
    )
        .prop_map(move |((clean_start, keep_alive, client_id), will, username, password, properties)| {
            let password = password.filter(|_| username.is_some() || version.is_v5());
            Connect { version, clean_start, keep_alive, client_id, will, username, password, properties }
        })
}

fn connack_properties() -> impl Strategy<Value = ConnackProperties<'static>> {
    let limits = (
        option::of(any::<u32>()),
        option::of(non_zero_u16()),
        option::of(prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce])),
        option::of(non_zero_u32()),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let available = vec(option::of(any::<bool>()), 4);
    let texts = vec(option::of(text()), 5);
    (limits, available, texts, option::of(binary()), user()).prop_map(
        |(limits, available, texts, authentication_data, user)| ConnackProperties {
            session_expiry: limits.0,
            receive_maximum: limits.1,
            maximum_qos: limits.2,
            maximum_packet_size: limits.3,
            topic_alias_maximum: limits.4,
            server_keep_alive: limits.5,
            retain_available: available[0],
            wildcard_available: available[1],
            subscription_ids_available: available[2],
            shared_available: available[3],
            assigned_client_id: texts[0],
            reason_string: texts[1],
            response_information: texts[2],
            server_reference: texts[3],
            authentication_method: texts[4],
            authentication_data,
            user,
        },
    )
}

fn connack(version: Version) -> impl Strategy<Value = Connack<'static>> {
    (any::<bool>(), reason(PacketType::Connack), in_v5(version, connack_properties())).prop_map(
        move |(session_present, reason, properties)| {
            // What the older versions cannot say is decoded as what they can.
            let reason = if version.is_v5() { reason } else { reason.to_connect_return().to_reason() };
            let present = session_present && reason == ReasonCode::Success && version != Version::V31;
            Connack { session_present: present, reason, properties }
        },
    )
}

fn publish_properties() -> impl Strategy<Value = PublishProperties<'static>> {
    (
        (option::of(any::<bool>()), option::of(any::<u32>()), option::of(non_zero_u16())),
        option::of(topic()),
        option::of(binary()),
        option::of(text()),
        vec(subscription_id(), 0..3),
        user(),
    )
        .prop_map(|(first, response_topic, correlation_data, content_type, ids, user)| {
            PublishProperties {
                payload_format_utf8: first.0,
                message_expiry: first.1,
                topic_alias: first.2,
                response_topic,
                correlation_data,
                content_type,
                subscription_ids: SubscriptionIds::from_slice(leak(ids)),
                user,
            }
        })
}

pub fn publish(version: Version) -> impl Strategy<Value = Publish<'static>> {
    (
        (any::<bool>(), qos(), any::<bool>(), any::<bool>()),
        topic(),
        packet_id(),
        in_v5(version, publish_properties()),
        payload(),
    )
        .prop_map(|((dup, qos, retain, by_alias), topic, id, properties, payload)| Publish {
            dup: dup && qos != QoS::AtMostOnce,
            qos,
            retain,
            topic: if by_alias && properties.topic_alias.is_some() { "" } else { topic },
            packet_id: (qos != QoS::AtMostOnce).then_some(id),
            properties,
            payload,
        })
}

fn ack_properties(version: Version) -> BoxedStrategy<AckProperties<'static>> {
    let properties = (option::of(text()), user());
    in_v5(version, properties.prop_map(|(reason_string, user)| AckProperties { reason_string, user }))
}

fn ack(packet: PacketType, version: Version) -> impl Strategy<Value = Ack<'static>> {
    (packet_id(), reason(packet), ack_properties(version)).prop_map(move |(packet_id, reason, properties)| {
        let reason = if version.is_v5() { reason } else { ReasonCode::Success };
        Ack { packet_id, reason, properties }
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Subscribe<'static>> {
    let options = (0..=2u8, any::<[bool; 2]>(), 0..=2u8).prop_map(move |(qos, flags, handling)| {
        let finer = u8::from(flags[0]) << 2 | u8::from(flags[1]) << 3 | handling << 4;
        let byte = qos | if version.is_v5() { finer } else { 0 };
        SubscriptionOptions::from_byte(byte, version).expect("no reserved bit is set")
    });
    let entry = (filter(), options).prop_map(|(filter, options)| SubscribeFilter { filter, options });
    let id = in_v5(version, option::of(subscription_id()));
    (packet_id(), id, in_v5(version, user()), vec(entry, 1..5)).prop_map(
        |(packet_id, subscription_id, user, entries)| Subscribe {
            packet_id,
            subscription_id,
            user,
            filters: SubscribeFilters::from_slice(leak(entries)),
        },
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe<'static>> {
    (packet_id(), in_v5(version, user()), vec(filter(), 1..5)).prop_map(|(packet_id, user, filters)| {
        Unsubscribe { packet_id, user, filters: UnsubscribeFilters::from_slice(leak(filters)) }
    })
}

fn suback(version: Version) -> impl Strategy<Value = Suback<'static>> {
    (packet_id(), ack_properties(version), vec(reason(PacketType::Suback), 1..5)).prop_map(
        move |(packet_id, properties, reasons)| {
            let code = |reason: ReasonCode| match version {
                Version::V5 => reason as u8,
                _ => (reason as u8).min(0x80),
            };
            let codes = leak(reasons.into_iter().map(code).collect());
            Suback { packet_id, properties, codes }
        },
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = Unsuback<'static>> {
    (packet_id(), ack_properties(version), vec(reason(PacketType::Unsuback), 1..5)).prop_map(
        move |(packet_id, properties, reasons)| {
            let codes: Vec<u8> = reasons.into_iter().map(|reason| reason as u8).collect();
            Unsuback { packet_id, properties, codes: if version.is_v5() { leak(codes) } else { &[] } }
        },
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Disconnect<'static>> {
    let properties = (option::of(any::<u32>()), option::of(text()), option::of(text()), user()).prop_map(
        |(session_expiry, reason_string, server_reference, user)| DisconnectProperties {
            session_expiry,
            reason_string,
            server_reference,
            user,
        },
    );
    (reason(PacketType::Disconnect), in_v5(version, properties)).prop_map(move |(reason, properties)| {
        let reason = if version.is_v5() { reason } else { ReasonCode::Success };
        Disconnect { reason, properties }
    })
}

fn auth() -> impl Strategy<Value = Auth<'static>> {
    let properties = (option::of(text()), option::of(binary()), option::of(text()), user()).prop_map(
        |(authentication_method, authentication_data, reason_string, user)| AuthProperties {
            authentication_method,
            authentication_data,
            reason_string,
            user,
        },
    );
    (reason(PacketType::Auth), in_v5(Version::V5, properties))
        .prop_map(|(reason, properties)| Auth { reason, properties })
}

/// Any packet that `version` has.
pub fn packet(version: Version) -> BoxedStrategy<Packet<'static>> {
    let both = prop_oneof![
        connect(version).prop_map(Packet::Connect),
        connack(version).prop_map(Packet::Connack),
        publish(version).prop_map(Packet::Publish),
        ack(PacketType::Puback, version).prop_map(Packet::Puback),
        ack(PacketType::Pubrec, version).prop_map(Packet::Pubrec),
        ack(PacketType::Pubrel, version).prop_map(Packet::Pubrel),
        ack(PacketType::Pubcomp, version).prop_map(Packet::Pubcomp),
        subscribe(version).prop_map(Packet::Subscribe),
        suback(version).prop_map(Packet::Suback),
        unsubscribe(version).prop_map(Packet::Unsubscribe),
    ];
    let rest = prop_oneof![
        unsuback(version).prop_map(Packet::Unsuback),
        Just(Packet::Pingreq),
        Just(Packet::Pingresp),
        disconnect(version).prop_map(Packet::Disconnect),
    ];
    if version.is_v5() {
        prop_oneof![10 => both, 4 => rest, 1 => auth().prop_map(Packet::Auth)].boxed()
    } else {
        prop_oneof![10 => both, 4 => rest].boxed()
    }
}

/// Any version, and any packet that it has.
pub fn versioned_packet() -> impl Strategy<Value = (Version, Packet<'static>)> {
    version().prop_flat_map(|version| packet(version).prop_map(move |packet| (version, packet)))
}

pub fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(&Version::ALL)
}
