//! The end of a log: what the disk could not do.

use crate::log::disk::{DiskError, SegmentId};
use std::fmt;

/// What the disk was to do when it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogStep {
    /// Make a segment ready.
    Prepare,
    /// Write a batch.
    Write,
}

/// The log cannot be written any more: nothing is committed from here on, and nothing that failed is tried again, since what the
/// operating system says of it the second time proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogFailure {
    /// Which segment.
    pub segment: SegmentId,
    /// Doing what.
    pub step: LogStep,
    /// Why.
    pub error: DiskError,
}

impl fmt::Display for LogFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            LogStep::Prepare => "made ready",
            LogStep::Write => "written",
        };
        write!(f, "segment {} of the log cannot be {step}: ", self.segment.0)?;
        match self.error {
            DiskError::Full => write!(f, "no space"),
            DiskError::Failed(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(errno)),
        }
    }
}

impl std::error::Error for LogFailure {}
