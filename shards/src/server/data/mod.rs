//! The data directory: what lies where, who may use it, what its manifest says.
//!
//! ```text
//! DATA/                       0700
//!   lock                      the process that uses it, which holds a lock on the file
//!   manifest, manifest.copy   what the rest means; replaced by renaming
//!   GENERATION/               one number of shards
//!     shard-NN/               one log
//!       SEGMENT.log           0600
//!   quarantine/               what was damaged, with a report each
//! ```

mod directory;
mod manifest;
mod quarantine;
#[cfg(test)]
mod tests;

pub use directory::{DataDirectory, DataError};
pub use manifest::{Manifest, ManifestError};
pub use quarantine::Quarantine;
