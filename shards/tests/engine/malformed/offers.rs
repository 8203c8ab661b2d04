//! What is wrong only because the server does not offer it, or looks closer than it must.

use super::samples::{Field, Place, framed, property_bytes, section, sized};
use super::{Case, Expect, When, case, judge_in};
use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::shard::{Capabilities, Terms};
use shardmq_shards::wire::{QoS, Version};

fn with_terms(terms: &Terms) -> World {
    World::with(Settings { shards: 2, terms: terms.clone(), ..Settings::default() })
}

fn capable(change: impl Fn(&mut Capabilities)) -> Terms {
    let mut capabilities = Capabilities::default();
    change(&mut capabilities);
    Terms { capabilities, ..Terms::default() }
}

fn no_properties(version: Version) -> Vec<u8> {
    if version.is_v5() { vec![0] } else { Vec::new() }
}

fn publish(version: Version, flags: u8) -> Vec<u8> {
    let id: &[u8] = if flags & 0b0110 != 0 { &[0, 1] } else { &[] };
    framed(0x30 | flags, &[sized(b"a"), id.to_vec(), no_properties(version), b"x".to_vec()].concat())
}

fn connect_with_will(version: Version, qos: u8, retain: bool) -> Vec<u8> {
    let flags = 0x06 | qos << 3 | u8::from(retain) << 5;
    let head = [sized(version.protocol_name().as_bytes()), vec![version.level(), flags, 0, 60]].concat();
    let none = no_properties(version);
    framed(0x10, &[head, none.clone(), sized(b"c"), none, sized(b"w"), sized(b"will")].concat())
}

fn subscribe(version: Version, filter: &str) -> Vec<u8> {
    framed(0x82, &[vec![0, 1], no_properties(version), sized(filter.as_bytes()), vec![0]].concat())
}

/// A PUBLISH or a will above the Maximum QoS: 0x9B (sections 3.2.2.3.4, 3.2.2-12); v3 has return code 3 for its CONNECT.
#[test]
fn qos_above_the_maximum() {
    for maximum in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let terms = capable(|capabilities| capabilities.maximum_qos = maximum);
        let mut cases = Vec::new();
        for version in Version::ALL {
            for flags in (0..16).filter(|flags| *flags & 0b0110 != 0b0110 && *flags & 0b1110 != 0b1000) {
                let above = flags >> 1 & 0b11 > maximum as u8;
                let expect = if above { Expect::Breach(0x9b) } else { Expect::Open };
                let name = format!("PUBLISH with flags {flags:04b}");
                cases.push(case(name, version, When::Connected, publish(version, flags), expect));
            }
            for (qos, retain) in [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)] {
                let refused = Expect::Refused(if version.is_v5() { 0x9b } else { 0x88 });
                let expect = if qos > maximum as u8 { refused } else { Expect::Open };
                let name = format!("will of QoS {qos}");
                cases.push(case(name, version, When::First, connect_with_will(version, qos, retain), expect));
            }
        }
        judge_in(|| with_terms(&terms), &cases);
    }
}

/// RETAIN where nothing is retained: 0x9A (sections 3.2.2.3.5, 3.2.2-13).
#[test]
fn retain_that_is_not_available() {
    let terms = capable(|capabilities| capabilities.retain = false);
    let mut cases = Vec::new();
    for version in Version::ALL {
        for flags in (0..16).filter(|flags| *flags & 0b0110 != 0b0110 && *flags & 0b1110 != 0b1000) {
            let expect = if flags & 1 == 1 { Expect::Breach(0x9a) } else { Expect::Open };
            let name = format!("PUBLISH with flags {flags:04b}");
            cases.push(case(name, version, When::Connected, publish(version, flags), expect));
        }
        for retain in [false, true] {
            let refused = Expect::Refused(if version.is_v5() { 0x9a } else { 0x88 });
            let expect = if retain { refused } else { Expect::Open };
            let bytes = connect_with_will(version, 0, retain);
            cases.push(case(format!("will with RETAIN {retain}"), version, When::First, bytes, expect));
        }
    }
    judge_in(|| with_terms(&terms), &cases);
}

/// Subscriptions that are not available: 0xA2, 0x9E and 0xA1 (sections 3.2.2.3.11 to 3.2.2.3.13); 3.1.1 answers 0x80, 3.1 has no word for it.
#[test]
fn subscriptions_that_are_not_available() {
    let terms = capable(|capabilities| {
        capabilities.wildcard_subscriptions = false;
        capabilities.shared_subscriptions = false;
        capabilities.subscription_identifiers = false;
    });
    let mut cases = Vec::new();
    for version in Version::ALL {
        for (filter, code) in [("a", 0), ("+", 0xa2), ("a/#", 0xa2), ("$share/g/a", 0x9e), ("$SYS/+", 0xa2)] {
            let expect = match (code, version) {
                (0, _) => Expect::Answered("SUBACK #1 [00]"),
                (_, V5) => Expect::Breach(code),
                (_, V311) => Expect::Answered("SUBACK #1 [80]"),
                (_, V31) => Expect::Answered("SUBACK #1 [00]"),
            };
            let name = format!("SUBSCRIBE of {filter}");
            cases.push(case(name, version, When::Connected, subscribe(version, filter), expect));
        }
    }
    let identifier = section(&property_bytes(&[(0x0b, vec![1])]));
    let bytes = framed(0x82, &[vec![0, 1], identifier, sized(b"a"), vec![0]].concat());
    cases.push(case("SUBSCRIBE with identifier", V5, When::Connected, bytes, Expect::Breach(0xa1)));
    judge_in(|| with_terms(&terms), &cases);
}

/// A payload that is not the text that it is said to be, where the operator asks for a look: 0x99 (section 3.3.2.3.2), in PUBACK or PUBREC where there
/// is one.
#[test]
fn payloads_that_are_no_text() {
    let terms = Terms { check_payload_format: true, ..Terms::default() };
    let mut cases = Vec::new();
    for bad in super::fields::bad_texts().into_iter().filter(|bad| !bad.contains(&0)) {
        for (said, flags) in [(0, 0), (1, 0), (1, 0b0010), (1, 0b0100), (0, 0b0010)] {
            let id: &[u8] = if flags != 0 { &[0, 1] } else { &[] };
            let properties = Field::Properties(Place::Publish, vec![(0x01, vec![said])]).bytes();
            let body = [sized(b"a"), id.to_vec(), properties, bad.clone()].concat();
            let expect = match (said, flags) {
                (0, _) => Expect::Open,
                (_, 0) => Expect::Breach(0x99),
                (_, 0b0010) => Expect::Answered("PUBACK #1 99"),
                _ => Expect::Answered("PUBREC #1 99"),
            };
            let name = format!("PUBLISH {flags:04b} of {bad:02x?}, said to be {said}");
            cases.push(case(name, V5, When::Connected, framed(0x30 | flags, &body), expect));
        }
    }
    let is_open = |case: &Case| case.expect == Expect::Open;
    assert!(cases.iter().any(is_open) && !cases.iter().all(is_open));
    judge_in(|| with_terms(&terms), &cases);
}
