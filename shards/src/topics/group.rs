//! One shared group: its own members, what the other shards have of it, and which shard gets the next message.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::filter::TopicFilter;
use super::members::{Members, Standing, Standings};
use super::share_strategy::ShareStrategy;
use crate::base::shard_set::ShardId;
use crate::base::slab::Key;

/// Names a group on one shard as long as it has a member anywhere; 4 bytes, so that every copy can carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(NonZeroU32);

impl GroupId {
    pub(super) fn at_slot(slot: u32) -> GroupId {
        GroupId(NonZeroU32::new(slot + 1).expect("groups do not fill 2^32 slots"))
    }

    /// Some group's id, for tests of what carries them.
    #[cfg(test)]
    pub(crate) fn for_test(slot: u32) -> GroupId {
        GroupId::at_slot(slot)
    }

    pub(super) fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

/// Names a group of one shard to the others: a reused slot has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupKey(u64);

impl GroupKey {
    pub(super) fn of<T>(key: Key<T>) -> GroupKey {
        GroupKey(key.to_bits())
    }

    pub(super) const fn from_bits(bits: u64) -> GroupKey {
        GroupKey(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The name on the shard that gave it.
    pub(super) fn id(self) -> GroupId {
        GroupId::at_slot(self.0 as u32)
    }
}

/// Where one message of a group is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pick {
    /// The group, here.
    pub group: GroupId,
    /// The shard whose member gets it.
    pub shard: ShardId,
    /// The group as that shard knows it.
    pub key: GroupKey,
    /// What the strategy chose by; chooses the member, too.
    pub spread: u64,
    /// Whether that shard may have a durable member with QoS above 0.
    pub durable: bool,
}

/// What another shard has of a group.
pub(super) struct Elsewhere {
    pub(super) shard: ShardId,
    pub(super) key: GroupKey,
    pub(super) standings: Standings,
    pub(super) durable: bool,
}

/// One group on one shard.
pub(super) struct Group<K> {
    /// The whole shared filter.
    pub(super) text: Arc<str>,
    pub(super) strategy: ShareStrategy,
    pub(super) members: Members<K>,
    /// By shard.
    pub(super) elsewhere: Vec<Elsewhere>,
    /// Whose turn it is, counted over the members of all shards.
    turn: u64,
    sticky: Option<ShardId>,
    /// Announcements under way: the peers may still use its key.
    pub(super) held: u32,
}

impl<K: Copy + Ord> Group<K> {
    pub(super) fn new(text: Arc<str>, strategy: ShareStrategy, own: ShardId) -> Group<K> {
        // The shards begin with different members.
        let turn = own.index() as u64;
        let (members, elsewhere) = (Members::new(), Vec::new());
        Group { text, strategy, members, elsewhere, turn, sticky: None, held: 0 }
    }

    /// The filter behind the share name.
    pub(super) fn filter(&self) -> TopicFilter<'_> {
        TopicFilter::checked(&self.text).shared().expect("a group has a shared filter").1
    }

    /// Whether it has a member anywhere.
    pub(super) fn is_live(&self) -> bool {
        !self.members.is_empty() || !self.elsewhere.is_empty()
    }

    /// Members of `standing` on each shard that has any, in the order of the shards, which is the same everywhere: a hash finds the same
    /// shard from each. Without those here unless `here`.
    fn shards(&self, own: ShardId, standing: Standing, here: bool) -> impl Iterator<Item = (ShardId, u64)> {
        let (before, after) =
            self.elsewhere.split_at(self.elsewhere.partition_point(|there| there.shard < own));
        let of = move |standings: Standings| u64::from(standings[standing as usize]);
        let there = move |there: &Elsewhere| (there.shard, of(there.standings));
        let here = here.then(|| (own, of(self.members.standings())));
        before
            .iter()
            .map(there)
            .chain(here)
            .chain(after.iter().map(there))
            .filter(|(_, members)| *members > 0)
    }

    /// The shard for the next message: one whose members come first by their standing, weighted by how many they are. Not `own` unless
    /// `here`.
    pub(super) fn shard(&self, own: ShardId, spread: u64, here: bool) -> Option<ShardId> {
        let has_any = |standing: &Standing| self.shards(own, *standing, here).next().is_some();
        let standing = Standing::ALL.into_iter().find(has_any)?;
        let shards = || self.shards(own, standing, here);
        let among =
            |wanted: Option<ShardId>| wanted.filter(|wanted| shards().any(|(shard, _)| shard == *wanted));
        let total: u64 = shards().map(|(_, members)| members).sum();
        let mut position = match self.strategy {
            ShareStrategy::Local if among(Some(own)).is_some() => return Some(own),
            ShareStrategy::Sticky => {
                let stay = among(self.sticky).or(among(Some(own)));
                return stay.or_else(|| shards().next().map(|(shard, _)| shard));
            }
            ShareStrategy::RoundRobin | ShareStrategy::Local => self.turn % total,
            ShareStrategy::Random | ShareStrategy::HashClient | ShareStrategy::HashTopic => {
                ((spread >> 32) * total) >> 32
            }
        };
        for (shard, members) in shards() {
            match position.checked_sub(members) {
                Some(rest) => position = rest,
                None => return Some(shard),
            }
        }
        unreachable!("the position is below the number of members")
    }

    /// A message goes to `shard`.
    pub(super) fn picked(&mut self, shard: ShardId) {
        self.turn = self.turn.wrapping_add(1);
        self.sticky = Some(shard);
    }
}
