//! Lanes: bounded queues per ordered shard pair, and the ports that hold their ends.

use super::bell::{Bell, Wake};
use super::board::{Board, MeshHandle};
use super::coordinator_port::CoordinatorPort;
use super::progress::Progress;
use super::{ClaimBatch, ClaimReplies, Control, Deliver};
use crate::base::limits::{CLAIM_BATCH_CREDITS, CONTROL_LANE_SLOTS, DATA_LANE_SLOTS};
use crate::base::planted::{Bug, Planted};
use crate::base::shard_set::{SHARDS_MAX, ShardId, ShardSet};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The lanes between one shard and one peer, both directions.
struct Link {
    data_out: Sender<Deliver>,
    data_in: Receiver<Deliver>,
    control_out: Sender<Control>,
    control_in: Receiver<Control>,
}

impl Link {
    /// Both ends of the lanes between two shards.
    fn pair(slots: usize) -> (Link, Link) {
        let (data_out, data_there) = bounded(slots);
        let (data_back, data_in) = bounded(slots);
        let (control_out, control_there) = bounded(CONTROL_LANE_SLOTS);
        let (control_back, control_in) = bounded(CONTROL_LANE_SLOTS);
        let here = Link { data_out, data_in, control_out, control_in };
        (
            here,
            Link {
                data_out: data_back,
                data_in: data_there,
                control_out: control_back,
                control_in: control_there,
            },
        )
    }
}

/// One shard's ends of all its lanes. Owned by the shard's driver loop.
pub struct Port {
    pub(super) own: ShardId,
    links: Vec<Option<Link>>,
    claims: Sender<ClaimBatch>,
    replies: Receiver<ClaimReplies>,
    pub(super) board: Arc<Board>,
    /// Lanes known to hold something.
    pending: ShardSet,
    /// Shards whose data lanes hold what the owner does not take for now.
    held: ShardSet,
    /// Peers to ring at the end of the turn.
    pub(super) to_ring: ShardSet,
    ring_coordinator: bool,
    bells_rung: u64,
}

/// Both kinds of ends, as [`mesh`] makes them.
pub struct Coordination {
    /// One port per shard, in shard order.
    pub ports: Vec<Port>,
    /// The coordinator's port.
    pub coordinator: CoordinatorPort,
    /// For who starts and stops the broker.
    pub handle: MeshHandle,
}

/// Makes the lanes of a broker. `wakes` has one entry per shard; `coordinator` wakes whoever runs the coordinator.
pub fn mesh(wakes: Vec<Arc<dyn Wake>>, coordinator: Arc<dyn Wake>, planted: Planted) -> Coordination {
    mesh_with_slots(wakes, coordinator, DATA_LANE_SLOTS, planted)
}

/// As [`mesh`], with `slots` slots per data lane, at least 2: the simulator takes few, so that lanes fill.
pub fn mesh_with_slots(
    wakes: Vec<Arc<dyn Wake>>,
    coordinator: Arc<dyn Wake>,
    slots: usize,
    planted: Planted,
) -> Coordination {
    assert!(slots >= 2, "half of a lane must be a slot");
    let shards = wakes.len();
    assert!((1..=SHARDS_MAX).contains(&shards), "a broker has 1 to {SHARDS_MAX} shards");
    let mut bells: Vec<Bell> = wakes.into_iter().map(Bell::new).collect();
    bells.push(Bell::new(coordinator));
    let board = Arc::new(Board {
        bells: bells.into(),
        wants_space: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        progress: Progress::new(shards),
        slots,
        planted,
    });
    // Ends are made per unordered pair, then dealt out to the two ports.
    let mut links: Vec<Vec<Option<Link>>> =
        (0..shards).map(|_| (0..shards).map(|_| None).collect()).collect();
    let pairs = (0..shards).flat_map(|low| (low + 1..shards).map(move |high| (low, high)));
    for (low, high) in pairs {
        let (at_low, at_high) = Link::pair(slots);
        links[low][high] = Some(at_low);
        links[high][low] = Some(at_high);
    }
    let (mut claims, mut replies) = (Vec::new(), Vec::new());
    let ports = links
        .into_iter()
        .enumerate()
        .map(|(own, links)| {
            let (claims_out, claims_in) = bounded(CLAIM_BATCH_CREDITS);
            // One more: a shard may be told of its turn to clean beside the answers to all its batches.
            let (replies_out, replies_in) = bounded(CLAIM_BATCH_CREDITS + 1);
            claims.push(claims_in);
            replies.push(replies_out);
            Port {
                own: ShardId::new(own),
                links,
                claims: claims_out,
                replies: replies_in,
                board: board.clone(),
                pending: ShardSet::EMPTY,
                held: ShardSet::EMPTY,
                to_ring: ShardSet::EMPTY,
                ring_coordinator: false,
                bells_rung: 0,
            }
        })
        .collect();
    let coordinator = CoordinatorPort { claims, replies, board: board.clone(), pending: ShardSet::EMPTY };
    Coordination { ports, coordinator, handle: MeshHandle { board } }
}

