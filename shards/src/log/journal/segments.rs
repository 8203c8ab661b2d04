//! The segments that a log is written to: the one being filled, those made ready behind it, those that are full.

use super::Room;
use crate::base::limits::{
    LOG_FOR_ACCEPTED_QUARTERS, LOG_FOR_CLEANING_QUARTERS, LOG_FOR_PUBLISHERS_AT_FIRST_QUARTERS,
    LOG_SPARE_MORE_MAX, LOG_SPARE_PART, LOG_SPARE_SEGMENTS,
};
use crate::base::planted::{Bug, Planted};
use crate::log::disk::{BLOCK_BYTES, DiskRequest, SegmentId};
use std::collections::VecDeque;

/// Where a segment stands that is not written to the end yet.
///
/// ```text
/// Wanted ── Prepare ──▶ Asked ── Prepared ──▶ Ready
///    ▲                    │ Full
///    └────── retry ──── Refused
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Wanted,
    Asked,
    Refused,
    Ready,
}

#[derive(Debug)]
struct Segment {
    id: SegmentId,
    bytes: usize,
    state: State,
}

/// Segments that a log which has so many full ones wants ready ahead of the one that it fills.
///
/// Going once through a log that lives costs what each round writes besides, and gives back only at its end what others have taken meanwhile: the more
/// segments, the more of both.
pub fn spare_segments(full: usize) -> usize {
    LOG_SPARE_SEGMENTS + (full / LOG_SPARE_PART).min(LOG_SPARE_MORE_MAX)
}

/// The segments of one log, oldest first; numbers rise without end.
#[derive(Debug)]
pub(super) struct Segments {
    /// Full and written, or of an earlier incarnation.
    full: VecDeque<(SegmentId, u64)>,
    /// Bytes of those.
    full_bytes: u64,
    /// From the oldest that is not written to the end, to the last spare one.
    ahead: VecDeque<Segment>,
    /// Which of them is being filled.
    filling: usize,
    /// Where in it the next batch goes.
    next: usize,
    /// Of an ordinary one.
    segment_bytes: usize,
    highest: SegmentId,
    /// The disk had no room for one, and has not made all that are wanted since.
    low: bool,
    /// Bytes of the segments that are ready behind the one being filled, up to the first that is not.
    ready_behind: usize,
    /// Prepared in vain: a record was too large for them. Retired as soon as they are there.
    unwanted: Vec<SegmentId>,
    retire: VecDeque<SegmentId>,
    /// The disk is giving this one up. One at a time, the oldest first: what is on disk is the end of the log, without a gap, at any moment.
    retiring: Option<SegmentId>,
    /// Planted.
    newest_first: bool,
}

impl Segments {
    /// Begins with segment `first`, behind those of earlier incarnations.
    pub(super) fn new(first: SegmentId, segment_bytes: usize, full: Vec<(SegmentId, u64)>) -> Segments {
        assert!(full.iter().all(|(id, _)| *id < first), "a new incarnation writes to new segments");
        assert!(segment_bytes.is_multiple_of(BLOCK_BYTES) && segment_bytes >= 4 * BLOCK_BYTES);
        let mut segments = Segments {
            full_bytes: full.iter().map(|(_, bytes)| bytes).sum(),
            full: full.into(),
            ahead: VecDeque::new(),
            filling: 0,
            next: 0,
            segment_bytes,
            highest: first,
            low: false,
            ready_behind: 0,
            unwanted: Vec::new(),
            retire: VecDeque::new(),
            retiring: None,
            newest_first: false,
        };
        segments.ahead.push_back(Segment { id: first, bytes: segment_bytes, state: State::Wanted });
        segments.want_spares();
        segments
    }

    pub(super) fn plant(&mut self, planted: Planted) {
        self.newest_first = planted.is(Bug::NewestSegmentGoesFirst);
    }

    fn want_spares(&mut self) {
        while self.ahead.len() - 1 - self.filling < self.spares() {
            self.want(self.segment_bytes);
        }
    }

    /// How many are to be ready behind the one being filled.
    fn spares(&self) -> usize {
        spare_segments(self.full.len() + self.filling)
    }

