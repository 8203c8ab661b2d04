//! MQTT 5 sections 3.1.2.11 and 3.2.2.3: what the server does not offer, and what the client does not want to hear.

use crate::conformance::bytes::{
    MAXIMUM_QOS, REASON_STRING, RESPONSE_INFORMATION, Sent, USER_PROPERTY, field, packet, sent,
};
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::shard::{Capabilities, Terms};
use shardmq_shards::wire::{Connect, ConnectProperties, QoS, Version, Will};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

fn offering(capabilities: Capabilities) -> World {
    let terms = Terms { capabilities, ..Terms::default() };
    World::with(Settings { shards: 2, terms, ..Settings::default() })
}

fn up_to(maximum_qos: QoS) -> World {
    offering(Capabilities { maximum_qos, ..Capabilities::default() })
}

/// [MQTT-3.1.2-28] Response Information is given to who asks for it, to nobody else.
#[test]
fn mqtt_3_1_2_28_response_information_only_on_request() {
    let terms = Terms { response_information: Some("answers/{client_id}/".into()), ..Terms::default() };
    let mut w = World::with(Settings { terms, ..Settings::default() });
    for (request, answered) in [(None, false), (Some(false), false), (Some(true), true)] {
        let properties = ConnectProperties { request_response_information: request, ..Default::default() };
        let ann = w.dial(0, Connect { properties, ..Connect::new(V5, "ann", true) });
        let information = sent(&mut w, ann)[0].property(RESPONSE_INFORMATION);
        assert_eq!(information.is_some(), answered, "{request:?}");
    }
}

