//! A data directory made from nothing, by who has nothing else to do meanwhile.

use crate::base::lsn::Incarnation;
use crate::drivers::files::{Watermark, Ways, make_private_folder};
use crate::log::{SegmentId, ShardImage};
use crate::server::StorageConfig;
use crate::server::data::{DataDirectory, DataError, Manifest};
use crate::server::storage::write_image;
use std::path::Path;

/// Not the generation that a broker begins with: what is left of this when it is interrupted is no part of that broker's data.
const GENERATION: u64 = 2;
/// Each is written full of zeros first.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Makes a data directory at `path` with one log that says `image`; a broker of any number of shards goes on from it. It is whole and on disk
/// when this returns. Before, there is no manifest, and nobody takes it for data. `random` are bits that nobody can guess.
///
/// # Errors
/// There is data at `path` already, or the system refuses.
pub fn create(path: &Path, image: &ShardImage, random: [u64; 2]) -> Result<(), DataError> {
    let directory = DataDirectory::open(path)?;
    if directory.manifest()?.is_some() {
        return Err(DataError::NotEmpty(path.to_owned()));
    }
    directory.remove_other_generations(0)?;
    let [hash_seed, salt] = random;
    let manifest = Manifest {
        generation: GENERATION,
        incarnation: Incarnation(1),
        first_segments: vec![SegmentId(1)],
        ..Manifest::new(1, hash_seed, salt)
    };
    let config = StorageConfig {
        data_dir: path.to_owned(),
        durable: true,
        watermark: Watermark::default(),
        segment_bytes: SEGMENT_BYTES,
        ways: Ways::default(),
        cleaned: true,
    };
    let folder = directory.generation(GENERATION);
    make_private_folder(&folder).map_err(|error| DataError::System("make", folder, error.into()))?;
    write_image(&directory, &manifest, 0, image, &config)?;
    directory.replace_manifest(&manifest)
}
