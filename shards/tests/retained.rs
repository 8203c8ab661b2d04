//! The retained store against a flat list: order, limits, and lookups cut into slices with changes in between.

use std::collections::{BTreeMap, BTreeSet};

use shardmq_shards::base::hash::HashKey;
use shardmq_shards::base::kept::Written;
use shardmq_shards::base::limits::Limits;
use shardmq_shards::base::random::Random;
use shardmq_shards::base::time::Time;
use shardmq_shards::topics::retained::{
    PublisherMark, RetainedBounds, RetainedFull, RetainedLookup, RetainedPage, RetainedSet, RetainedStore,
    Room, partition, retained_bytes,
};
use shardmq_shards::topics::{TopicFilter, TopicName};
use shardmq_shards::wire::{Message, MessageParts, QoS};

fn message(topic: &str, payload: &[u8], expires_at: Option<Time>) -> Message {
    let parts =
        MessageParts { topic, properties: &[], payload, qos: QoS::AtMostOnce, retain: true, expires_at };
    Message::from_parts(parts)
}

fn store_of(messages_max: usize) -> RetainedStore {
    RetainedStore::new(RetainedBounds::exactly(messages_max, usize::MAX))
}

fn keep(store: &mut RetainedStore, message: Message) -> Result<RetainedSet, RetainedFull> {
    store.set(message, None, Room::Open, Written(0))
}

