//! Packets that are in order alone and not where they come: what only the state of the connection shows.

use super::samples::{Field, Place, framed, from_clients, properties_of, property_bytes, section, sized};
use super::{Case, Expect, PROTOCOL_ERROR, When, case, judge};
use crate::verbs::*;
use shardmq_shards::base::limits::{Limits, USER_PROPERTIES_BYTES_MAX};
use shardmq_shards::wire::{Connect, Packet, Publish, PublishProperties, Version};
use std::num::NonZeroU16;

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

fn publish(publish: Publish<'_>) -> Vec<u8> {
    encoded(V5, &Packet::Publish(publish))
}

/// The second CONNECT, whatever stands in it, and whichever version it asks for.
fn second_connects() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        for other in Version::ALL {
            let connect = encoded(other, &Packet::Connect(Connect::new(other, "c", true)));
            for bytes in 0..=connect.len() - 2 {
                let name = format!("second CONNECT, as {other}, of {bytes} bytes");
                let bytes = framed(0x10, &connect[2..2 + bytes]);
                cases.push(case(name, version, When::Connected, bytes, PROTOCOL_ERROR));
            }
        }
    }
    cases
}

/// Packets before CONNECT, also with a good CONNECT behind them.
fn before_connect() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        let connect = encoded(version, &Packet::Connect(Connect::new(version, "c", true)));
        for sample in from_clients(version).into_iter().filter(|sample| sample.when == When::Connected) {
            let name = format!("{} before CONNECT", sample.name);
            let bytes = [sample.bytes(), connect.clone()].concat();
            cases.push(case(name, version, When::First, bytes, Expect::Unheard));
        }
    }
    cases
}

/// More QoS 2 than the server's Receive Maximum without PUBREL between them: for v5 only, since v3 is not told of any.
fn receive_maximum() -> Vec<Case> {
    let limit = Limits::default().receive_maximum;
    let mut cases = Vec::new();
    for version in Version::ALL {
        for count in [limit, limit + 1] {
            let flood: Vec<u8> = (1..=count)
                .flat_map(|id| encoded(version, &Packet::Publish(message_2(id, "a", ""))))
                .collect();
            let exceeded = version == V5 && count > limit;
            let expect = if exceeded { Expect::Breach(0x93) } else { Expect::Open };
            cases.push(case(format!("{count} of QoS 2"), version, When::Connected, flood, expect));
        }
    }
    // Repeated is not one more, and what is released makes room.
    let flood: Vec<u8> = (1..=limit).flat_map(|id| publish(message_2(id, "a", ""))).collect();
    let repeated = publish(Publish { dup: true, ..message_2(1, "a", "") });
    let released = framed(0x62, &[0, 1]);
    let another = publish(message_2(limit + 1, "a", ""));
    for (name, behind, expect) in [
        ("repeated", repeated.clone(), Expect::Open),
        ("released and another", [released, another.clone()].concat(), Expect::Open),
        ("repeated and another", [repeated, another].concat(), Expect::Breach(0x93)),
    ] {
        cases.push(case(name, V5, When::Connected, [flood.clone(), behind].concat(), expect));
    }
    cases
}

fn aliases() -> Vec<Case> {
    let with_alias = |topic, alias| {
        let topic_alias = NonZeroU16::new(alias);
        publish(Publish {
            properties: PublishProperties { topic_alias, ..Default::default() },
            ..message(topic, "")
        })
    };
    let (set, used) = (with_alias("a", 3), with_alias("", 3));
    let rows: [(&str, Vec<Vec<u8>>, Expect); 8] = [
        ("never set", vec![used.clone()], PROTOCOL_ERROR),
        ("set and used", vec![set.clone(), used.clone(), used.clone()], Expect::Open),
        ("another set", vec![set.clone(), with_alias("", 4)], PROTOCOL_ERROR),
        ("set anew", vec![set.clone(), with_alias("b", 3), used.clone()], Expect::Open),
        ("used, then too high", vec![set.clone(), used.clone(), with_alias("a", 33)], Expect::Breach(0x94)),
        ("the highest", vec![with_alias("a", 32), with_alias("", 32)], Expect::Open),
        ("too high and empty", vec![with_alias("", 33)], Expect::Breach(0x94)),
        ("neither", vec![set.clone(), framed(0x30, &[0, 0, 0])], PROTOCOL_ERROR),
    ];
    let rows = rows.into_iter().map(|(name, packets, expect)| {
        case(format!("alias {name}"), V5, When::Connected, packets.concat(), expect)
    });
    rows.collect()
}

