//! Every other field: texts, topics, filters, packet identifiers, reason codes, flags, options, versions.

use super::samples::{Field, Meaning, Sample, all, framed, from_clients, sized};
use super::{Case, Expect, MALFORMED, PROTOCOL_ERROR, When, case, judge};
use crate::verbs::*;
use shardmq_shards::base::limits::{CLIENT_ID_BYTES_MAX, TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};
use shardmq_shards::wire::Version;

/// What is no UTF-8 string of MQTT (section 1.5.4).
pub fn bad_texts() -> [Vec<u8>; 12] {
    let texts: [&[u8]; 12] = [
        b"\xff",
        b"a\x80",                // a continuation byte alone
        b"a\xc3",                // a sequence that is not finished
        b"\xe2\x82",             // another one
        b"\xc0\xaf",             // "/" in more bytes than it takes
        b"\xe0\x80\xaf",         // in even more
        b"\xed\xa0\x80",         // U+D800
        b"\xed\xbf\xbf",         // U+DFFF
        b"\xf4\x90\x80\x80",     // beyond U+10FFFF
        b"\xf8\x88\x80\x80\x80", // five bytes
        b"a\0b",                 // U+0000
        b"\xc0\x80",             // U+0000 in two bytes
    ];
    texts.map(<[u8]>::to_vec)
}

/// Texts that are unusual and allowed: U+FEFF, which is no byte order mark here, what SHOULD NOT be sent, and four bytes.
pub const GOOD_TEXTS: [&str; 5] = ["\u{feff}a", "\u{1}", "\u{7f}\u{9f}", "\u{ffff}", "\u{1f980}"];

/// The packet with one of its texts replaced, for every text of every packet.
fn with_texts(texts: &[Vec<u8>], expect: impl Fn(&Sample, Meaning) -> Option<Expect>) -> Vec<Case> {
    let mut cases = Vec::new();
    for sample in Version::ALL.into_iter().flat_map(from_clients) {
        for (index, field) in sample.fields.iter().enumerate() {
            let Field::Text(name, meaning, _) = field else { continue };
            let Some(expect) = expect(&sample, *meaning) else { continue };
            for text in texts {
                let name = format!("{} with {name} of {} bytes", sample.name, text.len());
                let bytes = sample.with(index, &sized(text));
                cases.push(case(name, sample.version, sample.when, bytes, expect));
            }
        }
    }
    cases
}

fn texts() -> Vec<Case> {
    let good: Vec<Vec<u8>> = GOOD_TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut cases = with_texts(&bad_texts(), |_, _| Some(MALFORMED));
    cases.extend(with_texts(&good, |sample, _| Some(sample.valid)));
    cases
}

fn topics() -> Vec<Case> {
    let wildcards = ["+", "#", "a/+", "a/#", "+/a", "a+", "a#b", "#/a"].map(|text| text.as_bytes().to_vec());
    let too_long = [vec![b't'; TOPIC_BYTES_MAX + 1], vec![b'/'; TOPIC_LEVELS_MAX]];
    let just = [vec![b't'; TOPIC_BYTES_MAX], vec![b'/'; TOPIC_LEVELS_MAX - 1], b"/".to_vec(), b" ".to_vec()];
    let names = |sample: &Sample, meaning, expect| {
        let is_name = meaning == Meaning::TopicName;
        is_name.then_some(if expect == Expect::Open { sample.valid } else { expect })
    };
    let invalid = Expect::Breach(0x90);
    let mut cases = with_texts(&wildcards, |sample, meaning| names(sample, meaning, invalid));
    cases.extend(with_texts(&too_long, |sample, meaning| names(sample, meaning, invalid)));
    cases.extend(with_texts(&just, |sample, meaning| names(sample, meaning, Expect::Open)));
    // An empty one is a protocol error, unless an alias stands for it, which was never set here.
    cases.extend(with_texts(&[Vec::new()], |sample, meaning| names(sample, meaning, PROTOCOL_ERROR)));
    cases
}

/// A filter that is none fails alone: SUBACK and UNSUBACK say so where they can, v3 is closed where they cannot.
fn filters() -> Vec<Case> {
    let invalid = [
        "",
        "a#",
        "a/#/b",
        "#/",
        "##",
        "a+",
        "+a",
        "a/+b/c",
        "++",
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/g+/a",
        "$share/#/a",
        "$share/g/a#",
    ];
    let mut cases = Vec::new();
    for (sample, index) in Version::ALL.into_iter().flat_map(from_clients).flat_map(filters_of) {
        for filter in invalid {
            // "$share" alone is a topic like any other.
            let expect = match (sample.first, sample.version) {
                _ if filter == "$share" => Expect::Open,
                (_, V5) => Expect::Answered("8f"),
                (0x82, V311) => Expect::Answered("80"),
                _ => Expect::Breach(0x8f),
            };
            let name = format!("{} of {filter:?}", sample.name);
            let bytes = sample.with(index, &sized(filter.as_bytes()));
            cases.push(case(name, sample.version, sample.when, bytes, expect));
        }
        for valid in ["#", "+", "/", "//", "+/+", "/#", "$share/g/#", "$share/g//", "$SYS/+", "a b"] {
            let name = format!("{} of {valid:?}", sample.name);
            let bytes = sample.with(index, &sized(valid.as_bytes()));
            cases.push(case(name, sample.version, sample.when, bytes, Expect::Open));
        }
    }
    cases
}

