//! What each packet must not look like, and which breach it is.

use shardmq_shards::base::limits::{CLIENT_ID_BYTES_MAX, TOPIC_BYTES_MAX, USER_PROPERTIES_BYTES_MAX};
use shardmq_shards::wire::Version::{V5, V31, V311};
use shardmq_shards::wire::{Packet, Split, Version, Violation, Violation as V, split};
use std::collections::HashSet;

/// One case: version, first byte, body.
type Case = (Version, u8, Vec<u8>, Violation);

fn receive(version: Version, first: u8, body: &[u8]) -> Result<(), Violation> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend_from_slice(body);
    match split(&bytes, 64 * 1024)? {
        Split::Whole(frame) => Packet::decode(frame, version).map(drop),
        Split::Partial { .. } => panic!("the frame is whole"),
    }
}

/// A field of two length bytes and `fill` repeated.
fn field(fill: u8, bytes: usize) -> Vec<u8> {
    let mut field = (bytes as u16).to_be_bytes().to_vec();
    field.resize(2 + bytes, fill);
    field
}

/// `before`, the properties behind their length (below 128 bytes), `after`.
fn with_properties(before: &[u8], properties: &[u8], after: &[u8]) -> Vec<u8> {
    [before, &[properties.len() as u8], properties, after].concat()
}

#[track_caller]
fn check(cases: &[Case]) {
    for (version, first, body, violation) in cases {
        assert_eq!(receive(*version, *first, body), Err(*violation), "{version} {first:02x} {body:02x?}");
    }
}

fn case(version: Version, first: u8, body: &[u8], violation: Violation) -> Case {
    (version, first, body.to_vec(), violation)
}

fn frames() -> Vec<Case> {
    vec![
        case(V5, 0x00, b"", V::PacketTypeReserved),
        case(V311, 0xf0, b"", V::PacketTypeReserved),
        case(V31, 0xf0, b"", V::PacketTypeReserved),
        case(V5, 0x11, b"", V::FlagsReserved),
        case(V311, 0x60, b"\0\x01", V::FlagsReserved),
        case(V5, 0x80, b"\0\x01\0\0\x01a\0", V::FlagsReserved),
        case(V311, 0xa0, b"\0\x01\0\x01a", V::FlagsReserved),
        case(V311, 0x36, b"\0\x01a\0\x01", V::QosReserved),
        case(V311, 0x38, b"\0\x01a", V::DupWithoutQos),
        case(V5, 0xc0, b"\0", V::TrailingBytes),
        case(V311, 0xd0, b"\0", V::TrailingBytes),
        case(V311, 0x30, &[0; 64 * 1024], V::PacketTooLarge),
    ]
}