/// User properties beyond what the server takes, in every packet that can have them.
fn user_properties() -> Vec<Case> {
    let mut cases = Vec::new();
    for sample in from_clients(V5) {
        for (index, place, _) in properties_of(&sample) {
            for (bytes, fits) in [(USER_PROPERTIES_BYTES_MAX, true), (USER_PROPERTIES_BYTES_MAX + 1, false)] {
                let pair = [sized(b"k"), sized(&vec![b'v'; bytes - 6])].concat();
                let properties = section(&property_bytes(&[(0x26, pair)]));
                let expect = if fits { sample.valid } else { Expect::Breach(0x97) };
                let name = format!("{} with {bytes} bytes of user properties for {place:?}", sample.name);
                cases.push(case(name, V5, sample.when, sample.with(index, &properties), expect));
            }
        }
    }
    cases
}

/// A packet is handled before the next is looked at: what is right is answered, what is wrong behind it ends the connection.
fn behind_a_good_packet() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        for sample in from_clients(version) {
            let goes_on = sample.valid == Expect::Open && sample.when == When::Connected;
            if goes_on {
                let bytes = [sample.bytes(), vec![0, 0]].concat();
                let name = format!("type 0 behind {}", sample.name);
                cases.push(case(name, version, When::Connected, bytes, Expect::Breach(0x81)));
            }
        }
        // The rest of a CONNECT that is refused is not looked at (MQTT-3.1.4-6).
        let refused = framed(0x10, &[sized(b"MQTT"), vec![9, 2, 0, 0, 0, 0]].concat());
        let bytes = [refused, vec![0, 0]].concat();
        cases.push(case("type 0 behind a refused CONNECT", V311, When::First, bytes, Expect::Breach(0x84)));
    }
    cases
}

/// Packets that DISCONNECT stands before are not read any more.
fn behind_disconnect() -> Vec<Case> {
    let rows = Version::ALL.into_iter().flat_map(|version| {
        [vec![0, 0], vec![0x30, 0x80, 0x00], framed(0xc0, &[0])].map(|behind| {
            let bytes = [framed(0xe0, &[]), behind].concat();
            case("wrong behind DISCONNECT", version, When::Connected, bytes, Expect::Ends)
        })
    });
    rows.collect()
}

pub fn cases() -> Vec<Case> {
    [
        second_connects(),
        before_connect(),
        receive_maximum(),
        aliases(),
        user_properties(),
        behind_a_good_packet(),
        behind_disconnect(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn a_second_connect() {
    judge(&second_connects());
}

#[test]
fn before_the_connect() {
    judge(&before_connect());
}

#[test]
fn beyond_the_receive_maximum() {
    judge(&receive_maximum());
}

#[test]
fn topic_aliases() {
    judge(&aliases());
}

#[test]
fn too_many_user_properties() {
    judge(&user_properties());
}

#[test]
fn wrong_behind_right() {
    judge(&behind_a_good_packet());
    judge(&behind_disconnect());
}

#[test]
fn the_samples_are_complete() {
    let places: Vec<Place> =
        from_clients(V5).iter().flat_map(properties_of).map(|(_, place, _)| place).collect();
    assert_eq!(
        places.len(),
        13,
        "CONNECT two, PUBLISH at each QoS, four acknowledgements, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH"
    );
    let types: Vec<u8> = from_clients(V5).iter().map(|sample| sample.first >> 4).collect();
    assert!([1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15].iter().all(|number| types.contains(number)));
    let fields = from_clients(V5).iter().flat_map(|sample| sample.fields.clone()).count();
    assert!(fields > 30 && matches!(from_clients(V311)[0].fields[0], Field::Plain(_)));
}
