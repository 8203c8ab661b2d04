//! The retained store against a flat list: order, limits, and lookups cut into slices with changes in between.

use std::collections::{BTreeMap, BTreeSet};

use shardmq_shards::base::hash::HashKey;
use shardmq_shards::base::random::Random;
use shardmq_shards::base::time::Time;
use shardmq_shards::topics::retained::{RetainedFull, RetainedSet, RetainedStore, partition};
use shardmq_shards::topics::{TopicFilter, TopicName};
use shardmq_shards::wire::{Message, MessageParts, QoS};

fn message(topic: &str, payload: &[u8], expires_at: Option<Time>) -> Message {
    let parts =
        MessageParts { topic, properties: &[], payload, qos: QoS::AtMostOnce, retain: true, expires_at };
    Message::from_parts(parts)
}

/// Characters on both sides of `/` and `%`, beyond ASCII, and empty levels.
const LEVELS: [&str; 10] = ["", "a", "b", "aa", "a-b", "a!", "$x", "ä", "\u{1}", "0"];

fn topic(random: &mut Random) -> String {
    loop {
        let levels: Vec<&str> = (0..1 + random.below(4)).map(|_| *random.pick(&LEVELS)).collect();
        let topic = levels.join("/");
        if TopicName::new(&topic).is_ok() {
            return topic;
        }
    }
}

fn filter(random: &mut Random) -> String {
    loop {
        let mut levels: Vec<&str> = (0..random.below(5))
            .map(|_| if random.one_in(3) { "+" } else { *random.pick(&LEVELS) })
            .collect();
        if random.one_in(3) {
            levels.push("#");
        }
        let filter = levels.join("/");
        if TopicFilter::new(&filter).is_ok() {
            return filter;
        }
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap())
}

#[test]
fn lookups_find_what_the_naive_matcher_finds_whatever_the_slices() {
    let mut found_in_all = 0;
    for seed in 0..20 {
        let mut random = Random::from_seed(seed);
        let mut store = RetainedStore::new(1_000);
        let topics: BTreeSet<String> = (0..300).map(|_| topic(&mut random)).collect();
        for topic in &topics {
            store.set(message(topic, b"x", None)).unwrap();
        }
        for _ in 0..200 {
            let filter = filter(&mut random);
            let (max, max_steps) = (1 + random.below(20) as usize, 1 + random.below(20) as usize);
            let (mut out, mut after) = (Vec::new(), None::<Box<str>>);
            loop {
                let before = out.len();
                let checked = TopicFilter::new(&filter).unwrap();
                let page = store.matching(checked, after.as_deref(), max, max_steps, &mut out);
                assert!(out.len() - before <= max.min(max_steps));
                assert_eq!(page.done, page.resume.is_none());
                after = page.resume;
                if page.done {
                    break;
                }
            }
            let found: BTreeSet<String> = out.iter().map(|m| m.topic().to_string()).collect();
            assert_eq!(found.len(), out.len(), "{filter}: each once");
            let expected: BTreeSet<String> = topics.iter().filter(|t| matches(&filter, t)).cloned().collect();
            assert_eq!(found, expected, "seed {seed} {filter}");
            found_in_all += found.len();
        }
    }
    assert!(found_in_all > 20_000, "{found_in_all}");
}

#[test]
fn a_resumed_lookup_misses_nothing_that_stood_there_all_the_time() {
    for seed in 0..300 {
        let mut random = Random::from_seed(seed);
        let mut store = RetainedStore::new(1_000);
        let mut topics: BTreeSet<String> = (0..150).map(|_| topic(&mut random)).collect();
        for topic in &topics {
            store.set(message(topic, b"x", None)).unwrap();
        }
        let filter = filter(&mut random);
        let mut always: BTreeSet<String> = topics.iter().filter(|t| matches(&filter, t)).cloned().collect();
        let (mut ever, mut out, mut after) = (always.clone(), Vec::new(), None::<Box<str>>);
        loop {
            let checked = TopicFilter::new(&filter).unwrap();
            let page = store.matching(checked, after.as_deref(), 3, 4, &mut out);
            if page.done {
                break;
            }
            after = page.resume;
            // The topic to resume from goes in half of the cases, others come and go.
            let gone = if random.one_in(2) { after.as_deref().map(str::to_string) } else { None };
            for topic in gone.into_iter().chain([topic(&mut random), topic(&mut random)]) {
                if topics.remove(&topic) {
                    assert!(matches!(store.set(message(&topic, b"", None)), Ok(RetainedSet::Removed(_))));
                    always.remove(&topic);
                } else {
                    assert!(matches!(store.set(message(&topic, b"y", None)), Ok(RetainedSet::Added)));
                    topics.insert(topic.clone());
                    ever.insert(topic);
                }
            }
        }
        let found: BTreeSet<String> = out.iter().map(|m| m.topic().to_string()).collect();
        assert_eq!(found.len(), out.len(), "each once");
        assert!(found.is_superset(&always), "seed {seed} {filter}");
        assert!(found.iter().all(|topic| ever.contains(topic) && matches(&filter, topic)));
    }
}

