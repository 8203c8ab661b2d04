//! How much of a file system a log leaves to others.

use crate::base::limits::{DISK_WATERMARK_BYTES_MAX, DISK_WATERMARK_SHARE};
use rustix::io::Errno;
use std::path::Path;

/// What is to stay free on the file system of the logs: segments that would take it are not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Watermark {
    /// The smaller of 1 GiB and a tenth of the file system.
    #[default]
    Usual,
    /// So many bytes; 0: until the file system itself refuses.
    Bytes(u64),
}

impl Watermark {
    /// The bytes to be left on a file system of `total` bytes.
    fn on(self, total: u64) -> u64 {
        match self {
            Watermark::Usual => DISK_WATERMARK_BYTES_MAX.min(total / DISK_WATERMARK_SHARE),
            Watermark::Bytes(bytes) => bytes,
        }
    }

    /// Whether a file of `bytes` more below `folder` leaves enough.
    ///
    /// # Errors
    /// The file system does not tell.
    pub(super) fn leaves(self, folder: &Path, bytes: u64) -> Result<bool, Errno> {
        if self == Watermark::Bytes(0) { Ok(true) } else { self.is_there(folder, bytes) }
    }

    /// Whether the file system says that it has enough for a file of `bytes` more below `folder`, besides what is to stay free.
    ///
    /// # Errors
    /// The file system does not tell.
    pub(super) fn is_there(self, folder: &Path, bytes: u64) -> Result<bool, Errno> {
        let told = rustix::fs::statvfs(folder)?;
        let (total, free) = (told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize);
        Ok(free >= bytes.saturating_add(self.on(total)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_watermark_is_the_smaller_of_a_gibibyte_and_a_tenth() {
        const GIB: u64 = 1 << 30;
        assert_eq!(Watermark::Usual.on(100 * GIB), GIB);
        assert_eq!(Watermark::Usual.on(GIB), GIB / 10);
        assert_eq!(Watermark::Bytes(7).on(GIB), 7);
    }

    #[test]
    fn what_is_free_is_asked_of_the_file_system() {
        let here = Path::new(".");
        assert_eq!(Watermark::Bytes(0).leaves(here, u64::MAX), Ok(true));
        assert_eq!(Watermark::Bytes(u64::MAX).leaves(here, 1), Ok(false));
        assert_eq!(Watermark::Bytes(1).leaves(here, 1), Ok(true), "the tests have room");
        assert_eq!(Watermark::Usual.leaves(Path::new("/nonexistent"), 1), Err(Errno::NOENT));
    }
}
