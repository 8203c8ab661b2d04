//! A shard's end of its log: records in, numbers out.

use super::Record;
use super::disk::DiskRequest;
use super::journal::Journal;
use super::spoiled::Spoiled;
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::Planted;
use std::collections::VecDeque;

/// Numbers records in the order in which they are appended.
#[derive(Debug)]
pub struct Log {
    newest: Lsn,
    tape: Option<Vec<(Lsn, Record<'static>)>>,
    planted: Planted,
    /// What makes it last, if anything does.
    pub(super) journal: Option<Box<Journal>>,
    /// Of messages to be read back, not handed to the disk yet.
    pub(super) reads: VecDeque<DiskRequest>,
}

impl Log {
    /// A log that keeps nothing: what is numbered is committed as soon as its shard says so.
    pub fn in_memory() -> Log {
        let (tape, journal, reads) = (None, None, VecDeque::new());
        Log { newest: Lsn::NONE, tape, planted: Planted::default(), journal, reads }
    }

    /// A log that keeps its records in memory, to be looked at with [`Log::tape`]: for tests and the simulator. What of it is committed
    /// says who drives the shard; a crash is the part of the tape that is used again.
    pub fn taped() -> Log {
        Log::taped_in(Incarnation(1))
    }

    /// The same, in a later incarnation.
    pub fn taped_in(incarnation: Incarnation) -> Log {
        Log { newest: Lsn::before(incarnation), tape: Some(Vec::new()), ..Log::in_memory() }
    }

    /// A log that keeps its records on disk.
    pub fn over(journal: Journal) -> Log {
        Log { newest: journal.begins_behind(), journal: Some(Box::new(journal)), ..Log::in_memory() }
    }

    /// The bug of this run.
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// The same, with all that was ever appended on a tape beside it, for tests.
    pub fn taped_over(journal: Journal) -> Log {
        Log { tape: Some(Vec::new()), ..Log::over(journal) }
    }

    /// Whether records go anywhere: where not, one that costs something need not be made.
    pub fn keeps(&self) -> bool {
        self.tape.is_some() || self.journal.is_some()
    }

    /// The records of a log that is taped; empty for any other.
    pub fn tape(&self) -> &[(Lsn, Record<'static>)] {
        self.tape.as_deref().unwrap_or_default()
    }

    /// Appends a record. It is committed when [`Log::newest`] was, or a later one.
    pub fn append(&mut self, record: &Record<'_>) -> Lsn {
        self.newest = self.newest.next();
        match Spoiled::of(self.planted, record) {
            Spoiled::No => self.keep(record),
            Spoiled::Skipped => {}
            Spoiled::Changed(record) => self.keep(&record),
        }
        self.newest
    }

    fn keep(&mut self, record: &Record<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.append(self.newest, record);
        }
        if let Some(tape) = &mut self.tape {
            tape.push((self.newest, record.clone().into_owned()));
        }
    }

    /// The newest record's number.
    pub fn newest(&self) -> Lsn {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn a_tape_has_what_was_appended_by_number_and_a_log_in_memory_nothing() {
        let mut log = Log::taped_in(Incarnation(3));
        assert!(log.keeps() && log.tape().is_empty());
        let topic = String::from("a/b");
        let first = log.append(&Record::RetainedCleared { topic: Cow::Borrowed(&topic) });
        drop(topic);
        let second = log.append(&Record::Stopped);
        assert!(first > Lsn::before(Incarnation(3)) && second == first.next() && log.newest() == second);
        let cleared = Record::RetainedCleared { topic: Cow::Borrowed("a/b") };
        assert_eq!(log.tape(), [(first, cleared), (second, Record::Stopped)]);

        let mut memory = Log::in_memory();
        memory.append(&Record::Stopped);
        assert!(!memory.keeps() && memory.tape().is_empty() && memory.newest() == Lsn(1));
    }
}
