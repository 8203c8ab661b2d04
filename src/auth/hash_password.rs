//! `shardmq hash-password`: the line of a user for the configuration, from a password that stands nowhere else.

use super::scram::prepare_name;
use super::verifier::{ITERATIONS_MAX, ITERATIONS_MIN, SALT_BYTES, Verifier};
use std::fmt;
use std::io::{self, BufRead};

/// Longest password that is read: a file piped in by mistake is none.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// What the command line says.
#[derive(clap::Args, Debug)]
pub struct HashPassword {
    /// The user's name
    name: String,
    /// PBKDF2 iterations, all of them the client's work; more make a stolen line harder to guess from
    #[arg(long, value_name = "N", default_value_t = ITERATIONS_MIN, value_parser = clap::value_parser!(u32).range(ITERATIONS_MIN as i64..=ITERATIONS_MAX as i64))]
    iterations: u32,
}

/// Why there is no line.
#[derive(Debug)]
pub enum HashPasswordError {
    /// The name has characters that no name may have.
    Name,
    /// The first line of the input is no password.
    Password,
    /// The input cannot be read.
    Input(io::Error),
    /// The system has no randomness.
    Random(getrandom::Error),
}

impl fmt::Display for HashPasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashPasswordError::Name => f.write_str("a user name is not empty and has no control characters"),
            HashPasswordError::Password => write!(
                f,
                "the password is the first line of the standard input: 1 to {PASSWORD_BYTES_MAX} bytes of UTF-8 \
                 without control characters"
            ),
            HashPasswordError::Input(error) => write!(f, "the standard input: {error}"),
            HashPasswordError::Random(error) => write!(f, "no random salt: {error}"),
        }
    }
}

impl std::error::Error for HashPasswordError {}

/// The user as `authentication.users` takes it, from the first line of `input`.
pub fn hash_password(asked: &HashPassword, input: impl BufRead) -> Result<String, HashPasswordError> {
    let name = prepare_name(&asked.name).ok_or(HashPasswordError::Name)?;
    let mut line = Vec::new();
    // Two more for the end of the line: what is then still without one is too long.
    let mut input = input.take(PASSWORD_BYTES_MAX + 2);
    input.read_until(b'\n', &mut line).map_err(HashPasswordError::Input)?;
    let line = String::from_utf8(line).map_err(|_| HashPasswordError::Password)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let password = stringprep::saslprep(line).map_err(|_| HashPasswordError::Password)?;
    if password.is_empty() || line.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(HashPasswordError::Password);
    }
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(HashPasswordError::Random)?;
    let verifier = Verifier::of_password(&password, &salt, asked.iterations);
    Ok(format!("(name: {name:?}, scram_sha_256: \"{verifier}\")"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str, input: &[u8]) -> Result<String, HashPasswordError> {
        hash_password(&HashPassword { name: name.to_owned(), iterations: ITERATIONS_MIN }, input)
    }

    fn keys(line: &str) -> Verifier {
        let (_, text) = line.split_once("scram_sha_256: \"").expect("the field");
        text.strip_suffix("\")").expect("the end").parse().expect("a verifier")
    }

    #[test]
    fn the_line_holds_the_keys_of_the_first_line_with_a_new_salt_each_time() {
        let line = hash("ann", b"secret\r\nmore\n").expect("right");
        assert!(line.starts_with("(name: \"ann\", scram_sha_256: \"4096$"), "{line}");
        let verifier = keys(&line);
        assert_eq!(verifier, Verifier::of_password("secret", &verifier.salt, ITERATIONS_MIN));
        assert_ne!(keys(&hash("ann", b"secret").expect("right")).salt, verifier.salt);
    }

    #[test]
    fn what_is_no_name_or_no_password_is_refused() {
        for name in ["", "\u{7}"] {
            assert!(matches!(hash(name, b"secret"), Err(HashPasswordError::Name)), "{name:?}");
        }
        let longest = vec![b'x'; PASSWORD_BYTES_MAX as usize];
        hash("ann", &longest).expect("the longest");
        let longer = [&longest[..], b"x\n"].concat();
        for input in [&b""[..], b"\n", b"bell\x07", b"\xff", &longer] {
            assert!(matches!(hash("ann", input), Err(HashPasswordError::Password)), "{input:?}");
        }
    }
}
