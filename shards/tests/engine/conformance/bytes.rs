//! Packets as bytes, written and read without the codec under test.

use crate::world::{Client, World};
use shardmq_shards::wire::Version;

/// A packet that the broker sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Type and flags.
    pub first: u8,
    /// Bytes of the remaining length.
    pub length_bytes: usize,
    pub body: Vec<u8>,
}

impl Sent {
    /// The type in the upper half of the first byte.
    pub fn packet_type(&self) -> u8 {
        self.first >> 4
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        1 + self.length_bytes + self.body.len()
    }

    /// The packet id of a packet whose body begins with it.
    pub fn leading_id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }
}

/// A variable byte integer: value and bytes taken.
pub fn variable_integer(bytes: &[u8]) -> (usize, usize) {
    let count = bytes.iter().position(|byte| byte & 0x80 == 0).expect("it ends") + 1;
    let value = bytes[..count].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, count)
}

/// All that the broker has sent to `client` since it was last read.
pub fn sent(w: &mut World, client: Client) -> Vec<Sent> {
    w.run();
    let bytes = std::mem::take(&mut w.wires[client.0].from_broker);
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while let Some((&first, behind)) = rest.split_first() {
        let (length, length_bytes) = variable_integer(behind);
        let (body, next) = behind[length_bytes..].split_at(length);
        found.push(Sent { first, length_bytes, body: body.into() });
        rest = next;
    }
    found
}

/// Length and content, as strings and binary data are written.
pub fn field(content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as u16).to_be_bytes().to_vec();
    bytes.extend(content);
    bytes
}

/// A packet of less than 128 bytes or, with a longer length, of less than 16,384.
pub fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = vec![first];
    match body.len() {
        length @ ..0x80 => bytes.push(length as u8),
        length @ ..0x4000 => bytes.extend([length as u8 | 0x80, (length >> 7) as u8]),
        length => panic!("{length} bytes are more than a test needs"),
    }
    bytes.extend(body);
    bytes
}

/// What `version` has where v5 has no properties.
pub fn no_properties(version: Version) -> &'static [u8] {
    if version.is_v5() { &[0] } else { &[] }
}

/// A CONNECT without properties, with these flags and this payload.
pub fn connect(version: Version, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let name = field(version.protocol_name().as_bytes());
    let keep_alive = [0, 0];
    let head: [&[u8]; 4] = [&name, &[version.level(), flags], &keep_alive, no_properties(version)];
    packet(0x10, &[&head.concat(), &payload.concat()])
}

/// Connect flags: clean start, will, user name, password.
pub const CLEAN: u8 = 0b10;
pub const WILL: u8 = 0b100;
pub const USER_NAME: u8 = 0x80;
pub const PASSWORD: u8 = 0x40;

/// A socket of `version` on shard 0 with `bytes` sent.
pub fn dial(w: &mut World, version: Version, bytes: &[u8]) -> Client {
    let client = w.arrive(0, 0, version);
    w.send_bytes(client, bytes);
    client
}

/// A CONNECT that must be refused as malformed: v5 may be told so, then the connection closes; nothing else is sent and no session stays.
pub fn is_malformed(version: Version, bytes: &[u8]) {
    let mut w = World::new(1);
    let client = dial(&mut w, version, bytes);
    let expected: &[&str] = if version.is_v5() { &["CONNACK 81", "closed"] } else { &["closed"] };
    assert_eq!(w.read(client), expected, "{version}: {bytes:02x?}");
    assert_eq!(w.shard(0).sizes().sessions, 0);
}

/// A CONNECT that must be accepted.
pub fn is_accepted(version: Version, bytes: &[u8]) {
    let mut w = World::new(1);
    let client = dial(&mut w, version, bytes);
    assert_eq!(w.read(client), ["CONNACK 00"], "{version}: {bytes:02x?}");
}

/// The properties of a section, length first, that stands at the front of `bytes`: identifier and value of each.
pub fn properties(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (length, length_bytes) = variable_integer(bytes);
    let mut rest = &bytes[length_bytes..length_bytes + length];
    let mut found = Vec::new();
    while let Some((&id, value)) = rest.split_first() {
        let string = |at: usize| 2 + usize::from(u16::from_be_bytes([value[at], value[at + 1]]));
        let value_bytes = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => 1,
            0x13 | 0x21..=0x23 => 2,
            0x02 | 0x11 | 0x18 | 0x27 => 4,
            0x0b => variable_integer(value).1,
            0x26 => string(0) + string(string(0)),
            _ => string(0),
        };
        let (value, next) = value.split_at(value_bytes);
        found.push((id, value.into()));
        rest = next;
    }
    found
}

pub const RESPONSE_INFORMATION: u8 = 0x1a;
pub const REASON_STRING: u8 = 0x1f;
pub const MAXIMUM_QOS: u8 = 0x24;
pub const USER_PROPERTY: u8 = 0x26;

impl Sent {
    /// The properties of a packet of v5 that has some: identifier and value of each.
    pub fn properties(&self) -> Vec<(u8, Vec<u8>)> {
        let at = match self.packet_type() {
            3 => {
                let topic = 2 + usize::from(self.leading_id());
                topic + if self.first & 0b110 == 0 { 0 } else { 2 }
            }
            // Packet id and reason, packet id, reason.
            4..=7 => 3,
            2 | 9 | 11 => 2,
            14 | 15 => 1,
            _ => return Vec::new(),
        };
        if self.body.len() <= at { Vec::new() } else { properties(&self.body[at..]) }
    }

    /// The value of a property.
    pub fn property(&self, wanted: u8) -> Option<Vec<u8>> {
        self.properties().into_iter().find(|(id, _)| *id == wanted).map(|(_, value)| value)
    }
}
