//! What shards say to each other and to the coordinator, and the lanes that carry it.
//!
//! One bounded lane pair (data, control) per ordered pair of shards, one pair per shard with the coordinator. Nothing here blocks and
//! nothing is dropped: data slots are reserved per PUBLISH by the sender, every control message holds a credit that bounds its kind.

mod bell;
mod board;
mod claim;
mod coordinator_port;
mod lane;
mod message;
mod progress;

pub use bell::Wake;
pub use board::MeshHandle;
pub use claim::{
    Claim, ClaimBatch, ClaimReplies, ClaimReply, CleaningRequest, Epoch, ExclusiveReply, ExclusiveRequest,
    Outcome, Release,
};
pub use coordinator_port::CoordinatorPort;
pub use lane::{Coordination, Port, mesh, mesh_with_slots};
pub use message::{
    Control, Deliver, Handoff, Keep, ListenerId, RetainedAsk, RetainedMatches, RetainedQuery, SharedGroup,
    SharedPick, Socket,
};
