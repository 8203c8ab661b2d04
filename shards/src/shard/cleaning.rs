//! The log is cleaned from its oldest segments on: what is still needed of them is written again at its end, then they are given up.
//!
//! Everything that the log keeps knows where its last whole record lies ([`Written`]). A *round* chooses how many of the oldest segments go, looks at
//! everything in slices, a bounded part of it per turn, and writes again what lies in them. When that is committed the segments are retired, the
//! oldest first, so that what is on disk is the end of the log at any moment, and a recovery that begins at any segment that is still there finds the
//! whole of everything: what it finds first of something may be changes only, which the whole completes further on.

use super::Shard;
use super::cleaning_low::LowPass;
use super::cleaning_turn::Turn;
use super::read_again::BodyReads;
use super::session::{Session, SessionKey};
use crate::base::kept::Written;
use crate::base::limits::{
    CLEAN_AHEAD_BYTES_MAX, CLEAN_FROM_EIGHTHS, CLEAN_LATE_EIGHTHS, CLEAN_PACE, CLEAN_ROUND_PART,
    CLEAN_TURN_BYTES_MAX, CLEAN_TURN_BYTES_MIN, CLEAN_TURN_LOOKS_MAX, CLEAN_TURN_LOOKS_MIN,
    COPY_RECORD_BYTES, RECORD_AROUND_BYTES,
};
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::Bug;
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::log::{Record, SegmentId, StartRecord};
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
    rounds: u64,
    /// What the log had appended at the end of the last turn, and what it has for cleaning alone since.
    pub(super) appended: u64,
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
}

/// What is looked at, in this order, and how far the looking has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Bodies from this place of their table on. Before the queues that name them.
    Bodies(usize),
    /// Bodies that are on disk only are being read.
    BodyReads,
    /// Sessions from this place of their table on, for copies whose messages could not be read.
    Lost(usize),
    /// Sessions from this place of their table on.
    Sessions(usize),
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

/// What a turn may still do for cleaning.
pub(super) struct Share {
    looks: u64,
    /// What the log may have appended.
    appended_max: u64,
}

impl Share {
    /// So many were looked at.
    pub(super) fn look(&mut self, looks: usize) {
        self.looks = self.looks.saturating_sub(looks as u64);
    }

    /// So much is going to be appended.
    pub(super) fn charge(&mut self, bytes: u32) {
        self.appended_max = self.appended_max.saturating_sub(bytes.into());
    }
}

