//! What clients put into their messages, made from the message's number, so that every receiver can tell what it must find.

use super::ledger::{MessageId, Published};
use super::topics::TOPICS;
use crate::wire::{PublishProperties, UserProperties};

const PAYLOAD_FORMAT: u8 = 1;
const RESPONSE_TOPIC: u8 = 1 << 1;
const CORRELATION_DATA: u8 = 1 << 2;
const CONTENT_TYPE: u8 = 1 << 3;
/// The number of user properties stands above this.
const USER_SHIFT: u8 = 4;

/// Keys repeat, values are empty, nothing is in alphabetical order.
const USER: [(&str, &str); 5] = [("k", "2"), ("k", "1"), ("", ""), ("größe", "ß"), ("a", "")];
/// Content types.
const TYPES: [&str; 3] = ["text/plain", "", "x/größe"];

/// All properties, and all user properties.
pub const EVERYTHING: u8 = 1 << USER_SHIFT | 0xf;

/// The number of the message, then as many filler bytes as asked for.
pub fn payload_of(id: MessageId, filler: usize) -> Vec<u8> {
    let number = id.to_be_bytes();
    let mut payload = number.to_vec();
    payload.resize(4 + filler, number[3]);
    payload
}

/// The properties of the message `id` that are forwarded: those that `message` has, from what its `payload` is. The rest is the default.
pub fn properties_of<'a>(id: MessageId, message: &Published, payload: &'a [u8]) -> PublishProperties<'a> {
    let has = |property: u8| message.properties & property != 0;
    let number = id as usize;
    let user = usize::from(message.properties >> USER_SHIFT) * (1 + number % USER.len());
    PublishProperties {
        payload_format_utf8: has(PAYLOAD_FORMAT).then(|| std::str::from_utf8(payload).is_ok()),
        response_topic: has(RESPONSE_TOPIC).then(|| TOPICS[number % TOPICS.len()]),
        correlation_data: has(CORRELATION_DATA).then(|| &payload[..number % 5]),
        content_type: has(CONTENT_TYPE).then(|| TYPES[number % TYPES.len()]),
        user: UserProperties::from_pairs(&USER[..user]),
        ..PublishProperties::default()
    }
}

/// Whether `found` forwards what `expected` has, unaltered and in the same order.
pub fn are_forwarded(found: &PublishProperties<'_>, expected: &PublishProperties<'_>) -> bool {
    found.payload_format_utf8 == expected.payload_format_utf8
        && found.response_topic == expected.response_topic
        && found.correlation_data == expected.correlation_data
        && found.content_type == expected.content_type
        && found.user == expected.user
}
