//! Numbers that nobody can guess from those that came before: SipHash-2-4 (Aumasson and Bernstein 2012) of a counter under a secret key.

/// A row of unpredictable numbers. Two with the same key give the same row: the key comes from the system's randomness (the simulator: from its
/// seed).
#[derive(Clone)]
pub struct SecretNumbers {
    key: [u64; 2],
    counter: u64,
}

impl SecretNumbers {
    /// The row of `key`, from its beginning.
    pub fn new(key: u128) -> SecretNumbers {
        SecretNumbers { key: [key as u64, (key >> 64) as u64], counter: 0 }
    }

    /// The next 128 bits.
    pub fn next_u128(&mut self) -> u128 {
        let mut half = || {
            self.counter += 1;
            u128::from(sip_hash(self.key, self.counter))
        };
        half() << 64 | half()
    }
}

impl std::fmt::Debug for SecretNumbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretNumbers(..)")
    }
}

/// SipHash-2-4 of the eight little-endian bytes of `word`.
fn sip_hash(key: [u64; 2], word: u64) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    const BYTES: u64 = 8;
    for block in [word, BYTES << 56] {
        v[3] ^= block;
        rounds(&mut v, 2);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn rounds(v: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_reference_implementation() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(sip_hash(key, 0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn a_row_is_its_key_and_does_not_repeat() {
        let row = |key| {
            let mut numbers = SecretNumbers::new(key);
            (0..1000).map(|_| numbers.next_u128()).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        let (low, high) = (row(1), row(1 << 64));
        assert!(low.iter().all(|number| !high.contains(number)), "both halves of the key count");
        let mut sorted = low.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), low.len());
    }
}