fn filters_of(sample: Sample) -> Vec<(Sample, usize)> {
    let fields = sample.fields.iter().enumerate();
    let filters = fields.filter(|(_, field)| matches!(field, Field::Text(_, Meaning::TopicFilter, _)));
    filters.map(|(index, _)| (sample.clone(), index)).collect()
}

/// Packet identifiers are not zero (section 2.2.1).
fn packet_ids() -> Vec<Case> {
    let mut cases = Vec::new();
    for sample in Version::ALL.into_iter().flat_map(from_clients) {
        for (index, field) in sample.fields.iter().enumerate() {
            if matches!(field, Field::PacketId(_)) {
                for (id, expect) in
                    [([0, 0], PROTOCOL_ERROR), ([0, 1], sample.valid), ([255, 255], sample.valid)]
                {
                    let name = format!("{} with id {id:?}", sample.name);
                    cases.push(case(name, sample.version, sample.when, sample.with(index, &id), expect));
                }
            }
        }
    }
    cases
}

/// The codes that a client may send in the packet of that first byte: the tables of sections 3.4.2.1 to 3.7.2.1, 3.14.2.1 (column "sent by") and
/// 3.15.2.1.
fn codes_of_clients(first: u8) -> &'static [u8] {
    match first {
        0x40 | 0x50 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        0x62 | 0x70 => &[0x00, 0x92],
        0xe0 => &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99],
        _ => &[],
    }
}

fn reason_codes() -> Vec<Case> {
    let mut cases = Vec::new();
    for sample in from_clients(V5) {
        for (index, field) in sample.fields.iter().enumerate() {
            if !matches!(field, Field::Code(_)) {
                continue;
            }
            for code in 0..=255 {
                let allowed = codes_of_clients(sample.first).contains(&code);
                let expect = if allowed { sample.valid } else { PROTOCOL_ERROR };
                let name = format!("{} with code {code:02x}", sample.name);
                cases.push(case(name.clone(), V5, sample.when, sample.with(index, &[code]), expect));
                // AUTH has no form without properties but the empty one.
                if sample.first != 0xf0 {
                    let before: Vec<u8> = sample.fields[..index].iter().flat_map(Field::bytes).collect();
                    let bytes = framed(sample.first, &[before, vec![code]].concat());
                    cases.push(case(format!("short {name}"), V5, sample.when, bytes, expect));
                }
            }
        }
    }
    cases
}

/// A CONNECT with these flags and exactly the fields that they announce.
fn connect(version: Version, flags: u8, fields: u8) -> Vec<u8> {
    let mut body = sized(version.protocol_name().as_bytes());
    body.extend([version.level(), flags, 0, 60]);
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    body.extend(properties);
    body.extend(sized(b"c"));
    if fields & 0x04 != 0 {
        body.extend(properties);
        body.extend([sized(b"w"), sized(b"will")].concat());
    }
    for (flag, text) in [(0x80, "ann"), (0x40, "secret")] {
        body.extend(if fields & flag != 0 { sized(text.as_bytes()) } else { Vec::new() });
    }
    framed(0x10, &body)
}

/// Section 3.1.2.3 and, for 3.1.1, MQTT-3.1.2-22; 3.1 disregards what has no meaning.
fn flags_allowed(version: Version, flags: u8) -> bool {
    let will = flags & 0x04 != 0;
    let (will_qos, will_retain) = (flags >> 3 & 0b11, flags & 0x20 != 0);
    let (password, user_name) = (flags & 0x40 != 0, flags & 0x80 != 0);
    let will_fits = if will { will_qos < 3 } else { will_qos == 0 && !will_retain };
    match version {
        V5 => flags & 1 == 0 && will_fits,
        V311 => flags & 1 == 0 && will_fits && (user_name || !password),
        V31 => (!will || will_fits) && (user_name || !password),
    }
}

fn connect_flags() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        for flags in 0..=255 {
            let expect = if flags_allowed(version, flags) { Expect::Open } else { MALFORMED };
            let name = format!("connect flags {flags:08b}");
            cases.push(case(name, version, When::First, connect(version, flags, flags), expect));
        }
        // A field that the flags do not announce, or one that they do and that is not there.
        for (flags, fields) in
            [(0x02, 0x06), (0x02, 0x82), (0x82, 0xc2), (0x06, 0x02), (0x82, 0x02), (0xc2, 0x82)]
        {
            let overruled = version == V31 && flags & 0x80 != 0 && flags > fields;
            let expect = if overruled { Expect::Open } else { MALFORMED };
            let name = format!("connect flags {flags:08b} for {fields:08b}");
            cases.push(case(name, version, When::First, connect(version, flags, fields), expect));
        }
    }
    cases
}

