//! Properties: every identifier in every packet, twice, cut at every byte, and with every value that is not allowed (section 2.2.2).

use super::samples::{
    Given, Place, Sample, from_clients, properties_of, property_bytes, section, sized, variable,
};
use super::{Case, Expect, MALFORMED, PROTOCOL_ERROR, case, judge};
use crate::malformed::fields::{GOOD_TEXTS, bad_texts};
use crate::verbs::*;

/// The types of section 2.2.2.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wire {
    Byte,
    TwoBytes,
    FourBytes,
    Variable,
    Text,
    Binary,
    Pair,
}

use Place::*;

/// Table 2-4: identifier, type, and the packets that a client sends it in. CONNACK, SUBACK and UNSUBACK are not listed: no client sends them.
const TABLE: [(u8, Wire, &[Place]); 27] = [
    (0x01, Wire::Byte, &[Publish, Will]),
    (0x02, Wire::FourBytes, &[Publish, Will]),
    (0x03, Wire::Text, &[Publish, Will]),
    (0x08, Wire::Text, &[Publish, Will]),
    (0x09, Wire::Binary, &[Publish, Will]),
    (0x0b, Wire::Variable, &[Publish, Subscribe]),
    (0x11, Wire::FourBytes, &[Connect, Disconnect]),
    (0x12, Wire::Text, &[]),
    (0x13, Wire::TwoBytes, &[]),
    (0x15, Wire::Text, &[Connect, Auth]),
    (0x16, Wire::Binary, &[Connect, Auth]),
    (0x17, Wire::Byte, &[Connect]),
    (0x18, Wire::FourBytes, &[Will]),
    (0x19, Wire::Byte, &[Connect]),
    (0x1a, Wire::Text, &[]),
    (0x1c, Wire::Text, &[Disconnect]),
    (0x1f, Wire::Text, &[Acknowledgement, Disconnect, Auth]),
    (0x21, Wire::TwoBytes, &[Connect]),
    (0x22, Wire::TwoBytes, &[Connect]),
    (0x23, Wire::TwoBytes, &[Publish]),
    (0x24, Wire::Byte, &[]),
    (0x25, Wire::Byte, &[]),
    (0x26, Wire::Pair, &[Connect, Will, Publish, Acknowledgement, Subscribe, Unsubscribe, Disconnect, Auth]),
    (0x27, Wire::FourBytes, &[Connect]),
    (0x28, Wire::Byte, &[]),
    (0x29, Wire::Byte, &[]),
    (0x2a, Wire::Byte, &[]),
];

fn row(id: u8) -> Option<&'static (u8, Wire, &'static [Place])> {
    TABLE.iter().find(|(known, _, _)| *known == id)
}

/// A value that is allowed wherever the property is: what must not be zero is one, what a connection without session must not raise is 0.
fn value(id: u8) -> Vec<u8> {
    match row(id).map(|(_, wire, _)| *wire) {
        _ if id == 0x11 => vec![0, 0, 0, 0],
        Some(Wire::Byte) => vec![1],
        Some(Wire::TwoBytes) => vec![0, 1],
        None | Some(Wire::FourBytes) => vec![0, 1, 0, 0],
        Some(Wire::Variable) => vec![0x81, 0x01],
        Some(Wire::Text | Wire::Binary) => sized(b"text"),
        Some(Wire::Pair) => [sized(b"key"), sized(b"value")].concat(),
    }
}

/// What must follow when the property stands alone in `place`.
fn alone(id: u8, place: Place, sample: &Sample) -> Expect {
    match (id, place) {
        _ if !row(id).is_some_and(|(_, _, places)| places.contains(&place)) => MALFORMED,
        // The method is one that we do not have (MQTT-4.12.0-1).
        (0x15, Connect) => Expect::Refused(0x8c),
        // Section 3.1.2.11.10: data without method.
        (0x16, Connect) => PROTOCOL_ERROR,
        // MQTT-3.3.4-6.
        (0x0b, Publish) => PROTOCOL_ERROR,
        // Section 3.14.2.2.5: the server sends it.
        (0x1c, Disconnect) => PROTOCOL_ERROR,
        _ => sample.valid,
    }
}

