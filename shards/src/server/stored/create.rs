//! A data directory made from nothing, by who has nothing else to do meanwhile.

use super::identity;
use crate::base::limits::LOG_SEGMENT_BYTES;
use crate::base::lsn::Incarnation;
use crate::base::planted::Planted;
use crate::base::shard_set::ShardId;
use crate::drivers::files::{make_private_folder, segment_name, sync_folder};
use crate::log::{
    DiskDone, DiskError, DiskRequest, Journal, JournalConfig, Log, SegmentId, ShardImage, records_of,
};
use crate::server::data::{DataDirectory, DataError, Manifest};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Not the generation that a broker begins with: what is left of this when it is interrupted is no part of that broker's data.
const GENERATION: u64 = 2;

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
        hash_seed,
        salt,
        first_segments: vec![SegmentId(1)],
    };
    let shard = ShardId::new(0);
    for folder in [directory.generation(GENERATION), directory.log(GENERATION, shard)] {
        make_private_folder(&folder).map_err(|error| DataError::System("make", folder, error.into()))?;
    }
    let log = Log::over(Journal::new(JournalConfig {
        identity: identity(&manifest, shard),
        incarnation: manifest.incarnation,
        segment_bytes: LOG_SEGMENT_BYTES,
        first: SegmentId(1),
        held: Vec::new(),
        durable: false,
        planted: Planted::default(),
    }));
    let mut writer = Writer { path: directory.log(GENERATION, shard), log, files: BTreeMap::new() };
    writer.write(image).map_err(|error| DataError::Log(writer.path.clone(), error))?;
    directory.replace_manifest(&manifest)
}

/// A log that is written to plain files and flushed at its end.
struct Writer {
    path: PathBuf,
    log: Log,
    files: BTreeMap<SegmentId, File>,
}

impl Writer {
    fn write(&mut self, image: &ShardImage) -> Result<(), String> {
        for record in records_of(image) {
            self.log.append(&record);
            if self.log.is_backlogged() {
                self.write_out()?;
            }
        }
        self.log.stop();
        self.write_out()?;
        let synced = self.files.values().try_for_each(File::sync_all);
        synced.and_then(|()| Ok(sync_folder(&self.path)?)).map_err(|error| error.to_string())
    }

    fn write_out(&mut self) -> Result<(), String> {
        while let Some(request) = self.log.poll_disk() {
            let done = self.carry_out(request);
            self.log.handle_disk(done).map_err(|failure| failure.to_string())?;
        }
        if self.log.is_quiet() { Ok(()) } else { Err("no space is left for it".to_owned()) }
    }

    fn carry_out(&mut self, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Prepare { segment, bytes } => {
                DiskDone::Prepared { segment, result: self.prepare(segment, bytes).map_err(disk_error) }
            }
            DiskRequest::Write { segment, offset, block, durable: _ } => {
                let result = self.files[&segment].write_all_at(block.bytes(), offset).map_err(disk_error);
                DiskDone::Written { segment, offset, block, result }
            }
            DiskRequest::Read { .. } | DiskRequest::Retire { .. } => {
                unreachable!("a log that is written once reads nothing and gives nothing up")
            }
        }
    }

    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> io::Result<()> {
        let path = self.path.join(segment_name(segment));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.set_len(bytes)?;
        self.files.insert(segment, file);
        Ok(())
    }
}

fn disk_error(error: io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::StorageFull => DiskError::Full,
        _ => DiskError::Failed(error.raw_os_error().unwrap_or_default()),
    }
}
