//! The folder of one log: its segments by name.

use super::segment::{SegmentFile, Ways};
use super::{Watermark, disk_error};
use crate::base::limits::{LOG_SPARE_SEGMENTS, RESERVE_SEGMENTS, RETIRED_SEGMENTS_KEPT};
use crate::log::{BLOCK_BYTES, DiskError, SegmentId};
use rustix::fs::{Mode, OFlags, chmod, fsync, ftruncate, mkdir, open, rename, unlink};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Suffix of segments.
const SEGMENT_SUFFIX: &str = ".log";
/// Name of the segment that is being made; what a crash leaves of it is removed at the next start.
const UNFINISHED: &str = "unfinished";

/// A segment file that is there at the start.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StoredSegment {
    /// Which.
    pub segment: SegmentId,
    /// Its size.
    pub bytes: u64,
}

/// The segments of one log. Lives on the keeper's thread, which alone changes the folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    watermark: Watermark,
    ways: Ways,
    /// Segments that nobody needs, kept to be used again: the longest kept first.
    retired: VecDeque<StoredSegment>,
    /// Segments made ready in this run.
    prepared: usize,
    /// Segments that the log wants to begin with: so many of those that are there and not needed are kept for it.
    first: usize,
    /// There was no room for the segment that was asked for last.
    refused: bool,
}

/// The file name of a segment.
pub fn segment_name(segment: SegmentId) -> String {
    format!("{:016}{SEGMENT_SUFFIX}", segment.0)
}

fn segment_of(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let all_digits = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok().map(SegmentId)).flatten()
}

/// Makes the folder `path` for nobody but its owner, also where it exists; its name is on disk when this returns.
///
/// # Errors
/// What the system says.
pub fn make_private_folder(path: &Path) -> Result<(), Errno> {
    let private = Mode::RWXU;
    match mkdir(path, private) {
        Ok(()) => sync_folder(
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        ),
        Err(Errno::EXIST) => chmod(path, private),
        Err(error) => Err(error),
    }
}