/// All that a client gets that does much wrong without ending its connection.
fn answers(request_problem_information: Option<bool>) -> Vec<Sent> {
    let mut w = World::limited(|limits| limits.filters_per_client_max = 1);
    let properties = ConnectProperties { request_problem_information, ..Default::default() };
    let ann = w.connect(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    w.subscribe_all(ann, &[("a", Q2), ("one too many", Q0), ("a/#/b", Q0)]);
    w.unsubscribe(ann, &["a/#/b", "never subscribed"]);
    w.publish(ann, message_1(1, "nobody", ""));
    w.publish(ann, message_2(2, "nobody", ""));
    w.pubrel(ann, 7);
    w.pubrec(ann, 7);
    w.puback(ann, 7);
    w.pubcomp(ann, 7);
    let packets = sent(&mut w, ann);
    let types: Vec<u8> = packets.iter().map(Sent::packet_type).collect();
    assert!([4, 5, 6, 7, 9, 11].iter().all(|each| types.contains(each)), "{types:?}");
    packets
}

/// [MQTT-3.1.2-29] A client that wants no problem information gets neither reason strings nor user properties of ours.
#[test]
fn mqtt_3_1_2_29_no_problem_information_unless_wanted() {
    let explains =
        |packet: &Sent| packet.properties().iter().any(|(id, _)| [REASON_STRING, USER_PROPERTY].contains(id));
    assert!(!answers(Some(false)).iter().any(explains));
    for wanted in [Some(true), None] {
        assert!(answers(wanted).iter().any(explains), "{wanted:?}");
    }
}

/// [MQTT-3.2.2-9] Where QoS 2, or 1 and 2, are switched off, CONNACK says so; otherwise it names no Maximum QoS.
#[test]
fn mqtt_3_2_2_9_maximum_qos_is_told() {
    for (maximum_qos, told) in [(Q0, Some(vec![0])), (Q1, Some(vec![1])), (Q2, None)] {
        let mut w = up_to(maximum_qos);
        let ann = w.dial(0, Connect::new(V5, "ann", true));
        assert_eq!(sent(&mut w, ann)[0].property(MAXIMUM_QOS), told, "{maximum_qos:?}");
    }
}

/// [MQTT-3.2.2-10] Where QoS 2, or 1 and 2, are switched off, a SUBSCRIBE of any QoS is accepted all the same, and granted what there is.
#[test]
fn mqtt_3_2_2_10_every_qos_may_be_subscribed() {
    for (maximum_qos, granted) in [(Q0, "[00, 00, 00]"), (Q1, "[00, 01, 01]")] {
        let mut w = up_to(maximum_qos);
        let ann = w.join(0, V5, "ann");
        w.subscribe_all(ann, &[("a", Q0), ("b", Q1), ("c", Q2)]);
        assert_eq!(w.read(ann), [format!("SUBACK #1000 {granted}")]);
        w.publish(ann, message("c", "x"));
        assert_eq!(w.read(ann), [r#"c "x""#]);
    }
}

/// What a CONNECT with this will is answered.
fn answer(w: &mut World, version: Version, qos: QoS, retain: bool) -> Vec<String> {
    let will = Will { qos, retain, topic: "w", payload: b"", properties: Default::default() };
    let ann = w.dial(0, Connect { will: Some(will), ..durable(version, "ann") });
    let seen = w.read(ann);
    w.vanish(ann);
    seen
}

/// [MQTT-3.2.2-12] A CONNECT whose will has a QoS that is switched off is refused with 0x9B, and the connection closes.
#[test]
fn mqtt_3_2_2_12_a_will_of_too_high_qos_is_refused() {
    for (maximum_qos, refused) in [(Q0, &[Q1, Q2][..]), (Q1, &[Q2])] {
        let mut w = up_to(maximum_qos);
        for qos in refused {
            assert_eq!(answer(&mut w, V5, *qos, false), ["CONNACK 9b", "closed"]);
            assert_eq!(w.shard(0).sizes().sessions, 0);
        }
        assert_eq!(answer(&mut w, V5, maximum_qos, false), ["CONNACK 00"]);
    }
}

/// [MQTT-3.2.2-13] Where retained messages are switched off, a CONNECT with a retained will is refused with 0x9A, and the connection closes.
#[test]
fn mqtt_3_2_2_13_a_retained_will_is_refused() {
    let mut w = offering(Capabilities { retain: false, ..Capabilities::default() });
    assert_eq!(answer(&mut w, V5, Q0, true), ["CONNACK 9a", "closed"]);
    assert_eq!(w.shard(0).sizes().sessions, 0);
    assert_eq!(answer(&mut w, V5, Q0, false), ["CONNACK 00"]);
}

/// A CONNECT that is refused, as its answer for a client that takes `bytes` at most.
fn refused_taking(bytes: Option<NonZeroU32>) -> Vec<Sent> {
    let mut w = World::new(1);
    let properties = ConnectProperties {
        maximum_packet_size: bytes,
        authentication_method: Some("no such method"),
        ..Default::default()
    };
    let ann = w.dial(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    let seen = sent(&mut w, ann);
    assert!(w.wires[ann.0].closed);
    seen
}

/// A client that takes `bytes` at most and breaks the protocol, as what it is told.
fn disconnected_taking(bytes: Option<NonZeroU32>) -> Vec<Sent> {
    let mut w = World::new(1);
    let properties = ConnectProperties { maximum_packet_size: bytes, ..Default::default() };
    let ann = w.connect(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    w.send_bytes(ann, &packet(0x30, &[&field(b"a"), &[3, 0x21, 0, 1]]));
    let seen = sent(&mut w, ann);
    assert!(w.wires[ann.0].closed);
    seen
}

/// `tell` explains itself in words as long as a client takes them, and without them stays within what it takes.
fn words_are_left_out_where_they_do_not_fit(tell: fn(Option<NonZeroU32>) -> Vec<Sent>, smallest: usize) {
    let whole = tell(None);
    assert!(whole[0].property(REASON_STRING).is_some(), "{whole:?}");
    let longest = whole[0].len();
    for bytes in smallest..=longest {
        let told = tell(NonZeroU32::new(bytes as u32));
        assert!(told.iter().all(|packet| packet.len() <= bytes), "{bytes}: {told:?}");
        let explained = told.iter().any(|packet| packet.property(REASON_STRING).is_some());
        assert_eq!(explained, bytes == longest, "{bytes}: {told:?}");
    }
}

/// [MQTT-3.2.2-19] A CONNACK that would be larger than the client takes goes without its reason string, or not at all.
#[test]
fn mqtt_3_2_2_19_no_reason_string_that_does_not_fit_connack() {
    words_are_left_out_where_they_do_not_fit(refused_taking, 1);
}

/// [MQTT-3.2.2-20] CONNACK has no user properties, whatever the client takes and sends.
#[test]
fn mqtt_3_2_2_20_no_user_properties_in_connack() {
    for bytes in [None, NonZeroU32::new(1_000), NonZeroU32::new(40)] {
        assert!(refused_taking(bytes).iter().all(|packet| packet.property(USER_PROPERTY).is_none()));
    }
    let mut w = World::new(1);
    let pairs = [("name", "value")];
    let user = shardmq_shards::wire::UserProperties::from_pairs(&pairs);
    let properties = ConnectProperties { user, ..Default::default() };
    let ann = w.dial(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    assert_eq!(sent(&mut w, ann)[0].property(USER_PROPERTY), None);
}

/// [MQTT-3.14.2-3] A DISCONNECT that would be larger than the client takes goes without its reason string.
#[test]
fn mqtt_3_14_2_3_no_reason_string_that_does_not_fit_disconnect() {
    words_are_left_out_where_they_do_not_fit(disconnected_taking, 40);
}

/// [MQTT-3.14.2-4] DISCONNECT has no user properties, whatever the client takes.
#[test]
fn mqtt_3_14_2_4_no_user_properties_in_disconnect() {
    for bytes in [None, NonZeroU32::new(1_000), NonZeroU32::new(40)] {
        let told = disconnected_taking(bytes);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].property(USER_PROPERTY), None);
    }
}

const TOPIC_ALIAS: u8 = 0x23;

/// The aliases of the PUBLISH packets that `ann` got, which must stand for the topics that it was sent them with.
fn aliases(w: &mut World, ann: Client, known: &mut BTreeMap<u16, Vec<u8>>) -> Vec<u16> {
    let mut used = Vec::new();
    for publish in sent(w, ann).iter().filter(|packet| packet.packet_type() == 3) {
        let alias = publish.property(TOPIC_ALIAS).map(|value| u16::from_be_bytes([value[0], value[1]]));
        let topic = publish.body[2..2 + usize::from(publish.leading_id())].to_vec();
        let topic = match alias {
            None => topic,
            Some(alias) => {
                used.push(alias);
                if !topic.is_empty() {
                    known.insert(alias, topic);
                }
                known.get(&alias).expect("an alias has its topic first").clone()
            }
        };
        assert!(publish.body.ends_with(&topic), "the payload names the topic");
    }
    used
}

/// Twenty topics, some of them often, as they come to a client with this Topic Alias Maximum.
fn aliases_of_much_traffic(topic_alias_maximum: Option<u16>) -> Vec<u16> {
    let mut w = World::new(2);
    let mut connect = durable(V5, "ann");
    connect.properties.topic_alias_maximum = topic_alias_maximum;
    let ann = w.connect(0, connect);
    w.subscribe(ann, "building/#", Q0);
    let bob = w.join(1, V5, "bob");
    let mut known = BTreeMap::new();
    let mut used = Vec::new();
    for round in 0..30 {
        for number in 0..20 {
            let topic = format!("building/with a long name/room {number}/temperature");
            if round % (number / 4 + 1) == 0 {
                w.publish(bob, message(&topic, &topic));
            }
        }
        used.extend(aliases(&mut w, ann, &mut known));
    }
    used
}

/// [MQTT-3.1.2-26] A PUBLISH to a client has no topic alias above its Topic Alias Maximum, and its aliases stand for their topics.
#[test]
fn mqtt_3_1_2_26_aliases_stay_within_the_clients_maximum() {
    for maximum in [1, 3, 10, u16::MAX] {
        let used = aliases_of_much_traffic(Some(maximum));
        assert!(used.iter().all(|alias| (1..=maximum).contains(alias)), "{maximum}: {used:?}");
        assert!(!used.is_empty(), "aliases are used at all");
    }
}

/// [MQTT-3.1.2-27] A client without Topic Alias Maximum, or with 0, gets no topic aliases.
#[test]
fn mqtt_3_1_2_27_no_aliases_for_who_takes_none() {
    for maximum in [None, Some(0)] {
        assert!(aliases_of_much_traffic(maximum).is_empty());
    }
}