fn connects() -> Vec<Case> {
    let v5 = |properties: &[u8]| with_properties(b"\0\x04MQTT\x05\x02\0\0", properties, b"\0\x01c");
    let long_id = [b"\0\x04MQTT\x04\x02\0\0".as_slice(), &field(b'c', CLIENT_ID_BYTES_MAX + 1)].concat();
    vec![
        case(V5, 0x10, b"", V::FieldTruncated),
        case(V5, 0x10, b"\0\x04MQT", V::FieldTruncated),
        case(V5, 0x10, b"\0\x04MQTX\x04\x02\0\0\0\x01c", V::ProtocolNameUnknown),
        case(V5, 0x10, b"\0\x04mqtt\x04\x02\0\0\0\x01c", V::ProtocolNameUnknown),
        case(V5, 0x10, b"\0\x04MQTT\x03\x02\0\0\0\x01c", V::UnsupportedProtocolVersion),
        case(V5, 0x10, b"\0\x04MQTT\x06\x02\0\0\0\x01c", V::UnsupportedProtocolVersion),
        case(V5, 0x10, b"\0\x04MQTT\x84\x02\0\0\0\x01c", V::UnsupportedProtocolVersion),
        case(V5, 0x10, b"\0\x06MQIsdp\x04\x02\0\0\0\x01c", V::UnsupportedProtocolVersion),
        case(V5, 0x10, b"\0\x04MQTT\x04\x03\0\0\0\x01c", V::ConnectFlagReserved),
        case(V5, 0x10, b"\0\x04MQTT\x04\x0a\0\0\0\x01c", V::WillQosWithoutWill),
        case(V5, 0x10, b"\0\x04MQTT\x04\x22\0\0\0\x01c", V::WillRetainWithoutWill),
        case(V5, 0x10, b"\0\x04MQTT\x04\x1e\0\0\0\x01c\0\x01w\0\0", V::WillQosReserved),
        case(V5, 0x10, b"\0\x04MQTT\x04\x42\0\0\0\x01c\0\x01p", V::PasswordWithoutUserName),
        case(V5, 0x10, b"\0\x06MQIsdp\x03\x42\0\0\0\x01c\0\x01p", V::PasswordWithoutUserName),
        case(V5, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01c!", V::TrailingBytes),
        case(V5, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x02c", V::FieldTruncated),
        case(V5, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01\xff", V::StringNotUtf8),
        case(V5, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01\0", V::StringHasNul),
        // U+D800 as three bytes: a surrogate is not UTF-8.
        case(V5, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x03\xed\xa0\x80", V::StringNotUtf8),
        // An overlong encoding of "/".
        case(V5, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x02\xc0\xaf", V::StringNotUtf8),
        case(V5, 0x10, b"\0\x04MQTT\x04\x06\0\0\0\x01c\0\0\0\0", V::TopicEmpty),
        case(V5, 0x10, b"\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01#\0\0", V::TopicHasWildcard),
        case(V5, 0x10, b"\0\x04MQTT\x04\x82\0\0\0\x01c\0\x01\xff", V::StringNotUtf8),
        case(V5, 0x10, &long_id, V::ClientIdTooLong),
        case(V5, 0x10, &v5(b"\x21\0\0"), V::ReceiveMaximumZero),
        case(V5, 0x10, &v5(b"\x27\0\0\0\0"), V::MaximumPacketSizeZero),
        case(V5, 0x10, &v5(b"\x17\x02"), V::BooleanInvalid),
        case(V5, 0x10, &v5(b"\x19\x02"), V::BooleanInvalid),
        case(V5, 0x10, &v5(b"\x16\0\x01d"), V::AuthDataWithoutMethod),
        case(V5, 0x10, &v5(b"\x11\0\0\0\x01\x11\0\0\0\x01"), V::PropertyDuplicate),
        case(V5, 0x10, &v5(b"\x18\0\0\0\x01"), V::PropertyMisplaced),
        case(V5, 0x10, &v5(b"\x04\0"), V::PropertyUnknown),
        case(V5, 0x10, &v5(b"\x11\0\0\0"), V::FieldTruncated),
        case(V5, 0x10, &v5(b"\x26\0\x01k"), V::FieldTruncated),
        case(V5, 0x10, &v5(b"\x26\0\x01k\0\x01\0"), V::StringHasNul),
        case(V5, 0x10, b"\0\x04MQTT\x05\x02\0\0\x09\0\x01c", V::FieldTruncated),
    ]
}

fn wills() -> Vec<Case> {
    let v5 =
        |properties: &[u8]| with_properties(b"\0\x04MQTT\x05\x06\0\0\0\0\x01c", properties, b"\0\x01w\0\0");
    vec![
        case(V5, 0x10, &v5(b"\x01\x02"), V::PayloadFormatInvalid),
        case(V5, 0x10, &v5(b"\x23\0\x01"), V::PropertyMisplaced),
        case(V5, 0x10, &v5(b"\x18\0\0\0\0\x18\0\0\0\0"), V::PropertyDuplicate),
        case(V5, 0x10, &v5(b"\x08\0\x01+"), V::ResponseTopicInvalid),
    ]
}

fn connacks() -> Vec<Case> {
    let v5 = |properties: &[u8]| with_properties(b"\0\0", properties, b"");
    vec![
        case(V311, 0x20, b"\x02\0", V::ConnackFlagsReserved),
        case(V311, 0x20, b"\0\x06", V::ConnackReturnCodeReserved),
        case(V31, 0x20, b"\0\xff", V::ConnackReturnCodeReserved),
        case(V311, 0x20, b"\x01\x02", V::SessionPresentOnRefusal),
        case(V5, 0x20, b"\x01\x84\0", V::SessionPresentOnRefusal),
        case(V5, 0x20, b"\0\x01\0", V::ReasonCodeInvalid),
        case(V5, 0x20, b"\0\x03\0", V::ReasonCodeInvalid),
        case(V311, 0x20, b"\0\0\0", V::TrailingBytes),
        case(V5, 0x20, b"\0\0", V::FieldTruncated),
        case(V5, 0x20, &v5(b"\x24\x02"), V::MaximumQosInvalid),
        case(V5, 0x20, &v5(b"\x24\x01\x24\x01"), V::PropertyDuplicate),
        case(V5, 0x20, &v5(b"\x25\x02"), V::BooleanInvalid),
        case(V5, 0x20, &v5(b"\x28\x02"), V::BooleanInvalid),
        case(V5, 0x20, &v5(b"\x29\x02"), V::BooleanInvalid),
        case(V5, 0x20, &v5(b"\x2a\x02"), V::BooleanInvalid),
        case(V5, 0x20, &v5(b"\x21\0\0"), V::ReceiveMaximumZero),
        case(V5, 0x20, &v5(b"\x17\0"), V::PropertyMisplaced),
    ]
}

fn publishes() -> Vec<Case> {
    let v5 = |properties: &[u8]| with_properties(b"\0\x01t", properties, b"payload");
    let pairs = USER_PROPERTIES_BYTES_MAX / 100 + 1;
    let pair = [b"\x26\0\x01k".as_slice(), &field(b'v', 94)].concat();
    let length = pairs * pair.len();
    let too_many = [b"\0\x01t".as_slice(), &[length as u8 | 0x80, (length >> 7) as u8], &pair.repeat(pairs)];
    vec![
        case(V311, 0x30, b"", V::FieldTruncated),
        case(V311, 0x30, b"\0\x02t", V::FieldTruncated),
        case(V311, 0x30, b"\0\0", V::TopicEmpty),
        case(V5, 0x30, b"\0\0\0", V::TopicMissing),
        case(V311, 0x30, b"\0\x03a/+", V::TopicHasWildcard),
        case(V5, 0x30, b"\0\x03a#b\0", V::TopicHasWildcard),
        case(V311, 0x30, b"\0\x03a\0b", V::StringHasNul),
        case(V311, 0x30, b"\0\x01\xff", V::StringNotUtf8),
        case(V311, 0x30, &field(b't', TOPIC_BYTES_MAX + 1), V::TopicTooLong),
        case(V311, 0x32, b"\0\x01t\0\0", V::PacketIdZero),
        case(V5, 0x34, b"\0\x01t\0\0\0", V::PacketIdZero),
        case(V311, 0x32, b"\0\x01t\0", V::FieldTruncated),
        case(V5, 0x30, b"\0\x01t", V::FieldTruncated),
        case(V5, 0x30, b"\0\x01t\x05\x01\0", V::FieldTruncated),
        case(V5, 0x30, &v5(b"\x23\0\0"), V::TopicAliasZero),
        case(V5, 0x30, &v5(b"\x23\0\x01\x23\0\x01"), V::PropertyDuplicate),
        case(V5, 0x30, &v5(b"\x01\0\x01\0"), V::PropertyDuplicate),
        case(V5, 0x30, &v5(b"\x01\x02"), V::PayloadFormatInvalid),
        case(V5, 0x30, &v5(b"\x08\0\x03a/#"), V::ResponseTopicInvalid),
        case(V5, 0x30, &v5(b"\x08\0\0"), V::ResponseTopicInvalid),
        case(V5, 0x30, &v5(b"\x0b\0"), V::SubscriptionIdZero),
        case(V5, 0x30, &v5(b"\x0b\x81\0"), V::LengthNotMinimal),
        case(V5, 0x30, &v5(b"\x0b\xff\xff\xff\xff\x01"), V::LengthMalformed),
        case(V5, 0x30, &v5(b"\x81\0\0"), V::LengthNotMinimal),
        case(V5, 0x30, &v5(b"\x80\x01\0"), V::PropertyUnknown),
        case(V5, 0x30, &v5(b"\x11\0\0\0\0"), V::PropertyMisplaced),
        case(V5, 0x30, &v5(b"\x7f"), V::PropertyUnknown),
        case(V5, 0x30, &v5(b"\x03\0\x01\xff"), V::StringNotUtf8),
        case(V5, 0x30, b"\0\x01t\x80\0", V::LengthNotMinimal),
        case(V5, 0x30, b"\0\x01t\xff\xff\xff\xff\x01", V::LengthMalformed),
        case(V5, 0x30, &too_many.concat(), V::UserPropertiesTooLarge),
    ]
}

fn acknowledgements() -> Vec<Case> {
    let mut cases = Vec::new();
    for first in [0x40, 0x50, 0x62, 0x70] {
        cases.extend([
            case(V311, first, b"", V::FieldTruncated),
            case(V311, first, b"\0", V::FieldTruncated),
            case(V5, first, b"\0\0", V::PacketIdZero),
            case(V311, first, b"\0\x01\0", V::TrailingBytes),
            case(V5, first, b"\0\x01\x01", V::ReasonCodeInvalid),
            case(V5, first, b"\0\x01\xff", V::ReasonCodeInvalid),
            case(V5, first, b"\0\x01\0\x01", V::FieldTruncated),
            case(V5, first, b"\0\x01\0\0!", V::TrailingBytes),
            case(V5, first, b"\0\x01\0\x03\x23\0\x01", V::PropertyMisplaced),
            case(V5, first, b"\0\x01\0\x08\x1f\0\x01a\x1f\0\x01b", V::PropertyDuplicate),
        ]);
    }
    cases.extend([
        case(V5, 0x40, b"\0\x01\x92", V::ReasonCodeInvalid),
        case(V5, 0x62, b"\0\x01\x10", V::ReasonCodeInvalid),
    ]);
    cases
}

fn subscribes() -> Vec<Case> {
    let v5 = |properties: &[u8]| with_properties(b"\0\x01", properties, b"\0\x01a\0");
    vec![
        case(V311, 0x82, b"", V::FieldTruncated),
        case(V311, 0x82, b"\0\0\0\x01a\0", V::PacketIdZero),
        case(V311, 0x82, b"\0\x01", V::SubscribeWithoutFilter),
        case(V5, 0x82, b"\0\x01\0", V::SubscribeWithoutFilter),
        case(V311, 0x82, b"\0\x01\0\x01a", V::FieldTruncated),
        case(V311, 0x82, b"\0\x01\0\x01a\0\0", V::FieldTruncated),
        case(V311, 0x82, b"\0\x01\0\x01\xff\0", V::StringNotUtf8),
        case(V311, 0x82, b"\0\x01\0\x01\0\0", V::StringHasNul),
        case(V311, 0x82, b"\0\x01\0\x01a\x03", V::SubscriptionQosReserved),
        case(V311, 0x82, b"\0\x01\0\x01a\x04", V::SubscriptionOptionsReserved),
        case(V31, 0x82, b"\0\x01\0\x01a\x80", V::SubscriptionOptionsReserved),
        case(V5, 0x82, b"\0\x01\0\0\x01a\x40", V::SubscriptionOptionsReserved),
        case(V5, 0x82, b"\0\x01\0\0\x01a\x03", V::SubscriptionQosReserved),
        case(V5, 0x82, b"\0\x01\0\0\x01a\x30", V::RetainHandlingReserved),
        case(V5, 0x82, &v5(b"\x0b\0"), V::SubscriptionIdZero),
        case(V5, 0x82, &v5(b"\x0b\xff\xff\xff\xff\x7f"), V::LengthMalformed),
        case(V5, 0x82, &v5(b"\x0b\x01\x0b\x02"), V::PropertyDuplicate),
        case(V5, 0x82, &v5(b"\x1f\0\0"), V::PropertyMisplaced),
        case(V311, 0x90, b"\0\x01", V::AcknowledgementWithoutCode),
        case(V5, 0x90, b"\0\x01\0", V::AcknowledgementWithoutCode),
        case(V311, 0x90, b"\0\x01\x03", V::ReasonCodeInvalid),
        case(V311, 0x90, b"\0\x01\x8f", V::ReasonCodeInvalid),
        case(V5, 0x90, b"\0\x01\0\x11", V::ReasonCodeInvalid),
    ]
}

fn unsubscribes() -> Vec<Case> {
    vec![
        case(V311, 0xa2, b"\0\0\0\x01a", V::PacketIdZero),
        case(V311, 0xa2, b"\0\x01", V::UnsubscribeWithoutFilter),
        case(V5, 0xa2, b"\0\x01\0", V::UnsubscribeWithoutFilter),
        case(V311, 0xa2, b"\0\x01\0\x02a", V::FieldTruncated),
        case(V5, 0xa2, b"\0\x01\x02\x0b\x01\0\x01a", V::PropertyMisplaced),
        case(V311, 0xb0, b"\0\x01\0", V::TrailingBytes),
        case(V5, 0xb0, b"\0\x01\0", V::AcknowledgementWithoutCode),
        case(V5, 0xb0, b"\0\x01\0\x01", V::ReasonCodeInvalid),
    ]
}

fn endings() -> Vec<Case> {
    vec![
        case(V311, 0xe0, b"\0", V::TrailingBytes),
        case(V5, 0xe0, b"\x01", V::ReasonCodeInvalid),
        case(V5, 0xe0, b"\0\0!", V::TrailingBytes),
        case(V5, 0xe0, b"\0\x02\x25\0", V::PropertyMisplaced),
        case(V5, 0xe0, b"\0\x0a\x11\0\0\0\0\x11\0\0\0\0", V::PropertyDuplicate),
        case(V5, 0xf0, b"\x87\0", V::ReasonCodeInvalid),
        case(V5, 0xf0, b"\0", V::FieldTruncated),
        case(V5, 0xf0, b"\0\0!", V::TrailingBytes),
        case(V5, 0xf0, b"\0\x05\x11\0\0\0\0", V::PropertyMisplaced),
    ]
}

fn all() -> Vec<Case> {
    [
        frames(),
        connects(),
        wills(),
        connacks(),
        publishes(),
        acknowledgements(),
        subscribes(),
        unsubscribes(),
        endings(),
    ]
    .concat()
}

#[test]
fn each_case_is_its_violation() {
    check(&all());
}

/// Only the state of a connection shows these; the tests of the layers above produce them.
const OF_STATE: [Violation; 23] = [
    V::FirstPacketNotConnect,
    V::SecondConnect,
    V::PacketFromServer,
    V::ReceiveMaximumExceeded,
    V::TopicAliasTooLarge,
    V::TopicAliasUnknown,
    V::SubscriptionIdFromClient,
    V::TopicFilterInvalid,
    V::NoLocalOnShared,
    V::SessionExpiryRaised,
    V::ServerPropertyFromClient,
    V::QosNotAvailable,
    V::RetainNotAvailable,
    V::SubscriptionIdNotAvailable,
    V::SharedNotAvailable,
    V::WildcardNotAvailable,
    V::PayloadNotText,
    V::AuthUnexpected,
    V::AuthMethodMissing,
    V::AuthMethodChanged,
    V::AuthOutOfTurn,
    V::AuthDataTooLarge,
    V::PacketBeforeConnack,
];

#[test]
fn every_violation_of_the_codec_has_a_case() {
    let met: HashSet<_> = all().into_iter().map(|(_, _, _, violation)| violation).collect();
    let missing: Vec<_> =
        Violation::ALL.iter().filter(|v| !met.contains(v) && !OF_STATE.contains(v)).collect();
    assert_eq!(missing, [] as [&Violation; 0]);
    assert!(OF_STATE.iter().all(|violation| !met.contains(violation)));
}

/// The limits themselves are still accepted.
#[test]
fn a_limit_is_the_last_that_fits() {
    assert_eq!(receive(V311, 0x30, &field(b't', TOPIC_BYTES_MAX)), Ok(()));
    let id = [b"\0\x04MQTT\x04\x02\0\0".as_slice(), &field(b'c', CLIENT_ID_BYTES_MAX)].concat();
    assert_eq!(receive(V311, 0x10, &id), Ok(()));
    let value = field(b'v', USER_PROPERTIES_BYTES_MAX - 6);
    let user = [b"\x26\0\x01k".as_slice(), &value].concat();
    assert_eq!(user.len(), USER_PROPERTIES_BYTES_MAX);
    let length = [user.len() as u8 | 0x80, (user.len() >> 7) as u8];
    assert_eq!(receive(V5, 0x30, &[b"\0\x01t".as_slice(), &length, &user].concat()), Ok(()));
}