/// Every level under both names: only three pairs are a version.
fn versions() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, levels) in
        [("MQTT", [4, 5].as_slice()), ("MQIsdp", &[3]), ("MQTX", &[]), ("mqtt", &[]), ("", &[])]
    {
        for level in 0..=255 {
            let version = match level {
                3 => V31,
                5 if name == "MQTT" => V5,
                _ => V311,
            };
            let mut body = sized(name.as_bytes());
            body.extend([level, 0x02, 0, 60]);
            body.extend(if level == 5 { [0].as_slice() } else { &[] });
            body.extend(sized(b"c"));
            let known = levels.contains(&level);
            let (version, expect) =
                if known { (version, Expect::Open) } else { (V311, Expect::Breach(0x84)) };
            cases.push(case(format!("{name} {level}"), version, When::First, framed(0x10, &body), expect));
        }
    }
    cases
}

fn client_ids() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        for (length, clean, expect) in [
            (1, 0x02, Expect::Open),
            (24, 0x02, Expect::Open),
            (CLIENT_ID_BYTES_MAX, 0x02, Expect::Open),
            (CLIENT_ID_BYTES_MAX + 1, 0x02, Expect::Breach(0x85)),
            (65_535, 0x02, Expect::Breach(0x85)),
            (0, 0x02, if version == V31 { Expect::Refused(0x85) } else { Expect::Open }),
            (0, 0x00, if version == V5 { Expect::Open } else { Expect::Refused(0x85) }),
        ] {
            let mut body = sized(version.protocol_name().as_bytes());
            body.extend([version.level(), clean, 0, 60]);
            body.extend(if version.is_v5() { [0].as_slice() } else { &[] });
            body.extend(sized(&vec![b'i'; length]));
            let name = format!("client id of {length} bytes, flags {clean}");
            cases.push(case(name, version, When::First, framed(0x10, &body), expect));
        }
    }
    cases
}

/// Every options byte of a subscription (section 3.8.3.1), of one of our own and of a shared one.
fn subscription_options() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in Version::ALL {
        for options in 0..=255_u8 {
            for (filter, shared) in [("a", false), ("$share/g/a", true)] {
                let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
                let head = [&[0, 1], properties].concat();
                let body = [head, sized(filter.as_bytes()), vec![options]].concat();
                let expect = if version.is_v5() {
                    options_of_v5(options, shared)
                } else if options > 2 {
                    MALFORMED
                } else {
                    Expect::Open
                };
                let name = format!("options {options:08b} of {filter}");
                cases.push(case(name, version, When::Connected, framed(0x82, &body), expect));
            }
        }
    }
    cases
}

fn options_of_v5(options: u8, shared: bool) -> Expect {
    let (qos, no_local, retain_handling) = (options & 0b11, options & 0b100 != 0, options >> 4 & 0b11);
    if options & 0b1100_0000 != 0 {
        MALFORMED
    } else if qos == 3 || retain_handling == 3 || no_local && shared {
        PROTOCOL_ERROR
    } else {
        Expect::Open
    }
}

/// Binary fields hold anything, also what would be no text.
fn binary() -> Vec<Case> {
    let mut cases = Vec::new();
    for sample in all() {
        for (index, field) in sample.fields.iter().enumerate() {
            let content = |bytes: &[u8]| match field {
                Field::Binary(_) => Some(sized(bytes)),
                Field::Payload(_) => Some(bytes.to_vec()),
                _ => None,
            };
            // The payload of the samples is said to be UTF-8, which nobody checks unless asked to.
            for bytes in bad_texts().into_iter().chain([Vec::new()]) {
                let Some(content) = content(&bytes) else { continue };
                let name = format!("{} with data {bytes:02x?}", sample.name);
                cases.push(case(
                    name,
                    sample.version,
                    sample.when,
                    sample.with(index, &content),
                    sample.valid,
                ));
            }
        }
    }
    cases
}

pub fn cases() -> Vec<Case> {
    [
        texts(),
        topics(),
        filters(),
        packet_ids(),
        reason_codes(),
        connect_flags(),
        versions(),
        client_ids(),
        subscription_options(),
        binary(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn text_that_is_no_utf8() {
    judge(&texts());
}

#[test]
fn topic_names() {
    judge(&topics());
}

#[test]
fn topic_filters() {
    judge(&filters());
}

#[test]
fn packet_identifiers() {
    judge(&packet_ids());
}

#[test]
fn reason_codes_of_clients() {
    judge(&reason_codes());
}

#[test]
fn connect_flags_and_their_fields() {
    judge(&connect_flags());
}

#[test]
fn protocol_names_and_levels() {
    judge(&versions());
}

#[test]
fn client_identifiers() {
    judge(&client_ids());
}

#[test]
fn options_of_subscriptions() {
    judge(&subscription_options());
}

#[test]
fn binary_data_is_anything() {
    judge(&binary());
}
