//! Shared groups over the topic indexes of several shards: counts that travel, picks by them, groups that end.

use shardmq_shards::base::hash::HashKey;
use shardmq_shards::base::random::Random;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::topics::{
    FilterSet, GroupId, ShareStrategies, ShareStrategy, Standing, TopicFilter, TopicIndex, TopicName,
};
use shardmq_shards::wire::{QoS, SubscriptionOptions};
use std::collections::BTreeMap;

struct Mesh {
    shards: Vec<TopicIndex<u64>>,
    held: BTreeMap<(usize, u64), FilterSet>,
}

impl Mesh {
    fn new(shards: usize, strategy: ShareStrategy) -> Mesh {
        let shard = |id| {
            let mut index = TopicIndex::new(ShardId::new(id), shards, HashKey::from_seed(3), 8);
            index.spread_shares(ShareStrategies::new(strategy, BTreeMap::new()));
            index
        };
        Mesh { shards: (0..shards).map(shard).collect(), held: BTreeMap::new() }
    }

    fn subscribe(&mut self, shard: usize, key: u64, filter: &str) {
        let held = self.held.entry((shard, key)).or_default();
        let filter = TopicFilter::new(filter).expect("valid");
        let options = SubscriptionOptions::with_qos(QoS::AtLeastOnce);
        self.shards[shard].subscribe(key, filter, options, None, false, held);
    }

    fn unsubscribe(&mut self, shard: usize, key: u64, filter: &str) -> bool {
        let held = self.held.entry((shard, key)).or_default();
        self.shards[shard].unsubscribe(key, TopicFilter::new(filter).expect("valid"), held)
    }

    fn exchange(&mut self) {
        for from in 0..self.shards.len() {
            while let Some(batch) = self.shards[from].next_batch(3) {
                for to in (0..self.shards.len()).filter(|to| *to != from) {
                    self.shards[to].apply(ShardId::new(from), &batch);
                }
                self.shards[from].settled(batch.through);
            }
        }
    }

    fn groups(&mut self, shard: usize, topic: &str) -> Vec<GroupId> {
        self.shards[shard].routes(TopicName::new(topic).expect("valid")).groups().to_vec()
    }

    /// Which shards `count` messages from `shard` go to.
    fn picks(&mut self, shard: usize, topic: &str, count: usize) -> BTreeMap<usize, usize> {
        let [group] = self.groups(shard, topic)[..] else { panic!("one group") };
        let mut random = Random::from_seed(1);
        let mut picks = BTreeMap::new();
        for _ in 0..count {
            let pick = self.shards[shard].pick(group, random.next_u64(), true).expect("it has members");
            self.shards[shard].picked(&pick);
            let there = &self.shards[pick.shard.index()];
            assert!(there.group_named(pick.key).is_some(), "the shard knows the group by this key");
            *picks.entry(pick.shard.index()).or_default() += 1;
        }
        picks
    }
}

#[test]
fn shards_are_picked_by_the_members_that_they_have_ready() {
    let mut mesh = Mesh::new(3, ShareStrategy::RoundRobin);
    for (shard, key) in [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2)] {
        mesh.subscribe(shard, key, "$share/g/a/+");
    }
    mesh.exchange();
    for from in 0..3 {
        assert_eq!(mesh.picks(from, "a/b", 50), BTreeMap::from([(0, 10), (1, 20), (2, 20)]));
    }
    let group = mesh.groups(1, "a/b")[0];
    mesh.shards[1].set_standing(group, 1, Standing::Full);
    mesh.shards[1].set_standing(group, 2, Standing::Offline);
    mesh.exchange();
    assert_eq!(mesh.picks(0, "a/b", 30), BTreeMap::from([(0, 10), (2, 20)]));
    for (shard, key) in [(0, 1), (2, 1), (2, 2)] {
        let group = mesh.groups(shard, "a/b")[0];
        mesh.shards[shard].set_standing(group, key, Standing::Full);
    }
    mesh.exchange();
    assert_eq!(mesh.picks(0, "a/b", 5), BTreeMap::from([(1, 5)]), "offline before full");
}

