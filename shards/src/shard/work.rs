//! The part of a turn that is not driven by an event: one bounded slice of everything that is left over.

use super::connection::Parked;
use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::limits::COPIES_PER_TURN;
use crate::base::time::Time;
use crate::topics::FilterSet;
use std::collections::VecDeque;

/// Filters taken out of the tree per turn for sessions that ended.
const FILTERS_REMOVED_PER_TURN: usize = 256;

/// What waits for the next turn.
pub(super) struct Work {
    /// Copies that this turn may still make for publishers.
    copies_left: u32,
    /// Connections that have used up their share, with unread input.
    yielded: VecDeque<ConnectionKey>,
    /// Filters of sessions that ended.
    leaving: VecDeque<(SessionKey, FilterSet)>,
}

impl Default for Work {
    fn default() -> Self {
        Work { copies_left: COPIES_PER_TURN, yielded: VecDeque::new(), leaving: VecDeque::new() }
    }
}

impl Work {
    pub(super) fn remove_filters(&mut self, key: SessionKey, filters: FilterSet) {
        if !filters.is_empty() {
            self.leaving.push_back((key, filters));
        }
    }

    /// Whether the turn's share of copies is used up.
    pub(super) fn is_exhausted(&self) -> bool {
        self.copies_left == 0
    }

    /// Charges `copies` to the turn.
    pub(super) fn charge(&mut self, copies: usize) {
        self.copies_left = self.copies_left.saturating_sub(u32::try_from(copies).unwrap_or(u32::MAX));
    }

    pub(super) fn yield_turn(&mut self, key: ConnectionKey) {
        self.yielded.push_back(key);
    }
}

impl Shard {
    /// One slice of all that is left over: fan-out cursors, parked and yielded connections, wills, delayed messages, replays, ended sessions, interest to be
    /// announced, the orderly end. Once per turn.
    pub fn handle_work(&mut self, now: Time) {
        self.work.copies_left = COPIES_PER_TURN;
        self.close_slice(now);
        self.advance_cursors(now);
        self.resume_parked(now);
        for _ in 0..self.work.yielded.len() {
            let Some(key) = self.work.yielded.pop_front() else { break };
            self.resume(now, key);
        }
        self.publish_wills(now);
        self.publish_delayed(now);
        self.relieve_offline_members(now);
        self.advance_redispatch(now);
        self.remove_left_filters();
        self.sweep_retained(now);
        self.tell_fullness();
        self.advance_replays(now);
        self.advance_paging(now);
        self.announce_interest();
        self.record_marks();
        self.advance_cleaning();
    }

    /// Goes on reading a connection that was parked or had yielded.
    pub(super) fn resume(&mut self, now: Time, key: ConnectionKey) {
        let waits = self.connections.get(key).is_some_and(|connection| connection.parked == Parked::Waiting);
        if waits {
            self.read_unread(now, key);
            self.close_if_ended(now, key);
        }
    }

    fn remove_left_filters(&mut self) {
        let Some((key, mut filters)) = self.work.leaving.pop_front() else { return };
        self.interest_changed();
        if !self.topics.remove_all(key, &mut filters, FILTERS_REMOVED_PER_TURN) {
            self.work.leaving.push_front((key, filters));
        }
    }

    /// Whether the next turn has something to do without any event: the driver must not sleep.
    pub fn has_work(&self) -> bool {
        !self.work.yielded.is_empty()
            || !self.work.leaving.is_empty()
            || self.fan_out.is_open()
            || self.retained.has_work()
            || self.wills_can_go()
            || self.delayed_can_go()
            || self.redispatch_can_go()
            || self.parked_can_go()
            || self.paging_can_go()
            || !self.outputs.actions.is_empty()
            || !self.outputs.flush.is_empty()
            || self.interest_can_go()
            || self.claims_can_go()
            || self.stopping_has_work()
            || self.cleaning_can_go()
    }

    fn claims_can_go(&self) -> bool {
        self.coordination.unanswered < crate::base::limits::CLAIM_BATCH_CREDITS
            && (self.coordination.has_news() || self.cleaning.turn.has_news())
    }

    fn stopping_has_work(&self) -> bool {
        matches!(self.stopping, super::shutdown::Stopping::From(_))
    }
}
