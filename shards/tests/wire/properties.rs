//! What holds for every packet of every version.

use crate::strategies::versioned_packet;
use crate::{decode, encode, whole};
use proptest::prelude::*;
use shardmq_shards::wire::{Frame, Packet, Split, split};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_the_same((version, packet) in versioned_packet()) {
        let bytes = encode(&packet, version);
        let decoded = decode(&bytes, version);
        prop_assert_eq!(decoded.as_ref(), Ok(&packet));
        // A decoded packet reads its lists from the input; written again they must come out the same.
        prop_assert_eq!(encode(&decoded.unwrap(), version), bytes);
    }

    #[test]
    fn encoding_appends((version, packet) in versioned_packet()) {
        let mut out = b"before".to_vec();
        packet.encode(version, &mut out);
        prop_assert_eq!(&out[..6], b"before");
        prop_assert_eq!(&out[6..], encode(&packet, version));
    }

    #[test]
    fn a_stream_cut_anywhere_is_partial((version, packet) in versioned_packet(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&packet, version);
        let cut = cut.index(bytes.len());
        match split(&bytes[..cut], usize::MAX) {
            Ok(Split::Partial { bytes: wanted }) => prop_assert!(wanted > cut && wanted <= bytes.len()),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// The length field lies: the body ends within a field. Only an open end (payload, list) can still be a packet, and then another one.
    #[test]
    fn a_body_cut_anywhere_is_another_packet_or_a_violation((version, packet) in versioned_packet()) {
        let bytes = encode(&packet, version);
        let frame = whole(&bytes).unwrap();
        let cuts = (0..frame.body.len()).filter(|cut| *cut < 300 || cut + 300 > frame.body.len());
        for cut in cuts {
            let cut = Packet::decode(Frame { first: frame.first, body: &frame.body[..cut] }, version);
            prop_assert_ne!(cut, Ok(packet));
        }
    }

    #[test]
    fn changed_bytes_never_panic_and_what_still_decodes_is_consistent(
        (version, packet) in versioned_packet(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&packet, version);
        for (at, value) in changes {
            let at = at.index(bytes.len().min(300));
            bytes[at] = value;
        }
        if let Ok(Split::Whole(frame)) = split(&bytes, usize::MAX)
            && let Ok(changed) = Packet::decode(frame, version)
        {
            let again = encode(&changed, version);
            prop_assert_eq!(decode(&again, version), Ok(changed));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        version in crate::strategies::version(),
        first in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        if let Ok(packet) = Packet::decode(Frame { first, body: &body }, version) {
            let again = encode(&packet, version);
            prop_assert_eq!(decode(&again, version), Ok(packet));
        }
    }
}
