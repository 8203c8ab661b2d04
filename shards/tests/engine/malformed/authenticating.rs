//! AUTH where it is due, and everything else where only AUTH is: between CONNECT and CONNACK of a client that authenticates, and when it does so again.

use super::fields::bad_texts;
use super::frames::{flags_allowed, truncations};
use super::samples::{
    Field, Given, Place, Sample, framed, from_clients, from_servers, property_bytes, section, sized,
};
use super::{Case, Expect, MALFORMED, PROTOCOL_ERROR, When, case, judge};
use crate::verbs::*;
use shardmq_shards::base::limits::AUTH_DATA_BYTES_MAX;

const METHOD: u8 = 0x15;
const DATA: u8 = 0x16;
const REASON_STRING: u8 = 0x1f;
const USER: u8 = 0x26;

/// The AUTH that is due: the answer to the riddle, or the request to authenticate again, with the data that it must have.
fn due() -> [(When, u8, &'static [u8]); 2] {
    [(When::Challenged, 0x18, b"c knows"), (When::Authenticated, 0x19, b"c")]
}

fn user() -> Given {
    (USER, [sized(b"key"), sized(b"value")].concat())
}

fn auth(code: u8, given: &[Given]) -> Vec<u8> {
    framed(0xf0, &[vec![code], section(&property_bytes(given))].concat())
}

fn samples() -> Vec<Sample> {
    let sample = |(when, code, data): (When, u8, &[u8])| {
        let given =
            vec![(METHOD, sized(b"toy")), (DATA, sized(data)), (REASON_STRING, sized(b"why")), user()];
        let fields = vec![Field::Code(code), Field::Properties(Place::Auth, given)];
        // AUTH may end before its reason code, which then is 0x00 and as little due as an AUTH without method.
        let (ends, without_payload) = (Vec::new(), Some(0));
        Sample {
            name: "AUTH",
            version: V5,
            when,
            first: 0xf0,
            fields,
            valid: Expect::Open,
            ends,
            without_payload,
        }
    };
    due().map(sample).to_vec()
}

fn codes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (when, due, data) in due() {
        for code in 0..=255 {
            let expect = if code == due { Expect::Open } else { PROTOCOL_ERROR };
            let bytes = auth(code, &[(METHOD, sized(b"toy")), (DATA, sized(data))]);
            cases.push(case(format!("AUTH {code:02x}"), V5, when, bytes, expect));
        }
    }
    cases
}

/// Every identifier beside method and data, and what is wrong with these two.
fn properties() -> Vec<Case> {
    let mut cases = Vec::new();
    for (when, code, data) in due() {
        let base = [(METHOD, sized(b"toy")), (DATA, sized(data))];
        let mut push = |name: String, given: &[Given], expect| {
            cases.push(case(name, V5, when, auth(code, given), expect));
        };
        for id in 0..=255 {
            let value = match id {
                USER => user().1,
                METHOD | DATA | REASON_STRING => sized(b"text"),
                _ => vec![0, 1, 0, 0],
            };
            let expect = match id {
                METHOD | DATA => PROTOCOL_ERROR,
                REASON_STRING | USER => Expect::Open,
                _ => MALFORMED,
            };
            push(format!("AUTH with {id:02x}"), &[&base[..], &[(id, value)]].concat(), expect);
        }
        for (id, expect) in [(REASON_STRING, PROTOCOL_ERROR), (USER, Expect::Open)] {
            let given = if id == USER { user() } else { (id, sized(b"text")) };
            push(format!("AUTH with two {id:02x}"), &[&base[..], &[given.clone(), given]].concat(), expect);
        }
        push("AUTH without method".into(), &base[1..], PROTOCOL_ERROR);
        push("AUTH without anything".into(), &[], PROTOCOL_ERROR);
        for method in ["other", "none", "", "Toy", "toy "] {
            let given = [(METHOD, sized(method.as_bytes())), base[1].clone()];
            push(format!("AUTH by {method:?}"), &given, PROTOCOL_ERROR);
        }
        let too_much = [base[0].clone(), (DATA, sized(&vec![b'x'; AUTH_DATA_BYTES_MAX + 1]))];
        push("AUTH with too much data".into(), &too_much, Expect::Breach(0x97));
        for bad in bad_texts() {
            push(format!("AUTH by {bad:02x?}"), &[(METHOD, sized(&bad)), base[1].clone()], MALFORMED);
            let reason = (REASON_STRING, sized(&bad));
            push(format!("AUTH because of {bad:02x?}"), &[&base[..], &[reason]].concat(), MALFORMED);
        }
        for given in [&base[0], &(REASON_STRING, sized(b"why")), &user()] {
            let whole = property_bytes(std::slice::from_ref(given));
            for bytes in 1..whole.len() {
                let body = [vec![code], section(&whole[..bytes])].concat();
                let name = format!("AUTH with {:02x} cut after {bytes}", given.0);
                cases.push(case(name, V5, when, framed(0xf0, &body), MALFORMED));
            }
        }
    }
    cases
}

/// Every first byte while the server waits for AUTH: only that and DISCONNECT may come (MQTT-3.1.2-30), and CONNACK is what tells of a breach.
fn first_bytes() -> Vec<Case> {
    let mut cases = Vec::new();
    let packets = [samples()[..1].to_vec(), from_clients(V5), from_servers(V5)].concat();
    for first in 0..=255_u8 {
        let (number, flags) = (first >> 4, first & 0x0f);
        let like = packets.iter().find(|packet| packet.first >> 4 == number);
        let expect = match (number, like) {
            (0, _) | (_, None) => MALFORMED,
            // Nothing is read of a packet that may not come, not even the DUP flag that 3.1 has in PUBREL, SUBSCRIBE and UNSUBSCRIBE.
            _ if !flags_allowed(number, flags, V31) => MALFORMED,
            (14 | 15, Some(like)) => like.valid,
            _ => PROTOCOL_ERROR,
        };
        let bytes = framed(first, &like.map_or(Vec::new(), Sample::body));
        cases.push(case(format!("first byte {first:02x}"), V5, When::Challenged, bytes, expect));
    }
    cases
}

pub fn cases() -> Vec<Case> {
    [codes(), properties(), first_bytes(), truncations(samples())].into_iter().flatten().collect()
}

#[test]
fn reason_codes_that_are_not_due() {
    judge(&codes());
}

#[test]
fn properties_of_auth() {
    judge(&properties());
}

#[test]
fn other_packets() {
    judge(&first_bytes());
}

#[test]
fn auth_that_ends_too_early() {
    judge(&truncations(samples()));
}
