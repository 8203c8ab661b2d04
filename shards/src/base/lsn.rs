//! Numbers of log records, carried by layers that know nothing of the log.

/// The number of a log record within its shard's log: the incarnation of the broker that wrote it, and a sequence that starts at 1 in each.
/// 0 stands for "nothing to wait for". Never given twice, also after a crash that lost records: the next incarnation is higher.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct Lsn(pub u64);

/// Bits of the sequence: 17 trillion records between two starts. The other 20 number a million starts.
const SEQUENCE_BITS: u32 = 44;

impl Lsn {
    /// Already committed by definition: what needs no record.
    pub const NONE: Lsn = Lsn(0);

    /// Before the first record of `incarnation`.
    pub fn before(incarnation: Incarnation) -> Lsn {
        Lsn(u64::from(incarnation.0) << SEQUENCE_BITS)
    }

    /// The record that follows this one in its log, within the same incarnation.
    pub fn next(self) -> Lsn {
        let next = Lsn(self.0 + 1);
        assert!(next.incarnation() == self.incarnation(), "a broker is restarted before 17 trillion records");
        next
    }

    /// The record `steps` behind this one.
    pub fn plus(self, steps: u32) -> Lsn {
        Lsn(self.0 + u64::from(steps))
    }

    /// Which start of the broker wrote it.
    pub fn incarnation(self) -> Incarnation {
        Incarnation((self.0 >> SEQUENCE_BITS) as u32)
    }
}

/// The number of a start of the broker on its data directory, from 1; below 2^20.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct Incarnation(pub u32);
