//! A valid packet of every type and version, as the fields that it is made of.

use super::{Expect, PROTOCOL_ERROR, When};
use crate::verbs::*;
use shardmq_shards::wire::Version;

/// What a text stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    Plain,
    TopicName,
    TopicFilter,
}

/// Where properties stand, by the columns of section 2.2.2.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

/// A property: its identifier and the bytes of its value.
pub type Given = (u8, Vec<u8>);

/// One field.
#[derive(Clone, Debug)]
pub enum Field {
    /// Bytes that no rule here takes apart.
    Plain(Vec<u8>),
    PacketId(u16),
    Code(u8),
    Text(&'static str, Meaning, Vec<u8>),
    Binary(Vec<u8>),
    Properties(Place, Vec<Given>),
    /// The rest of the packet, of any length.
    Payload(Vec<u8>),
}

/// A packet and the rules of its end.
#[derive(Clone)]
pub struct Sample {
    pub name: &'static str,
    pub version: Version,
    pub when: When,
    pub first: u8,
    pub fields: Vec<Field>,
    /// What must follow when it is sent as it is.
    pub valid: Expect,
    /// After how many fields it may end, and be valid.
    pub ends: Vec<usize>,
    /// After how many fields it lacks its payload, which is a protocol error.
    pub without_payload: Option<usize>,
}

pub fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes(), bytes].concat()
}

/// Section 1.5.5, in as few bytes as it takes.
pub fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn property_bytes(given: &[Given]) -> Vec<u8> {
    given.iter().flat_map(|(id, value)| [variable(usize::from(*id)), value.clone()].concat()).collect()
}

/// A section: length and properties.
pub fn section(properties: &[u8]) -> Vec<u8> {
    [variable(properties.len()), properties.to_vec()].concat()
}

impl Field {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Field::Plain(bytes) | Field::Payload(bytes) => bytes.clone(),
            Field::PacketId(id) => id.to_be_bytes().to_vec(),
            Field::Code(code) => vec![*code],
            Field::Text(_, _, text) => sized(text),
            Field::Binary(data) => sized(data),
            Field::Properties(_, given) => section(&property_bytes(given)),
        }
    }
}

pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], variable(body.len()).as_slice(), body].concat()
}

impl Sample {
    pub fn body(&self) -> Vec<u8> {
        self.fields.iter().flat_map(Field::bytes).collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        framed(self.first, &self.body())
    }

    /// The packet with field `index` replaced by `bytes`.
    pub fn with(&self, index: usize, bytes: &[u8]) -> Vec<u8> {
        let before: Vec<u8> = self.fields[..index].iter().flat_map(Field::bytes).collect();
        let after: Vec<u8> = self.fields[index + 1..].iter().flat_map(Field::bytes).collect();
        framed(self.first, &[&before, bytes, &after].concat())
    }

    /// Whether it is one that a server must answer with a protocol error whatever stands in it.
    pub fn is_unexpected(&self) -> bool {
        self.valid == PROTOCOL_ERROR && self.first >> 4 != 15
    }

    fn ends_after(mut self, ends: &[usize]) -> Sample {
        self.ends = ends.to_vec();
        self
    }

    fn needs_payload_after(mut self, fields: usize) -> Sample {
        self.without_payload = Some(fields);
        self
    }
}

fn sample(name: &'static str, version: Version, first: u8, fields: Vec<Field>) -> Sample {
    let (ends, without_payload) = (Vec::new(), None);
    let (when, valid) = (When::Connected, Expect::Open);
    Sample { name, version, when, first, fields, valid, ends, without_payload }
}

fn text(name: &'static str, value: &str) -> Field {
    Field::Text(name, Meaning::Plain, value.into())
}

fn topic(name: &'static str, value: &str) -> Field {
    Field::Text(name, Meaning::TopicName, value.into())
}

fn filter(value: &str) -> Field {
    Field::Text("filter", Meaning::TopicFilter, value.into())
}

fn user() -> Given {
    (0x26, [sized(b"key"), sized(b"value")].concat())
}

/// CONNECT with all that it can have.
fn connect(version: Version) -> Sample {
    let level = version.level();
    let flags = 0b1110_1110;
    let mut fields =
        vec![Field::Plain([&*sized(version.protocol_name().as_bytes()), &[level, flags, 0, 60]].concat())];
    if version.is_v5() {
        let given = vec![
            (0x11, vec![0, 0, 0, 9]),
            (0x21, vec![0, 9]),
            (0x27, vec![0, 1, 0, 0]),
            (0x22, vec![0, 9]),
            (0x19, vec![1]),
            (0x17, vec![0]),
            user(),
        ];
        fields.push(Field::Properties(Place::Connect, given));
    }
    fields.push(text("client id", "c"));
    if version.is_v5() {
        let given = vec![
            (0x18, vec![0, 0, 0, 1]),
            (0x01, vec![1]),
            (0x02, vec![0, 0, 0, 9]),
            (0x03, sized(b"type")),
            (0x08, sized(b"reply")),
            (0x09, sized(b"data")),
            user(),
        ];
        fields.push(Field::Properties(Place::Will, given));
    }
    fields.push(topic("will topic", "w/t"));
    fields.push(Field::Binary(b"will".to_vec()));
    let before_names = fields.len();
    fields.push(text("user name", "ann"));
    fields.push(Field::Binary(b"secret".to_vec()));
    let connect = Sample { when: When::First, ..sample("CONNECT", version, 0x10, fields) };
    // MQTT 3.1: the remaining length overrules the flags of user name and password.
    let ends = [before_names, before_names + 1];
    if version == V31 { connect.ends_after(&ends) } else { connect }
}

