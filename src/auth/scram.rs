//! SCRAM-SHA-256 (RFC 5802 and 7677), the broker's side, without channel binding.
//!
//! ```text
//! client                                broker
//! n,,n=USER,r=NONCE              ─►             the name, and half a nonce
//!                                ◄─  r=NONCE+OURS,s=SALT,i=ITERATIONS
//! c=biws,r=NONCE+OURS,p=PROOF    ─►             proof that it knows the password
//!                                ◄─  v=SIGNATURE   proof that we know its keys
//! ```
//!
//! A name that nobody has goes the same way to the end: its salt and keys are made up from the name, the same ones each time.

mod message;

use super::verifier::{HASH_BYTES, Hash, Verifier, hash, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use message::{ClientFinal, ClientFirst};
use shardmq_shards::session::{
    AuthenticationExchange, AuthenticationMethod, AuthenticationStep, ExchangeSeed,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Bytes of randomness in our half of the nonce: nobody meets the same one twice.
const NONCE_BYTES: usize = 18;

/// The method and its users.
pub struct ScramSha256 {
    users: BTreeMap<String, Verifier>,
    /// Where nonces come from. New at each start, so that they do not come again.
    nonce_key: Hash,
    /// Where the salts of names that nobody has come from. Of the users' own keys: it is secret, and the same after a restart.
    decoy_key: Hash,
}

/// Whom an exchange is with.
struct Claimant {
    user: Arc<str>,
    verifier: Verifier,
    /// Whether there is such a user.
    exists: bool,
}

/// A name as it is compared (SASLprep, RFC 4013); `None` if it has characters that no name may have.
pub fn prepare_name(name: &str) -> Option<String> {
    let prepared = stringprep::saslprep(name).ok()?;
    (!prepared.is_empty()).then(|| prepared.into_owned())
}

impl ScramSha256 {
    /// The method for `users`, by their prepared names, at least one. `nonce_key`: 32 bytes that nobody can guess.
    pub fn new(users: BTreeMap<String, Verifier>, nonce_key: Hash) -> ScramSha256 {
        assert!(!users.is_empty(), "without users the method is not offered");
        let keys: Vec<&[u8]> = users.values().map(|verifier| &verifier.server_key[..]).collect();
        let decoy_key = hmac(b"names that nobody has", &keys);
        ScramSha256 { users, nonce_key, decoy_key }
    }

    fn claimant(&self, name: &str) -> Claimant {
        let prepared = prepare_name(name);
        let name = prepared.as_deref().unwrap_or(name);
        // Made up also for those who exist: the time that it takes tells nothing.
        let decoy = self.decoy(name);
        let known = self.users.get(name);
        Claimant { user: name.into(), verifier: known.cloned().unwrap_or(decoy), exists: known.is_some() }
    }

    /// What the verifier of a user of that name could look like: salt and iterations like some real user's.
    fn decoy(&self, name: &str) -> Verifier {
        let make = |what: &[u8]| hmac(&self.decoy_key, &[what, name.as_bytes()]);
        let choice = make(b"like ");
        let choice = u32::from_be_bytes([choice[0], choice[1], choice[2], choice[3]]) as usize;
        let like = self.users.values().nth(choice % self.users.len()).expect("there is a user");
        let salt: Vec<u8> = make(b"salt ").into_iter().chain(make(b"more salt ")).collect();
        Verifier {
            iterations: like.iterations,
            salt: salt[..like.salt.len().min(salt.len())].to_vec(),
            stored_key: make(b"stored key "),
            server_key: make(b"server key "),
        }
    }
}

/// Without secrets.
impl fmt::Debug for ScramSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramSha256({} users)", self.users.len())
    }
}

impl AuthenticationMethod for ScramSha256 {
    fn name(&self) -> &str {
        "SCRAM-SHA-256"
    }

    fn start(self: Arc<Self>, seed: ExchangeSeed) -> Box<dyn AuthenticationExchange> {
        // The seed does not come again, and nobody can guess what the key makes of it.
        let [high, low] = seed.map(u64::to_be_bytes);
        let random = hmac(&self.nonce_key, &[&high, &low]);
        let nonce = BASE64.encode(&random[..NONCE_BYTES]);
        Box::new(Exchange { method: self, nonce, state: State::Name })
    }
}

/// One client's way through.
struct Exchange {
    method: Arc<ScramSha256>,
    /// Our half of the nonce.
    nonce: String,
    state: State,
}

enum State {
    /// The name is due.
    Name,
    /// The proof is due.
    Proof(Challenge),
    /// There is nothing more to say.
    Over,
}

/// What the client was asked to prove.
struct Challenge {
    claimant: Claimant,
    gs2_header: String,
    /// Both halves of the nonce.
    nonce: String,
    /// The first message of each side: what is signed, but for the last.
    signed: String,
}

impl AuthenticationExchange for Exchange {
    fn step(&mut self, data: Option<&[u8]>) -> AuthenticationStep {
        let step = match (std::mem::replace(&mut self.state, State::Over), data) {
            (State::Name, None) => {
                // The client waits to be asked (RFC 4422 section 3.3): an empty challenge.
                self.state = State::Name;
                return AuthenticationStep::Continue(Vec::new());
            }
            (State::Name, Some(data)) => self.challenge(data),
            (State::Proof(challenge), Some(data)) => challenge.verify(data),
            (State::Proof(_), None) => Err("SCRAM: no proof"),
            (State::Over, _) => Err("SCRAM: the exchange is over"),
        };
        step.unwrap_or_else(AuthenticationStep::Failure)
    }
}

impl Exchange {
    fn challenge(&mut self, data: &[u8]) -> Result<AuthenticationStep, &'static str> {
        let first = ClientFirst::parse(data)?;
        let claimant = self.method.claimant(&first.user);
        let nonce = format!("{}{}", first.nonce, self.nonce);
        let verifier = &claimant.verifier;
        let ours = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let signed = format!("{},{ours}", first.bare);
        self.state = State::Proof(Challenge { claimant, gs2_header: first.gs2_header.into(), nonce, signed });
        Ok(AuthenticationStep::Continue(ours.into_bytes()))
    }
}

impl Challenge {
    fn verify(self, data: &[u8]) -> Result<AuthenticationStep, &'static str> {
        let last = ClientFinal::parse(data)?;
        if last.gs2_header != self.gs2_header.as_bytes() {
            return Err("SCRAM: the channel binding has changed on the way");
        }
        if last.nonce != self.nonce {
            return Err("SCRAM: another exchange's nonce");
        }
        let proof = Hash::try_from(last.proof).map_err(|_| "SCRAM: a proof of another length")?;
        let Verifier { stored_key, server_key, .. } = &self.claimant.verifier;
        let signed = [self.signed.as_bytes(), b",", last.without_proof.as_bytes()];
        let signature = hmac(stored_key, &signed);
        let client_key: Hash = std::array::from_fn(|at| proof[at] ^ signature[at]);
        let proven = bool::from(hash(&client_key).ct_eq(stored_key));
        let ours = hmac(server_key, &signed);
        match (proven, self.claimant.exists) {
            (true, true) => Ok(AuthenticationStep::Success {
                user: self.claimant.user,
                data: Some(format!("v={}", BASE64.encode(ours)).into_bytes()),
            }),
            (_, true) => Err("SCRAM: wrong password"),
            (_, false) => Err("SCRAM: unknown user"),
        }
    }
}

const _: () = assert!(NONCE_BYTES <= HASH_BYTES, "one hash is enough");

#[cfg(test)]
mod tests;
