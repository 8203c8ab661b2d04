//! The side of a log that its driver sees: what the disk is to do, what it has done, and how the log stands. A log in memory asks for
//! nothing and always has room.

use super::Log;
use super::disk::{DiskDone, DiskRequest, SegmentId};
use super::format::Place;
use super::journal::{Journal, LogFailure, Room};
use super::record::Record;
use crate::base::kept::Written;
use crate::base::lsn::Lsn;
use crate::base::time::Time;

impl Log {
    /// It is `now`: said before the disk is told of, and before it is asked for.
    pub fn turn(&mut self, now: Time) {
        if let Some(journal) = &mut self.journal {
            journal.turn(now);
        }
    }

    /// Until when what waits is held back at most, so that more goes with it; `None` when nothing is.
    pub fn held_until(&self) -> Option<Time> {
        self.journal.as_ref()?.held_until()
    }

    /// What the disk is asked for next. Ask until there is nothing more, once everything of a turn is appended: that becomes one write.
    pub fn poll_disk(&mut self) -> Option<DiskRequest> {
        self.reads.pop_front().or_else(|| self.journal.as_mut()?.poll_disk())
    }

    /// The disk has done something. Returns up to where the log is committed, when that is further than before.
    ///
    /// # Errors
    /// The disk failed, now or earlier: nothing is ever committed again, and the broker has to end.
    pub fn handle_disk(&mut self, done: DiskDone) -> Result<Option<Lsn>, LogFailure> {
        self.journal.as_mut().expect("only a log on disk asks for anything").handle_disk(done)
    }

    /// Why the log has ended, if it has.
    pub fn failure(&self) -> Option<LogFailure> {
        self.journal.as_ref()?.failure()
    }

    /// Whether there is room for what publishers send.
    pub fn room(&self) -> Room {
        self.journal.as_ref().map_or(Room::Ample, |journal| journal.room())
    }

    /// Whether there is room for what was accepted before room was short, and cannot be refused any more: a part of the reserve is for that.
    pub fn has_room_for_accepted(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.has_room_for_accepted())
    }

    /// Whether there is room for what cleaning writes again. While room is low it goes to the reserve, but for a last part of it.
    pub fn has_room_to_clean(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.has_room_to_clean())
    }

    /// Asks the disk once more for what it had no room for. To be called once a second while [`Log::room`] is [`Room::Low`], and never else.
    pub fn retry_room(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.retry_room();
        }
    }

    /// Whether more waits to be written than publishers should add to. It drains by itself.
    pub fn is_backlogged(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_backlogged())
    }

    /// Whether everything that was appended is written.
    pub fn is_quiet(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.is_quiet())
    }

    /// Appends what says that the run ended in order. Nothing may follow; the run has ended when the log is quiet.
    pub fn stop(&mut self) -> Lsn {
        self.append(&Record::Stopped)
    }

    /// Where the newest record lies, or will once it is written: to be read from there later. On tape records lie anywhere. `None` for a log in
    /// memory.
    pub fn place_of_newest(&self) -> Option<Place> {
        match &self.journal {
            Some(journal) => journal.place_of_newest(),
            None => self.tape().last().map(|_| Place { segment: SegmentId(1), offset: 0, bytes: 0 }),
        }
    }

    /// Gives up the segments before `segment`. Only when what is on disk says that recovery needs none of them.
    pub fn retire_before(&mut self, segment: SegmentId) {
        if let Some(journal) = &mut self.journal {
            journal.retire_before(segment);
        }
    }

    /// Where the next record will lie, or an earlier segment. The first one for a log without any.
    pub fn written(&self) -> Written {
        self.journal.as_ref().map_or(SegmentId(0), |journal| journal.filling()).written()
    }

    /// Bytes of all records appended in this run.
    pub fn appended_bytes(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.appended_bytes())
    }

    /// Bytes that wait to be written.
    pub fn unwritten_bytes(&self) -> usize {
        self.journal.as_ref().map_or(0, |journal| journal.unwritten_bytes())
    }

    /// The last of the full segments, oldest first, that have `bytes` together, or of the first one if that has more. `None`: none is full.
    pub fn full_through(&self, bytes: u64) -> Option<SegmentId> {
        self.journal.as_ref()?.full_through(bytes)
    }

    /// What there is on disk, for statistics and for whoever cleans.
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_deref()
    }
}