/// Only a full lane is an error. A lane whose other end is gone swallows: that shard was stopped and has drained, and shards do not
/// drain at the same moment.
fn full_only<T>(sent: Result<(), TrySendError<T>>) -> Result<(), T> {
    match sent {
        Err(TrySendError::Full(message)) => Err(message),
        Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
    }
}

impl Port {
    /// The shard at this end.
    pub fn own(&self) -> ShardId {
        self.own
    }

    /// Shards of the broker, this one included.
    pub fn shards(&self) -> usize {
        self.links.len()
    }

    fn link(&self, peer: ShardId) -> &Link {
        self.links[peer.index()].as_ref().expect("a shard has lanes to every shard but itself")
    }

    fn bell(&self) -> &Bell {
        &self.board.bells[self.own.index()]
    }

    /// Takes the bits that peers have set since the last call; the lanes then known to hold something.
    pub fn take_pending(&mut self) -> ShardSet {
        if self.bell().inbound.load(Ordering::Relaxed) != 0 {
            let fresh = ShardSet::from_bits(self.bell().inbound.swap(0, Ordering::Acquire));
            self.pending = self.pending.union(fresh);
        }
        self.pending
    }

    /// Takes the peers whose lanes have room again.
    pub fn take_space(&mut self) -> ShardSet {
        if self.bell().space.load(Ordering::Relaxed) == 0 {
            return ShardSet::EMPTY;
        }
        ShardSet::from_bits(self.bell().space.swap(0, Ordering::Acquire))
    }

    /// Whether the broker is to stop.
    pub fn shutdown_requested(&self) -> bool {
        self.bell().shutdown.load(Ordering::Relaxed)
    }

    /// Takes the request to stop, so that it no longer keeps the shard from sleeping.
    pub fn take_shutdown(&mut self) -> bool {
        self.shutdown_requested() && self.bell().shutdown.swap(false, Ordering::Relaxed)
    }

    /// The next control message of `from`.
    pub fn receive_control(&mut self, from: ShardId) -> Option<Control> {
        self.link(from).control_in.try_recv().ok()
    }

    /// The next data message of `from`.
    pub fn receive_data(&mut self, from: ShardId) -> Option<Deliver> {
        self.link(from).data_in.try_recv().ok()
    }

