//! The codec as its users see it: round trips, streams cut anywhere, malformed input, vectors written by hand.

mod deliveries;
mod malformed;
mod properties;
mod reasons;
mod strategies;
mod streams;
mod vectors;

use shardmq_shards::wire::{Frame, Packet, Split, Version, Violation, split};

/// Encodes one packet.
fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    out
}

/// The one whole frame that `bytes` are.
fn whole(bytes: &[u8]) -> Result<Frame<'_>, Violation> {
    match split(bytes, usize::MAX)? {
        Split::Whole(frame) => {
            assert_eq!(frame.wire_bytes(), bytes.len(), "one packet and nothing else");
            Ok(frame)
        }
        Split::Partial { bytes: wanted } => panic!("{wanted} bytes wanted of {bytes:02x?}"),
    }
}

/// Decodes one packet.
fn decode(bytes: &[u8], version: Version) -> Result<Packet<'_>, Violation> {
    Packet::decode(whole(bytes)?, version)
}
