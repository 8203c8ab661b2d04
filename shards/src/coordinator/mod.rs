//! The coordinator: which shard is home to a client id, and how many connections there are.
//!
//! Sans-IO: batches in, answers out. Lives in shard 0's turn up to [`INLINE_SHARDS_MAX`] shards, on a thread of its own above.
//! Losing it loses nothing durable: the directory is rebuilt from the sessions that the shards have.
//!
//! A connection is counted from its claim to its end. At the maximum a claim of a known id is granted on the condition that its home closes
//! another one for it, so that the count exceeds the maximum by takeovers under way only. An id is known from its first claim to the release of its session; a release that a
//! later claim has overtaken is ignored, since the session that the claim brings lives at the same home.

mod directory;
mod exclusive;
mod recover;
mod turns;

use crate::base::hash::HashKey;
use crate::base::planted::{Bug, Planted};
use crate::base::shard_set::ShardId;
use crate::mesh::{Claim, ClaimBatch, ClaimReplies, ClaimReply, Epoch, Outcome, Release};
use directory::{Directory, Home};
use exclusive::ExclusiveHolders;
use turns::Turns;

/// Up to this many shards the coordinator shares shard 0's thread: its work is a hash probe per CONNECT.
pub const INLINE_SHARDS_MAX: usize = 4;

/// New durable sessions leave the accepting shard when it has this many more than the emptiest, beside the 10 % of DESIGN.md section 4: below
/// that, skew costs less than the move.
const PLACEMENT_SLACK: u64 = 64;

/// See the module's documentation.
pub struct Coordinator {
    directory: Directory,
    connections: u32,
    connections_max: u32,
    sessions: Box<[u64]>,
    newest_epoch: u64,
    planted: Planted,
    stale_releases: u64,
    exclusive: ExclusiveHolders,
    turns: Turns,
}

impl Coordinator {
    /// A coordinator of `shards` shards that admits `connections_max` connections.
    pub fn new(shards: usize, connections_max: u32, key: HashKey, planted: Planted) -> Coordinator {
        Coordinator {
            directory: Directory::new(key),
            connections: 0,
            connections_max,
            sessions: vec![0; shards].into(),
            newest_epoch: 0,
            planted,
            stale_releases: 0,
            exclusive: ExclusiveHolders::default(),
            turns: Turns::default(),
        }
    }

    /// Answers one shard's batch.
    pub fn handle_batch(&mut self, from: ShardId, batch: ClaimBatch) -> ClaimReplies {
        assert!(batch.ended <= self.connections, "a connection ends once and was claimed before");
        self.connections -= batch.ended;
        let mut answer = ClaimReplies::default();
        for release in batch.releases {
            self.release(release, &mut answer);
        }
        for arrival in batch.arrived {
            self.arrived(arrival, &mut answer);
        }
        answer.replies = batch
            .claims
            .into_iter()
            .map(|claim| ClaimReply { connection: claim.connection, outcome: self.claim(from, claim) })
            .collect();
        for request in batch.exclusive {
            answer.exclusive.extend(self.exclusive.handle(from, request));
        }
        if let Some(request) = batch.cleaning {
            self.turns.handle(from, request);
        }
        answer
    }

    /// The shard whose turn it is to clean its log, once: to be told after every batch.
    pub fn poll_turn(&mut self) -> Option<ShardId> {
        self.turns.poll()
    }

    fn claim(&mut self, from: ShardId, claim: Claim) -> Outcome {
        // Over its own half-open connection a client must get through. Only the id's home knows whether there is one.
        let beyond_maximum = self.connections >= self.connections_max;
        let known = |coordinator: &mut Coordinator| {
            coordinator.directory.get_mut(&claim.client_id).is_some_and(|entry| !entry.released)
        };
        if beyond_maximum && !known(self) {
            return Outcome::Full;
        }
        self.connections += 1;
        self.newest_epoch += 1;
        let epoch = Epoch(self.newest_epoch);
        let home = match self.directory.get_mut(&claim.client_id) {
            Some(entry) => {
                entry.epoch = epoch;
                entry.released = false;
                entry.moving += u32::from(entry.home != from);
                entry.home
            }
            None => {
                let home = self.place(from, claim.durable);
                self.sessions[home.index()] += 1;
                let moving = u32::from(home != from);
                self.directory.insert(claim.client_id, Home { home, epoch, moving, released: false });
                home
            }
        };
        Outcome::Granted { home, epoch, beyond_maximum }
    }

    fn place(&self, from: ShardId, durable: bool) -> ShardId {
        let (emptiest, fewest) = self
            .sessions
            .iter()
            .enumerate()
            .min_by_key(|(_, sessions)| **sessions)
            .expect("there is a shard");
        let here = self.sessions[from.index()];
        let skewed = here > fewest + fewest / 10 + PLACEMENT_SLACK;
        if durable && skewed { ShardId::new(emptiest) } else { from }
    }

    /// The home shard has no session of the id any more. The id is forgotten at once unless a connection is still on its way there: what
    /// arrives late must meet the epoch that the home shard remembers.
    fn release(&mut self, release: Release, answer: &mut ClaimReplies) {
        let Some(entry) = self.directory.get_mut(&release.client_id) else { return };
        if release.epoch < entry.epoch && !self.planted.is(Bug::StaleReleaseObeyed) {
            self.stale_releases += 1;
            return;
        }
        entry.released = true;
        self.forget_if_done(release, answer);
    }

    fn arrived(&mut self, arrival: Release, answer: &mut ClaimReplies) {
        let Some(entry) = self.directory.get_mut(&arrival.client_id) else { return };
        entry.moving = entry.moving.saturating_sub(1);
        self.forget_if_done(arrival, answer);
    }

    fn forget_if_done(&mut self, release: Release, answer: &mut ClaimReplies) {
        let done = self
            .directory
            .get_mut(&release.client_id)
            .filter(|entry| entry.released && (entry.moving == 0 || self.planted.is(Bug::StaleReleaseObeyed)))
            .map(|entry| (entry.home, entry.epoch));
        if let Some((home, epoch)) = done {
            self.directory.remove(&release.client_id);
            self.sessions[home.index()] -= 1;
            answer.forgotten.push(Release { client_id: release.client_id, epoch });
        }
    }

    /// Connections over all shards.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// Exclusive subscriptions held.
    pub fn exclusive_subscriptions(&self) -> usize {
        self.exclusive.len()
    }

    /// Shards that clean their logs or wait for their turn to.
    pub fn cleaning_shards(&self) -> usize {
        self.turns.len()
    }

    /// Client ids known.
    pub fn client_ids(&self) -> usize {
        self.directory.len()
    }

    /// Releases that came behind a later claim and were ignored.
    pub fn stale_releases(&self) -> u64 {
        self.stale_releases
    }
}