/// A slice of a lookup.
fn look(
    store: &RetainedStore,
    filter: &str,
    after: Option<&str>,
    (messages_max, steps_max): (usize, usize),
    out: &mut Vec<Message>,
) -> RetainedPage {
    let filter = TopicFilter::new(filter).unwrap();
    let lookup = RetainedLookup { filter, after, except: None, now: Time::ZERO, messages_max, steps_max };
    store.matching(&lookup, out)
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
        let mut store = store_of(1_000);
        let topics: BTreeSet<String> = (0..300).map(|_| topic(&mut random)).collect();
        for topic in &topics {
            keep(&mut store, message(topic, b"x", None)).unwrap();
        }
        for _ in 0..200 {
            let filter = filter(&mut random);
            let (max, max_steps) = (1 + random.below(20) as usize, 1 + random.below(20) as usize);
            let (mut out, mut after) = (Vec::new(), None::<Box<str>>);
            loop {
                let before = out.len();
                let page = look(&store, &filter, after.as_deref(), (max, max_steps), &mut out);
                assert!(out.len() - before <= max.min(max_steps) && page.steps <= max_steps);
                after = page.resume;
                if after.is_none() {
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
        let mut store = store_of(1_000);
        let mut topics: BTreeSet<String> = (0..150).map(|_| topic(&mut random)).collect();
        for topic in &topics {
            keep(&mut store, message(topic, b"x", None)).unwrap();
        }
        let filter = filter(&mut random);
        let mut always: BTreeSet<String> = topics.iter().filter(|t| matches(&filter, t)).cloned().collect();
        let (mut ever, mut out, mut after) = (always.clone(), Vec::new(), None::<Box<str>>);
        loop {
            after = look(&store, &filter, after.as_deref(), (3, 4), &mut out).resume;
            if after.is_none() {
                break;
            }
            // The topic to resume from goes in half of the cases, others come and go.
            let gone = if random.one_in(2) { after.as_deref().map(str::to_string) } else { None };
            for topic in gone.into_iter().chain([topic(&mut random), topic(&mut random)]) {
                if topics.remove(&topic) {
                    assert!(matches!(
                        keep(&mut store, message(&topic, b"", None)),
                        Ok(RetainedSet::Removed(_))
                    ));
                    always.remove(&topic);
                } else {
                    assert!(matches!(keep(&mut store, message(&topic, b"y", None)), Ok(RetainedSet::Added)));
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
    let mut store = store_of(200_000);
    for device in 0..1_000 {
        for channel in 0..100 {
            keep(&mut store, message(&format!("dev/{device}/{channel}"), b"x", None)).unwrap();
        }
    }
    // One step past each device's other channels, one to it, one to the next device.
    for (filter, matching, steps) in
        [("dev/+/42", 1_000, 3_010), ("dev/500/#", 100, 110), ("+/500/7", 1, 10), ("dev/+", 0, 1_010)]
    {
        let mut out = Vec::new();
        let page = look(&store, filter, None, (usize::MAX, usize::MAX), &mut out);
        assert!(page.steps <= steps, "{filter} takes {} steps", page.steps);
        assert_eq!(out.len(), matching, "{filter}");
    }
}

#[test]
fn behaves_as_a_map_and_counts_its_bytes() {
    let mut random = Random::from_seed(9);
    let mut store = store_of(100);
    let mut map: BTreeMap<String, Message> = BTreeMap::new();
    let mut refused = 0;
    for _ in 0..20_000 {
        let topic = topic(&mut random);
        let payload = vec![b'x'; random.below(50) as usize];
        let message = message(&topic, &payload, None);
        match keep(&mut store, message.clone()) {
            Ok(RetainedSet::Added) => assert!(map.insert(topic.clone(), message).is_none()),
            Ok(RetainedSet::Replaced(old)) => {
                assert!(map.insert(topic.clone(), message).is_some_and(|m| m.ptr_eq(&old)));
            }
            Ok(RetainedSet::Removed(old)) => {
                assert!(payload.is_empty() && map.remove(&topic).is_some_and(|m| m.ptr_eq(&old)));
            }
            Ok(RetainedSet::Nothing) => assert!(payload.is_empty() && !map.contains_key(&topic)),
            Err(full) => {
                assert_eq!(full, RetainedFull);
                assert!(map.len() == 100 && !map.contains_key(&topic));
                refused += 1;
            }
        }
        assert_eq!(store.get(&topic).is_some(), map.contains_key(&topic));
        assert_eq!(store.len(), map.len());
        assert_eq!(store.bytes(), map.values().map(retained_bytes).sum::<usize>());
    }
    assert!(refused > 100, "the limit was not reached");
}

#[test]
fn ten_of_a_hundred_thousand_are_found_in_tens_of_steps() {
    let mut store = store_of(100_000);
    for device in 0..100_000 {
        let topic = format!("site/{}/device/{:05}/temp", device % 10, device / 10);
        keep(&mut store, message(&topic, b"x", None)).unwrap();
    }
    for filter in ["site/+/device/04711/temp", "+/+/+/04711/#", "+/+/device/04711/+"] {
        let mut out = Vec::new();
        let page = look(&store, filter, None, (usize::MAX, usize::MAX), &mut out);
        assert_eq!(out.len(), 10, "{filter}");
        assert!(page.steps < 100, "{filter} looks at {} topics", page.steps);
    }
}

#[test]
fn messages_leave_when_they_expire_the_earliest_first() {
    let at = Time::from_micros;
    let mut store = store_of(1_000);
    for n in 0..500u64 {
        keep(&mut store, message(&format!("t/{n}"), b"x", (n % 3 == 0).then(|| at(600 - n)))).unwrap();
    }
    // What is replaced or removed expires no more, or later.
    keep(&mut store, message("t/498", b"y", None)).unwrap();
    keep(&mut store, message("t/495", b"y", Some(at(900)))).unwrap();
    keep(&mut store, message("t/492", b"", None)).unwrap();
    assert_eq!(store.next_expiry(), Some(at(600 - 489)));
    let mut expired = Vec::new();
    while let Some(message) = store.expire(at(300)) {
        expired.push(message.expires_at().expect("it has expired"));
    }
    assert!(expired.is_sorted() && expired.len() == 64, "489, 486, … 300: {}", expired.len());
    assert_eq!(store.next_expiry(), Some(at(303)));
    assert!(store.get("t/300").is_none() && store.get("t/297").is_some());
    assert!(store.get("t/498").is_some() && store.get("t/495").is_some());
    assert_eq!(std::iter::from_fn(|| store.expire(at(10_000))).count(), 101);
    assert_eq!((store.len(), store.next_expiry()), (333 + 1, None));
}

#[test]
fn a_full_store_still_replaces_by_what_is_not_larger_and_clears() {
    let bytes = |payload: &[u8]| retained_bytes(&message("a", payload, None));
    let mut store = RetainedStore::new(RetainedBounds::exactly(10, 2 * bytes(b"four")));
    keep(&mut store, message("a", b"four", None)).unwrap();
    keep(&mut store, message("b", b"two", None)).unwrap();
    assert!(!store.is_full(), "there is a byte left");
    assert!(keep(&mut store, message("c", b"1", None)).is_err());
    assert!(matches!(keep(&mut store, message("b", b"2222", None)), Ok(RetainedSet::Replaced(_))));
    assert!(store.is_full());
    assert!(keep(&mut store, message("b", b"fives", None)).is_err(), "larger than what it replaces");
    assert_eq!(store.get("b").expect("kept").payload(), b"2222", "a refused message changes nothing");
    assert!(matches!(keep(&mut store, message("a", b"3", None)), Ok(RetainedSet::Replaced(_))));
    assert!(matches!(keep(&mut store, message("a", b"4444", None)), Ok(RetainedSet::Replaced(_))));
    assert!(matches!(keep(&mut store, message("a", b"", None)), Ok(RetainedSet::Removed(_))));
    assert!(matches!(keep(&mut store, message("c", b"1", None)), Ok(RetainedSet::Added)));
}

#[test]
fn the_reserve_is_for_those_who_were_told_that_they_are_accepted() {
    let limits = Limits { retained_messages_max: 64 * 3, ..Limits::default() };
    let bounds = RetainedBounds::share(&limits, 3);
    assert_eq!((bounds.messages_max, bounds.messages_reserve), (64, 4));
    let mut store = RetainedStore::new(bounds);
    let mut counts = [0, 0];
    for n in 0..100 {
        counts[0] += usize::from(keep(&mut store, message(&format!("t/{n}"), b"x", None)).is_ok());
    }
    assert!(store.is_full());
    for n in 0..100 {
        let message = message(&format!("u/{n}"), b"x", None);
        counts[1] += usize::from(store.set(message, None, Room::Reserve, Written(0)).is_ok());
    }
    assert_eq!(counts, [60, 4]);
    assert_eq!(RetainedBounds::share(&limits, 1), RetainedBounds::exactly(192, limits.retained_bytes_max));
}

#[test]
fn what_a_publisher_left_is_found_by_all_but_itself() {
    let key = HashKey::from_seed(4);
    let (ann, bob) = (PublisherMark::new("ann", &key), PublisherMark::new("bob", &key));
    let mut store = store_of(10);
    for (topic, publisher) in [("a", Some(ann)), ("b", Some(bob)), ("c", None)] {
        store.set(message(topic, b"x", None), publisher, Room::Open, Written(0)).unwrap();
    }
    let found = |filter, except| {
        let filter = TopicFilter::new(filter).unwrap();
        let (after, now) = (None, Time::ZERO);
        let lookup = RetainedLookup { filter, after, except, now, messages_max: 10, steps_max: 10 };
        let mut out = Vec::new();
        store.matching(&lookup, &mut out);
        out.iter().map(|message| message.topic().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("#", None), ["a", "b", "c"]);
    assert_eq!(found("#", Some(ann)), ["b", "c"]);
    assert_eq!((found("a", Some(ann)), found("a", Some(bob))), (vec![], vec!["a".to_string()]));
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
