//! One client's protocol state. Knows its own two directions, nothing of other sessions, sockets or shards.

mod authentication;
mod author;
mod copy;
mod drop_reason;
mod in_flight;
mod inbound;
mod keep_alive;
mod kept;
mod outbound;
mod paged;
mod restored;
mod topic_aliases;
mod waiting;
mod will;
mod withdraw;
mod write_buffer;
mod writer;

pub use authentication::{
    Authenticated, Authentication, AuthenticationExchange, AuthenticationMethod, AuthenticationStep,
    ExchangeSeed,
};
pub use author::{Author, KeptAuthor};
pub use copy::{Encoded, Identifiers, Incoming, PendingCopy};
pub use drop_reason::DropReason;
pub use in_flight::{InFlight, Resend, UnknownPacketId};
pub use inbound::{Inbound, Publication};
pub use keep_alive::KeepAlive;
pub use kept::Kept;
pub use outbound::{Offer, Offered, Outbound, Pumped};
pub use paged::PagedCopy;
pub use restored::Restored;
pub use topic_aliases::{Naming, TopicAliases};
pub use waiting::Gone;
pub use will::Will;
pub use write_buffer::{Splice, WriteBuffer};
pub use writer::Writer;
