//! Who may connect: the methods of authentication, and the users that they know.

mod hash_password;
mod scram;
mod verifier;

pub use hash_password::{HashPassword, hash_password};
pub use scram::{ScramSha256, prepare_name};
pub use verifier::Verifier;
