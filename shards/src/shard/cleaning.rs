//! The log is cleaned from its oldest segments on: what is still needed of them is written again at its end, then they are given up.
//!
//! Everything that the log keeps knows where its last whole record lies ([`Written`](crate::base::kept::Written)). A *round* chooses how many of the oldest segments go, looks at
//! everything in slices, a bounded part of it per turn, and writes again what lies in them. When that is committed the segments are retired, the
//! oldest first, so that what is on disk is the end of the log at any moment, and a recovery that begins at any segment that is still there finds the
//! whole of everything: what it finds first of something may be changes only, which the whole completes further on.

use super::Shard;
use super::cleaning_low::LowPass;
use super::cleaning_pace::Share;
use super::cleaning_turn::Turn;
use super::read_again::BodyReads;
use super::session::SessionKey;
use crate::base::kept::CopyNumber;
use crate::base::limits::{
    CLEAN_AHEAD_BYTES_MAX, CLEAN_FROM_EIGHTHS, CLEAN_GAIN_PART, CLEAN_LATE_AHEAD_BYTES_MAX,
    CLEAN_LATE_EIGHTHS, CLEAN_LATE_REST_PART, CLEAN_ROUND_PART,
};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::Bug;
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::log::{Record, Room, SegmentId, StartRecord};
use std::borrow::Cow;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Cleaning {
    /// Of earlier incarnations, the last number recovered: as the first record of this one says.
    pub(super) ended: Vec<(Incarnation, Lsn)>,
    /// Bytes of the records that durable sessions take, without their copies.
    pub(super) session_bytes: u64,
    pub(super) low_pass: LowPass,
    /// A round is begun when it is this shard's turn, or when it is late.
    pub(super) turn: Turn,
    pub(super) reads: BodyReads,
    round: Option<Round>,
    /// No round is begun.
    off: bool,
    /// The log has more than it should, and is cleaned faster.
    pub(super) late: bool,
    /// Work that earlier turns were to do.
    pub(super) owed: u64,
    rounds: u64,
    /// What the log had appended at the end of the last turn, and what it has for cleaning alone since.
    pub(super) appended: u64,
    /// Bytes of that which cleaning has written again.
    pub(super) again: u64,
    rest: Rest,
}

/// After a round in vain.
#[derive(Clone, Copy, Default)]
struct Rest {
    /// What others have to have appended before the next one, unless less lives by then.
    until: u64,
    /// What lived at its end.
    live: u64,
}

/// One round.
pub(super) struct Round {
    /// The last segment that goes.
    pub(super) through: SegmentId,
    pub(super) stage: Stage,
    /// Fan-outs that are open since before this number have their message in a segment that goes, and end by themselves.
    fan_outs: u64,
    /// By shard, how far its log has to be committed: what came from it is then known to have happened, and need not say from where it came.
    settled: Box<[Lsn]>,
    /// When it began: bytes of the log, and what others than cleaning had appended.
    began: (u64, u64),
    /// What cleaning had written again then.
    pub(super) again: u64,
    /// Bytes of the sessions, and their queues, whose heads lie in the segments that go: they may be more than those have.
    pub(super) sessions: u64,
}

/// What is looked at, in this order, and how far the looking has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Sessions from this place of their table on, for how much of them is to be written.
    Weigh(usize),
    /// Bodies from this place of their table on. Before the queues that name them.
    Bodies(usize),
    /// Bodies that are on disk only are being read.
    BodyReads,
    /// Sessions from this place of their table on, for copies whose messages could not be read.
    Lost(usize),
    /// Sessions from this place of their table on.
    Sessions(usize),
    /// The rest of this session's queue, up to this copy; then those behind it.
    Queue(SessionKey, CopyNumber),
    /// Retained messages behind this topic.
    Retained(Option<Box<str>>),
    /// Outbox entries behind this one.
    Outbox(Lsn),
    /// Delayed messages behind this one.
    Delayed(Option<(Time, u64)>),
    /// Wills that are due, before this place: the queue is left at its front, so that from its end on none is missed.
    Wills(usize),
    /// Copies between two members, before this place.
    BetweenMembers(usize),
    /// All is looked at.
    FanOuts,
    /// All is appended, and on disk when this is.
    Committing(Lsn),
}

impl Shard {
    /// Rounds of cleaning that have given segments up.
    pub fn cleaning_rounds(&self) -> u64 {
        self.cleaning.rounds
    }

