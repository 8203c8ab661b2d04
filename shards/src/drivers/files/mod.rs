//! Segment files: what a log's disk does beside writing, and the disk of the epoll driver.
//!
//! | file | what |
//! |---|---|
//! | `space` | how much of the file system is left to others |
//! | `segment` | one open segment file |
//! | `folder` | the segments of one log: made, used again, given back |
//! | `keeper` | the threads that do all this, and read, for all shards |
//! | `blocking` | does everything at once, for logs written before the broker serves |
//! | `direct_write` | one write that the kernel does by itself |
//! | `flusher` | writes so, and with a thread per shard what the kernel would have to wait for, where there is no ring |
//!
//! No shard's thread ever makes a call here that touches a file.

mod blocking;
mod direct_write;
mod flusher;
mod folder;
mod keeper;
mod segment;
mod space;
#[cfg(test)]
mod tests;

pub use blocking::BlockingDisk;
pub use flusher::FileDisk;
pub use folder::{Folder, StoredSegment, make_private_folder, segment_name, sync_folder};
pub use keeper::{Keeper, KeeperPort, Kept};
pub(super) use segment::advance;
pub use segment::{SegmentFile, Ways};
pub use space::Watermark;

use crate::log::DiskError;
use rustix::io::Errno;

/// What an error means to a log that asked for a segment: what passes by itself is tried again, and until then only the segments that are ready
/// already are written.
fn disk_error(errno: Errno) -> DiskError {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM => DiskError::Full,
        other => DiskError::Failed(other.raw_os_error()),
    }
}

/// Fresh folders for tests, removed at the end.
#[cfg(test)]
pub(super) struct Scratch(pub std::path::PathBuf);

#[cfg(test)]
impl Scratch {
    pub fn new() -> Scratch {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Not the temporary folder: that may be a file system without direct I/O.
        let target = std::env::current_exe().expect("the test binary has a path");
        let folder = target.with_file_name(format!("scratch-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("beside the test binary is room");
        Scratch(folder)
    }
}

#[cfg(test)]
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
