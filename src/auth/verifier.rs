//! What the broker keeps of a password: enough to check a proof of it, and useless to log in with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::{Deserialize, Deserializer, Error};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Bytes of a SHA-256 hash, and of everything made with it.
pub const HASH_BYTES: usize = 32;
/// A hash, a key or a signature.
pub type Hash = [u8; HASH_BYTES];

/// The fewest iterations that RFC 7677 allows.
pub const ITERATIONS_MIN: u32 = 4_096;
/// More would only keep small clients busy for minutes.
pub const ITERATIONS_MAX: u32 = 10_000_000;
/// Bytes of the salts that are made here.
pub const SALT_BYTES: usize = 16;
/// Bytes of a salt that was made elsewhere.
const SALT_BYTES_MAX: usize = 64;

/// The SCRAM-SHA-256 keys of a password (RFC 5802 section 3): `ITERATIONS$SALT$STORED_KEY$SERVER_KEY`, the last three in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Hash,
    pub(super) server_key: Hash,
}

/// HMAC-SHA-256 of the parts in a row.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// SHA-256.
pub(super) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

impl Verifier {
    /// The keys of `password`, which is prepared already.
    pub fn of_password(password: &str, salt: &[u8], iterations: u32) -> Verifier {
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, HASH_BYTES>(password.as_bytes(), salt, iterations);
        let client_key = hmac(&salted, &[b"Client Key"]);
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: hash(&client_key),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }
}

impl FromStr for Verifier {
    type Err = ();

    fn from_str(text: &str) -> Result<Verifier, ()> {
        let mut fields = text.split('$');
        let mut next = || fields.next().ok_or(());
        let iterations = next()?.parse().map_err(drop)?;
        let mut bytes = || BASE64.decode(next()?).map_err(drop);
        let (salt, stored_key, server_key) = (bytes()?, bytes()?, bytes()?);
        let in_range = (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations)
            && (1..=SALT_BYTES_MAX).contains(&salt.len())
            && fields.next().is_none();
        if !in_range {
            return Err(());
        }
        let key = |bytes: Vec<u8>| Hash::try_from(bytes).map_err(drop);
        Ok(Verifier { iterations, salt, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        write!(f, "{}${salt}${stored_key}${server_key}", self.iterations)
    }
}

/// Without the keys: settings are logged.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations)", self.iterations)
    }
}

impl<'de> Deserialize<'de> for Verifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What it is instead is not said: it may be the password itself.
        text.parse().map_err(|()| {
            D::Error::custom(format!(
                "expected ITERATIONS$SALT$STORED_KEY$SERVER_KEY with {ITERATIONS_MIN} to {ITERATIONS_MAX} \
                 iterations, as `shardmq hash-password NAME` prints it"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_read_as_it_is_written_and_nothing_else_is() {
        let verifier = Verifier::of_password("pencil", b"0123456789abcdef", 4_096);
        let text = verifier.to_string();
        assert!(text.starts_with("4096$MDEyMzQ1Njc4OWFiY2RlZg==$"), "{text}");
        assert_eq!(text.parse(), Ok(verifier.clone()));
        assert_eq!(ron::from_str(&format!("{text:?}")), Ok(verifier.clone()));
        let fields: Vec<&str> = text.split('$').collect();
        for wrong in [
            String::new(),
            fields[..3].join("$"),
            format!("{text}$"),
            text.replacen("4096", "4095", 1),
            text.replacen("4096", "10000001", 1),
            text.replacen("MDEy", "M?Ey", 1),
            format!("4096$${}${}", fields[2], fields[3]),
            format!("4096${}${}${}", fields[1], fields[1], fields[3]),
        ] {
            assert_eq!(wrong.parse::<Verifier>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn neither_debug_nor_an_error_shows_a_secret() {
        let verifier = Verifier::of_password("pencil", b"0123456789abcdef", 4_096);
        assert_eq!(format!("{verifier:?}"), "Verifier(4096 iterations)");
        let error = ron::from_str::<Verifier>("\"my password\"").expect_err("no verifier");
        assert!(!error.to_string().contains("my password"), "{error}");
        assert!(error.to_string().contains("hash-password"), "{error}");
    }
}
