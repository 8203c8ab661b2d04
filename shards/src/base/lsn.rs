//! Numbers of log records, carried by layers that know nothing of the log.

/// The number of a log record within this shard's log; 0 stands for "nothing to wait for".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Already committed by definition: what needs no record.
    pub const NONE: Lsn = Lsn(0);
}
