//! Shared subscriptions (MQTT 5 section 4.8.2): one member of each group gets a message, whichever shards they are on.

use crate::subscribing::suback_waits_for_every_shard;
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::shard::End;
use shardmq_shards::topics::{ShareStrategies, ShareStrategy};
use shardmq_shards::wire::{Connect, ReasonCode, SubscriptionOptions};
use std::collections::{BTreeMap, BTreeSet};

fn world(shards: usize, strategy: ShareStrategy) -> World {
    let share_strategies = ShareStrategies::new(strategy, BTreeMap::new());
    World::with(Settings { shards, share_strategies, lane_slots: 64, ..Settings::default() })
}

/// `count` members of `$share/g/t/#`, dealt out over the shards.
fn members(w: &mut World, count: usize, qos: shardmq_shards::wire::QoS) -> Vec<Client> {
    let shards = w.places.len();
    let join = |w: &mut World, n: usize| {
        let client = w.join(n % shards, V5, &format!("member{n}"));
        w.subscribe(client, "$share/g/t/#", qos);
        client
    };
    (0..count).map(|n| join(w, n)).collect()
}

/// What each has got since the last time: the payloads, QoS 1 acknowledged.
fn taken(w: &mut World, clients: &[Client]) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new(); clients.len()];
    loop {
        let mut quiet = true;
        for (client, got) in clients.iter().zip(&mut all) {
            for line in w.read(*client) {
                quiet = false;
                got.push(line.split('"').nth(1).unwrap_or_else(|| panic!("a message: {line}")).to_string());
                if let Some(number) = line.split(" q1 #").nth(1) {
                    let number = number.split(' ').next().expect("the id itself");
                    w.puback(*client, number.parse().expect("a packet id"));
                }
            }
        }
        if quiet {
            return all;
        }
    }
}

/// Each of `expected` went to exactly one.
fn assert_each_once(got: &[Vec<String>], expected: impl Iterator<Item = String>) {
    let mut all: Vec<_> = got.iter().flatten().cloned().collect();
    all.sort();
    let mut expected: Vec<_> = expected.collect();
    expected.sort();
    assert_eq!(all, expected);
}

#[test]
fn two_hundred_publishers_feed_five_members_on_three_shards_in_equal_shares() {
    let mut w = world(3, ShareStrategy::RoundRobin);
    let members = members(&mut w, 5, Q1);
    let all = w.join(1, V5, "all");
    w.subscribe(all, "t/#", Q1);
    let mut got = vec![Vec::new(); 5];
    for publisher in 0..200 {
        let client = w.join(publisher % 3, V5, &format!("publisher{publisher}"));
        for n in 0..10 {
            w.publish(client, message_1(n + 1, &format!("t/{n}"), &format!("{publisher}.{n}")));
        }
        assert_eq!(w.read(client).len(), 10);
        for (got, new) in got.iter_mut().zip(taken(&mut w, &members)) {
            got.extend(new);
        }
        assert_eq!(taken(&mut w, &[all])[0].len(), 10, "an ordinary subscription gets every message");
        w.vanish(client);
    }
    let expected = (0..200).flat_map(|publisher| (0..10).map(move |n| format!("{publisher}.{n}")));
    assert_each_once(&got, expected);
    for got in &got {
        assert!((360..=440).contains(&got.len()), "400 each, within 10 %: {}", got.len());
    }
}

#[test]
fn every_strategy_gives_each_message_to_one_member() {
    use ShareStrategy::*;
    for strategy in [RoundRobin, Random, Sticky, HashClient, HashTopic, Local] {
        let mut w = world(3, strategy);
        let members = members(&mut w, 6, Q1);
        let publishers: Vec<_> = (0..6).map(|n| w.join(n % 3, V5, &format!("publisher{n}"))).collect();
        for n in 0..20 {
            for (from, publisher) in publishers.iter().enumerate() {
                w.publish(*publisher, message_1(n + 1, &format!("t/{}", n % 5), &format!("{from}.{n}")));
            }
            w.run();
        }
        let got = taken(&mut w, &members);
        assert_each_once(&got, (0..6).flat_map(|from| (0..20).map(move |n| format!("{from}.{n}"))));
        // By publisher or by topic: the members that got any of it.
        let takers = |of: &dyn Fn(&str) -> String| {
            let mut takers: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
            for (member, payloads) in got.iter().enumerate() {
                for payload in payloads {
                    takers.entry(of(payload)).or_default().insert(member);
                }
            }
            takers
        };
        let publisher = |payload: &str| payload.split('.').next().expect("publisher").to_string();
        let topic = |payload: &str| {
            let n: u16 = payload.split('.').nth(1).expect("number").parse().expect("number");
            (n % 5).to_string()
        };
        match strategy {
            Sticky | HashClient => {
                assert!(takers(&publisher).values().all(|members| members.len() == 1), "{strategy:?}");
                for from in 0..6 {
                    let mut numbers =
                        got.iter().flatten().filter(|payload| publisher(payload) == from.to_string());
                    assert!((0..20).all(|n| numbers.next() == Some(&format!("{from}.{n}"))), "in order");
                }
            }
            HashTopic => assert!(takers(&topic).values().all(|members| members.len() == 1)),
            Local => {
                for (member, payloads) in got.iter().enumerate() {
                    let here =
                        |payload: &String| publisher(payload).parse::<usize>().unwrap() % 3 == member % 3;
                    assert!(payloads.iter().all(here), "from the publisher to a member on its own shard");
                }
            }
            RoundRobin | Random => assert!(got.iter().all(|payloads| payloads.len() >= 8), "{strategy:?}"),
        }
        for client in publishers {
            assert_eq!(w.read(client).len(), 20);
        }
    }
}

