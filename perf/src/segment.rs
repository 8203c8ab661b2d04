//! A bare log: pre-allocated files used in turn, batches of records of one size, each flushed before the next is written.
//! What a broker's log could reach at best on this disk, so nothing is here but the writes.

use crate::cli::{FileApi, Segments};
use crate::error::BenchError;
use crate::limits::{BLOCK_BYTES, LATENCY_NS_MAX, SEGMENT_BYTES, SEGMENTS_PER_LOG};
use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes at the beginning of each record: log and number, little-endian, the number from 0 in each run of the loop.
pub const MARK_BYTES: usize = 12;

/// What one log writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    /// Records of one flush.
    pub records: u32,
    /// Bytes of a record.
    pub record_bytes: u32,
    /// How they are written.
    pub api: FileApi,
    /// What the files hold before.
    pub segments: Segments,
}

/// What one log has done.
pub struct Written {
    /// Records that are on disk.
    pub records: u64,
    /// From the write to the end of the flush, in nanoseconds.
    pub flush: Histogram<u64>,
}

/// One log: its files are open, all of their bytes allocated.
pub struct BareLog {
    log: u32,
    batches: Batches,
    files: Vec<File>,
    paths: Vec<PathBuf>,
    /// The batch, at the first aligned place of a longer buffer: O_DIRECT asks for that.
    buffer: Vec<u8>,
    start: usize,
}

/// The files of log `log`, in the order of their use.
pub fn paths(directory: &Path, log: u32, segments: Segments) -> Vec<PathBuf> {
    (0..SEGMENTS_PER_LOG).map(|turn| directory.join(format!("{segments}-{log}-{turn}.log"))).collect()
}

impl BareLog {
    /// Opens the files of log `log`: as they are when recycled, newly allocated else.
    pub fn open(directory: &Path, log: u32, batches: Batches) -> Result<BareLog, BenchError> {
        let paths = paths(directory, log, batches.segments);
        let flags = match batches.api {
            FileApi::Dsync => OFlags::DIRECT | OFlags::DSYNC,
            FileApi::Direct => OFlags::DIRECT,
            FileApi::Buffered | FileApi::Packed => OFlags::empty(),
        };
        let open = |path: &PathBuf| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(flags.bits() as i32)
                .open(path)?;
            match batches.segments {
                Segments::Recycled => fill(&file)?,
                Segments::Fresh => allocate(&file)?,
            }
            file.sync_all()?;
            Ok(file)
        };
        let failed = |error| BenchError::system(format!("preparing the files of log {log}"), error);
        let files = paths.iter().map(open).collect::<io::Result<Vec<File>>>().map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        let buffer = vec![0; batch_bytes(batches) + BLOCK_BYTES];
        let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
        Ok(BareLog { log, batches, files, paths, buffer, start })
    }

    /// Writes and flushes batch after batch until `limit` is over, then checks that the files hold them.
    pub fn run(mut self, limit: Duration) -> Result<Written, BenchError> {
        let flush = Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("the bounds are constants");
        let mut written = Written { records: 0, flush };
        let failed = |log, error| BenchError::system(format!("writing log {log}"), error);
        let (mut file, mut at, bytes) = (0, 0u64, batch_bytes(self.batches));
        let began = Instant::now();
        while began.elapsed() < limit {
            if at + bytes as u64 > SEGMENT_BYTES {
                (file, at) = ((file + 1) % self.files.len(), 0);
                if self.batches.segments == Segments::Fresh {
                    allocate(&self.files[file]).map_err(|error| failed(self.log, error))?;
                }
            }
            self.mark(written.records);
            let batch = &self.buffer[self.start..self.start + bytes];
            let handed = Instant::now();
            self.files[file]
                .write_all_at(batch, at)
                .and_then(|()| match self.batches.api {
                    FileApi::Dsync => Ok(()),
                    FileApi::Direct | FileApi::Buffered | FileApi::Packed => self.files[file].sync_data(),
                })
                .map_err(|error| failed(self.log, error))?;
            written.flush.saturating_record(handed.elapsed().as_nanos() as u64);
            written.records += u64::from(self.batches.records);
            at += bytes as u64;
        }
        self.check(file, at, written.records)?;
        Ok(written)
    }

    /// Gives the records of a batch their marks; the first has number `first`.
    fn mark(&mut self, first: u64) {
        let records = self.buffer[self.start..].chunks_exact_mut(self.batches.record_bytes as usize);
        for (number, record) in (first..).zip(records).take(self.batches.records as usize) {
            record[..4].copy_from_slice(&self.log.to_le_bytes());
            record[4..MARK_BYTES].copy_from_slice(&number.to_le_bytes());
        }
    }

    /// The newest batch, which ends at `end` of `file`, and whole files of allocated bytes must be there.
    fn check(&self, file: usize, end: u64, records: u64) -> Result<(), BenchError> {
        let broken = |what: String| BenchError::Disk { path: self.paths[file].clone(), what };
        let failed = |error| BenchError::system(format!("reading log {} back", self.log), error);
        let bytes = batch_bytes(self.batches);
        let reader = File::open(&self.paths[file]).map_err(failed)?;
        if reader.metadata().map_err(failed)?.len() != SEGMENT_BYTES {
            return Err(broken(format!("not {SEGMENT_BYTES} bytes long")));
        }
        if records == 0 {
            return Ok(());
        }
        let mut back = vec![0; bytes];
        reader.read_exact_at(&mut back, end - bytes as u64).map_err(failed)?;
        if back != self.buffer[self.start..self.start + bytes] {
            return Err(broken(format!("the batch that ends at byte {end} is not what was written")));
        }
        Ok(())
    }
}

/// Bytes that one batch takes: up to the next block, unless batches are packed.
fn batch_bytes(batches: Batches) -> usize {
    let bytes = batches.records as usize * batches.record_bytes as usize;
    if batches.api == FileApi::Packed { bytes } else { bytes.next_multiple_of(BLOCK_BYTES) }
}

/// Bytes that one record takes on disk, padding included.
pub fn bytes_per_record(batches: Batches) -> f64 {
    batch_bytes(batches) as f64 / f64::from(batches.records)
}

/// Gives a file its bytes anew: allocated, not written.
fn allocate(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    Ok(fallocate(file, FallocateFlags::empty(), 0, SEGMENT_BYTES)?)
}

/// Writes a file full of zeros, unless an earlier run of the loop has written it already.
fn fill(file: &File) -> io::Result<()> {
    if file.metadata()?.len() == SEGMENT_BYTES {
        return Ok(());
    }
    allocate(file)?;
    const STEP: usize = 1 << 20;
    let zeros = vec![0; STEP + BLOCK_BYTES];
    let start = zeros.as_ptr().align_offset(BLOCK_BYTES);
    (0..SEGMENT_BYTES / STEP as u64)
        .try_for_each(|step| file.write_all_at(&zeros[start..start + STEP], step * STEP as u64))
}
