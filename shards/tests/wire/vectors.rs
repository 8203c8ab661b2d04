//! Packets written by hand, most of them the specification's own examples: exact bytes, both ways.

use crate::{decode, encode};
use shardmq_shards::wire::*;
use std::num::{NonZeroU16, NonZeroU32};

#[track_caller]
fn both_ways(version: Version, bytes: &[u8], packet: Packet<'_>) {
    assert_eq!(decode(bytes, version), Ok(packet));
    assert_eq!(encode(&packet, version), bytes);
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

fn connect_with_everything(version: Version) -> Connect<'static> {
    Connect {
        keep_alive: 10,
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "w",
            payload: &[0xff],
            properties: WillProperties::default(),
        }),
        username: Some("u"),
        password: Some(b"p"),
        ..Connect::new(version, "c", true)
    }
}

/// MQTT 3.1 section 3.1 and MQTT 3.1.1 figure 3.6, with a payload.
#[test]
fn connect_v3() {
    let payload = b"\0\x01c\0\x01w\0\x01\xff\0\x01u\0\x01p";
    let v31 = [b"\x10\x1b\0\x06MQIsdp\x03\xce\0\x0a".as_slice(), payload].concat();
    both_ways(Version::V31, &v31, Packet::Connect(connect_with_everything(Version::V31)));
    let v311 = [b"\x10\x19\0\x04MQTT\x04\xce\0\x0a".as_slice(), payload].concat();
    both_ways(Version::V311, &v311, Packet::Connect(connect_with_everything(Version::V311)));
}

/// Figure 3-6, with will properties and a payload.
#[test]
fn connect_v5() {
    let header = b"\0\x04MQTT\x05\xce\0\x0a\x05\x11\0\0\0\x0a";
    let payload = b"\0\x01c\x05\x18\0\0\0\x07\0\x01w\0\x01\xff\0\x01u\0\x01p";
    let bytes = [b"\x10\x25".as_slice(), header, payload].concat();
    let mut connect = connect_with_everything(Version::V5);
    connect.properties.session_expiry = Some(10);
    connect.will.as_mut().expect("set above").properties.delay = Some(7);
    both_ways(Version::V5, &bytes, Packet::Connect(connect));
}

#[test]
fn connect_v5_with_every_property() {
    let properties = b"\x11\xff\xff\xff\xff\x21\0\x05\x27\0\0\x10\0\x22\0\x09\x19\x01\x17\0\x15\0\x01m\x16\0\x01d\x26\0\x01k\0\x01v";
    let mut bytes = b"\x10\0\0\x04MQTT\x05\0\0\0\0".to_vec();
    bytes.extend_from_slice(properties);
    bytes.extend_from_slice(b"\0\0");
    let mut connect = Connect::new(Version::V5, "", false);
    connect.properties = ConnectProperties {
        session_expiry: Some(u32::MAX),
        receive_maximum: NonZeroU16::new(5),
        maximum_packet_size: NonZeroU32::new(4096),
        topic_alias_maximum: Some(9),
        request_response_information: Some(true),
        request_problem_information: Some(false),
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        user: UserProperties::from_pairs(&[("k", "v")]),
    };
    bytes[1] = (bytes.len() - 2) as u8;
    bytes[12] = properties.len() as u8;
    both_ways(Version::V5, &bytes, Packet::Connect(connect));
}

/// MQTT 3.1: the remaining length overrules the user name and password flags.
#[test]
fn connect_v31_may_announce_a_user_name_and_send_none() {
    let expected = Connect::new(Version::V31, "c", true);
    let neither = b"\x10\x0f\0\x06MQIsdp\x03\xc2\0\0\0\x01c";
    assert_eq!(decode(neither, Version::V31), Ok(Packet::Connect(expected)));
    let name_only = b"\x10\x12\0\x06MQIsdp\x03\xc2\0\0\0\x01c\0\x01u";
    let expected = Connect { username: Some("u"), ..expected };
    assert_eq!(decode(name_only, Version::V31), Ok(Packet::Connect(expected)));
    let v311 = b"\x10\x0d\0\x04MQTT\x04\xc2\0\0\0\x01c";
    assert_eq!(decode(v311, Version::V311), Err(Violation::FieldTruncated));
}