#[test]
fn groups_are_apart_from_each_other_and_from_ordinary_subscriptions() {
    let mut w = World::new(2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V311, "bob"));
    for filter in ["$share/one/a/+", "$share/two/a/+", "a/b"] {
        w.subscribe(ann, filter, Q0);
    }
    w.subscribe(bob, "$share/two/a/+", Q0);
    let cid = w.join(1, V5, "cid");
    for n in 0..4 {
        w.publish(cid, message("a/b", &n.to_string()));
    }
    let (of_ann, of_bob) = (w.read(ann).len(), w.read(bob).len());
    assert_eq!((of_ann, of_bob), (4 + 4 + 2, 2));
    w.publish(cid, message_1(1, "a", "no match"));
    assert_eq!(w.read(cid), ["PUBACK #1 10"]);
    w.publish(cid, message_1(1, "$share/one/a/+".trim_end_matches("/+"), "the filter's own text"));
    assert_eq!(w.read(cid), ["PUBACK #1 10"]);
}

#[test]
fn a_shared_subscription_has_its_own_qos_flags_and_identifier_and_no_retained_messages() {
    let mut w = World::new(2);
    let cid = w.join(0, V5, "cid");
    w.publish(cid, retained(message("a", "old")));
    let ann = w.join(1, V5, "ann");
    let options = SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::with_qos(Q1) };
    w.subscribe_with(ann, "$share/g/a", options, Some(77));
    assert_eq!(w.read(ann), ["SUBACK #1000 [01]"], "and nothing retained");
    w.publish(cid, retained(message_2(1, "a", "new")));
    assert_eq!(w.read(ann), [r#"a "new" q1 #1 retain ids=[77]"#]);
    w.subscribe_with(ann, "$share/g/a", SubscriptionOptions::with_qos(Q0), None);
    assert_eq!(w.read(ann), ["SUBACK #1001 [00]"]);
    w.publish(cid, retained(message_2(2, "a", "newer")));
    assert_eq!(w.read(ann), [r#"a "newer""#]);
}

#[test]
fn no_local_is_a_protocol_error() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::with_qos(Q1) };
    w.subscribe_with(ann, "$share/g/a", options, None);
    assert_eq!(w.read(ann), ["DISCONNECT 82", "closed"]);
}

#[test]
fn share_names_of_one_filter_have_a_limit() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    for n in 0..shardmq_shards::base::limits::SHARE_NAMES_PER_FILTER_MAX {
        w.subscribe(ann, &format!("$share/{n}/a"), Q0);
    }
    w.subscribe_all(ann, &[("$share/one more/a", Q0), ("$share/7/a", Q1), ("$share/one more/b", Q0)]);
    assert!(w.read(ann)[0].ends_with("[97, 01, 00]"));
}

#[test]
fn suback_waits_until_every_shard_knows_the_member() {
    suback_waits_for_every_shard("$share/g/a");
}

