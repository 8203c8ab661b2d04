//! The broker's message and what its copies look like.

use crate::strategies::{packet_id, payload, publish, qos, subscription_id, topic, version, will};
use crate::whole;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shardmq_shards::base::time::Time;
use shardmq_shards::wire::*;
use std::num::NonZeroU16;

/// The forwarded properties of `message`, decoded from a delivery of it.
fn decoded<'a>(head: &'a mut Vec<u8>, message: &'a Message) -> Publish<'a> {
    let delivery = Delivery {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        packet_id: None,
        topic: message.topic(),
        topic_alias: None,
        expiry: None,
        subscription_ids: &[],
        properties: message.properties(),
    };
    assert_eq!(delivery.encode_head(Version::V5, message.payload().len(), head), None);
    head.extend_from_slice(message.payload());
    Publish::decode(whole(head).unwrap(), Version::V5).unwrap()
}

/// What the server passes on of these properties.
fn forwarded<'a>(properties: &PublishProperties<'a>) -> PublishProperties<'a> {
    PublishProperties {
        message_expiry: None,
        topic_alias: None,
        subscription_ids: SubscriptionIds::default(),
        ..*properties
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_keeps_what_is_forwarded(publish in publish(Version::V5), topic in topic(), at in any::<u64>()) {
        let mut bytes = Vec::new();
        publish.encode(Version::V5, &mut bytes);
        let received = Publish::decode(whole(&bytes).unwrap(), Version::V5).unwrap();
        let expires_at = Some(Time::from_micros(at));
        let message = Message::from_publish(&received, topic, expires_at);
        prop_assert_eq!((message.topic(), message.payload()), (topic, publish.payload));
        prop_assert_eq!((message.qos(), message.retain()), (publish.qos, publish.retain));
        prop_assert_eq!(message.expires_at(), expires_at);
        prop_assert!(message.memory_bytes() >= topic.len() + publish.payload.len() + message.properties().len());
        let mut head = Vec::new();
        prop_assert_eq!(decoded(&mut head, &message).properties, forwarded(&publish.properties));
        // The same whether it was received or composed here.
        prop_assert_eq!(&message, &Message::from_publish(&publish, topic, expires_at));
        let parts = MessageParts {
            topic,
            properties: message.properties(),
            payload: message.payload(),
            qos: message.qos(),
            retain: message.retain(),
            expires_at,
        };
        prop_assert_eq!(&message, &Message::from_parts(parts));
    }

    #[test]
    fn a_will_becomes_the_message_it_describes(will in will(Version::V5)) {
        let message = Message::from_will(&will);
        prop_assert_eq!((message.topic(), message.payload()), (will.topic, will.payload));
        prop_assert_eq!((message.qos(), message.retain(), message.expires_at()), (will.qos, will.retain, None));
        let mut head = Vec::new();
        let properties = decoded(&mut head, &message).properties;
        prop_assert_eq!(properties.payload_format_utf8, will.properties.payload_format_utf8);
        prop_assert_eq!(properties.content_type, will.properties.content_type);
        prop_assert_eq!(properties.response_topic, will.properties.response_topic);
        prop_assert_eq!(properties.correlation_data, will.properties.correlation_data);
        prop_assert_eq!(properties.user, will.properties.user);
        prop_assert_eq!(properties.message_expiry, None);
    }

    #[test]
    fn a_delivery_is_the_publish_that_it_describes(
        version in version(),
        published in publish(Version::V5),
        (dup, qos, retain) in (any::<bool>(), qos(), any::<bool>()),
        id in packet_id(),
        (alias, expiry) in (option::of(1..=u16::MAX), option::of(any::<u32>())),
        ids in vec(subscription_id(), 0..4),
        payload in payload(),
    ) {
        let message = Message::from_publish(&published, "the/topic", None);
        let alias = alias.and_then(NonZeroU16::new);
        let mut delivery = Delivery {
            dup,
            qos,
            retain,
            packet_id: Some(id),
            topic: message.topic(),
            topic_alias: alias,
            expiry,
            subscription_ids: &ids,
            properties: message.properties(),
        };
        let properties = PublishProperties {
            message_expiry: expiry,
            topic_alias: alias,
            subscription_ids: SubscriptionIds::from_slice(&ids),
            ..published.properties
        };
        let acknowledged = qos != QoS::AtMostOnce;
        let expected = Publish {
            dup: dup && acknowledged,
            qos,
            retain,
            topic: "the/topic",
            packet_id: acknowledged.then_some(id),
            properties: if version.is_v5() { properties } else { PublishProperties::default() },
            payload,
        };
        let mut out = b"before".to_vec();
        let packet_id_at = delivery.encode_head(version, payload.len(), &mut out);
        let head = out.clone();
        out.extend_from_slice(payload);
        prop_assert_eq!(delivery.wire_bytes(version, payload.len()), out.len() - 6);
        prop_assert_eq!(Publish::decode(whole(&out[6..]).unwrap(), version), Ok(expected));
        let mut composed = Vec::new();
        expected.encode(version, &mut composed);
        prop_assert_eq!(&composed[..], &out[6..]);

        // A head without identifier, patched, is the same.
        delivery.packet_id = None;
        let mut shared = b"before".to_vec();
        prop_assert_eq!(delivery.encode_head(version, payload.len(), &mut shared), packet_id_at);
        prop_assert_eq!(packet_id_at.is_some(), acknowledged);
        if let Some(at) = packet_id_at {
            prop_assert_eq!(&shared[at..at + 2], &[0, 0]);
            shared[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
        prop_assert_eq!(shared, head);
    }
}

#[test]
fn a_message_is_shared_until_it_has_to_differ() {
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "t",
        packet_id: PacketId::new(1),
        properties: PublishProperties::default(),
        payload: b"payload",
    };
    let message = Message::from_publish(&publish, "t", None);
    assert!(message.clone().ptr_eq(&message));
    assert!(message.with_retain(true).ptr_eq(&message));
    assert!(message.with_expiry(None).ptr_eq(&message));
    let live = message.with_retain(false);
    assert!(!live.ptr_eq(&message) && !live.retain() && message.retain());
    assert_eq!((live.topic(), live.payload()), ("t", b"payload".as_slice()));
    let expiring = message.with_expiry(Some(Time::from_micros(5)));
    assert_eq!((expiring.expires_at(), message.expires_at()), (Some(Time::from_micros(5)), None));
    assert_ne!(expiring, message);
    assert!(message.properties().is_empty(), "no property, no bytes");
}