    /// Whether a round is under way.
    pub fn is_cleaning(&self) -> bool {
        self.cleaning.round.is_some()
    }

    /// One slice of cleaning, if the log wants it.
    pub(super) fn advance_cleaning(&mut self) {
        if self.log.journal().is_none() {
            return;
        }
        if self.is_stopping() {
            return self.cleaning.turn.withdraw();
        }
        let appended = self.log.appended_bytes() - self.cleaning.appended;
        self.cleaning.low_pass.count(appended);
        // On a full disk it is faster, too: each write of its own takes a part of a block that nothing is in.
        self.cleaning.late = self.excess_over(CLEAN_LATE_EIGHTHS, 6) > 0 || self.log.room() == Room::Low;
        if self.cleaning.round.is_none() {
            self.cleaning.round = self.begin_round();
        }
        if let Some(mut round) = self.cleaning.round.take() {
            self.narrow(&mut round);
            let mut share = self.take_share(appended, &round);
            let before = self.log.appended_bytes();
            while share.left() > 0 && self.log.has_room_to_clean() && self.step(&mut round, &mut share) {}
            self.cleaning.owed += share.left();
            self.cleaning.again += self.log.appended_bytes() - before;
            if self.can_end(&round) {
                self.end(&round);
            } else {
                self.cleaning.round = Some(round);
            }
        }
        self.cleaning.appended = self.log.appended_bytes();
    }

    fn end(&mut self, round: &Round) {
        let (before, others) = (self.used_log_bytes(), self.appended_by_others());
        self.log.retire_before(SegmentId(round.through.0 + 1));
        let freed = before - self.used_log_bytes();
        let again = (before - round.began.0).saturating_sub(others - round.began.1);
        // What lives is only estimated. Where nearly all of what went lives, the log is gone through no faster than it grows.
        let gains = again < freed - freed / CLEAN_GAIN_PART;
        let rest = if self.cleaning.late { again / CLEAN_LATE_REST_PART } else { again / CLEAN_GAIN_PART };
        let until = if gains { 0 } else { others + rest };
        self.cleaning.rest = Rest { until, live: self.live_log_bytes() };
        self.cleaning.rounds += 1;
        self.cleaning.turn.give_back();
    }

    fn used_log_bytes(&self) -> u64 {
        self.log.journal().map_or(0, |journal| journal.used().1)
    }

    fn appended_by_others(&self) -> u64 {
        self.log.appended_bytes() - self.cleaning.again
    }

    /// Whether the next turn has something to do for it.
    pub(super) fn cleaning_can_go(&self) -> bool {
        let can_go = match &self.cleaning.round {
            Some(round) => match round.stage {
                Stage::Bodies(_) => !self.cleaning.reads.are_many() && !self.waits_for_disk(),
                Stage::BodyReads => !self.cleaning.reads.is_waiting() && !self.waits_for_disk(),
                Stage::FanOuts => !self.waits_for_fan_outs(round) && !self.waits_for_disk(),
                Stage::Committing(_) => self.can_end(round),
                _ => !self.waits_for_disk(),
            },
            None => {
                let turn = &self.cleaning.turn;
                let may_begin = turn.can_be_asked() || self.disk_is_full();
                turn.is_mine() || may_begin && self.wanted_through().is_some()
            }
        };
        can_go && !self.is_stopping()
    }

    fn waits_for_fan_outs(&self, round: &Round) -> bool {
        self.fan_out.oldest() < round.fan_outs
    }

    pub(super) fn waits_for_disk(&self) -> bool {
        let max = if self.cleaning.late { CLEAN_LATE_AHEAD_BYTES_MAX } else { CLEAN_AHEAD_BYTES_MAX };
        self.log.unwritten_bytes() > max || !self.log.has_room_to_clean()
    }

    /// Bytes that the log has beyond so many eighths of what lives and so many quarters of a segment.
    fn excess_over(&self, eighths: u64, quarters: u64) -> u64 {
        let Some(journal) = self.log.journal() else { return 0 };
        self.used_log_bytes()
            .saturating_sub(self.live_log_bytes() / 8 * eighths + journal.segment_bytes() / 4 * quarters)
    }

    /// No round is begun from here on: the log grows. To see what cleaning costs.
    pub fn leave_log_uncleaned(&mut self) {
        self.cleaning.off = true;
    }

