//! What a broker goes on from: the logs of its data directory read, agreed upon, and opened for more.

use super::config::StorageConfig;
use super::data::{DataDirectory, DataError, Manifest, ManifestError};
use super::read_log::{ReadLog, read_log};
use crate::base::hash::HashKey;
use crate::base::lsn::Incarnation;
use crate::base::planted::Planted;
use crate::base::shard_set::ShardId;
use crate::drivers::files::{BlockingDisk, Folder, make_private_folder};
use crate::log::{
    Journal, JournalConfig, Log, LogIdentity, SegmentId, ShardImage, records_of, rehome, resolve,
    spare_segments,
};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::thread;

/// The logs of a data directory, ready to be gone on with, and what they say.
pub(super) struct Kept {
    pub directory: DataDirectory,
    /// Seed of the broker's hash key.
    pub hash_seed: u64,
    /// By shard.
    pub images: Vec<ShardImage>,
    /// By shard.
    pub logs: Vec<OpenLog>,
}

/// A log that goes on in fresh segments.
pub(super) struct OpenLog {
    pub journal: Journal,
    pub folder: Folder,
}

/// Opens the data directory for a broker of so many shards. This start's incarnation is on disk when it returns.
pub(super) fn open(config: &StorageConfig, shards: usize) -> Result<Kept, DataError> {
    let directory = DataDirectory::open(&config.data_dir)?;
    let mut manifest = match directory.manifest()? {
        Some(manifest) => manifest,
        None => begin(&directory, shards)?,
    };
    if manifest.shards() != shards {
        manifest = move_to(&directory, &manifest, shards, config)?;
    }
    directory.remove_other_generations(manifest.generation)?;
    let (logs, mut images) = read_generation(&directory, &manifest)?;
    resolve(&mut images);
    report(&images);
    let read = logs.iter().map(|log| log.newest_incarnation).max().unwrap_or_default();
    manifest.incarnation = Incarnation(manifest.incarnation.max(read).0 + 1);
    directory.replace_manifest(&manifest)?;
    let logs = logs.into_iter().enumerate();
    let logs = logs.map(|(index, log)| open_log(config, &directory, &manifest, index, log));
    let logs = logs.collect::<Result<_, _>>()?;
    Ok(Kept { directory, hash_seed: manifest.hash_seed, images, logs })
}

