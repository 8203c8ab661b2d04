//! The fixed header, and packets that end too early or too late (section 2.1).

use super::samples::{Field, Sample, all, framed, from_clients, from_servers, variable};
use super::{Case, Expect, MALFORMED, PROTOCOL_ERROR, When, case, judge};
use crate::verbs::*;
use shardmq_shards::base::limits::Limits;
use shardmq_shards::wire::Version;

/// What follows when nothing but CONNECT may come, or the server cannot know yet that it is MQTT 5.
fn unless_connected(when: When, expect: Expect) -> Expect {
    if when == When::First { Expect::Unheard } else { expect }
}

fn samples() -> Vec<Case> {
    all().iter().map(|s| case(s.name, s.version, s.when, s.bytes(), s.valid)).collect()
}

/// Every first byte: 16 types with 16 flags, before and after CONNECT.
fn first_bytes() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        let packets = [from_clients(version), from_servers(version)].concat();
        for first in 0..=255_u8 {
            let (number, flags) = (first >> 4, first & 0x0f);
            // PUBLISH has its packet id or not by its QoS, whatever else is wrong with it.
            let with_id = number == 3 && flags & 0b0110 != 0;
            let like = packets.iter().find(|packet| {
                packet.first >> 4 == number && (number != 3 || (packet.first & 0b0110 != 0) == with_id)
            });
            let body = like.map_or(Vec::new(), Sample::body);
            for when in [When::First, When::Connected] {
                let expect = match like {
                    None => MALFORMED,
                    Some(like) if flags_allowed(number, flags, version) => {
                        // A second CONNECT is a protocol error, the first one another table's.
                        if number == 1 && when == When::First {
                            continue;
                        }
                        if number == 1 { PROTOCOL_ERROR } else { like.valid }
                    }
                    Some(_) => MALFORMED,
                };
                let name = format!("first byte {first:02x}");
                cases.push(case(name, version, when, framed(first, &body), unless_connected(when, expect)));
            }
        }
    }
    cases
}

/// Table 2-2 and section 3.3.1.
pub fn flags_allowed(number: u8, flags: u8, version: Version) -> bool {
    let (dup, qos) = (flags & 0b1000 != 0, flags >> 1 & 0b11);
    match number {
        3 => qos < 3 && !(dup && qos == 0),
        // MQTT 3.1 has DUP in these, too.
        6 | 8 | 10 => flags == 0b0010 || version == V31 && flags == 0b1010,
        _ => flags == 0,
    }
}

/// What must follow when the body of `sample` ends after `bytes` and the remaining length says so.
fn cut(sample: &Sample, bytes: usize) -> Expect {
    let mut start = 0;
    for (index, field) in sample.fields.iter().enumerate() {
        if bytes == start {
            return at_boundary(sample, index);
        }
        start += field.bytes().len();
        if bytes < start {
            return if matches!(field, Field::Payload(_)) { sample.valid } else { MALFORMED };
        }
    }
    unreachable!("the body is longer")
}

fn at_boundary(sample: &Sample, fields: usize) -> Expect {
    if sample.ends.contains(&fields) {
        sample.valid
    } else if sample.without_payload == Some(fields) {
        PROTOCOL_ERROR
    } else {
        MALFORMED
    }
}

/// Every packet ended after each of its bytes, with the rest of it behind and without.
pub fn truncations(samples: Vec<Sample>) -> Vec<Case> {
    let mut cases = Vec::new();
    for sample in samples {
        let body = sample.body();
        // Until the level has been read nobody knows what to answer in.
        let level_at = usize::from(body.get(1).copied().unwrap_or(0)) + 2;
        for bytes in 0..body.len() {
            let mut expect = if sample.is_unexpected() { PROTOCOL_ERROR } else { cut(&sample, bytes) };
            if sample.when == When::First && bytes <= level_at {
                expect = Expect::Unheard;
            }
            let name = format!("{} cut after {bytes}", sample.name);
            cases.push(case(name, sample.version, sample.when, framed(sample.first, &body[..bytes]), expect));
            if expect != sample.valid || sample.is_unexpected() {
                let name = format!("{} said to end after {bytes}", sample.name);
                let bytes = [&[sample.first], variable(bytes).as_slice(), &body].concat();
                cases.push(case(name, sample.version, sample.when, bytes, expect));
            }
        }
    }
    cases
}

