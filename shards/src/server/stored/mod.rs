//! A data directory that no broker uses: looked at record by record, taken as a whole, made from nothing.

mod create;
#[cfg(test)]
mod tests;

pub use create::create;

use super::data::{DataDirectory, DataError, Manifest};
use super::read_log::scan_log;
use super::storage::identity;
use crate::base::hash::HashKey;
use crate::base::lsn::Lsn;
use crate::base::shard_set::ShardId;
use crate::log::{Record, ScanReport, ShardImage, rehome, resolve};
use std::path::Path;

/// A data directory, held as long as this lives.
pub struct StoredData {
    directory: DataDirectory,
    manifest: Manifest,
}

impl StoredData {
    /// What is at `path`. Changes nothing there but the lock.
    ///
    /// # Errors
    /// There is none, a broker uses it, or its manifest cannot be read.
    pub fn open(path: &Path) -> Result<StoredData, DataError> {
        let directory = DataDirectory::existing(path)?;
        let manifest = directory.manifest()?.ok_or_else(|| DataError::Missing(path.to_owned()))?;
        Ok(StoredData { directory, manifest })
    }

    /// The shards that have a log in it.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.manifest.shards()).map(ShardId::new)
    }

    /// Hands every record of a log to `take`, in order, and says how the log stands.
    ///
    /// # Errors
    /// It cannot be read. Damage is none.
    pub fn scan(
        &self,
        shard: ShardId,
        take: &mut dyn FnMut(Lsn, Record<'_>),
    ) -> Result<ScanReport, DataError> {
        let path = self.directory.log(self.manifest.generation, shard);
        let first = self.manifest.first_segments[shard.index()];
        scan_log(&path, identity(&self.manifest, shard.index()), first, &mut |lsn, record, _| {
            take(lsn, record)
        })
    }

    /// What each log says, the logs of all shards made to agree, and how they stand.
    ///
    /// # Errors
    /// One cannot be read. Damage is none.
    pub fn read(&self) -> Result<(Vec<ShardImage>, Vec<ScanReport>), DataError> {
        let (mut images, mut reports) = (Vec::new(), Vec::new());
        for shard in self.shards() {
            let mut image = ShardImage::default();
            reports.push(self.scan(shard, &mut |lsn, record| image.apply(lsn, &record))?);
            images.push(image);
        }
        resolve(&mut images);
        Ok((images, reports))
    }

    /// What all logs of it say together, as if there were one shard.
    ///
    /// # Errors
    /// One cannot be read. Damage is none.
    pub fn read_as_one(&self) -> Result<(ShardImage, Vec<ScanReport>), DataError> {
        let (images, reports) = self.read()?;
        let one = rehome(images, 1, &HashKey::from_seed(self.manifest.hash_seed)).pop();
        Ok((one.expect("as many as asked for"), reports))
    }
}