/// MQTT 3.1 disregards what the flags say of a will that is not there.
#[test]
fn connect_v31_disregards_will_flags_without_will() {
    let bytes = b"\x10\x0f\0\x06MQIsdp\x03\x3b\0\0\0\x01c";
    assert_eq!(decode(bytes, Version::V31), Ok(Packet::Connect(Connect::new(Version::V31, "c", true))));
}

#[test]
fn the_version_of_a_connect_is_known_although_the_rest_is_malformed() {
    let version_of = |body: &[u8]| Connect::version_of(Frame { first: 0x10, body });
    assert_eq!(version_of(b"\0\x06MQIsdp\x03"), Ok(Version::V31));
    assert_eq!(version_of(b"\0\x04MQTT\x04\xff"), Ok(Version::V311));
    assert_eq!(version_of(b"\0\x04MQTT\x05"), Ok(Version::V5));
    assert_eq!(version_of(b"\0\x04MQTT\x06"), Err(Violation::UnsupportedProtocolVersion));
    assert_eq!(version_of(b"\0\x04MQTT"), Err(Violation::FieldTruncated));
}

#[test]
fn connack() {
    let accepted = Connack::refusal(ReasonCode::Success);
    both_ways(Version::V31, b"\x20\x02\0\0", Packet::Connack(accepted));
    both_ways(
        Version::V311,
        b"\x20\x02\x01\0",
        Packet::Connack(Connack { session_present: true, ..accepted }),
    );
    both_ways(Version::V311, b"\x20\x02\0\x05", Packet::Connack(Connack::refusal(ReasonCode::NotAuthorized)));
    both_ways(Version::V5, b"\x20\x03\0\x84\0", {
        Packet::Connack(Connack::refusal(ReasonCode::UnsupportedProtocolVersion))
    });
    let properties = ConnackProperties {
        maximum_qos: Some(QoS::AtLeastOnce),
        assigned_client_id: Some("x"),
        server_keep_alive: Some(60),
        ..ConnackProperties::default()
    };
    both_ways(
        Version::V5,
        b"\x20\x0c\x01\0\x09\x24\x01\x12\0\x01x\x13\0\x3c",
        Packet::Connack(Connack { session_present: true, reason: ReasonCode::Success, properties }),
    );
    // "Quota exceeded" has no return code of its own in v3.
    let full = Packet::Connack(Connack::refusal(ReasonCode::QuotaExceeded));
    assert_eq!(encode(&full, Version::V311), b"\x20\x02\0\x03");
}

/// Section 3.3.2.4: topic a/b, packet identifier 10, no properties.
#[test]
fn publish() {
    let publish = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "a/b",
        packet_id: Some(id(10)),
        properties: PublishProperties::default(),
        payload: b"hi",
    };
    both_ways(Version::V311, b"\x3b\x09\0\x03a/b\0\x0ahi", Packet::Publish(publish));
    both_ways(Version::V5, b"\x3b\x0a\0\x03a/b\0\x0a\0hi", Packet::Publish(publish));
    let by_alias = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "",
        packet_id: None,
        properties: PublishProperties { topic_alias: NonZeroU16::new(3), ..PublishProperties::default() },
        payload: b"",
    };
    both_ways(Version::V5, b"\x30\x06\0\0\x03\x23\0\x03", Packet::Publish(by_alias));
}

#[test]
fn publish_v5_with_every_property() {
    let properties = b"\x23\0\x07\x02\0\0\0\x3c\x0b\x01\x0b\x80\x01\x01\x01\x08\0\x01r\x09\0\x02\0\xff\x03\0\x01t\x26\0\x01b\0\x012\x26\0\x01a\0\x011";
    let mut bytes = b"\x34\0\0\x01t\0\x01\0".to_vec();
    bytes[7] = properties.len() as u8;
    bytes.extend_from_slice(properties);
    bytes.push(b'!');
    bytes[1] = (bytes.len() - 2) as u8;
    let publish = Publish {
        dup: false,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: "t",
        packet_id: Some(id(1)),
        properties: PublishProperties {
            payload_format_utf8: Some(true),
            message_expiry: Some(60),
            topic_alias: NonZeroU16::new(7),
            response_topic: Some("r"),
            correlation_data: Some(&[0, 0xff]),
            content_type: Some("t"),
            subscription_ids: SubscriptionIds::from_slice(&[1, 128]),
            user: UserProperties::from_pairs(&[("b", "2"), ("a", "1")]),
        },
        payload: b"!",
    };
    both_ways(Version::V5, &bytes, Packet::Publish(publish));
}

