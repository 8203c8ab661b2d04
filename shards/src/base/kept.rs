//! Names of what the log keeps, carried by layers that know nothing of the log.

use super::lsn::Lsn;
use std::num::NonZeroU64;

/// A durable session in all logs: the epoch of the claim that made it, never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct SessionNumber(pub u64);

/// A copy that a durable session has, among all that it ever had. Rises in the order of queueing and never wraps: four billion would be five days
/// of ten thousand a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct CopyNumber(pub u64);

impl CopyNumber {
    /// The number of the copy behind this one.
    pub fn next(self) -> CopyNumber {
        CopyNumber(self.0 + 1)
    }

    /// The number of the copy before this one, unless this is the first.
    pub fn before(self) -> Option<CopyNumber> {
        self.0.checked_sub(1).map(CopyNumber)
    }
}

/// A message whose body this shard's log has, as the shard's table of bodies names it. Never 0, so that a copy that the log does not have
/// costs nothing more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BodyKey(pub NonZeroU64);

/// What makes a copy one that the log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptCopy {
    /// Its number in its session.
    pub number: CopyNumber,
    /// Its message.
    pub body: BodyKey,
}

/// A message in nobody's queue, as the log names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ParkedId {
    /// The record that parked it, which is the name of its message, too.
    pub record: Lsn,
    /// Which of the groups that the record parks it for; 0 where that is its only purpose.
    pub nth: u32,
}

impl ParkedId {
    /// What has a record of its own.
    pub fn alone(record: Lsn) -> ParkedId {
        ParkedId { record, nth: 0 }
    }
}

/// Where the last whole record of something lies in its log: the number of the segment, or of an earlier one. Recovery that begins there has it.
///
/// Where it lies is no part of what something is: all are equal.
#[derive(Clone, Copy, Default, Debug)]
pub struct Written(pub u64);

impl Written {
    /// Whether it lies within the segments up to `through`.
    pub fn is_within(self, through: Written) -> bool {
        self.0 <= through.0
    }
}

impl PartialEq for Written {
    fn eq(&self, _: &Written) -> bool {
        true
    }
}

impl Eq for Written {}

const _: () = assert!(size_of::<Option<KeptCopy>>() == 16, "every copy that waits carries one");