#[test]
fn members_without_connection_come_last() {
    for shards in 1..=3 {
        let mut w = World::new(shards);
        let ann = w.connect(0, durable(V5, "ann"));
        w.subscribe(ann, "$share/g/a", Q1);
        w.vanish(ann);
        let bob = w.join(shards - 1, V5, "bob");
        w.subscribe(bob, "$share/g/a", Q1);
        let cid = w.join(shards / 2, V5, "cid");
        for n in 1..=6 {
            w.publish(cid, message_1(n, "a", "x"));
        }
        assert_eq!(taken(&mut w, &[bob])[0].len(), 6, "all to the one who is there");
        w.vanish(bob);
        for n in 7..=8 {
            w.publish(cid, message_1(n, "a", "kept"));
        }
        assert_eq!(w.read(cid).len(), 8);
        let ann = w.dial(0, durable(V5, "ann"));
        assert_eq!(w.read(ann)[1..], [r#"a "kept" q1 #1"#, r#"a "kept" q1 #2"#]);
    }
}

#[test]
fn what_waits_for_a_member_without_connection_goes_to_one_that_comes() {
    for shards in 1..=3 {
        let mut w = World::new(shards);
        let ann = w.connect(0, durable(V5, "ann"));
        let bob = w.connect(shards - 1, durable(V5, "bob"));
        for client in [ann, bob] {
            w.subscribe(client, "$share/g/a", Q1);
        }
        w.vanish(ann);
        w.vanish(bob);
        let cid = w.join(shards / 2, V5, "cid");
        for n in 1..=200 {
            w.publish(cid, message_1(n, "a", &n.to_string()));
            assert_eq!(w.read(cid).len(), 1);
        }
        let bob = w.dial(0, durable(V5, "bob"));
        let mut lines = w.read(bob);
        assert!(lines.remove(0).starts_with("CONNACK 00 present"));
        // Those that came with the CONNACK are acknowledged here, the rest as it comes.
        for number in 1..=lines.len() {
            w.puback(bob, number as u16);
        }
        let rest = taken(&mut w, &[bob]).remove(0);
        assert_eq!(lines.len() + rest.len(), 200, "{shards} shards");
        assert!(w.count("moved") > 0);
    }
}

#[test]
fn a_member_whose_queue_is_full_is_passed_over() {
    for shards in 1..=3 {
        let mut w = World::limited_with_shards(shards, |limits| limits.queue_messages_max = 10);
        let (ann, bob) = (w.connect(0, durable_taking("ann", 1)), w.join(shards - 1, V5, "bob"));
        for client in [ann, bob] {
            w.subscribe(client, "$share/g/a", Q1);
        }
        let cid = w.join(shards / 2, V5, "cid");
        // One in flight to ann, ten in her queue; she acknowledges nothing.
        let mut of_bob = 0;
        for n in 1..=100 {
            w.publish(cid, message_1(n, "a", "x"));
            of_bob += taken(&mut w, &[bob])[0].len();
        }
        assert_eq!((of_bob, w.dropped()), (89, vec![]), "{shards} shards");
        w.vanish(bob);
        w.publish(cid, message_1(101, "a", "nobody can take it"));
        w.run();
        assert_eq!(w.dropped(), [("queue_full", 1)]);
        assert_eq!(taken(&mut w, &[ann])[0].len(), 11);
        w.publish(cid, message_1(102, "a", "room again"));
        assert_eq!(taken(&mut w, &[ann])[0], ["room again"]);
    }
}

#[test]
fn a_member_takes_only_what_is_not_too_large_for_it() {
    let mut w = World::new(2);
    let mut small = Connect::new(V5, "small", true);
    small.properties.maximum_packet_size = std::num::NonZeroU32::new(64);
    let (small, large) = (w.connect(0, small), w.join(1, V5, "large"));
    for client in [small, large] {
        w.subscribe(client, "$share/g/a", Q0);
    }
    let cid = w.join(0, V5, "cid");
    let payload = "x".repeat(100);
    for _ in 0..4 {
        w.publish(cid, message("a", &payload));
    }
    assert_eq!((w.read(small).len(), w.read(large).len(), w.dropped()), (0, 4, vec![]));
}

#[test]
fn what_a_leaving_member_had_not_started_goes_to_another() {
    for shards in 1..=3 {
        for ending in ["vanishes", "unsubscribes", "disconnects", "is ended"] {
            let mut w = World::new(shards);
            let stays = ending == "unsubscribes";
            let mut connect =
                if ending == "is ended" { durable(V5, "ann") } else { Connect::new(V5, "ann", true) };
            connect.properties.receive_maximum = std::num::NonZeroU16::new(2);
            let (ann, bob) = (w.connect(0, connect), w.join(shards - 1, V5, "bob"));
            w.subscribe(ann, "$share/g/a", Q2);
            let cid = w.join(shards / 2, V5, "cid");
            // Two in flight, one of each QoS; eight that wait.
            w.publish(cid, message_1(1, "a", "1"));
            for n in 2..=10 {
                w.publish(cid, message_2(n, "a", &n.to_string()));
            }
            assert_eq!(w.read(ann), [r#"a "1" q1 #1"#, r#"a "2" q2 #2"#]);
            w.subscribe(bob, "$share/g/a", Q1);
            match ending {
                "vanishes" => w.vanish(ann),
                "unsubscribes" => w.unsubscribe(ann, &["$share/g/a"]),
                "disconnects" => w.leave(ann, ReasonCode::Success),
                _ => w.leave_with(ann, ReasonCode::Success, Some(0)),
            }
            let got = taken(&mut w, &[bob]);
            // QoS 1 in flight goes on at the end of the session, QoS 2 never [MQTT-4.8.2-5].
            let expected = [1, 3, 4, 5, 6, 7, 8, 9, 10].into_iter().skip(usize::from(stays));
            assert_each_once(&got, expected.map(|n| n.to_string()));
            if stays {
                assert_eq!(w.read(ann), ["UNSUBACK #1001 [00]"]);
                w.pubrec(ann, 2);
                w.puback(ann, 1);
                assert_eq!(w.read(ann), ["PUBREL #2"]);
                assert_eq!(w.dropped(), []);
            } else {
                assert_eq!(w.dropped(), [("session_ended", 1)], "{ending}, {shards} shards");
            }
        }
    }
}

#[test]
fn a_durable_member_that_loses_its_connection_keeps_what_it_had_started() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable_taking("ann", 2));
    w.subscribe(ann, "$share/g/a", Q2);
    let (bob, cid) = (w.join(1, V5, "bob"), w.join(1, V5, "cid"));
    for n in 1..=4 {
        w.publish(cid, message_2(n, "a", &n.to_string()));
    }
    assert_eq!(w.read(ann), [r#"a "1" q2 #1"#, r#"a "2" q2 #2"#]);
    w.subscribe(bob, "$share/g/a", Q1);
    w.pubrec(ann, 1);
    assert_eq!(w.read(ann), ["PUBREL #1"]);
    w.vanish(ann);
    assert_each_once(&taken(&mut w, &[bob]), ["3", "4"].into_iter().map(String::from));
    let ann = w.dial(1, durable_taking("ann", 2));
    assert_eq!(w.read(ann), ["CONNACK 00 present", "PUBREL #1", r#"a "2" q2 #2 dup"#]);
}

#[test]
fn a_takeover_loses_and_doubles_nothing() {
    for shards in 1..=2 {
        let mut w = World::new(shards);
        let ann = w.connect(0, durable_taking("ann", 1));
        w.subscribe(ann, "$share/g/a", Q1);
        let cid = w.join(shards - 1, V5, "cid");
        for n in 1..=5 {
            w.publish(cid, message_1(n, "a", &n.to_string()));
        }
        assert_eq!(w.read(ann), [r#"a "1" q1 #1"#]);
        let again = w.dial(shards - 1, durable_taking("ann", 10));
        let mut lines = w.read(again);
        assert!(lines.remove(0).starts_with("CONNACK 00 present"));
        let expected: Vec<_> =
            (1..=5).map(|n| format!(r#"a "{n}" q1 #{n}{}"#, if n == 1 { " dup" } else { "" })).collect();
        assert_eq!(lines, expected);
        assert_eq!(w.read(ann), ["DISCONNECT 8e", "closed"]);
        w.publish(cid, message_1(6, "a", "6"));
        assert_eq!(w.read(again), [r#"a "6" q1 #6"#]);
    }
}

#[test]
fn the_last_member_takes_its_group_with_it() {
    let mut w = World::new(3);
    let (ann, cid) = (w.connect(0, durable_taking("ann", 1)), w.join(1, V5, "cid"));
    w.subscribe(ann, "$share/g/a/#", Q1);
    for n in 1..=3 {
        w.publish(cid, message_1(n, "a", "x"));
    }
    assert_eq!(w.read(cid).len(), 3);
    w.unsubscribe(ann, &["$share/g/a/#", "$share/g/b"]);
    assert_eq!(w.read(ann), [r#"a "x" q1 #1"#, "UNSUBACK #1001 [00, 11]"]);
    assert_eq!(w.dropped(), [("no_member", 2)], "nothing is started after UNSUBACK");
    w.publish(cid, message_1(4, "a", "x"));
    assert_eq!(w.read(cid), ["PUBACK #4 10"]);
    assert!(w.places.iter().all(|place| place.seat.shard.sizes().remote_interest == 0));
}

#[test]
fn a_message_on_its_way_to_a_member_that_leaves_finds_another() {
    let mut w = World::new(3);
    let (ann, bob) = (w.join(1, V5, "ann"), w.join(2, V5, "bob"));
    w.subscribe(ann, "$share/g/a", Q1);
    w.subscribe(bob, "$share/g/a", Q1);
    let cid = w.join(0, V5, "cid");
    w.places[1].frozen = true;
    for n in 1..=4 {
        w.publish(cid, message_1(n, "a", &n.to_string()));
    }
    assert_eq!(w.read(cid).len(), 4);
    let first = taken(&mut w, &[bob]).remove(0);
    // Both her end and the messages are there when her shard turns again; sockets come first.
    w.end(ann, End::Failed);
    w.places[1].frozen = false;
    let second = taken(&mut w, &[bob]).remove(0);
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_each_once(&[first, second], (1..=4).map(|n| n.to_string()));
    assert_eq!(w.dropped(), []);
}

#[test]
fn a_group_has_the_strategy_of_its_name() {
    let groups = BTreeMap::from([("stay".into(), ShareStrategy::Sticky)]);
    let share_strategies = ShareStrategies::new(ShareStrategy::RoundRobin, groups);
    let mut w = World::with(Settings { shards: 2, share_strategies, ..Settings::default() });
    let clients: Vec<_> = (0..4).map(|n| w.join(n % 2, V5, &format!("member{n}"))).collect();
    for client in &clients {
        w.subscribe(*client, "$share/stay/a", Q1);
        w.subscribe(*client, "$share/turn/b", Q1);
    }
    let cid = w.join(0, V5, "cid");
    for n in 1..=8 {
        w.publish(cid, message_1(n, "a", "a"));
        w.publish(cid, message_1(n + 8, "b", "b"));
        w.run();
    }
    let got = taken(&mut w, &clients);
    let count = |of: &str| -> Vec<usize> {
        let mut counts: Vec<_> = got.iter().map(|got| got.iter().filter(|p| *p == of).count()).collect();
        counts.sort();
        counts
    };
    assert_eq!((count("a"), count("b")), (vec![0, 0, 0, 8], vec![2, 2, 2, 2]));
}

#[test]
fn members_and_messages_by_the_thousand_are_all_accounted_for() {
    for (seed, strategy) in
        [ShareStrategy::RoundRobin, ShareStrategy::HashClient, ShareStrategy::Random].into_iter().enumerate()
    {
        let mut random = shardmq_shards::base::random::Random::from_seed(seed as u64);
        let limits = shardmq_shards::base::limits::Limits {
            queue_messages_max: 8,
            in_flight_max: 2,
            ..Settings::default().limits
        };
        let share_strategies = ShareStrategies::new(strategy, BTreeMap::new());
        let mut w = World::with(Settings {
            shards: 3,
            limits,
            lane_slots: 4,
            share_strategies,
            ..Settings::default()
        });
        let publishers: Vec<_> = (0..3).map(|n| w.join(n, V5, &format!("publisher{n}"))).collect();
        let mut live: Vec<Client> = Vec::new();
        for round in 0..300u16 {
            let shard = random.below(3) as usize;
            match random.below(6) {
                0 if !live.is_empty() => {
                    let at = random.below(live.len() as u64) as usize;
                    w.vanish(live.swap_remove(at));
                }
                1 if !live.is_empty() => {
                    let at = random.below(live.len() as u64) as usize;
                    w.unsubscribe(live.swap_remove(at), &["$share/g/#"]);
                }
                2 | 3 if live.len() < 12 => {
                    let name = format!("m{}", random.below(8));
                    let client = w.dial(
                        shard,
                        if random.one_in(2) { durable(V5, &name) } else { Connect::new(V5, &name, true) },
                    );
                    w.subscribe_all(client, &[("$share/g/#", Q1)]);
                    live.push(client);
                }
                _ => {
                    for n in 0..10 {
                        w.publish(publishers[shard], message_1(n + 1, "a", &format!("{round}.{n}")));
                    }
                }
            }
            if random.one_in(3) {
                for client in live.clone() {
                    for line in w.read(client) {
                        if let Some(number) = line.split(" q1 #").nth(1) {
                            let number = number.split(' ').next().expect("the id itself");
                            w.puback(client, number.parse().expect("a packet id"));
                        }
                    }
                }
            } else if random.one_in(2) {
                w.turn_once();
            }
            crate::accounting::check_copies(&w);
        }
        assert!(w.count("moved") > 0 && w.count("delivered") > 100, "{strategy:?}");
    }
}
