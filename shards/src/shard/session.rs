//! One client's session as its home shard keeps it.

use super::connection::ConnectionKey;
use super::replays::Replays;
use crate::base::hash::HashKey;
use crate::base::kept::{CopyNumber, SessionNumber, Written};
use crate::base::parted::Parted;
use crate::base::slab::Key;
use crate::base::time::Time;
use crate::base::wheel::TimerKey;
use crate::mesh::Epoch;
use crate::session::{Inbound, Outbound, Will};
use crate::topics::FilterSet;
use std::sync::Arc;

/// Names a session within its home shard.
pub type SessionKey = Key<Session>;

/// Session Expiry Interval that never ends (MQTT 5 section 3.1.2.11.2).
pub(super) const EXPIRY_NEVER: u32 = u32::MAX;

/// See the module's documentation.
pub struct Session {
    /// Names it in the log: the epoch of the claim that made it.
    pub(super) number: SessionNumber,
    pub(super) client_id: Box<str>,
    /// Whose it is: as whom its connection has authenticated. Nobody else resumes it.
    pub(super) user: Option<Arc<str>>,
    pub(super) connection: Option<ConnectionKey>,
    pub(super) epoch: Epoch,
    /// It was made to outlive its connections, and the log has it, until it ends.
    pub(super) durable: bool,
    /// Seconds that it outlives its connection; [`EXPIRY_NEVER`] for ever.
    pub(super) expiry_seconds: u32,
    /// When its connection ended; meaningful while there is none.
    pub(super) offline_since: Time,
    /// The will's delay, or the expiry.
    pub(super) timer: Option<TimerKey>,
    pub(super) filters: FilterSet,
    /// A shared group has found its queue full.
    pub(super) congested: bool,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    /// What the next copy that the log has is called.
    pub(super) next_copy: CopyNumber,
    /// Where the last head lies in the log with which the whole of it begins.
    pub(super) written: Written,
    /// Bytes of the records that it takes in the log, without its copies.
    pub(super) record_bytes: u32,
    pub(super) will: Option<Box<Will>>,
    /// Retained messages on their way to it.
    pub(super) replays: Replays,
}

impl Session {
    /// Whether its CONNECT made it to outlive its connection: its QoS > 0 messages are kept, and logged. A DISCONNECT that has it end changes nothing
    /// about that before the end.
    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }
}

/// What the home shard knows of one client id, also after the session's end until the coordinator has forgotten it.
pub(super) struct Identity {
    pub(super) client_id: Box<str>,
    pub(super) session: Option<SessionKey>,
    /// The highest epoch seen: an arrival with a lower one is closed.
    pub(super) epoch: Epoch,
}

/// Client ids at home on this shard.
pub(super) struct Identities {
    table: Parted<Identity>,
    key: HashKey,
}

impl Identities {
    pub(super) fn new(key: HashKey) -> Identities {
        Identities { table: Parted::new(), key }
    }

    /// Client ids remembered.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get_mut(&mut self, client_id: &str) -> Option<&mut Identity> {
        self.table.find_mut(self.key.hash(client_id.as_bytes()), |entry| &*entry.client_id == client_id)
    }

    /// The entry of `client_id`, new if it is not known.
    pub(super) fn get_or_insert(&mut self, client_id: &str) -> &mut Identity {
        let key = &self.key;
        let hash = key.hash(client_id.as_bytes());
        if self.table.find(hash, |entry| &*entry.client_id == client_id).is_none() {
            let entry = Identity { client_id: client_id.into(), session: None, epoch: Epoch::default() };
            self.table.insert(hash, entry, |entry| key.hash(entry.client_id.as_bytes()));
        }
        self.table.find_mut(hash, |entry| &*entry.client_id == client_id).expect("found or just inserted")
    }

    /// Forgets an id whose session is gone, unless a later claim has been seen.
    pub(super) fn forget(&mut self, client_id: &str, epoch: Epoch) {
        let key = &self.key;
        self.table.remove(
            key.hash(client_id.as_bytes()),
            |entry| &*entry.client_id == client_id && entry.session.is_none() && entry.epoch <= epoch,
            |entry| key.hash(entry.client_id.as_bytes()),
        );
    }
}