/// One byte more than the packet has fields for, or the first of the next packet taken for its last.
fn too_long() -> Vec<Case> {
    let mut cases = Vec::new();
    for sample in all() {
        let body = sample.body();
        let has_payload = matches!(sample.fields.last(), Some(Field::Payload(_)));
        let expect = match sample.valid {
            PROTOCOL_ERROR if sample.is_unexpected() => PROTOCOL_ERROR,
            valid if has_payload => valid,
            _ => MALFORMED,
        };
        for byte in [0x00, 0x01, 0xff] {
            let name = format!("{} and {byte:02x}", sample.name);
            let bytes = framed(sample.first, &[&body[..], &[byte]].concat());
            cases.push(case(name, sample.version, sample.when, bytes, expect));
        }
        // PINGREQ is c0 00: what is left of it is a packet of type 0.
        let bytes =
            [&[sample.first], variable(body.len() + 1).as_slice(), &body, &[0xc0, 0x00, 0x00]].concat();
        let expect = if sample.is_unexpected() { PROTOCOL_ERROR } else { MALFORMED };
        let after_connect = sample.when == When::First && has_payload;
        assert!(!after_connect, "CONNECT has no payload of any length");
        cases.push(case(format!("{} swallows", sample.name), sample.version, sample.when, bytes, expect));
    }
    cases
}

/// Remaining lengths that are no variable byte integer in its shortest form, or too much.
fn lengths() -> Vec<Case> {
    let max = Limits::default().packet_bytes_max as usize;
    let mut cases = Vec::new();
    for version in Version::ALL {
        for first in [0x10, 0x30, 0x40, 0x82, 0xc0, 0xe0] {
            for when in [When::First, When::Connected] {
                let encodings: [(&[u8], Expect); 9] = [
                    (&[0x80, 0x80, 0x80, 0x80, 0x00], MALFORMED),
                    (&[0x80, 0x80, 0x80, 0x80], MALFORMED),
                    (&[0xff, 0xff, 0xff, 0xff, 0x7f], MALFORMED),
                    (&[0xff, 0xff, 0xff, 0x80], MALFORMED),
                    (&[0x80, 0x00], MALFORMED),
                    (&[0x80, 0x80, 0x00], MALFORMED),
                    (&[0xff, 0x80, 0x80, 0x00], MALFORMED),
                    (&[0xff, 0xff, 0xff, 0x7f], Expect::Breach(0x95)),
                    (&variable(max - 3), Expect::Breach(0x95)),
                ];
                for (length, expect) in encodings {
                    let name = format!("{first:02x} of length {length:02x?}");
                    let bytes = [&[first], length].concat();
                    cases.push(case(name, version, when, bytes, unless_connected(when, expect)));
                }
            }
        }
        // Type, three bytes of length, the rest: as large as may be.
        let body = [b"\0\x01t", vec![0; max - 4 - 3].as_slice()].concat();
        cases.push(case("the largest PUBLISH", version, When::Connected, framed(0x30, &body), Expect::Open));
    }
    cases
}

pub fn cases() -> Vec<Case> {
    [samples(), first_bytes(), truncations(all()), too_long(), lengths()].into_iter().flatten().collect()
}

#[test]
fn valid_packets_are_taken() {
    judge(&samples());
}

#[test]
fn first_byte() {
    judge(&first_bytes());
}

#[test]
fn packets_that_end_too_early() {
    judge(&truncations(all()));
}

#[test]
fn packets_that_end_too_late() {
    judge(&too_long());
}

#[test]
fn remaining_length() {
    judge(&lengths());
}
