//! What the topics layer allocates: nothing per match, and few bytes per subscription.

use allocation_counter::measure;
use shardmq_shards::base::hash::HashKey;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::topics::{
    FilterSet, Fingerprinted, InterestBatch, InterestChange, Subscriber, SubscriptionTree, Ticket,
    TopicFilter, TopicIndex, TopicName,
};
use shardmq_shards::wire::SubscriptionOptions;

/// What glibc's malloc adds to a block: its header, and on average half of the rounding to 16 bytes.
const BLOCK_OVERHEAD: i64 = 16;

fn key() -> HashKey {
    HashKey::from_seed(1)
}

fn index(shards: usize) -> TopicIndex<u64> {
    TopicIndex::new(ShardId::new(0), shards, key(), 64)
}

fn subscribe(index: &mut TopicIndex<u64>, session: u64, filter: &str, held: &mut FilterSet) {
    let filter = TopicFilter::new(filter).unwrap();
    index.subscribe(session, filter, SubscriptionOptions::default(), None, true, held);
}

#[test]
fn a_match_allocates_nothing() {
    let mut tree = SubscriptionTree::new(key());
    for session in 0..1_000u64 {
        for filter in ["a/b/c", "a/+/c", "#", "a/#", &format!("own/{session}/#")] {
            let subscriber = Subscriber::new(session, SubscriptionOptions::default(), None, false);
            tree.insert(TopicFilter::new(filter).unwrap(), subscriber);
        }
    }
    let mut found = Vec::with_capacity(10_000);
    let counted = measure(|| {
        for topic in ["a/b/c", "own/77/x", "nowhere"] {
            tree.matches(TopicName::new(topic).unwrap(), &mut found);
        }
    });
    assert_eq!(found.len(), 4_000 + 1_001 + 1_000);
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_hit_allocates_nothing_and_a_miss_little() {
    let mut index = index(2);
    let mut held = FilterSet::new();
    for filter in ["a/b", "a/+", "#"] {
        subscribe(&mut index, 1, filter, &mut held);
    }
    let topics: Vec<String> = (0..100).map(|n| format!("a/{n}")).collect();
    index.routes(TopicName::new("a/b").unwrap());
    let missed = measure(|| {
        for topic in &topics {
            assert_eq!(index.routes(TopicName::new(topic).unwrap()).receivers().len(), 1);
        }
    });
    // Topic text, routes, receivers; some growth of the tables.
    assert!(missed.count_total < 5 * 100, "{} allocations", missed.count_total);
    let before = index.cache_stats();
    let hit = measure(|| {
        for topic in &topics {
            assert_eq!(index.routes(TopicName::new(topic).unwrap()).receivers().len(), 1);
        }
    });
    assert_eq!(hit.count_total, 0);
    assert_eq!(index.cache_stats().hits - before.hits, 100);
}

#[test]
fn ten_thousand_own_filters_take_little_memory_each() {
    let bytes_of = |filters: u64| {
        let mut kept = None;
        let used = measure(|| {
            let mut index = index(2);
            let mut sessions = Vec::with_capacity(filters as usize);
            for session in 0..filters {
                let mut held = FilterSet::new();
                subscribe(&mut index, session, &format!("c/{session:06}/x"), &mut held);
                sessions.push(held);
                if session % 100 == 99 {
                    let through = index.next_batch(512).expect("a hundred transitions are queued").through;
                    index.settled(through);
                }
            }
            kept = Some((index, sessions));
        });
        assert_eq!(kept.map(|(index, _)| index.filters_len() as u64), Some(filters));
        used.bytes_current + used.count_current * BLOCK_OVERHEAD
    };
    let bytes = bytes_of(10_000) - bytes_of(0);
    let each = bytes / 10_000;
    println!("{each} bytes per own exact filter over tree, session list and counts");
    assert!((60..170).contains(&each), "{each} bytes per filter");
}

/// The bytes per exact filter of a replica that several peers filled.
fn replica_bytes(filters: u64, peers: u64) -> f64 {
    let mut index = index(32);
    for filter in 0..filters {
        let what = Fingerprinted::Exact(key().hash(format!("c/{filter:08}/x").as_bytes()));
        let change = InterestChange { what, any: true, durable: filter % 2 == 0 };
        let batch = InterestBatch {
            changes: Box::new([change]),
            groups: Box::default(),
            through: Ticket::from_number(filter + 1),
        };
        index.apply(ShardId::new(1 + (filter % peers) as usize), &batch);
    }
    assert_eq!(index.remote_interest_len() as u64, filters);
    index.remote_interest_bytes() as f64 / filters as f64
}

#[test]
fn a_remote_exact_filter_takes_at_most_24_bytes() {
    let mut filters = 100_000;
    // The sizes between are those at which tables of equal parts are at their emptiest.
    while filters <= 1_000_000 {
        let each = replica_bytes(filters, 31);
        println!("{each:.1} bytes per remote exact filter at {filters}");
        assert!(each <= 24.0, "{each} bytes at {filters}");
        filters = if filters == 100_000 { 120_000 } else { filters * 5 / 4 };
    }
    let each = replica_bytes(1_000_000, 31);
    println!("{each:.1} bytes per remote exact filter at 1,000,000");
    assert!(each <= 24.0, "{each} bytes");
}