/// A manifest for a directory that has none. It is written before anything that it speaks of: logs without a manifest are somebody's whose
/// manifest is lost, and are not touched.
fn begin(directory: &DataDirectory, shards: usize) -> Result<Manifest, DataError> {
    if directory.has_generations()? {
        return Err(DataError::Manifest(directory.path().to_owned(), ManifestError::Missing));
    }
    let manifest = Manifest::new(shards, random(), random());
    directory.replace_manifest(&manifest)?;
    Ok(manifest)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What was found, for the operator.
fn report(images: &[ShardImage]) {
    let sum = |count: fn(&ShardImage) -> usize| images.iter().map(count).sum::<usize>();
    let sessions = sum(|image| image.sessions.len());
    let queued = sum(|image| image.sessions.values().map(|session| session.copies.len()).sum());
    let retained = sum(|image| image.retained.len());
    let on_the_way = sum(|image| image.outbox.len());
    tracing::info!(
        "recovered: {sessions} sessions, {queued} messages for them, {retained} retained, {on_the_way} on their way between shards"
    );
}

/// Whose log it is that a shard of this manifest has.
pub(super) fn identity(manifest: &Manifest, index: usize) -> LogIdentity {
    LogIdentity { generation: manifest.generation, shard: ShardId::new(index), salt: manifest.salt }
}

/// Reads all logs of a generation, each on a thread of its own.
fn read_generation(
    directory: &DataDirectory,
    manifest: &Manifest,
) -> Result<(Vec<ReadLog>, Vec<ShardImage>), DataError> {
    let path = directory.generation(manifest.generation);
    make_private_folder(&path).map_err(|error| DataError::System("make", path, error.into()))?;
    let quarantine = directory.quarantine();
    let read = thread::scope(|scope| {
        let readers = manifest.first_segments.iter().enumerate().map(|(index, first)| {
            let identity = identity(manifest, index);
            let path = directory.log(manifest.generation, ShardId::new(index));
            let quarantine = &quarantine;
            scope.spawn(move || read_log(&path, identity, *first, Some(quarantine)))
        });
        // Started before the first is waited for.
        let readers: Vec<_> = readers.collect();
        let joined = readers.into_iter().map(|reader| reader.join().expect("reading a log does not panic"));
        joined.collect::<Result<Vec<_>, DataError>>()
    });
    Ok(read?.into_iter().unzip())
}

fn open_log(
    config: &StorageConfig,
    directory: &DataDirectory,
    manifest: &Manifest,
    index: usize,
    mut log: ReadLog,
) -> Result<OpenLog, DataError> {
    let path = directory.log(manifest.generation, ShardId::new(index));
    let first = 1 + spare_segments(log.held.len());
    let mut folder = open_folder(config, &path)?.beginning_with(first);
    cut_end(&folder, &mut log, config.segment_bytes * (first * manifest.shards()) as u64)?;
    log.unneeded.iter().for_each(|segment| folder.retire(*segment));
    let journal = Journal::new(JournalConfig {
        identity: identity(manifest, index),
        incarnation: manifest.incarnation,
        segment_bytes: config.segment_bytes,
        first: log.next,
        held: log.held,
        durable: config.durable,
        planted: Planted::default(),
    });
    Ok(OpenLog { journal, folder })
}

/// Gives back what the last run has left of the segment that it was filling, where the logs want more than there is.
fn cut_end(folder: &Folder, log: &mut ReadLog, wanted: u64) -> Result<(), DataError> {
    let (Some((segment, end)), Some((last, bytes))) = (log.end, log.held.last_mut()) else { return Ok(()) };
    if segment == *last {
        let cut = folder.cut_if_short(segment, end, wanted);
        *bytes = cut.map_err(|error| DataError::System("cut", folder.path_of(segment), error.into()))?;
    }
    Ok(())
}

fn open_folder(config: &StorageConfig, path: &Path) -> Result<Folder, DataError> {
    Folder::open(path, config.watermark)
        .map(|folder| folder.with_ways(config.ways))
        .map_err(|error| DataError::System("make", path.to_owned(), io::Error::from(error)))
}

/// Writes all that a generation has for another number of shards, as the next generation. What comes of an attempt that is interrupted is not named
/// by any manifest, and removed by the next.
fn move_to(
    directory: &DataDirectory,
    old: &Manifest,
    shards: usize,
    config: &StorageConfig,
) -> Result<Manifest, DataError> {
    tracing::info!("moving what {} shards kept to {shards}", old.shards());
    directory.remove_other_generations(old.generation)?;
    let (logs, mut images) = read_generation(directory, old)?;
    resolve(&mut images);
    let read = logs.iter().map(|log| log.newest_incarnation).max().unwrap_or_default();
    let images = rehome(images, shards, &HashKey::from_seed(old.hash_seed));
    let new = Manifest {
        generation: old.generation + 1,
        incarnation: Incarnation(old.incarnation.max(read).0 + 1),
        first_segments: vec![SegmentId(1); shards],
        ..old.clone()
    };
    let path = directory.generation(new.generation);
    make_private_folder(&path).map_err(|error| DataError::System("make", path, error.into()))?;
    for (index, image) in images.iter().enumerate() {
        write_image(directory, &new, index, image, config)?;
    }
    directory.replace_manifest(&new)?;
    Ok(new)
}

/// Writes a log that says `image`, whole and on disk when this returns.
pub(super) fn write_image(
    directory: &DataDirectory,
    manifest: &Manifest,
    index: usize,
    image: &ShardImage,
    config: &StorageConfig,
) -> Result<(), DataError> {
    let path = directory.log(manifest.generation, ShardId::new(index));
    let mut disk = BlockingDisk::new(open_folder(config, &path)?);
    let mut log = Log::over(Journal::new(JournalConfig {
        identity: identity(manifest, index),
        incarnation: manifest.incarnation,
        segment_bytes: config.segment_bytes,
        first: SegmentId(1),
        held: Vec::new(),
        durable: true,
        planted: Planted::default(),
    }));
    let failed = |error: crate::log::LogFailure| DataError::Log(path.clone(), error.to_string());
    for record in records_of(image) {
        log.append(&record);
        if log.is_backlogged() {
            disk.write_out(&mut log).map_err(failed)?;
        }
    }
    log.stop();
    disk.write_out(&mut log).map_err(failed)
}
