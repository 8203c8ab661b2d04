//! Cutting a stream into frames, however it arrives.

use crate::strategies::packet;
use proptest::prelude::*;
use shardmq_shards::wire::{Packet, PacketType, Split, Version, Violation, split};

/// Feeds `stream` in `chunks` (repeated) as a driver does, and checks every hint on the way.
fn receive(stream: &[u8], chunks: &[usize], mut each: impl FnMut(Packet<'_>), version: Version) {
    let mut buffer = Vec::new();
    let mut rest = stream;
    let mut wanted = 0;
    for chunk in chunks.iter().cycle() {
        let (now, later) = rest.split_at((*chunk).min(rest.len()));
        buffer.extend_from_slice(now);
        rest = later;
        loop {
            match split(&buffer, usize::MAX).expect("the stream is valid") {
                Split::Whole(frame) => {
                    assert!(buffer.len() >= wanted, "a packet was whole before the bytes said to be needed");
                    let bytes = frame.wire_bytes();
                    each(Packet::decode(frame, version).expect("the stream is valid"));
                    buffer.drain(..bytes);
                    wanted = 0;
                }
                Split::Partial { bytes } => {
                    assert!(bytes > buffer.len() && bytes >= wanted);
                    wanted = bytes;
                    break;
                }
            }
        }
        if rest.is_empty() {
            assert!(buffer.is_empty(), "the stream ends with a whole packet");
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_chunks_give_the_same_packets(
        (version, packets) in crate::strategies::version()
            .prop_flat_map(|version| prop::collection::vec(packet(version), 1..12).prop_map(move |list| (version, list))),
        chunks in prop::collection::vec(prop_oneof![1..4usize, 1..100usize, 1..10_000usize], 1..20),
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            packet.encode(version, &mut stream);
        }
        let mut expected = packets.iter();
        receive(&stream, &chunks, |packet| assert_eq!(Some(&packet), expected.next()), version);
        prop_assert_eq!(expected.next(), None);
    }
}

const FIRST: u8 = 0x30;

#[test]
fn a_length_is_read_up_to_four_bytes() {
    for (length, bytes) in [
        (127, &[FIRST, 0x7f][..]),
        (128, &[FIRST, 0x80, 0x01]),
        (16_383, &[FIRST, 0xff, 0x7f]),
        (16_384, &[FIRST, 0x80, 0x80, 0x01]),
        (2_097_151, &[FIRST, 0xff, 0xff, 0x7f]),
        (2_097_152, &[FIRST, 0x80, 0x80, 0x80, 0x01]),
        (268_435_455, &[FIRST, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        assert_eq!(split(bytes, usize::MAX), Ok(Split::Partial { bytes: bytes.len() + length }));
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut], usize::MAX), Ok(Split::Partial { bytes: (cut + 1).max(2) }));
        }
    }
    assert_eq!(split(&[FIRST, 0xff, 0xff, 0xff, 0xff], usize::MAX), Err(Violation::LengthMalformed));
    assert_eq!(split(&[FIRST, 0xff, 0x00], usize::MAX), Err(Violation::LengthNotMinimal));
    assert_eq!(split(&[FIRST, 0x80, 0x80, 0x80, 0x00], usize::MAX), Err(Violation::LengthNotMinimal));
}

#[test]
fn a_packet_too_large_is_refused_before_its_body_arrives() {
    assert_eq!(split(&[FIRST, 0xff, 0x7f], 16_386), Ok(Split::Partial { bytes: 16_386 }));
    assert_eq!(split(&[FIRST, 0xff, 0x7f], 16_385), Err(Violation::PacketTooLarge));
    assert_eq!(Violation::PacketTooLarge.reason() as u8, 0x95);
}

/// Section 2.1.3, table 2-2.
#[test]
fn type_and_flags_are_refused_at_the_first_byte() {
    for first in 0..=u8::MAX {
        let flags = first & 0x0f;
        let expected = match PacketType::from_first(first) {
            None => Err(Violation::PacketTypeReserved),
            Some(PacketType::Publish) => match flags & 0b0110 {
                0b0110 => Err(Violation::QosReserved),
                0 if flags & 0b1000 != 0 => Err(Violation::DupWithoutQos),
                _ => Ok(()),
            },
            // 3.1 clients set DUP when they repeat one of these.
            Some(PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe) => {
                if flags == 0b0010 || flags == 0b1010 { Ok(()) } else { Err(Violation::FlagsReserved) }
            }
            Some(_) if flags == 0 => Ok(()),
            Some(_) => Err(Violation::FlagsReserved),
        };
        assert_eq!(
            split(&[first], usize::MAX),
            expected.map(|()| Split::Partial { bytes: 2 }),
            "{first:#04x}"
        );
    }
}

#[test]
fn what_follows_a_packet_is_left_alone() {
    let stream = [0xc0, 0, 0xd0, 0, 0xff];
    let Ok(Split::Whole(first)) = split(&stream, 2) else { panic!("PINGREQ is whole") };
    assert_eq!((first.packet_type(), first.flags(), first.wire_bytes()), (PacketType::Pingreq, 0, 2));
    let Ok(Split::Whole(second)) = split(&stream[2..], 2) else { panic!("PINGRESP is whole") };
    assert_eq!(second.packet_type(), PacketType::Pingresp);
    assert_eq!(split(&stream[4..], 2), Err(Violation::FlagsReserved));
}
