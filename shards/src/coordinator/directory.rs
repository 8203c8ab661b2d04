//! Client id → home shard, in a table that never rehashes as a whole.

use crate::base::hash::HashKey;
use crate::base::parted::Parted;
use crate::base::shard_set::ShardId;
use crate::mesh::Epoch;

/// What is known of one client id.
pub struct Home {
    /// Where its session lives, or is to live.
    pub home: ShardId,
    /// The newest claim.
    pub epoch: Epoch,
    /// Connections granted to other shards' accepts that have not arrived at home yet.
    pub moving: u32,
    /// The session is gone; the entry waits for `moving` to come down.
    pub released: bool,
}

struct Entry {
    client_id: Box<str>,
    home: Home,
}

/// The directory. Written by the coordinator alone.
pub struct Directory {
    entries: Parted<Entry>,
    key: HashKey,
}

impl Directory {
    /// An empty directory.
    pub fn new(key: HashKey) -> Directory {
        Directory { entries: Parted::new(), key }
    }

    /// The entry of `client_id`.
    pub fn get_mut(&mut self, client_id: &str) -> Option<&mut Home> {
        let hash = self.key.hash(client_id.as_bytes());
        self.entries.find_mut(hash, |entry| &*entry.client_id == client_id).map(|entry| &mut entry.home)
    }

    /// Adds an id that is not there yet.
    pub fn insert(&mut self, client_id: Box<str>, home: Home) {
        let key = &self.key;
        let hash = key.hash(client_id.as_bytes());
        self.entries.insert(hash, Entry { client_id, home }, |entry| key.hash(entry.client_id.as_bytes()));
    }

    /// Takes an id out.
    pub fn remove(&mut self, client_id: &str) {
        let key = &self.key;
        let hash = key.hash(client_id.as_bytes());
        self.entries.remove(
            hash,
            |entry| &*entry.client_id == client_id,
            |entry| key.hash(entry.client_id.as_bytes()),
        );
    }

    /// Ids known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
