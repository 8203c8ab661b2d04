//! What the other shards say, and what is said to them.

use super::peers::LaneWaiter;
use super::publish::Publisher;
use super::{ConnectionKey, Shard};
use crate::base::limits::CURSOR_MESSAGES_MAX;
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::log::Origin;
use crate::mesh::{Control, Deliver, Release};
use crate::session::{DropReason, Incoming};
use crate::wire::QoS;

impl Shard {
    /// How many slots each data lane has, told once before the first turn; [`crate::base::limits::DATA_LANE_SLOTS`] unless told.
    pub fn handle_lane_slots(&mut self, slots: usize) {
        self.peers.set_lane_slots(slots);
    }

    /// Whether the lane to `peer` is to be looked at: fewer than half of its slots are known to be free.
    pub fn lane_is_low(&self, peer: ShardId) -> bool {
        self.peers[peer].free < self.peers.lane_slots() / 2
    }

    /// At least `free` slots of the data lane to `peer` are free. What this turn has reserved of them already, for input read before the
    /// lanes were looked at, is taken off.
    pub fn handle_lane_space(&mut self, peer: ShardId, free: usize) {
        let peer = &mut self.peers[peer];
        peer.free = free.checked_sub(peer.data.len()).expect("a slot is reserved before every PUBLISH");
    }

    /// Whether data may be taken off the lanes: not while the fan-out cursors are full, or the log is behind or waits for its disk.
    pub fn accepts_data(&self) -> bool {
        self.fan_out.messages() < CURSOR_MESSAGES_MAX && self.log_takes_arrivals()
    }

    /// A PUBLISH of another shard's client.
    pub fn handle_data(&mut self, now: Time, from: ShardId, deliver: Deliver) {
        self.peers[from].consumed += 1;
        self.counters.remote_in += u64::from(deliver.fan_out || !deliver.groups.is_empty());
        self.retained.data_consumed();
        if deliver.retained_position > 0 {
            self.retained.saw_live(from, deliver.message.topic(), deliver.retained_position);
        }
        let is_logged = deliver.lsn != Lsn::NONE && self.log.keeps();
        let lsn = if is_logged { deliver.lsn } else { Lsn::NONE };
        let is_own =
            !is_logged || self.planted.is(Bug::ArrivalTakenForOwn) || self.planted.is(Bug::MarkBeforeMessage);
        self.draft.begin(if is_own { Origin::Own } else { Origin::Peer { source: from, lsn } });
        let mut retained = false;
        if let Some(keep) = deliver.store {
            retained = self.store_retained(now, deliver.message.clone(), keep);
        }
        let mut incoming = Incoming::owned(&deliver.message);
        if deliver.fan_out {
            self.fan_out_locally(now, &mut incoming, Publisher::Elsewhere);
        }
        for pick in &deliver.groups {
            match self.group_named(&pick.group) {
                Some(group) => {
                    self.dispatch(now, &mut incoming, (group, pick.spread), !deliver.sent_on);
                }
                None => {
                    self.counters.copies += 1;
                    self.drop_copies(DropReason::NoMember, 1);
                }
            }
        }
        // QoS 0 is logged by the store itself.
        let retained = retained && is_logged && deliver.message.qos() > QoS::AtMostOnce;
        let publisher = deliver.store.and_then(|keep| keep.publisher);
        self.record_arrival(&mut incoming, (from, lsn, deliver.kept), publisher, retained);
    }

    /// A control message of another shard.
    pub fn handle_control(&mut self, now: Time, from: ShardId, control: Control) {
        match control {
            Control::Interest(batch) => {
                self.topics.apply(from, &batch);
                let positions = self.peers.positions();
                let applied = Control::InterestApplied { through: batch.through, positions };
                self.peers[from].control.push_back(applied);
            }
            Control::InterestApplied { through, positions } => {
                self.retained.applied(from, &positions);
                self.interest_applied(now, from, through);
            }
            Control::Handoff(handoff) => {
                self.peers[from].control.push_back(Control::HandoffTaken);
                self.adopt(now, *handoff);
            }
            Control::HandoffTaken => {
                self.peers[from].handoff_credits += 1;
                self.detach_next(from);
            }
            Control::RetainedQuery(query) => self.retained.asked(from, *query),
            Control::RetainedMatches(matches) => self.retained.answered(from, *matches),
            Control::RetainedFull(full) => self.learn_fullness(from, full),
            Control::RetainedFullKnown => self.retained.fullness.known(from),
            Control::RetainedAsk(ask) => self.answer_ask(from, &ask),
            Control::RetainedRoom { ask, room } => self.room_answered(now, from, (ask, room)),
            Control::Restored => self.peer_is_restored(from),
        }
    }

    /// The coordinator counts a moved connection as on its way until its home has seen it.
    pub(super) fn arrived(&mut self, client_id: &str, epoch: crate::mesh::Epoch) {
        self.coordination.arrived.push_back(Release { client_id: client_id.into(), epoch });
    }

    /// The next message for the data lane to `peer`; its slot is reserved.
    pub fn poll_data(&mut self, peer: ShardId) -> Option<Deliver> {
        self.peers[peer].data.pop_front()
    }

    /// The next message for the control lane to `peer`; its credit is held.
    pub fn poll_control(&mut self, peer: ShardId) -> Option<Control> {
        self.peers[peer].control.pop_front()
    }

    /// Lanes for which publishers are parked: the driver asks the mesh to be told when there is room.
    pub fn lanes_waited_for(&self) -> ShardSet {
        self.peers.waited_for()
    }

    pub(super) fn parked_can_go(&self) -> bool {
        self.peers.waited_for().iter().any(|shard| self.peers[shard].free > 0)
            || self.fan_out.waiter_can_go()
            || self.backlog_can_go()
    }

    /// Resumes publishers parked for a lane or a cursor, in the order they came, as far as the slots last.
    pub(super) fn resume_parked(&mut self, now: Time) {
        for shard in self.peers.waited_for().iter() {
            while self.peers[shard].free > 0 && !self.work.is_exhausted() {
                let Some(waiter) = self.peers[shard].waiters.pop_front() else { break };
                match waiter {
                    LaneWaiter::Outbox => self.send_again_to(shard),
                    LaneWaiter::Connection(key) => self.resume_at_head(now, key),
                    LaneWaiter::Wills => {
                        self.wills.waiting = false;
                        self.fan_out.resumed = true;
                        self.publish_wills(now);
                        self.fan_out.resumed = false;
                    }
                    LaneWaiter::Delayed => {
                        self.delayed.blocked = false;
                        self.fan_out.resumed = true;
                        self.publish_delayed(now);
                        self.fan_out.resumed = false;
                    }
                    LaneWaiter::Redispatch => {
                        self.redispatch.blocked = false;
                        self.fan_out.resumed = true;
                        self.advance_redispatch(now);
                        self.fan_out.resumed = false;
                    }
                }
            }
        }
        while !self.work.is_exhausted() {
            let Some(key) = self.fan_out.take_waiter() else { break };
            self.resume_at_head(now, key);
        }
        self.resume_backlog(now);
    }

    /// The connection stood at the head of its queue: those behind it do not block its next PUBLISH.
    fn resume_at_head(&mut self, now: Time, key: ConnectionKey) {
        self.fan_out.resumed = true;
        self.resume(now, key);
        self.fan_out.resumed = false;
    }
}