fn publish(version: Version, name: &'static str, qos: u8) -> Sample {
    let mut fields = vec![topic("topic name", "a/b")];
    if qos > 0 {
        fields.push(Field::PacketId(7));
    }
    if version.is_v5() {
        let given = vec![
            (0x01, vec![1]),
            (0x02, vec![0, 0, 0, 9]),
            (0x23, vec![0, 32]),
            (0x08, sized(b"reply")),
            (0x09, sized(b"data")),
            user(),
            (0x03, sized(b"type")),
        ];
        fields.push(Field::Properties(Place::Publish, given));
    }
    let before_payload = fields.len();
    fields.push(Field::Payload(b"payload".to_vec()));
    sample(name, version, 0x30 | qos << 1, fields).ends_after(&[before_payload])
}

fn acknowledgement(version: Version, name: &'static str, first: u8) -> Sample {
    if !version.is_v5() {
        return sample(name, version, first, vec![Field::PacketId(9)]);
    }
    let given = vec![(0x1f, sized(b"reason")), user()];
    let fields = vec![Field::PacketId(9), Field::Code(0), Field::Properties(Place::Acknowledgement, given)];
    sample(name, version, first, fields).ends_after(&[1, 2])
}

fn subscribe(version: Version) -> Sample {
    let mut fields = vec![Field::PacketId(9)];
    if version.is_v5() {
        fields.push(Field::Properties(Place::Subscribe, vec![(0x0b, vec![0x80, 0x01]), user()]));
    }
    let head = fields.len();
    fields.extend([filter("s/+"), Field::Plain(vec![1]), filter("s/#"), Field::Plain(vec![2])]);
    sample("SUBSCRIBE", version, 0x82, fields).ends_after(&[head + 2]).needs_payload_after(head)
}

fn unsubscribe(version: Version) -> Sample {
    let mut fields = vec![Field::PacketId(9)];
    if version.is_v5() {
        fields.push(Field::Properties(Place::Unsubscribe, vec![user()]));
    }
    let head = fields.len();
    fields.extend([filter("s/+"), filter("s/#")]);
    sample("UNSUBSCRIBE", version, 0xa2, fields).ends_after(&[head + 1]).needs_payload_after(head)
}

fn disconnect(version: Version) -> Sample {
    let mut fields = Vec::new();
    if version.is_v5() {
        let given = vec![(0x11, vec![0, 0, 0, 0]), (0x1f, sized(b"reason")), user()];
        fields = vec![Field::Code(0), Field::Properties(Place::Disconnect, given)];
    }
    let disconnect = Sample { valid: Expect::Ends, ..sample("DISCONNECT", version, 0xe0, fields) };
    if version.is_v5() { disconnect.ends_after(&[0, 1]) } else { disconnect }
}

/// AUTH, which nobody asked for: a CONNECT without authentication method allows none (MQTT-4.12.0-7).
fn auth() -> Sample {
    let given = vec![(0x15, sized(b"method")), (0x16, sized(b"data")), (0x1f, sized(b"reason")), user()];
    let fields = vec![Field::Code(0x18), Field::Properties(Place::Auth, given)];
    Sample { valid: PROTOCOL_ERROR, ..sample("AUTH", V5, 0xf0, fields).ends_after(&[0]) }
}

/// The packets that only a server sends: a protocol error whatever is in them.
pub fn from_servers(version: Version) -> Vec<Sample> {
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let plain = |bytes: &[u8]| vec![Field::Plain([bytes, properties].concat())];
    let unsuback = if version.is_v5() { plain(&[0, 9]) } else { vec![Field::Plain(vec![0, 9])] };
    let codes = if version.is_v5() { vec![Field::Plain(vec![0])] } else { Vec::new() };
    let suback = [plain(&[0, 9]), vec![Field::Plain(vec![0])]].concat();
    let packets = vec![
        sample("CONNACK", version, 0x20, plain(&[0, 0])),
        sample("SUBACK", version, 0x90, suback),
        sample("UNSUBACK", version, 0xb0, [unsuback, codes].concat()),
        sample("PINGRESP", version, 0xd0, Vec::new()),
    ];
    packets.into_iter().map(|packet| Sample { valid: PROTOCOL_ERROR, ..packet }).collect()
}

/// One of every packet that a client of `version` can send.
pub fn from_clients(version: Version) -> Vec<Sample> {
    let mut packets = vec![
        connect(version),
        publish(version, "PUBLISH 0", 0),
        publish(version, "PUBLISH 1", 1),
        publish(version, "PUBLISH 2", 2),
        acknowledgement(version, "PUBACK", 0x40),
        acknowledgement(version, "PUBREC", 0x50),
        acknowledgement(version, "PUBREL", 0x62),
        acknowledgement(version, "PUBCOMP", 0x70),
        subscribe(version),
        unsubscribe(version),
        sample("PINGREQ", version, 0xc0, Vec::new()),
        disconnect(version),
    ];
    packets.extend(version.is_v5().then(auth));
    packets
}

pub fn all() -> Vec<Sample> {
    Version::ALL
        .into_iter()
        .flat_map(|version| [from_clients(version), from_servers(version)].concat())
        .collect()
}

/// Which field of `sample` holds its properties of `place`.
pub fn properties_of(sample: &Sample) -> Vec<(usize, Place, Vec<Given>)> {
    let fields = sample.fields.iter().enumerate();
    let found = fields.filter_map(|(index, field)| match field {
        Field::Properties(place, given) => Some((index, *place, given.clone())),
        _ => None,
    });
    found.collect()
}
