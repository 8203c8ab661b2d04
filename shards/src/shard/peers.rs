//! What this shard knows of the ends of its lanes: slots, credits, and who waits for them.

use super::ConnectionKey;
use crate::base::limits::{DATA_LANE_SLOTS, HANDOFF_CREDITS};
use crate::base::lsn::Lsn;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::log::Gate;
use crate::mesh::{Claim, Control, Deliver, ExclusiveRequest, Release};
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// Who waits for a slot of a data lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LaneWaiter {
    /// A publisher with unread input.
    Connection(ConnectionKey),
    /// The wills that are due.
    Wills,
    /// The delayed messages that are due.
    Delayed,
    /// Copies of shared groups between two members.
    Redispatch,
    /// What the last run may not have brought there.
    Outbox,
}

/// One peer.
pub(super) struct Peer {
    /// Slots known to be free on the data lane to it, those of `data` already taken off.
    pub(super) free: usize,
    /// Messages for its data lane, pushed at the end of the turn.
    pub(super) data: VecDeque<Deliver>,
    /// Messages for its control lane.
    pub(super) control: VecDeque<Control>,
    /// First come, first served.
    pub(super) waiters: VecDeque<LaneWaiter>,
    /// The newest record of which it was sent a message.
    pub(super) newest_lsn: Lsn,
    /// How far its log is committed.
    pub(super) committed: Lsn,
    /// Data messages sent to it, those of `data` included: the position on the lane.
    pub(super) sent: u64,
    /// Data messages consumed from it.
    pub(super) consumed: u64,
    /// Connections that may be on their way to it.
    pub(super) handoff_credits: usize,
    /// Connections that wait for a credit.
    pub(super) moving: VecDeque<ConnectionKey>,
}

/// All peers, by shard; the entry of this shard itself is never used for sending.
pub(super) struct Peers {
    own: ShardId,
    lane_slots: usize,
    peers: Box<[Peer]>,
}

impl Peers {
    pub(super) fn new(own: ShardId, shards: usize) -> Peers {
        let peer = |_| Peer {
            free: DATA_LANE_SLOTS,
            data: VecDeque::new(),
            control: VecDeque::new(),
            waiters: VecDeque::new(),
            newest_lsn: Lsn::NONE,
            committed: Lsn::NONE,
            sent: 0,
            consumed: 0,
            handoff_credits: HANDOFF_CREDITS,
            moving: VecDeque::new(),
        };
        Peers { own, lane_slots: DATA_LANE_SLOTS, peers: (0..shards).map(peer).collect() }
    }

    /// Shards of the broker.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Slots of a data lane.
    pub(super) fn lane_slots(&self) -> usize {
        self.lane_slots
    }

    pub(super) fn set_lane_slots(&mut self, slots: usize) {
        self.lane_slots = slots;
        for peer in &mut self.peers {
            peer.free = slots;
        }
    }

    /// Messages that the turn has not pushed yet, over all lanes.
    pub(super) fn unsent(&self) -> usize {
        self.peers.iter().map(|peer| peer.data.len() + peer.control.len()).sum()
    }

    /// All shards but this one.
    pub(super) fn others(&self) -> ShardSet {
        let mut others = ShardSet::first(self.peers.len());
        others.remove(self.own);
        others
    }

    /// The first of `targets` whose lane has no slot for one more message, or has waiters that come first (`resumed`: the caller stood
    /// at their head).
    pub(super) fn blocked(&self, targets: ShardSet, resumed: bool) -> Option<ShardId> {
        targets.iter().find(|shard| {
            let peer = &self[*shard];
            peer.free == 0 || !peer.waiters.is_empty() && !resumed
        })
    }

    /// Puts `message` on the lane to `shard`, whose slot is reserved.
    pub(super) fn send(&mut self, shard: ShardId, message: Deliver) {
        let peer = &mut self[shard];
        assert!(peer.free > 0, "a slot is reserved before every PUBLISH");
        peer.free -= 1;
        peer.sent += 1;
        peer.newest_lsn = peer.newest_lsn.max(message.lsn);
        peer.data.push_back(message);
    }

    /// How many data messages this shard has sent to each.
    pub(super) fn positions(&self) -> Box<[u64]> {
        self.peers.iter().map(|peer| peer.sent).collect()
    }

    /// Lanes with waiters.
    pub(super) fn waited_for(&self) -> ShardSet {
        let mut set = ShardSet::EMPTY;
        for (index, peer) in self.peers.iter().enumerate() {
            if !peer.waiters.is_empty() {
                set.insert(ShardId::new(index));
            }
        }
        set
    }
}

impl Index<ShardId> for Peers {
    type Output = Peer;
    fn index(&self, shard: ShardId) -> &Peer {
        &self.peers[shard.index()]
    }
}

impl IndexMut<ShardId> for Peers {
    fn index_mut(&mut self, shard: ShardId) -> &mut Peer {
        &mut self.peers[shard.index()]
    }
}

/// What the coordinator is told of only when the log has it.
#[derive(Debug)]
pub(super) enum News {
    /// A session ended.
    Release(Release),
    /// An exclusive subscription is wanted, or ended.
    Exclusive(ExclusiveRequest),
}

/// What the coordinator is to be told.
#[derive(Default)]
pub(super) struct Coordination {
    pub(super) claims: VecDeque<Claim>,
    pub(super) arrived: VecDeque<Release>,
    pub(super) releases: VecDeque<Release>,
    pub(super) exclusive: VecDeque<ExclusiveRequest>,
    pub(super) ended: u32,
    /// Releases and exclusive subscriptions, in their order, that wait for the log.
    pub(super) uncommitted: Gate<News>,
    /// Batches without answer.
    pub(super) unanswered: usize,
}

impl Coordination {
    pub(super) fn add(&mut self, news: News) {
        match news {
            News::Release(release) => self.releases.push_back(release),
            News::Exclusive(request) => self.exclusive.push_back(request),
        }
    }

    pub(super) fn has_news(&self) -> bool {
        !self.claims.is_empty()
            || !self.arrived.is_empty()
            || !self.releases.is_empty()
            || !self.exclusive.is_empty()
            || self.ended > 0
    }
}