/// Has all names in the folder `path` on disk.
///
/// # Errors
/// What the system says.
pub fn sync_folder(path: &Path) -> Result<(), Errno> {
    fsync(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Folder {
    /// The folder at `path`, made if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, watermark: Watermark) -> Result<Folder, Errno> {
        make_private_folder(path)?;
        match unlink(path.join(UNFINISHED)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let ways = Ways::default();
        let (path, retired) = (path.to_owned(), VecDeque::new());
        Ok(Folder { path, watermark, ways, retired, prepared: 0, first: RESERVE_SEGMENTS, refused: false })
    }

    /// The folder with its files kept in these ways.
    pub fn with_ways(self, ways: Ways) -> Folder {
        Folder { ways, ..self }
    }

    /// The folder of a log that wants so many segments to begin with.
    pub fn beginning_with(self, first: usize) -> Folder {
        Folder { first, ..self }
    }

    /// Cuts off what lies behind the first `bytes` of a segment that is written no more, if the file system is so short of space that it does not have `wanted`
    /// bytes. Returns the segment's size. What is written next would otherwise have to do without the rest of a segment after each start.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut_if_short(&self, segment: SegmentId, bytes: u64, wanted: u64) -> Result<u64, Errno> {
        let path = self.path_of(segment);
        let size = u64::try_from(rustix::fs::stat(&path)?.st_size).unwrap_or_default();
        let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
        if bytes >= size || self.watermark.is_there(&self.path, wanted)? {
            return Ok(size);
        }
        let file = open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        ftruncate(&file, bytes)?;
        fsync(&file)?;
        Ok(bytes)
    }

    /// The segments in the folder at `path`, by number.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn stored(path: &Path) -> std::io::Result<Vec<StoredSegment>> {
        let mut stored = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if let Some(segment) = entry.file_name().to_str().and_then(segment_of) {
                stored.push(StoredSegment { segment, bytes: entry.metadata()?.len() });
            }
        }
        stored.sort();
        Ok(stored)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a segment lies.
    pub fn path_of(&self, segment: SegmentId) -> PathBuf {
        self.path.join(segment_name(segment))
    }

    /// A segment of `bytes` bytes, on disk with its name: one that was retired, or a new one where that leaves the others their space.
    ///
    /// The first few of a run are made whatever is left, so that a broker on a full disk can start and free what it has.
    pub(super) fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<SegmentFile, DiskError> {
        let file = self.reuse_or_make(segment, bytes);
        self.refused = matches!(file, Err(DiskError::Full));
        let file = file?;
        sync_folder(&self.path).map_err(disk_error)?;
        self.prepared += 1;
        Ok(file)
    }

    fn reuse_or_make(&mut self, segment: SegmentId, bytes: u64) -> Result<SegmentFile, DiskError> {
        loop {
            if let Some(file) = self.reuse(segment, bytes).map_err(disk_error)? {
                return Ok(file);
            }
            match self.make(segment, bytes) {
                // What is kept is of another size, and in the way.
                Err(DiskError::Full) if !self.retired.is_empty() => {
                    self.give_up_oldest().map_err(disk_error)?;
                }
                made => return made,
            }
        }
    }

    fn reuse(&mut self, segment: SegmentId, bytes: u64) -> Result<Option<SegmentFile>, Errno> {
        // The oldest or none: what is on disk has no gap.
        let oldest = self.retired.front().filter(|oldest| oldest.bytes == bytes).cloned();
        let Some(retired) = oldest else { return Ok(None) };
        let path = self.path_of(segment);
        rename(self.path_of(retired.segment), &path)?;
        self.retired.pop_front();
        SegmentFile::open(&path, self.ways).map(Some)
    }

    fn make(&mut self, segment: SegmentId, bytes: u64) -> Result<SegmentFile, DiskError> {
        if self.prepared >= RESERVE_SEGMENTS
            && !self.watermark.leaves(&self.path, bytes).map_err(disk_error)?
        {
            return Err(DiskError::Full);
        }
        let unfinished = self.path.join(UNFINISHED);
        let made = SegmentFile::make(&unfinished, bytes, self.ways)
            .and_then(|file| rename(&unfinished, self.path_of(segment)).map(|()| file));
        made.map_err(|error| {
            // What it took goes back at once; if that fails too, the next start does it.
            let _ = unlink(&unfinished);
            disk_error(error)
        })
    }

    /// Nobody needs the segment any more, nor any that is older. It stays where it is until another is wanted, unless enough are there already, or
    /// the disk is full: then
    /// the oldest of them goes, on disk when this returns. So what is there is always the end of the log, and a recovery that reads a segment too
    /// many reads nothing wrong: what a segment began is ended only by one that goes after it.
    pub fn retire(&mut self, segment: SegmentId) {
        // Not there: it was retired in the run before, which a crash ended.
        let Ok(told) = rustix::fs::stat(self.path_of(segment)) else { return };
        self.retired
            .push_back(StoredSegment { segment, bytes: u64::try_from(told.st_size).unwrap_or_default() });
        let kept = self.kept();
        while self.retired.len() > kept {
            if let Err(error) = self.give_up_oldest() {
                // Those behind it stay, too.
                let path = self.path.display();
                return tracing::warn!("{path}: a segment is not needed and cannot be removed: {error}");
            }
        }
    }

    /// How many retired segments stay. On a full disk those that the log has asked for in vain, or needs to begin: giving them back, it would have none for
    /// what frees more.
    fn kept(&self) -> usize {
        if !self.ways.recycle {
            return 0;
        }
        let room = self.watermark.leaves(&self.path, 0).unwrap_or(false);
        let kept = if room { RETIRED_SEGMENTS_KEPT } else { 0 };
        let wanted = if self.refused { LOG_SPARE_SEGMENTS } else { 0 };
        kept.max(wanted).max(self.first.saturating_sub(self.prepared))
    }

    fn give_up_oldest(&mut self) -> Result<(), Errno> {
        let Some(oldest) = self.retired.front() else { return Ok(()) };
        match unlink(self.path_of(oldest.segment)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        sync_folder(&self.path)?;
        self.retired.pop_front();
        Ok(())
    }
}