    /// The next answer of the coordinator.
    pub fn receive_replies(&mut self) -> Option<ClaimReplies> {
        if self.bell().coordinator.load(Ordering::Relaxed) {
            self.bell().coordinator.store(false, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
        self.replies.try_recv().ok()
    }

    /// After lanes of `from` were read: forgets the lane when it is empty, or when only data are left that the shard does not take, until
    /// [`Port::take_up`]; and tells a sender that waits for room once the data lane is less than half full.
    pub fn finish_receiving(&mut self, from: ShardId, takes_data: bool) {
        let link = self.link(from);
        let (waiting, control_is_empty) = (link.data_in.len(), link.control_in.is_empty());
        if control_is_empty && waiting > 0 && !takes_data {
            self.held.insert(from);
        }
        if control_is_empty && (waiting == 0 || !takes_data) {
            // A message pushed after this look has its bit set after the push, so `take_pending` sees it.
            self.pending.remove(from);
        }
        let roomy = waiting < self.board.slots / 2;
        if roomy && !self.board.planted.is(Bug::ParkedNeverResumed) {
            // Pairs with the fence in `want_space`: either we see the flag, or the sender sees the room.
            fence(Ordering::SeqCst);
            let wants = &self.board.wants_space[self.own.index()];
            let bit = 1 << from.index();
            if wants.load(Ordering::Relaxed) & bit != 0 && wants.fetch_and(!bit, Ordering::Relaxed) & bit != 0
            {
                self.board.bells[from.index()].space.fetch_or(1 << self.own.index(), Ordering::Release);
                self.bells_rung += u64::from(self.board.bells[from.index()].ring());
            }
        }
    }

    /// The shard takes data again.
    pub fn take_up(&mut self) {
        self.pending = self.pending.union(std::mem::take(&mut self.held));
    }

    /// Whether lanes are left with data that the shard did not take.
    pub fn holds_data(&self) -> bool {
        !self.held.is_empty()
    }

    /// Slots of each data lane.
    pub fn data_lane_slots(&self) -> usize {
        self.board.slots
    }

    /// Free slots of the data lane to `peer`: at least so many messages can be sent.
    pub fn free_data_slots(&self, peer: ShardId) -> usize {
        self.board.slots - self.link(peer).data_out.len()
    }

    /// This shard has work parked for the lane to `peer`: it will be told (see [`Port::take_space`]) when half of it is free. Answers
    /// whether that is so already.
    pub fn want_space(&mut self, peer: ShardId) -> bool {
        self.board.wants_space[peer.index()].fetch_or(1 << self.own.index(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.free_data_slots(peer) > self.board.slots / 2
    }

    /// Puts `message` on the data lane to `peer`.
    ///
    /// # Errors
    /// The lane is full and gives the message back; a sender that reserved its slots never sees that.
    pub fn send_data(&mut self, peer: ShardId, message: Deliver) -> Result<(), Deliver> {
        self.to_ring.insert(peer);
        full_only(self.link(peer).data_out.try_send(message))
    }

    /// Puts `message` on the control lane to `peer`.
    ///
    /// # Errors
    /// The lane is full and gives the message back; a sender within its credits never sees that.
    pub fn send_control(&mut self, peer: ShardId, message: Control) -> Result<(), Control> {
        self.to_ring.insert(peer);
        full_only(self.link(peer).control_out.try_send(message))
    }

    /// Sends a batch to the coordinator.
    ///
    /// # Errors
    /// All credits are out; the batch comes back.
    pub fn send_claims(&mut self, batch: ClaimBatch) -> Result<(), ClaimBatch> {
        full_only(self.claims.try_send(batch))?;
        self.ring_coordinator = true;
        self.board.coordinator().inbound.fetch_or(1 << self.own.index(), Ordering::Release);
        Ok(())
    }

    /// End of the turn: tells every peer that was sent something, waking only those that sleep.
    pub fn ring_peers(&mut self) {
        for peer in std::mem::take(&mut self.to_ring).iter() {
            let bell = &self.board.bells[peer.index()];
            bell.inbound.fetch_or(1 << self.own.index(), Ordering::Release);
            self.bells_rung += u64::from(bell.ring());
        }
        if std::mem::take(&mut self.ring_coordinator) {
            self.bells_rung += u64::from(self.board.coordinator().ring());
        }
    }

    /// Whether lanes are known to hold something that was not taken off yet.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// About to block: announces it and looks once more. `false`: something arrived, do another turn.
    pub fn try_sleep(&mut self) -> bool {
        self.pending.is_empty() && self.bell().try_sleep(self.board.planted)
    }

    /// Awake again.
    pub fn woke(&mut self) {
        self.bell().woke();
    }

    /// Messages that lie on the lanes to this shard, for checkers.
    pub fn waiting_messages(&self) -> usize {
        self.links.iter().flatten().map(|link| link.data_in.len() + link.control_in.len()).sum::<usize>()
            + self.replies.len()
    }

    /// Sleepers that this shard had to wake: one system call each.
    pub fn bells_rung(&self) -> u64 {
        self.bells_rung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;
    impl Wake for Silent {
        fn wake(&self) {}
    }

    #[test]
    fn a_lane_is_full_only_while_its_other_end_is_there() {
        let wakes: Vec<Arc<dyn Wake>> = vec![Arc::new(Silent), Arc::new(Silent)];
        let Coordination { mut ports, coordinator, .. } = mesh(wakes, Arc::new(Silent), Planted::default());
        for _ in 0..CLAIM_BATCH_CREDITS {
            assert!(ports[0].send_claims(ClaimBatch::default()).is_ok());
        }
        assert!(ports[0].send_claims(ClaimBatch::default()).is_err(), "beyond the credits");
        drop(coordinator);
        assert!(ports[0].send_claims(ClaimBatch::default()).is_ok(), "nobody is left to be told");
    }
}
