//! The members that a shared group has on one shard.

use std::collections::{BTreeMap, BTreeSet};

use super::share_strategy::ShareStrategy;
use super::subscribers::Subscriber;

/// Where a member stands; the order is the order in which members are asked to take a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// Connected, and its queue was not found full.
    Ready,
    /// Without connection, and its queue was not found full.
    Offline,
    /// Its queue was found full.
    Full,
}

impl Standing {
    /// All, in order.
    pub const ALL: [Standing; 3] = [Standing::Ready, Standing::Offline, Standing::Full];
}

/// Members by standing, as [`Standing::ALL`] orders them.
pub type Standings = [u32; Standing::ALL.len()];

struct Member<K> {
    subscriber: Subscriber<K>,
    standing: Standing,
    /// Its place in the list of its standing.
    at: u32,
}

/// One list per standing, so that no dispatch looks at a member that it knows to be of no use: O(1) for each message, O(log n) for each change.
pub(super) struct Members<K> {
    by_key: BTreeMap<K, Member<K>>,
    lists: [Vec<K>; Standing::ALL.len()],
    /// Whose turn it is, as an index into the list that is asked.
    turn: usize,
    sticky: Option<K>,
    durable: u32,
    /// Members without connection that may have copies of the group in their queue.
    backlog: BTreeSet<K>,
    /// A ready member has refused what then went to one without connection: it is of no use to try again before somebody becomes ready.
    stuck: bool,
}

impl<K: Copy + Ord> Members<K> {
    pub(super) fn new() -> Members<K> {
        let lists = [Vec::new(), Vec::new(), Vec::new()];
        let (by_key, backlog) = (BTreeMap::new(), BTreeSet::new());
        Members { by_key, lists, turn: 0, sticky: None, durable: 0, backlog, stuck: false }
    }

    /// Adds a member, ready, or replaces its subscription; returns the one it replaces.
    pub(super) fn insert(&mut self, subscriber: Subscriber<K>) -> Option<Subscriber<K>> {
        self.durable += u32::from(subscriber.durable());
        if let Some(member) = self.by_key.get_mut(&subscriber.key) {
            let old = std::mem::replace(&mut member.subscriber, subscriber);
            self.durable -= u32::from(old.durable());
            return Some(old);
        }
        let at = self.push(subscriber.key, Standing::Ready);
        self.by_key.insert(subscriber.key, Member { subscriber, standing: Standing::Ready, at });
        None
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, key: K) -> Option<Subscriber<K>> {
        let member = self.by_key.remove(&key)?;
        self.unlist(member.standing, member.at);
        self.durable -= u32::from(member.subscriber.durable());
        self.backlog.remove(&key);
        if self.sticky == Some(key) {
            self.sticky = None;
        }
        Some(member.subscriber)
    }

    pub(super) fn get(&self, key: K) -> Option<&Subscriber<K>> {
        self.by_key.get(&key).map(|member| &member.subscriber)
    }

    /// Moves a member; whether it stood elsewhere.
    pub(super) fn set_standing(&mut self, key: K, standing: Standing) -> bool {
        let Some(member) = self.by_key.get(&key) else { return false };
        if member.standing == standing {
            return false;
        }
        self.unlist(member.standing, member.at);
        let at = self.push(key, standing);
        let member = self.by_key.get_mut(&key).expect("looked up above");
        (member.standing, member.at) = (standing, at);
        true
    }

    fn push(&mut self, key: K, standing: Standing) -> u32 {
        let list = &mut self.lists[standing as usize];
        list.push(key);
        list.len() as u32 - 1
    }

    fn unlist(&mut self, standing: Standing, at: u32) {
        let list = &mut self.lists[standing as usize];
        list.swap_remove(at as usize);
        if let Some(moved) = list.get(at as usize) {
            self.by_key.get_mut(moved).expect("who is listed is a member").at = at;
        }
    }