#[test]
fn a_hash_finds_the_same_shard_from_everywhere() {
    let mut mesh = Mesh::new(3, ShareStrategy::HashClient);
    for (shard, key) in [(0, 1), (1, 1), (2, 1), (2, 2)] {
        mesh.subscribe(shard, key, "$share/g/a");
    }
    mesh.exchange();
    let mut random = Random::from_seed(2);
    for _ in 0..200 {
        let spread = random.next_u64();
        let pick = |shard: usize, mesh: &mut Mesh| {
            let group = mesh.groups(shard, "a")[0];
            mesh.shards[shard].pick(group, spread, true).expect("it has members").shard
        };
        let from_first = pick(0, &mut mesh);
        assert_eq!([pick(1, &mut mesh), pick(2, &mut mesh)], [from_first; 2]);
    }
}

#[test]
fn sticky_and_local_stay_where_they_are() {
    for (strategy, from_one) in [(ShareStrategy::Sticky, 1), (ShareStrategy::Local, 1)] {
        let mut mesh = Mesh::new(3, strategy);
        mesh.subscribe(1, 1, "$share/g/a");
        mesh.subscribe(2, 1, "$share/g/a");
        mesh.exchange();
        assert_eq!(mesh.picks(1, "a", 10), BTreeMap::from([(from_one, 10)]));
        let from_zero = mesh.picks(0, "a", 10);
        assert_eq!(from_zero.len(), if strategy == ShareStrategy::Sticky { 1 } else { 2 });
    }
}

#[test]
fn groups_of_colliding_fingerprints_are_told_apart_and_end_with_their_last_member() {
    // 8 bits of fingerprint: among 600 filters all collide.
    let mut mesh = Mesh::new(2, ShareStrategy::RoundRobin);
    for n in 0..300 {
        mesh.subscribe(0, n, &format!("$share/g/t/{n}"));
        mesh.subscribe(1, n, &format!("$share/h/t/{n}/#"));
    }
    mesh.exchange();
    for n in (0..300).step_by(7) {
        for shard in 0..2 {
            assert_eq!(mesh.groups(shard, &format!("t/{n}")).len(), 2);
        }
    }
    assert!(mesh.groups(0, "t/300").is_empty());
    for n in 0..300 {
        assert!(mesh.unsubscribe(0, n, &format!("$share/g/t/{n}")));
        assert!(!mesh.unsubscribe(0, n, &format!("$share/g/t/{n}")));
    }
    assert!(mesh.groups(1, "t/7").len() == 2, "not told yet");
    mesh.exchange();
    assert_eq!(mesh.groups(1, "t/7").len(), 1, "the cached routes are dropped");
    for n in 0..300 {
        let held = mesh.held.get_mut(&(1, n)).expect("subscribed above");
        assert!(mesh.shards[1].remove_all(n, held, 5));
    }
    mesh.exchange();
    for shard in &mesh.shards {
        assert_eq!((shard.filters_len(), shard.remote_interest_len()), (0, 0));
    }
}

#[test]
fn a_group_that_comes_again_has_another_key() {
    let mut mesh = Mesh::new(2, ShareStrategy::RoundRobin);
    mesh.subscribe(0, 1, "$share/g/a");
    mesh.exchange();
    let group = mesh.groups(0, "a")[0];
    let key = mesh.shards[0].group_key(group);
    mesh.unsubscribe(0, 1, "$share/g/a");
    assert!(mesh.shards[0].group_named(key).is_some(), "kept until the peers know that it is gone");
    mesh.exchange();
    assert!(mesh.shards[0].group_named(key).is_none());
    mesh.subscribe(0, 1, "$share/other/b");
    mesh.exchange();
    assert!(mesh.shards[0].group_named(key).is_none(), "a message on its way to the old one finds nobody");
    assert_eq!(mesh.groups(1, "b").len(), 1);
}

#[test]
fn a_session_has_its_memberships_among_its_filters() {
    let mut mesh = Mesh::new(1, ShareStrategy::RoundRobin);
    for filter in ["a", "$share/g/b/#", "$share/g/c", "d/+"] {
        mesh.subscribe(0, 1, filter);
    }
    let held = mesh.held.get_mut(&(0, 1)).expect("subscribed above");
    let index = &mut mesh.shards[0];
    let mut filters: Vec<_> = index.filters(held).collect();
    filters.sort();
    assert_eq!(filters, ["$share/g/b/#", "$share/g/c", "a", "d/+"]);
    assert!(index.subscription(1, TopicFilter::new("$share/g/c").expect("valid")).is_some());
    assert!(index.subscription(2, TopicFilter::new("$share/g/c").expect("valid")).is_none());
    index.leave_groups(1, held);
    assert_eq!((held.len(), index.filters_len()), (2, 2));
    assert!(mesh.groups(0, "c").is_empty());
}
