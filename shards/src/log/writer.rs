//! A shard's end of its log: records in, numbers out.

use super::Record;
use crate::base::lsn::Lsn;

/// Numbers records in the order in which they are appended.
#[derive(Debug)]
pub struct Log {
    newest: Lsn,
}

impl Log {
    /// A log that keeps nothing: what is numbered is committed as soon as its shard says so.
    pub fn in_memory() -> Log {
        Log { newest: Lsn::NONE }
    }

    /// Numbers a change whose record is not made yet.
    pub fn number(&mut self) -> Lsn {
        self.newest = self.newest.next();
        self.newest
    }

    /// Appends a record. It is committed when [`Log::newest`] was, or a later one.
    pub fn append(&mut self, _record: &Record<'_>) -> Lsn {
        self.number()
    }

    /// The newest record's number.
    pub fn newest(&self) -> Lsn {
        self.newest
    }
}