impl Shard {
    /// Bytes that the log would have if it had nothing but what is needed.
    pub fn live_log_bytes(&self) -> u64 {
        let retained = &self.retained.store;
        self.bodies.bytes()
            + self.bodies.references() * COPY_RECORD_BYTES
            + retained.content_bytes() as u64
            + retained.len() as u64 * RECORD_AROUND_BYTES
            + self.delayed.bytes() as u64
            + self.cleaning.session_bytes
    }

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
        if self.cleaning.round.is_none() {
            self.cleaning.round = self.begin_round();
        }
        if let Some(mut round) = self.cleaning.round.take() {
            self.narrow(&mut round);
            if !self.waits_for_disk() {
                let mut share = self.share_of(appended);
                while self.has_share(&mut share) && self.step(&mut round, &mut share) {}
            }
            if self.can_end(&round) {
                self.log.retire_before(SegmentId(round.through.0 + 1));
                self.cleaning.rounds += 1;
                self.cleaning.turn.give_back();
            } else {
                self.cleaning.round = Some(round);
            }
        }
        self.cleaning.appended = self.log.appended_bytes();
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
            None => self.cleaning.turn.is_mine(),
        };
        can_go && !self.is_stopping()
    }

    fn waits_for_fan_outs(&self, round: &Round) -> bool {
        self.fan_out.oldest() < round.fan_outs
    }

    fn waits_for_disk(&self) -> bool {
        self.log.unwritten_bytes() > CLEAN_AHEAD_BYTES_MAX || !self.log.has_room_to_clean()
    }

    /// No round is begun from here on: the log grows. To see what cleaning costs.
    pub fn leave_log_uncleaned(&mut self) {
        self.cleaning.off = true;
    }

    /// A round, if one is wanted and the shard may begin it. One without room waits for nobody.
    fn begin_round(&mut self) -> Option<Round> {
        let journal = self.log.journal().filter(|_| !self.cleaning.off)?;
        let (_, used) = journal.used();
        let (live, segment) = (self.live_log_bytes(), journal.segment_bytes());
        let low_round = self.is_low_round_due(used);
        let more = used.saturating_sub(live / 8 * CLEAN_FROM_EIGHTHS + segment);
        let through = self.log.full_through(more.max(used / CLEAN_ROUND_PART));
        let Some(through) = through.filter(|_| low_round || more > 0) else {
            self.cleaning.turn.give_back();
            return None;
        };
        let late = self.disk_is_full() || used > live / 8 * CLEAN_LATE_EIGHTHS + segment + segment / 4;
        self.cleaning.turn.ask();
        if !self.cleaning.turn.is_mine() && !late {
            return None;
        }
        let settled = (0..self.peers.len()).map(|shard| self.marks.newest(ShardId::new(shard))).collect();
        Some(Round { through, stage: Stage::Bodies(0), fan_outs: self.fan_out.next_number, settled })
    }

    /// What this turn may do: more, the more it has appended, so that a round is at its end before that is much.
    fn share_of(&self, appended: u64) -> Share {
        let bytes = (appended * CLEAN_PACE).clamp(CLEAN_TURN_BYTES_MIN, CLEAN_TURN_BYTES_MAX);
        let places = self.bodies.places() + self.sessions.slots() + self.retained.store.len();
        let segment = self.log.journal().map_or(1, |journal| journal.segment_bytes());
        let looks = appended.saturating_mul(places as u64).saturating_mul(CLEAN_PACE) / segment;
        Share {
            looks: looks.clamp(CLEAN_TURN_LOOKS_MIN, CLEAN_TURN_LOOKS_MAX),
            appended_max: self.log.appended_bytes() + bytes,
        }
    }

    fn has_share(&self, share: &mut Share) -> bool {
        share.looks > 0 && self.log.appended_bytes() < share.appended_max && self.log.has_room_to_clean()
    }

    /// Looks at something, and writes it again if it lies in a segment that goes. False: there is nothing to do before something else has happened.
    fn step(&mut self, round: &mut Round, share: &mut Share) -> bool {
        let through = round.through.written();
        round.stage = match std::mem::replace(&mut round.stage, Stage::FanOuts) {
            stage @ Stage::Bodies(_) if self.cleaning.reads.are_many() => return wait(round, stage),
            stage @ Stage::BodyReads if self.cleaning.reads.is_waiting() => return wait(round, stage),
            Stage::BodyReads => self.after_bodies(),
            Stage::Lost(from) => self.clean_lost(from, share),
            Stage::Bodies(from) => self.clean_bodies(from, through, share),
            Stage::Sessions(from) => self.clean_sessions(from, through, share),
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

    /// The log has the session's head: its bytes count from here on.
    pub(super) fn weigh_head(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        let will = session.will.as_ref().map_or(0, |will| crate::log::body_bytes(will.message()));
        let user = session.user.as_ref().map_or(0, |user| user.len());
        let bytes = 2 * RECORD_AROUND_BYTES + will + (session.client_id.len() + user) as u64;
        add_bytes(session, bytes, &mut self.cleaning.session_bytes);
    }

    /// The log has a subscription of the session.
    pub(super) fn weigh_filter(&mut self, key: SessionKey, filter: &str) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        let bytes = RECORD_AROUND_BYTES + filter.len() as u64;
        add_bytes(session, bytes, &mut self.cleaning.session_bytes);
    }

    /// The session's records are all written anew, from here on.
    pub(super) fn weigh_anew(&mut self, key: SessionKey, written: Written) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        self.cleaning.session_bytes -= u64::from(std::mem::take(&mut session.record_bytes));
        session.written = written;
        self.weigh_head(key);
    }
}

/// Something else has to happen first.
fn wait(round: &mut Round, stage: Stage) -> bool {
    round.stage = stage;
    false
}

fn add_bytes(session: &mut Session, bytes: u64, all: &mut u64) {
    session.record_bytes = session.record_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    *all += bytes;
}