    /// The last of the segments that a round is wanted for, if one is.
    fn wanted_through(&self) -> Option<SegmentId> {
        let (used, more) = (self.used_log_bytes(), self.excess_over(CLEAN_FROM_EIGHTHS, 4));
        self.log
            .full_through(used / CLEAN_ROUND_PART)
            .filter(|_| more > 0 && !self.cleaning.off && !self.rests())
    }

    /// Whether the last round was in vain and the next one would be too: little has come since, and what lived then lives.
    fn rests(&self) -> bool {
        let Rest { until, live } = self.cleaning.rest;
        self.appended_by_others() < until && self.live_log_bytes() >= live - live / CLEAN_GAIN_PART
    }

    /// A round, if one is wanted and the shard may begin it. One without room waits for nobody.
    fn begin_round(&mut self) -> Option<Round> {
        let low_round = !self.cleaning.off && self.is_low_round_due(self.used_log_bytes());
        let through = if low_round { self.log.full_through(0) } else { self.wanted_through() };
        let Some(through) = through else {
            self.cleaning.turn.give_back();
            return None;
        };
        self.cleaning.turn.ask();
        if !self.cleaning.turn.is_mine() && !self.cleaning.late && !self.disk_is_full() {
            return None;
        }
        let settled = (0..self.peers.len()).map(|shard| self.marks.newest(ShardId::new(shard))).collect();
        let (stage, fan_outs) = (Stage::Weigh(0), self.fan_out.next_number);
        let (used, again) = (self.used_log_bytes(), self.cleaning.again);
        let began = (used, self.appended_by_others());
        self.cleaning.owed = 0;
        Some(Round { through, stage, fan_outs, settled, began, again, sessions: 0 })
    }

    /// Looks at something, and writes it again if it lies in a segment that goes. False: there is nothing to do before something else has happened.
    fn step(&mut self, round: &mut Round, share: &mut Share) -> bool {
        let through = round.through.written();
        round.stage = match std::mem::replace(&mut round.stage, Stage::FanOuts) {
            stage @ Stage::Bodies(_) if self.cleaning.reads.are_many() => return wait(round, stage),
            stage @ Stage::BodyReads if self.cleaning.reads.is_waiting() => return wait(round, stage),
            Stage::BodyReads => self.after_bodies(),
            Stage::Weigh(from) => self.weigh_sessions(from, through, &mut round.sessions, share),
            Stage::Lost(from) => self.clean_lost(from, share),
            Stage::Bodies(from) => self.clean_bodies(from, through, share),
            Stage::Sessions(from) => self.clean_sessions(from, through, share),
            Stage::Queue(session, upto) => self.clean_queue(session, upto, share),
            Stage::Retained(behind) => self.clean_retained(behind, through, share),
            Stage::Outbox(behind) => self.clean_outbox(behind, through, share),
            Stage::Delayed(behind) => self.clean_delayed(behind, through, share),
            Stage::Wills(before) => self.clean_wills(before, through, share),
            Stage::BetweenMembers(before) => self.clean_between_members(before, through, share),
            stage @ Stage::FanOuts if self.waits_for_fan_outs(round) => return wait(round, stage),
            Stage::FanOuts => Stage::Committing(self.write_marks_again()),
            stage @ Stage::Committing(_) => return wait(round, stage),
        };
        true
    }

    /// What no entity has: how far the messages of other shards are logged here, and the ends of earlier incarnations.
    fn write_marks_again(&mut self) -> Lsn {
        let ended = Cow::Borrowed(&*self.cleaning.ended);
        let mut lsn = self.log.append(&Record::Start(StartRecord { ended }));
        for source in self.peers.others().iter() {
            let mark = self.marks.newest(source);
            if mark != Lsn::NONE {
                lsn = self.log.append(&Record::Mark { source, lsn: mark });
            }
        }
        lsn
    }

    /// Whether all that was needed of the segments is on disk once more.
    fn can_end(&self, round: &Round) -> bool {
        let Stage::Committing(lsn) = round.stage else { return false };
        let incarnation = lsn.incarnation();
        let is_settled = |source: ShardId| {
            let newest = round.settled[source.index()];
            newest.incarnation() < incarnation || newest <= self.peers[source].committed
        };
        let committed = self.gate.is_committed(lsn) || self.planted.is(Bug::SegmentsGoTooEarly);
        committed && self.peers.others().iter().all(is_settled)
    }
}

/// Something else has to happen first.
fn wait(round: &mut Round, stage: Stage) -> bool {
    round.stage = stage;
    false
}
