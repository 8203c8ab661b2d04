//! The replays on their way to one session. A client may subscribe 100,000 filters at once, and each replay ends by itself.

use super::Shard;
use super::replay::ReplayKey;
use super::retained::Retained;
use super::session::SessionKey;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// By the hash of their filter, so that one is found and taken out in O(log n).
#[derive(Default)]
pub(super) struct Replays(BTreeSet<(u64, ReplayKey)>);

impl Replays {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in a fixed order.
    pub(super) fn iter(&self) -> impl Iterator<Item = ReplayKey> {
        self.0.iter().map(|(_, key)| *key)
    }

    fn insert(&mut self, hash: u64, key: ReplayKey) {
        self.0.insert((hash, key));
    }

    pub(super) fn remove(&mut self, hash: u64, key: ReplayKey) {
        self.0.remove(&(hash, key));
        if self.0.is_empty() {
            // An empty set keeps its node, 190 bytes of every session that ever had a replay.
            self.0 = BTreeSet::new();
        }
    }

    /// Those whose filters have this hash.
    fn hashed(&self, hash: u64) -> impl Iterator<Item = ReplayKey> {
        let all: RangeInclusive<(u64, ReplayKey)> =
            (hash, ReplayKey::from_bits(0))..=(hash, ReplayKey::from_bits(u64::MAX));
        self.0.range(all).map(|(_, key)| *key)
    }
}

impl Retained {
    /// What [`Replays`] finds a filter by.
    pub(super) fn filter_hash(&self, filter: &str) -> u64 {
        self.key.hash(filter.as_bytes())
    }
}

impl Shard {
    /// The session is due `replay`, for `filter`; what is left of an earlier one of the same filter is void.
    pub(super) fn add_replay(&mut self, session: SessionKey, filter: &str, replay: ReplayKey) {
        self.end_replay_of(session, filter);
        let hash = self.retained.filter_hash(filter);
        self.sessions
            .get_mut(session)
            .expect("a connected client has its session")
            .replays
            .insert(hash, replay);
    }

    /// The filter is unsubscribed, or subscribed anew: what is left of its replay is void.
    pub(super) fn end_replay_of(&mut self, session: SessionKey, filter: &str) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        let retained = &mut self.retained;
        let hash = retained.filter_hash(filter);
        let is = |key: &ReplayKey| retained.replays.get(*key).is_some_and(|replay| &*replay.filter == filter);
        let found = session.replays.hashed(hash).find(is);
        if let Some(key) = found {
            session.replays.remove(hash, key);
            retained.replays.remove(key);
        }
    }
}