#[test]
fn lists_are_read_from_among_other_properties() {
    let bytes =
        b"\x30\x1d\0\x01t\x19\x26\0\x01k\0\x011\x0b\x05\x01\0\x26\0\x01k\0\x012\x0b\xff\x7f\x03\0\x01c";
    let Ok(Packet::Publish(publish)) = decode(bytes, Version::V5) else { panic!("a valid PUBLISH") };
    assert_eq!(publish.properties.user.iter().collect::<Vec<_>>(), [("k", "1"), ("k", "2")]);
    assert_eq!(publish.properties.user.len(), 2);
    assert_eq!(publish.properties.subscription_ids.iter().collect::<Vec<_>>(), [5, 16_383]);
    assert_eq!(publish.properties.subscription_ids.len(), 2);
    assert_eq!(publish.properties.content_type, Some("c"));
}

#[test]
fn acknowledgements_are_as_short_as_they_can_be() {
    for (first, wrap) in [
        (0x40, Packet::Puback as fn(Ack<'static>) -> Packet<'static>),
        (0x50, Packet::Pubrec),
        (0x62, Packet::Pubrel),
        (0x70, Packet::Pubcomp),
    ] {
        for version in Version::ALL {
            both_ways(version, &[first, 2, 0x12, 0x34], wrap(Ack::new(id(0x1234))));
        }
    }
    let in_use = Ack::with_reason(id(1), ReasonCode::PacketIdentifierInUse);
    both_ways(Version::V5, b"\x50\x03\0\x01\x91", Packet::Pubrec(in_use));
    let properties = AckProperties { reason_string: Some("no"), user: UserProperties::NONE };
    both_ways(
        Version::V5,
        b"\x50\x09\0\x01\x91\x05\x1f\0\x02no",
        Packet::Pubrec(Ack { properties, ..in_use }),
    );
    // The long forms of the short ones are valid too.
    for long in [b"\x40\x03\0\x01\0".as_slice(), b"\x40\x04\0\x01\0\0"] {
        assert_eq!(decode(long, Version::V5), Ok(Packet::Puback(Ack::new(id(1)))));
    }
    assert_eq!(encode(&Packet::Pubrec(in_use), Version::V311), b"\x50\x02\0\x01");
}

/// Section 3.8.3.2 and figure 3.23 of MQTT 3.1.1: a/b at QoS 1, c/d at QoS 2.
#[test]
fn subscribe() {
    let entries = [
        SubscribeFilter { filter: "a/b", options: SubscriptionOptions::with_qos(QoS::AtLeastOnce) },
        SubscribeFilter { filter: "c/d", options: SubscriptionOptions::with_qos(QoS::ExactlyOnce) },
    ];
    let subscribe = Subscribe {
        packet_id: id(10),
        subscription_id: None,
        user: UserProperties::NONE,
        filters: SubscribeFilters::from_slice(&entries),
    };
    both_ways(Version::V311, b"\x82\x0e\0\x0a\0\x03a/b\x01\0\x03c/d\x02", Packet::Subscribe(subscribe));
    both_ways(Version::V5, b"\x82\x0f\0\x0a\0\0\x03a/b\x01\0\x03c/d\x02", Packet::Subscribe(subscribe));
    let finer = [SubscribeFilter {
        filter: "#",
        options: SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        },
    }];
    let filters = SubscribeFilters::from_slice(&finer);
    let finer = Subscribe { subscription_id: Some(268_435_455), filters, ..subscribe };
    let bytes = b"\x82\x0c\0\x0a\x05\x0b\xff\xff\xff\x7f\0\x01#\x2d";
    both_ways(Version::V5, bytes, Packet::Subscribe(finer));
}

