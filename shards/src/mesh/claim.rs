//! What shards and the coordinator say to each other: who speaks for a client id.

use crate::base::shard_set::ShardId;

/// The number of a claim, given by the coordinator, rising over all ids. A higher one always wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct Epoch(pub u64);

/// A CONNECT wants to speak for a client id.
#[derive(Debug)]
pub struct Claim {
    /// The asking connection's key as bits; comes back in the reply.
    pub connection: u64,
    /// The id claimed.
    pub client_id: Box<str>,
    /// Whether the session shall outlive the connection: such a session may be placed on a less loaded shard.
    pub durable: bool,
}

/// The session of a client id is gone from its home shard.
#[derive(Debug)]
pub struct Release {
    /// The id.
    pub client_id: Box<str>,
    /// The highest epoch that the home shard saw for it. The coordinator ignores the release when it gave out a later one.
    pub epoch: Epoch,
}

/// An exclusive subscription is wanted, or ends. The filter stands without its prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExclusiveRequest {
    /// Wanted. Answered by one [`ExclusiveReply`].
    Take {
        /// The filter.
        filter: Box<str>,
        /// The asking shard's number for the request; it names the holder from then on.
        number: u64,
    },
    /// Given up by its holder.
    GiveUp {
        /// The filter.
        filter: Box<str>,
        /// The number of the request that was granted.
        number: u64,
    },
}

/// The answer to one [`ExclusiveRequest::Take`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExclusiveReply {
    /// The request's number.
    pub number: u64,
    /// Whether the asker is the holder now; else somebody is.
    pub granted: bool,
}

/// What a shard says of cleaning its log, which one shard does at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CleaningRequest {
    /// It wants its turn. Answered when the others before it have had theirs, by [`ClaimReplies::turn`].
    Turn,
    /// It has had its turn, or wants none any more.
    Over,
}

/// All that a shard tells the coordinator in one turn. Each is answered by one [`ClaimReplies`], so that
/// [`crate::base::limits::CLAIM_BATCH_CREDITS`] bound both directions.
#[derive(Debug, Default)]
pub struct ClaimBatch {
    /// Claims, in the order of their CONNECTs.
    pub claims: Vec<Claim>,
    /// Ids whose connection, sent over from another shard, arrived at home or was lost on the way, with the claim's epoch.
    pub arrived: Vec<Release>,
    /// Sessions that ended.
    pub releases: Vec<Release>,
    /// Exclusive subscriptions wanted and given up, in the order in which that happened.
    pub exclusive: Vec<ExclusiveRequest>,
    /// Connections that ended since the last batch; the coordinator counted each at its claim.
    pub ended: u32,
    /// What it says of cleaning its log.
    pub cleaning: Option<CleaningRequest>,
}

impl ClaimBatch {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
            && self.arrived.is_empty()
            && self.releases.is_empty()
            && self.exclusive.is_empty()
            && self.ended == 0
            && self.cleaning.is_none()
    }
}

/// What the coordinator decided about one claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The connection belongs to the session's home shard.
    Granted {
        /// The shard where the session lives or is to live.
        home: ShardId,
        /// The claim's number.
        epoch: Epoch,
        /// Connections are at their maximum: the home shard refuses it unless it takes the place of the session's present one.
        beyond_maximum: bool,
    },
    /// Connections over all shards are at their maximum.
    Full,
}

/// The answer to one claim.
#[derive(Debug)]
pub struct ClaimReply {
    /// The asking connection's key as bits.
    pub connection: u64,
    /// The decision.
    pub outcome: Outcome,
}

/// The answer to one [`ClaimBatch`].
#[derive(Debug, Default)]
pub struct ClaimReplies {
    /// One for each claim of the batch, in its order.
    pub replies: Vec<ClaimReply>,
    /// Ids that the coordinator has forgotten, with the epoch: the home shard may forget them too.
    pub forgotten: Vec<Release>,
    /// One for each exclusive subscription wanted by the batch, in its order.
    pub exclusive: Vec<ExclusiveReply>,
    /// No answer to a batch, which may be long ago, and nothing else: it is the shard's turn to clean its log.
    pub turn: bool,
}