    /// How many there are of each standing.
    pub(super) fn standings(&self) -> Standings {
        std::array::from_fn(|standing| self.lists[standing].len() as u32)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether messages for one of them must survive the broker.
    pub(super) fn is_durable(&self) -> bool {
        self.durable > 0
    }

    /// Where among the members of `standing` to begin to ask.
    pub(super) fn start(&self, standing: Standing, strategy: ShareStrategy, spread: u64) -> usize {
        let list = &self.lists[standing as usize];
        let at = match strategy {
            ShareStrategy::RoundRobin | ShareStrategy::Local => self.turn,
            // The high half has chosen the shard.
            ShareStrategy::Random | ShareStrategy::HashClient | ShareStrategy::HashTopic => {
                (((spread & u64::from(u32::MAX)) * list.len() as u64) >> 32) as usize
            }
            ShareStrategy::Sticky => self.sticky_at(standing).unwrap_or(0),
        };
        if at < list.len() { at } else { 0 }
    }

    fn sticky_at(&self, standing: Standing) -> Option<usize> {
        let member = self.by_key.get(&self.sticky?)?;
        (member.standing == standing).then_some(member.at as usize)
    }

    /// The member of `standing` at `at`, which goes round.
    pub(super) fn at(&self, standing: Standing, at: usize) -> Option<&Subscriber<K>> {
        let list = &self.lists[standing as usize];
        let key = list.get(at.checked_rem(list.len())?)?;
        self.get(*key)
    }

    /// The member at `at` has taken a message.
    pub(super) fn took(&mut self, key: K, at: usize) {
        self.turn = at + 1;
        self.sticky = Some(key);
    }

    /// A member without connection has copies of the group in its queue.
    pub(super) fn note_backlog(&mut self, key: K) {
        if self.by_key.get(&key).is_some_and(|member| member.standing != Standing::Ready) {
            self.backlog.insert(key);
        }
    }

    /// A member without connection has got what the ready ones refused.
    pub(super) fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
    }

    /// The first member that may have copies in its queue which a ready one could take.
    pub(super) fn first_backlog(&self) -> Option<K> {
        self.backlog.first().copied().filter(|_| !self.stuck)
    }

    pub(super) fn forget_backlog(&mut self, key: K) {
        self.backlog.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::wire::SubscriptionOptions;

    fn subscriber(key: u64) -> Subscriber<u64> {
        Subscriber::new(key, SubscriptionOptions::default(), None, key.is_multiple_of(3))
    }

    #[test]
    fn every_member_stands_in_the_list_of_its_standing() {
        let mut random = Random::from_seed(3);
        let mut members = Members::new();
        let mut map: BTreeMap<u64, Standing> = BTreeMap::new();
        for _ in 0..20_000 {
            let key = random.below(60);
            match random.below(4) {
                0 => {
                    assert_eq!(members.insert(subscriber(key)).is_some(), map.contains_key(&key));
                    map.entry(key).or_insert(Standing::Ready);
                }
                1 => assert_eq!(members.remove(key).is_some(), map.remove(&key).is_some()),
                _ => {
                    let standing = *random.pick(&Standing::ALL);
                    let changes = map.get(&key).is_some_and(|old| *old != standing);
                    assert_eq!(members.set_standing(key, standing), changes);
                    map.entry(key).and_modify(|old| *old = standing);
                }
            }
            let durable = map.keys().filter(|key| key.is_multiple_of(3)).count();
            assert_eq!((members.durable as usize, members.by_key.len()), (durable, map.len()));
            for standing in Standing::ALL {
                let expected: BTreeSet<u64> =
                    map.iter().filter(|(_, s)| **s == standing).map(|(key, _)| *key).collect();
                let count = members.standings()[standing as usize] as usize;
                assert_eq!(count, expected.len());
                let listed: BTreeSet<u64> =
                    (0..count).map(|at| members.at(standing, at).expect("within the list").key).collect();
                assert_eq!(listed, expected);
            }
        }
    }

    #[test]
    fn each_strategy_begins_where_it_should() {
        let mut members = Members::new();
        for key in 0..4 {
            members.insert(subscriber(key));
        }
        let mut start = |strategy, spread| {
            let at = members.start(Standing::Ready, strategy, spread);
            let key = members.at(Standing::Ready, at).expect("four are ready").key;
            members.took(key, at);
            key
        };
        let turns: Vec<u64> = (0..6).map(|_| start(ShareStrategy::RoundRobin, 0)).collect();
        assert_eq!(turns, [0, 1, 2, 3, 0, 1]);
        assert_eq!([0; 3].map(|_| start(ShareStrategy::Sticky, 0)), [1; 3]);
        let quarter = 1 << 30;
        assert_eq!([0, 1, 2, 3].map(|n| start(ShareStrategy::HashClient, n * quarter + 5)), [0, 1, 2, 3]);
        assert_eq!([3, 0].map(|n| start(ShareStrategy::Random, n * quarter)), [3, 0]);
        members.set_standing(0, Standing::Offline);
        let at = members.start(Standing::Ready, ShareStrategy::Sticky, 0);
        assert_ne!(members.at(Standing::Ready, at).expect("three are ready").key, 0);
    }
}