/// MQTT 3.1 clients set DUP when they repeat SUBSCRIBE, UNSUBSCRIBE or PUBREL; later versions reserve the bit.
#[test]
fn v31_repeats_with_dup() {
    for bytes in [b"\x8a\x06\0\x0a\0\x01a\0".as_slice(), b"\xaa\x05\0\x0a\0\x01a", b"\x6a\x02\0\x0a"] {
        assert!(decode(bytes, Version::V31).is_ok());
        assert_eq!(decode(bytes, Version::V311), Err(Violation::FlagsReserved));
        assert_eq!(decode(bytes, Version::V5), Err(Violation::FlagsReserved));
    }
}

#[test]
fn suback() {
    let suback = Suback { packet_id: id(10), properties: AckProperties::default(), codes: &[1, 2, 0x80] };
    both_ways(Version::V311, b"\x90\x05\0\x0a\x01\x02\x80", Packet::Suback(suback));
    both_ways(Version::V5, b"\x90\x06\0\x0a\0\x01\x02\x80", Packet::Suback(suback));
    let refused = Packet::Suback(Suback { codes: &[0x8f, 0x97, 0], ..suback });
    assert_eq!(encode(&refused, Version::V311), b"\x90\x05\0\x0a\x80\x80\0");
}

#[test]
fn unsubscribe_and_unsuback() {
    let unsubscribe = Unsubscribe {
        packet_id: id(10),
        user: UserProperties::NONE,
        filters: UnsubscribeFilters::from_slice(&["a/b", "c/d"]),
    };
    both_ways(Version::V311, b"\xa2\x0c\0\x0a\0\x03a/b\0\x03c/d", Packet::Unsubscribe(unsubscribe));
    both_ways(Version::V5, b"\xa2\x0d\0\x0a\0\0\x03a/b\0\x03c/d", Packet::Unsubscribe(unsubscribe));
    let unsuback = Unsuback { packet_id: id(10), properties: AckProperties::default(), codes: &[0, 0x11] };
    both_ways(Version::V5, b"\xb0\x05\0\x0a\0\0\x11", Packet::Unsuback(unsuback));
    assert_eq!(encode(&Packet::Unsuback(unsuback), Version::V311), b"\xb0\x02\0\x0a");
    both_ways(Version::V311, b"\xb0\x02\0\x0a", Packet::Unsuback(Unsuback { codes: &[], ..unsuback }));
}

#[test]
fn pings() {
    for version in Version::ALL {
        both_ways(version, b"\xc0\0", Packet::Pingreq);
        both_ways(version, b"\xd0\0", Packet::Pingresp);
    }
}

#[test]
fn disconnect() {
    let normal = Disconnect::new(ReasonCode::Success);
    for version in Version::ALL {
        both_ways(version, b"\xe0\0", Packet::Disconnect(normal));
    }
    let taken_over = Disconnect::new(ReasonCode::SessionTakenOver);
    both_ways(Version::V5, b"\xe0\x01\x8e", Packet::Disconnect(taken_over));
    assert_eq!(decode(b"\xe0\x02\x8e\0", Version::V5), Ok(Packet::Disconnect(taken_over)));
    let properties = DisconnectProperties { session_expiry: Some(0), ..DisconnectProperties::default() };
    let bytes = b"\xe0\x07\0\x05\x11\0\0\0\0";
    both_ways(Version::V5, bytes, Packet::Disconnect(Disconnect { properties, ..normal }));
}

#[test]
fn auth() {
    let properties = AuthProperties {
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        ..AuthProperties::default()
    };
    let auth = Auth { reason: ReasonCode::ContinueAuthentication, properties };
    both_ways(Version::V5, b"\xf0\x0a\x18\x08\x15\0\x01m\x16\0\x01d", Packet::Auth(auth));
    let success = Auth { reason: ReasonCode::Success, properties: AuthProperties::default() };
    both_ways(Version::V5, b"\xf0\0", Packet::Auth(success));
    assert_eq!(decode(b"\xf0\0", Version::V311), Err(Violation::PacketTypeReserved));
}
