//! What breaks the protocol ends its own connection, with the right word, and nobody else's.

use crate::broker::{Broker, Driver, Setup};
use crate::client::{Client, Ended};
use shardmq_shards::wire::{Connect, QoS, ReasonCode, Version, Violation};

crate::on_both_drivers![
    malformed_packets_end_their_own_connection_only,
    before_connect_nothing_else_is_heard,
    a_connect_that_is_wrong_is_refused,
    a_huge_length_costs_no_memory,
];

/// What a connected client sends, and the breach that it is.
const BREACHES: &[(&str, &[u8], Violation)] = &[
    ("a second CONNECT", b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", Violation::SecondConnect),
    ("a CONNACK", b"\x20\x03\x00\x00\x00", Violation::PacketFromServer),
    ("a SUBACK", b"\x90\x04\x00\x01\x00\x00", Violation::PacketFromServer),
    ("a PINGRESP", b"\xd0\x00", Violation::PacketFromServer),
    ("reserved packet type 0", b"\x00\x00", Violation::PacketTypeReserved),
    ("QoS 3", b"\x36\x06\x00\x01a\x00\x01\x00", Violation::QosReserved),
    ("DUP at QoS 0", b"\x38\x04\x00\x01a\x00", Violation::DupWithoutQos),
    ("PINGREQ with flags", b"\xc1\x00", Violation::FlagsReserved),
    ("SUBSCRIBE with wrong flags", b"\x80\x07\x00\x01\x00\x00\x01a\x00", Violation::FlagsReserved),
    ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01", Violation::LengthMalformed),
    ("a packet above the limit", b"\x30\x81\x80\x80\x01", Violation::PacketTooLarge),
    ("a topic that is not UTF-8", b"\x30\x05\x00\x02\xc3\x28\x00", Violation::StringNotUtf8),
    ("a topic with a surrogate", b"\x30\x06\x00\x03\xed\xa0\x80\x00", Violation::StringNotUtf8),
    ("a topic with U+0000", b"\x30\x06\x00\x03a\x00b\x00", Violation::StringHasNul),
    ("a topic with a wildcard", b"\x30\x06\x00\x03a/+\x00", Violation::TopicHasWildcard),
    ("a topic that is cut off", b"\x30\x03\x00\x09a", Violation::FieldTruncated),
    ("an unknown property", b"\x30\x06\x00\x01a\x02\x7f\x00", Violation::PropertyUnknown),
    ("topic alias 0", b"\x30\x07\x00\x01a\x03\x23\x00\x00", Violation::TopicAliasZero),
    ("an alias above the maximum", b"\x30\x07\x00\x01a\x03\x23\xff\xff", Violation::TopicAliasTooLarge),
    ("an alias without a topic", b"\x30\x06\x00\x00\x03\x23\x00\x07", Violation::TopicAliasUnknown),
    ("packet id 0", b"\x32\x06\x00\x01a\x00\x00\x00", Violation::PacketIdZero),
    ("SUBSCRIBE without a filter", b"\x82\x03\x00\x01\x00", Violation::SubscribeWithoutFilter),
    ("subscription to QoS 3", b"\x82\x07\x00\x01\x00\x00\x01a\x03", Violation::SubscriptionQosReserved),
    ("UNSUBSCRIBE without a filter", b"\xa2\x03\x00\x01\x00", Violation::UnsubscribeWithoutFilter),
    ("AUTH out of the blue", b"\xf0\x00", Violation::AuthUnexpected),
];

fn malformed_packets_end_their_own_connection_only(driver: Driver) {
    let broker = Setup::new(driver).start();
    let mut bystander = Client::connect(broker.address(), Version::V311, "bystander");
    bystander.subscribe("still/here", QoS::AtLeastOnce);
    let mut line = 0;
    for (what, bytes, violation) in BREACHES {
        let mut client = Client::connect(broker.address(), Version::V5, "culprit");
        client.try_send_bytes(bytes);
        assert_eq!(client.end(), Ended::Told(violation.reason()), "{what}");
        // The operator can see who did what, and which clause it breaks.
        let clause = format!("[{}]", violation.clause());
        broker.wait_for_log_after(line, what, |line| line.contains(&clause).then_some(()));
        line = broker.log().len();
    }
    // Version 3 has no word for it: the connection just ends.
    for bytes in [&b"\x36\x05\x00\x01a\x00\x01"[..], b"\x20\x02\x00\x00", b"\x00\x00"] {
        let mut client = Client::connect(broker.address(), Version::V311, "culprit");
        client.try_send_bytes(bytes);
        assert_eq!(client.end(), Ended::Silently);
    }
    deep_topic(&broker);
    bystander.publish("still/here", b"fine", QoS::AtLeastOnce);
    assert_eq!(bystander.receive().payload, b"fine");
}

fn deep_topic(broker: &Broker) {
    let mut client = Client::connect(broker.address(), Version::V5, "deep");
    let topic = "a/".repeat(1_000);
    let mut packet = vec![0x30, 0xd3, 0x0f];
    packet.extend_from_slice(&2_000_u16.to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    packet.push(0);
    client.try_send_bytes(&packet);
    assert_eq!(client.end(), Ended::Told(ReasonCode::TopicNameInvalid));
}

fn before_connect_nothing_else_is_heard(driver: Driver) {
    let broker = Setup::new(driver).start();
    let first: [&[u8]; 5] = [
        b"\xc0\x00",
        b"\x30\x03\x00\x01a",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff\xff",
        b"\x82\x06\x00\x01\x00\x01a\x00",
    ];
    for bytes in first {
        let mut client = Client::open(broker.address(), Version::V5);
        client.try_send_bytes(bytes);
        assert_eq!(client.end(), Ended::Silently, "{bytes:x?}");
    }
    Client::connect(broker.address(), Version::V5, "polite").ping();
}

fn a_connect_that_is_wrong_is_refused(driver: Driver) {
    let broker = Setup::new(driver).start();
    // A protocol level of the future is answered in the words of version 3 or 5; either begins a CONNACK.
    for level in [0_u8, 6, 99] {
        let mut client = Client::open(broker.address(), Version::V311);
        let mut bytes = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a".to_vec();
        bytes[8] = level;
        client.try_send_bytes(&bytes);
        assert_eq!(client.raw_answer().first(), Some(&0x20), "level {level} is answered");
    }
    // Cut short, or with a reserved flag: no version to answer in, or nothing to say.
    for bytes in [&b"\x10\x03\x00\x04M"[..], b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01a"] {
        let mut client = Client::open(broker.address(), Version::V311);
        client.try_send_bytes(bytes);
        client.raw_answer();
    }
    // Version 3.1.1 without a client id must be clean (MQTT-3.1.3-8).
    let mut client = Client::open(broker.address(), Version::V311);
    let (_, reason) = client.introduce(&Connect::new(Version::V311, "", false));
    assert_eq!(reason, ReasonCode::ClientIdentifierNotValid);
    Client::connect(broker.address(), Version::V311, "").ping();
}

fn a_huge_length_costs_no_memory(driver: Driver) {
    let config = "limits: (packet_bytes_max: 268_435_460)";
    let broker = Setup::new(driver).with(config).start();
    let before = resident_bytes(&broker);
    let mut clients: Vec<Client> =
        (0..50).map(|n| Client::connect(broker.address(), Version::V5, &format!("claimant-{n}"))).collect();
    for client in &mut clients {
        // Announces 256 MiB, sends a few bytes.
        client.send_bytes(b"\x30\xff\xff\xff\x7f\x00\x01a\x00hello");
    }
    Client::connect(broker.address(), Version::V5, "witness").ping();
    let grown = resident_bytes(&broker).saturating_sub(before);
    assert!(grown < 32 << 20, "50 announcements of 256 MiB made {grown} bytes resident");
}

/// Resident memory of the broker, from /proc.
pub fn resident_bytes(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}