/// Each section of every v5 packet, with what makes the packet with other properties there.
fn sections() -> Vec<(Sample, usize, Place)> {
    let samples = from_clients(V5).into_iter();
    let found = samples.flat_map(|sample| {
        let sections = properties_of(&sample);
        sections.into_iter().map(move |(index, place, _)| (sample.clone(), index, place))
    });
    found.collect()
}

fn with(name: String, sample: &Sample, index: usize, properties: &[u8], expect: Expect) -> Case {
    let name = format!("{name} in {}", sample.name);
    case(name, V5, sample.when, sample.with(index, &section(properties)), expect)
}

fn of(id: u8) -> Given {
    (id, value(id))
}

fn identifiers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (sample, index, place) in sections() {
        for id in 0..=255_u8 {
            let properties = property_bytes(&[of(id)]);
            let expect = alone(id, place, &sample);
            cases.push(with(format!("property {id:02x}"), &sample, index, &properties, expect));
            // The same identifier in one byte more than it takes (MQTT-1.5.5-1).
            let overlong = if id < 0x80 { vec![id | 0x80, 0] } else { vec![id, 0x81, 0] };
            let properties = [overlong, value(id)].concat();
            cases.push(with(format!("overlong {id:02x}"), &sample, index, &properties, MALFORMED));
        }
    }
    cases
}

/// Twice is a protocol error for all but the user property, each in the words of its own section.
fn doubled() -> Vec<Case> {
    let mut cases = Vec::new();
    for (sample, index, place) in sections() {
        for (id, _, places) in TABLE.iter().filter(|(_, _, places)| places.contains(&place)) {
            assert!(places.contains(&place));
            let mut given = vec![of(*id), of(*id)];
            if *id == 0x16 {
                given.insert(0, of(0x15));
            }
            let expect = if *id == 0x26 { sample.valid } else { PROTOCOL_ERROR };
            let name = format!("{id:02x} twice");
            cases.push(with(name, &sample, index, &property_bytes(&given), expect));
            given.insert(1, of(0x26));
            let name = format!("{id:02x} twice, not in a row");
            cases.push(with(name, &sample, index, &property_bytes(&given), expect));
        }
    }
    cases
}

/// A property that ends within its value, because its section does, or because the packet does.
fn cut() -> Vec<Case> {
    let mut cases = Vec::new();
    for (sample, index, place) in sections() {
        for (id, _, _) in TABLE.iter().filter(|(_, _, places)| places.contains(&place)) {
            let whole = property_bytes(&[of(*id)]);
            for bytes in 1..whole.len() {
                let name = format!("{id:02x} cut after {bytes}");
                cases.push(with(name, &sample, index, &whole[..bytes], MALFORMED));
                let short = [variable(bytes), whole.clone()].concat();
                let name = format!("{id:02x} beyond its section after {bytes} in {}", sample.name);
                cases.push(case(name, V5, sample.when, sample.with(index, &short), MALFORMED));
            }
        }
        let field = &sample.fields[index];
        let rest: usize = sample.fields[index..].iter().map(|field| field.bytes().len()).sum();
        for beyond in [rest, rest + 100, 268_435_455] {
            let content = field.bytes()[1..].to_vec();
            let name = format!("a section of {beyond} in {}", sample.name);
            let bytes = [variable(beyond), content].concat();
            cases.push(case(name, V5, sample.when, sample.with(index, &bytes), MALFORMED));
        }
        let malformed_lengths: [&[u8]; 3] =
            [&[0x80, 0x00], &[0x80, 0x80, 0x80, 0x80, 0x01], &[0xff, 0xff, 0xff, 0xff]];
        for length in malformed_lengths {
            let name = format!("a section of length {length:02x?} in {}", sample.name);
            cases.push(case(name, V5, sample.when, sample.with(index, length), MALFORMED));
        }
    }
    cases
}