    /// A log that has become smaller wants no more of what it had no room for.
    fn drop_unwanted(&mut self) {
        let may_go = |last: &Segment| matches!(last.state, State::Wanted | State::Refused);
        while self.ahead.len() - 1 - self.filling > self.spares() && self.ahead.back().is_some_and(may_go) {
            self.ahead.pop_back();
        }
        self.low &= self.ahead.iter().any(|segment| segment.state != State::Ready);
    }

    fn want(&mut self, bytes: usize) {
        self.highest = SegmentId(self.highest.0 + 1);
        self.ahead.push_back(Segment { id: self.highest, bytes, state: State::Wanted });
    }

    /// The segment being filled, and where its next batch goes.
    pub(super) fn position(&self) -> (SegmentId, usize) {
        (self.ahead[self.filling].id, self.next)
    }

    /// Bytes of the segment being filled.
    pub(super) fn bytes(&self) -> usize {
        self.ahead[self.filling].bytes
    }

    /// Bytes of an ordinary segment.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes as u64
    }

    /// The next batch goes to `offset` of the segment being filled.
    pub(super) fn go_on_at(&mut self, offset: usize) {
        self.next = offset.next_multiple_of(BLOCK_BYTES);
    }

    /// Goes on in the next segment, which is to hold `bytes` at least.
    pub(super) fn roll(&mut self, bytes: usize) {
        if bytes > self.segment_bytes {
            self.drop_spares();
            self.want(bytes.next_multiple_of(BLOCK_BYTES));
        }
        self.filling += 1;
        self.next = 0;
        self.want_spares();
        self.count_ready();
    }

    fn count_ready(&mut self) {
        let behind = self.ahead.iter().skip(self.filling + 1);
        let ready = behind.take_while(|segment| segment.state == State::Ready);
        self.ready_behind = ready.map(|segment| segment.bytes).sum();
    }

    /// How far what is ready goes for a record that would lie at `end` of the segment being filled.
    pub(super) fn room(&self, end: usize) -> Room {
        if self.low {
            return Room::Low;
        }
        if self.is_ready_for(self.reserve(), end) { Room::Ample } else { Room::Awaited }
    }

    /// Whether what came to be accepted before it was known that room is short may be appended at `end` of the segment being filled.
    pub(super) fn has_room_for_accepted(&self, end: usize) -> bool {
        self.is_ready_for(self.reserve().saturating_sub(LOG_FOR_ACCEPTED_QUARTERS), end)
    }

    /// Whether cleaning may append at `end` of the segment being filled: what it begins while room is low it must be able to end.
    pub(super) fn has_room_to_clean(&self, end: usize) -> bool {
        let quarters = if self.low { LOG_FOR_CLEANING_QUARTERS } else { self.reserve() };
        self.is_ready_for(quarters, end)
    }

    /// In quarters of a segment.
    fn reserve(&self) -> usize {
        let at_first = self.full.is_empty() && self.filling == 0;
        // All but one of the spare ones, which publishers fill while the next is made.
        if at_first { LOG_FOR_PUBLISHERS_AT_FIRST_QUARTERS } else { 4 * (self.spares() - 1) }
    }

    fn is_ready_for(&self, quarters: usize, end: usize) -> bool {
        self.ready(end) >= self.segment_bytes / 4 * quarters
    }

    /// Bytes that are ready behind `end` of the segment being filled.
    fn ready(&self, end: usize) -> usize {
        let filling = &self.ahead[self.filling];
        if filling.state == State::Ready { filling.bytes.saturating_sub(end) + self.ready_behind } else { 0 }
    }

    /// Bytes that cleaning may append while room is low.
    pub(super) fn ready_to_clean(&self, end: usize) -> usize {
        self.ready(end).saturating_sub(self.segment_bytes / 4 * LOG_FOR_CLEANING_QUARTERS)
    }

    /// The spare segments are too small for what comes next, and numbers only rise.
    fn drop_spares(&mut self) {
        for spare in self.ahead.drain(self.filling + 1..) {
            match spare.state {
                State::Ready => self.retire.push_back(spare.id),
                State::Asked => self.unwanted.push(spare.id),
                State::Wanted | State::Refused => {}
            }
        }
    }

    /// Whether `segment` can be written to.
    pub(super) fn is_ready(&self, segment: SegmentId) -> bool {
        self.ahead.iter().any(|known| known.id == segment && known.state == State::Ready)
    }

    /// All that lies before `segment` is written.
    pub(super) fn written_up_to(&mut self, segment: SegmentId) {
        while self.ahead.front().is_some_and(|oldest| oldest.id < segment) {
            let oldest = self.ahead.pop_front().expect("looked at above");
            self.full.push_back((oldest.id, oldest.bytes as u64));
            self.full_bytes += oldest.bytes as u64;
            self.filling -= 1;
        }
    }

    /// What the disk is asked for next.
    pub(super) fn poll_request(&mut self) -> Option<DiskRequest> {
        if self.retiring.is_none()
            && let Some(segment) =
                if self.newest_first { self.retire.pop_back() } else { self.retire.pop_front() }
        {
            self.retiring = Some(segment);
            return Some(DiskRequest::Retire { segment });
        }
        // One at a time, in order: what is further on is of no use before it, and takes the place that it needs.
        let wanted = self.ahead.iter_mut().find(|segment| segment.state != State::Ready)?;
        if wanted.state != State::Wanted {
            return None;
        }
        wanted.state = State::Asked;
        Some(DiskRequest::Prepare { segment: wanted.id, bytes: wanted.bytes as u64 })
    }

    /// The disk has made `segment` ready, or has no room for it.
    pub(super) fn handle_prepared(&mut self, segment: SegmentId, has_room: bool) {
        if let Some(index) = self.unwanted.iter().position(|unwanted| *unwanted == segment) {
            self.unwanted.swap_remove(index);
            self.retire.extend(has_room.then_some(segment));
            return;
        }
        let known = self.ahead.iter_mut().find(|known| known.id == segment);
        let known = known.expect("the disk answers what it was asked");
        assert!(known.state == State::Asked, "the disk answers once");
        known.state = if has_room { State::Ready } else { State::Refused };
        if !has_room {
            self.low = true;
        } else if self.ahead.iter().all(|segment| segment.state == State::Ready) {
            self.low = false;
        }
        self.count_ready();
    }

    /// The disk has given `segment` up, and would after any crash.
    pub(super) fn handle_retired(&mut self, segment: SegmentId) {
        assert!(self.retiring == Some(segment), "the disk answers what it was asked");
        self.retiring = None;
        // What was retired makes room for what was refused.
        self.retry();
    }

    /// Asks again for what was refused.
    pub(super) fn retry(&mut self) {
        for segment in self.ahead.iter_mut().filter(|segment| segment.state == State::Refused) {
            segment.state = State::Wanted;
        }
    }

    /// Nobody needs what lies in full segments before `segment`.
    pub(super) fn retire_before(&mut self, segment: SegmentId) {
        while let Some((id, bytes)) = self.full.front().copied().filter(|(id, _)| *id < segment) {
            self.full.pop_front();
            self.full_bytes -= bytes;
            self.retire.push_back(id);
        }
        self.drop_unwanted();
    }

    /// The last of the full segments, oldest first, that have `bytes` together, or of the first one if that has more.
    pub(super) fn full_through(&self, bytes: u64) -> Option<SegmentId> {
        let mut sum = 0;
        let within = self.full.iter().enumerate().take_while(|(index, (_, more))| {
            sum += more;
            *index == 0 || sum <= bytes
        });
        within.last().map(|(_, (id, _))| *id)
    }

    /// The segments that hold records, or are being filled: how many, and their bytes up to where the next batch goes.
    pub(super) fn used(&self) -> (usize, u64) {
        let filling = self.ahead.iter().take(self.filling).map(|segment| segment.bytes as u64);
        (self.full.len() + self.filling + 1, filling.sum::<u64>() + self.full_bytes + self.next as u64)
    }

    /// The oldest segment that holds records of this log.
    pub(super) fn oldest(&self) -> SegmentId {
        self.full.front().map_or(self.ahead[0].id, |(id, _)| *id)
    }
}