#[test]
fn a_lookup_skips_what_it_cannot_match() {
    let mut store = RetainedStore::new(200_000);
    for device in 0..1_000 {
        for channel in 0..100 {
            store.set(message(&format!("dev/{device}/{channel}"), b"x", None)).unwrap();
        }
    }
    // One step past each device's other channels, one to it, one to the next device.
    for (filter, matching, steps) in
        [("dev/+/42", 1_000, 3_010), ("dev/500/#", 100, 110), ("+/500/7", 1, 10), ("dev/+", 0, 1_010)]
    {
        let mut out = Vec::new();
        let page = store.matching(TopicFilter::new(filter).unwrap(), None, usize::MAX, steps, &mut out);
        assert!(page.done, "{filter} takes more than {steps} steps");
        assert_eq!(out.len(), matching, "{filter}");
    }
}

#[test]
fn behaves_as_a_map_and_counts_its_bytes() {
    let mut random = Random::from_seed(9);
    let mut store = RetainedStore::new(100);
    let mut map: BTreeMap<String, Message> = BTreeMap::new();
    let mut refused = 0;
    for _ in 0..20_000 {
        let topic = topic(&mut random);
        let payload = vec![b'x'; random.below(50) as usize];
        let message = message(&topic, &payload, None);
        match store.set(message.clone()) {
            Ok(RetainedSet::Added) => assert!(map.insert(topic.clone(), message).is_none()),
            Ok(RetainedSet::Replaced(old)) => {
                assert!(map.insert(topic.clone(), message).is_some_and(|m| m.ptr_eq(&old)));
            }
            Ok(RetainedSet::Removed(old)) => {
                assert!(payload.is_empty() && map.remove(&topic).is_some_and(|m| m.ptr_eq(&old)));
            }
            Ok(RetainedSet::Nothing) => assert!(payload.is_empty() && !map.contains_key(&topic)),
            Err(full) => {
                assert_eq!(full, RetainedFull { messages_max: 100 });
                assert!(map.len() == 100 && !map.contains_key(&topic));
                refused += 1;
            }
        }
        assert_eq!(store.get(&topic).is_some(), map.contains_key(&topic));
        assert_eq!(store.len(), map.len());
        assert_eq!(store.bytes(), map.values().map(Message::memory_bytes).sum::<usize>());
    }
    assert!(refused > 100, "the limit was not reached");
}

#[test]
fn a_sweep_in_slices_removes_what_has_expired() {
    let at = Time::from_micros;
    let mut store = RetainedStore::new(1_000);
    for n in 0..500u64 {
        store.set(message(&format!("t/{n}"), b"x", (n % 3 == 0).then(|| at(n)))).unwrap();
    }
    let (mut expired, mut after, mut slices) = (Vec::new(), None::<Box<str>>, 0);
    loop {
        let before = expired.len();
        let page = store.expire(at(300), after.as_deref(), 40, &mut expired);
        assert!(expired.len() - before <= 40);
        slices += 1;
        after = page.resume;
        if page.done {
            break;
        }
    }
    assert!(slices >= 500 / 40);
    assert_eq!((expired.len(), store.len()), (101, 399), "0, 3, … 300 have expired");
    assert!(store.get("t/300").is_none() && store.get("t/303").is_some() && store.get("t/1").is_some());
}

#[test]
fn partitions_are_even() {
    let key = HashKey::from_seed(4);
    for shards in [1, 2, 3, 7, 64] {
        let mut counts = vec![0; shards];
        for n in 0..64_000 {
            counts[partition(&format!("dev/{n}"), &key, shards).index()] += 1;
        }
        let even = 64_000 / shards;
        assert!(counts.iter().all(|count| *count > even * 3 / 4 && *count < even * 5 / 4), "{counts:?}");
    }
}
