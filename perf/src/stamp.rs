//! What every payload carries, so that the receiver can judge it.
//!
//! | bytes | holds |
//! |---|---|
//! | 0..4 | run: who published it, a leftover of another run is told apart |
//! | 4..8 | publisher |
//! | 8..16 | sequence number of that publisher, from 0 |
//! | 16..24 | intended send time, nanoseconds of the generator's clock |
//! | 24.. | [`FILLER`], checked |
//!
//! All little-endian.

/// Bytes of the stamp.
pub const STAMP_BYTES: usize = 24;
/// What the rest of a payload consists of.
pub const FILLER: u8 = 0xa5;

/// The head of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The run that published it.
    pub run: u32,
    /// The publisher's index.
    pub publisher: u32,
    /// Its message number.
    pub sequence: u64,
    /// When it should have been sent, nanoseconds.
    pub intended_ns: u64,
}

impl Stamp {
    /// Writes the stamp over the first bytes of `payload`.
    #[inline]
    pub fn write(self, payload: &mut [u8]) {
        payload[0..4].copy_from_slice(&self.run.to_le_bytes());
        payload[4..8].copy_from_slice(&self.publisher.to_le_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        payload[16..24].copy_from_slice(&self.intended_ns.to_le_bytes());
    }

    /// Reads the stamp of `payload`, `None` when it is too short.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let head: &[u8; STAMP_BYTES] = payload.first_chunk()?;
        Some(Stamp {
            run: u32::from_le_bytes([head[0], head[1], head[2], head[3]]),
            publisher: u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            sequence: long(head, 8),
            intended_ns: long(head, 16),
        })
    }
}

#[inline]
fn long(head: &[u8; STAMP_BYTES], at: usize) -> u64 {
    let bytes: &[u8; 8] = head[at..].first_chunk().expect("both numbers lie within the stamp");
    u64::from_le_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let stamp = Stamp { run: 7, publisher: 9, sequence: u64::MAX - 1, intended_ns: 1 << 50 };
        let mut payload = [FILLER; 30];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(payload[STAMP_BYTES..], [FILLER; 6]);
        assert_eq!(Stamp::read(&payload[..23]), None);
    }
}