/// Values that a property's own section does not allow.
fn values() -> Vec<Case> {
    let mut cases = Vec::new();
    for (sample, index, place) in sections() {
        let mut push = |id: u8, value: &[u8], expect: Expect| {
            if row(id).is_some_and(|(_, _, places)| places.contains(&place)) {
                let name = format!("{id:02x} of {value:02x?}");
                cases.push(with(name, &sample, index, &property_bytes(&[(id, value.to_vec())]), expect));
            }
        };
        let valid = sample.valid;
        for neither in [2, 3, 0x7f, 0x80, 0xfe, 0xff] {
            for boolean in [0x01, 0x17, 0x19] {
                push(boolean, &[neither], PROTOCOL_ERROR);
            }
        }
        for id in [0x01, 0x17, 0x19] {
            push(id, &[0], valid);
            push(id, &[1], valid);
        }
        push(0x21, &[0, 0], PROTOCOL_ERROR);
        push(0x21, &[0, 1], valid);
        push(0x21, &[0xff, 0xff], valid);
        push(0x27, &[0, 0, 0, 0], PROTOCOL_ERROR);
        push(0x27, &[0xff, 0xff, 0xff, 0xff], valid);
        push(0x22, &[0, 0], valid);
        push(0x22, &[0xff, 0xff], valid);
        push(0x02, &[0, 0, 0, 0], valid);
        push(0x02, &[0xff, 0xff, 0xff, 0xff], valid);
        push(0x18, &[0xff, 0xff, 0xff, 0xff], valid);
        push(0x23, &[0, 0], Expect::Breach(0x94));
        push(0x23, &[0, 32], valid);
        push(0x23, &[0, 33], Expect::Breach(0x94));
        push(0x23, &[0xff, 0xff], Expect::Breach(0x94));
        push(0x0b, &[0], PROTOCOL_ERROR);
        push(0x0b, &[0x80, 0x00], MALFORMED);
        push(0x0b, &[0x80, 0x80, 0x80, 0x80, 0x01], MALFORMED);
        if place == Subscribe {
            push(0x0b, &[0xff, 0xff, 0xff, 0x7f], valid);
        }
        if place == Disconnect {
            // The session had no expiry: it cannot get one now.
            push(0x11, &[0, 0, 0, 1], PROTOCOL_ERROR);
            push(0x11, &[0xff, 0xff, 0xff, 0xff], PROTOCOL_ERROR);
        }
        push(0x08, &sized(b"a/+"), PROTOCOL_ERROR);
        push(0x08, &sized(b"#"), PROTOCOL_ERROR);
        push(0x08, &sized(b""), PROTOCOL_ERROR);
    }
    cases
}

/// Every property that is text, with what is not UTF-8; every property that is not, with the same bytes.
fn texts() -> Vec<Case> {
    let mut cases = Vec::new();
    for (sample, index, place) in sections() {
        for (id, wire, _) in TABLE.iter().filter(|(_, _, places)| places.contains(&place)) {
            for bad in bad_texts() {
                let (values, expect) = match wire {
                    Wire::Text => (vec![sized(&bad)], MALFORMED),
                    Wire::Pair => (
                        vec![[sized(&bad), sized(b"v")].concat(), [sized(b"k"), sized(&bad)].concat()],
                        MALFORMED,
                    ),
                    Wire::Binary => (vec![sized(&bad)], alone(*id, place, &sample)),
                    _ => continue,
                };
                for value in values {
                    let name = format!("{id:02x} of {bad:02x?}");
                    cases.push(with(name, &sample, index, &property_bytes(&[(*id, value)]), expect));
                }
            }
            for good in GOOD_TEXTS {
                let value = match wire {
                    Wire::Text => sized(good.as_bytes()),
                    Wire::Pair => [sized(good.as_bytes()), sized(good.as_bytes())].concat(),
                    _ => continue,
                };
                let expect = alone(*id, place, &sample);
                let name = format!("{id:02x} of {good:?}");
                cases.push(with(name, &sample, index, &property_bytes(&[(*id, value)]), expect));
            }
        }
    }
    cases
}

pub fn cases() -> Vec<Case> {
    [identifiers(), doubled(), cut(), values(), texts()].into_iter().flatten().collect()
}

#[test]
fn every_identifier_in_every_packet() {
    judge(&identifiers());
}

#[test]
fn twice() {
    judge(&doubled());
}

#[test]
fn cut_short() {
    judge(&cut());
}

#[test]
fn values_out_of_range() {
    judge(&values());
}

#[test]
fn text_that_is_no_utf8() {
    judge(&texts());
}
