//! Arbitrary bytes as a stream of packets in every version. Nothing may panic, and what decodes means the same after it was encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardmq_shards::wire::{Message, Packet, Split, Version, split};

/// Small, so that the fuzzer meets the limit.
const PACKET_BYTES_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    for version in Version::ALL {
        let mut rest = input;
        while let Ok(Split::Whole(frame)) = split(rest, PACKET_BYTES_MAX) {
            if let Ok(packet) = Packet::decode(frame, version) {
                reencode(&packet, version);
            }
            rest = &rest[frame.wire_bytes()..];
        }
    }
});

fn reencode(packet: &Packet<'_>, version: Version) {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    let Ok(Split::Whole(frame)) = split(&bytes, usize::MAX) else {
        panic!("{packet:?} does not encode to a whole packet");
    };
    assert_eq!(frame.wire_bytes(), bytes.len());
    assert_eq!(Packet::decode(frame, version).as_ref(), Ok(packet));
    match packet {
        Packet::Publish(publish) => {
            let message = Message::from_publish(publish, publish.topic, None);
            assert_eq!((message.topic(), message.payload()), (publish.topic, publish.payload));
        }
        Packet::Connect(connect) => {
            if let Some(will) = &connect.will {
                assert_eq!(Message::from_will(will).payload(), will.payload);
            }
        }
        _ => {}
    }
}
