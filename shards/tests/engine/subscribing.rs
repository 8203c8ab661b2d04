//! SUBSCRIBE and UNSUBSCRIBE, and who gets what because of them (MQTT 5 sections 3.8 to 3.11 and 4.7).

use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::{Publish, SubscriptionOptions};

#[test]
fn each_filter_has_its_result_as_the_version_knows_it() {
    let filters =
        [("a", Q0), ("a/#/b", Q1), ("$share/g/a", Q1), ("b+", Q1), ("", Q1), ("$share//a", Q1), ("c", Q2)];
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &filters);
    assert_eq!(w.read(ann), ["SUBACK #1000 [00, 8f, 01, 8f, 8f, 8f, 02]"]);
    let bob = w.join(1, V311, "bob");
    w.subscribe_all(bob, &filters);
    assert_eq!(w.read(bob), ["SUBACK #1000 [00, 80, 01, 80, 80, 80, 02]"]);
    let cid = w.join(1, V31, "cid");
    w.subscribe_all(cid, &filters[..1]);
    assert_eq!(w.read(cid), ["SUBACK #1000 [00]"]);
    w.subscribe_all(cid, &filters);
    assert_eq!(w.read(cid), ["closed"], "3.1 has no way to be told");
}

#[test]
fn filters_have_a_limit_that_a_repeated_one_does_not_count_against() {
    let mut w = World::limited(|limits| limits.filters_per_client_max = 2);
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &[("a", Q0), ("b", Q0), ("c", Q0), ("a", Q1)]);
    assert_eq!(w.read(ann), ["SUBACK #1000 [00, 00, 97, 01]"]);
    w.unsubscribe(ann, &["b", "b", "x", "y/#/z"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1001 [00, 11, 11, 8f]"]);
    w.subscribe(ann, "c", Q0);
    let bob = w.join(0, V311, "bob");
    w.subscribe_all(bob, &[("a", Q0), ("b", Q0), ("c", Q0)]);
    assert_eq!(w.read(bob), ["SUBACK #1000 [00, 00, 80]"]);
    w.unsubscribe(bob, &["a", "nothing"]);
    assert_eq!(w.read(bob), ["UNSUBACK #1001"]);
    w.unsubscribe(bob, &["y/#/z"]);
    assert_eq!(w.read(bob), ["closed"]);
}

/// SUBACK of `filter`, which matches `a`, waits for a shard that is late; from then on that shard's messages come.
pub fn suback_waits_for_every_shard(filter: &'static str) {
    let mut w = World::new(3);
    let ann = w.join(0, V5, "ann");
    w.places[2].frozen = true;
    w.subscribe_all(ann, &[(filter, Q0)]);
    assert!(w.read(ann).is_empty());
    w.places[2].frozen = false;
    assert_eq!(w.read(ann), ["SUBACK #1000 [00]"]);
    let bob = w.join(2, V5, "bob");
    w.publish(bob, message("a", "hello"));
    assert_eq!(w.read(ann), [r#"a "hello""#]);
}

#[test]
fn suback_waits_until_every_shard_has_applied_the_interest() {
    suback_waits_for_every_shard("a");
}

#[test]
fn suback_waits_for_the_transition_of_another_client_too() {
    let mut w = World::new(2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(0, V5, "bob"));
    w.places[1].frozen = true;
    w.subscribe_all(ann, &[("a", Q0)]);
    w.run();
    // No transition is due to this one, but the one that it depends on is still on its way.
    w.subscribe_all(bob, &[("a", Q0)]);
    assert!(w.read(bob).is_empty());
    w.ping(bob);
    w.places[1].frozen = false;
    assert_eq!(w.read(bob), ["SUBACK #1000 [00]"]);
    assert_eq!(w.read(ann), ["SUBACK #1000 [00]"]);
}

#[test]
fn a_filter_that_stays_is_not_withdrawn_with_one_that_goes() {
    let mut w = World::new(2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(0, V5, "bob"));
    w.subscribe(ann, "a/+", Q0);
    w.subscribe(bob, "a/+", Q0);
    w.vanish(ann);
    let cid = w.join(1, V5, "cid");
    w.publish(cid, message("a/b", "still"));
    assert_eq!(w.read(bob), [r#"a/b "still""#]);
    w.unsubscribe(bob, &["a/+"]);
    assert_eq!(w.read(bob), ["UNSUBACK #1001 [00]"]);
    w.publish(cid, message_1(1, "a/b", "nobody"));
    assert_eq!(w.read(cid), ["PUBACK #1 10"]);
}

#[test]
fn a_session_that_ends_takes_its_filters_with_it_in_slices() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    let names: Vec<String> = (0..900).map(|number| format!("t/{number}/+")).collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), Q0)).collect();
    w.subscribe_all(ann, &filters);
    assert_eq!(w.read(ann).len(), 1);
    assert_eq!(w.shard(1).sizes().remote_interest, 900);
    w.vanish(ann);
    assert_eq!((w.shard(0).sizes().filters, w.shard(1).sizes().remote_interest), (0, 0));
}

#[test]
fn overlapping_filters_give_one_copy_of_the_highest_qos_with_all_identifiers() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    let filters = [("a/#", Q1, Some(3)), ("a/b", Q0, Some(2)), ("+/b", Q2, None), ("#", Q0, Some(9))];
    for (filter, qos, subscription_id) in filters {
        w.subscribe_with(ann, filter, SubscriptionOptions::with_qos(qos), subscription_id);
    }
    assert_eq!(w.read(ann).len(), 4);
    for shard in [0, 1] {
        let bob = w.join(shard, V5, "bob");
        w.publish(bob, message_2(1, "a/b", "x"));
        assert_eq!(w.read(bob), ["PUBREC #1"]);
        let [copy] = &w.read(ann)[..] else { panic!("one copy") };
        assert!(copy.starts_with(r#"a/b "x" q2"#), "{copy}");
        for number in ["2", "3", "9"] {
            assert!(copy.split(" ids=").nth(1).is_some_and(|ids| ids.contains(number)), "{copy}");
        }
    }
}

#[test]
fn no_local_leaves_out_the_clients_own_publications_only() {
    let mut w = World::new(2);
    let (ann, bob, cid) = (w.join(0, V5, "ann"), w.join(0, V5, "bob"), w.join(1, V5, "cid"));
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::with_qos(Q1) };
    w.subscribe_with(ann, "a", options, None);
    w.read(ann);
    w.publish(ann, message_1(1, "a", "mine"));
    assert_eq!(w.read(ann), ["PUBACK #1"]);
    w.publish(bob, message("a", "bob's"));
    w.publish(cid, message("a", "cid's"));
    let mut seen = w.read(ann);
    seen.sort();
    assert_eq!(seen, [r#"a "bob's""#, r#"a "cid's""#]);
    w.subscribe(ann, "#", Q0);
    w.publish(ann, message_1(2, "a", "by the other filter"));
    assert_eq!(w.read(ann), [r#"a "by the other filter""#, "PUBACK #2"]);
}

#[test]
fn the_retain_flag_of_a_live_copy_is_kept_only_when_asked_for() {
    let mut w = World::new(2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V5, "bob"));
    let options = SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::with_qos(Q0) };
    w.subscribe_with(ann, "a", options, None);
    w.subscribe_with(bob, "a", SubscriptionOptions::with_qos(Q0), None);
    let cid = w.join(0, V311, "cid");
    w.subscribe(cid, "a", Q0);
    w.read(ann);
    w.read(bob);
    for shard in [0, 1] {
        let dan = w.join(shard, V5, "dan");
        w.publish(dan, retained(message("a", "kept")));
        w.publish(dan, message("a", "live"));
        assert_eq!(w.read(ann), [r#"a "kept" retain"#, r#"a "live""#]);
        assert_eq!(w.read(bob), [r#"a "kept""#, r#"a "live""#]);
        assert_eq!(w.read(cid), [r#"a "kept""#, r#"a "live""#]);
    }
}

#[test]
fn topics_that_begin_with_a_dollar_match_no_leading_wildcard() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "#", Q0);
    w.subscribe(ann, "+/a", Q0);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, retained(message("$internal/a", "hidden")));
    assert!(w.read(ann).is_empty(), "MQTT-4.7.2-1");
    w.subscribe_with(ann, "$internal/#", SubscriptionOptions::with_qos(Q0), None);
    assert_eq!(w.read(ann), ["SUBACK #1002 [00]", r#"$internal/a "hidden" retain"#]);
    w.publish(bob, message("$internal/a", "seen"));
    assert_eq!(w.read(ann), [r#"$internal/a "seen""#]);
}

#[test]
fn a_subscription_made_anew_has_the_new_qos_and_identifier() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    w.subscribe_with(ann, "a", SubscriptionOptions::with_qos(Q2), Some(1));
    w.subscribe_with(ann, "a", SubscriptionOptions::with_qos(Q0), Some(2));
    w.read(ann);
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message_1(1, "a", "x"));
    assert_eq!(w.read(ann), [r#"a "x" ids=[2]"#]);
    w.subscribe_with(ann, "a", SubscriptionOptions::with_qos(Q0), None);
    w.read(ann);
    w.publish(bob, message_1(2, "a", "y"));
    assert_eq!(w.read(ann), [r#"a "y""#]);
}

#[test]
fn qos_is_the_lower_of_publication_and_subscription() {
    let mut w = World::new(2);
    let subscribers: Vec<_> = [Q0, Q1, Q2]
        .iter()
        .map(|qos| {
            let client = w.join(usize::from(*qos == Q1), V311, &format!("sub{}", *qos as u8));
            w.subscribe(client, "a", *qos);
            client
        })
        .collect();
    let bob = w.join(0, V5, "bob");
    let publish = |qos, number: u16| match qos {
        0 => message("a", "x"),
        1 => message_1(number, "a", "x"),
        _ => message_2(number, "a", "x"),
    };
    for qos in 0..3u8 {
        w.publish(bob, publish(qos, u16::from(qos) + 1));
        for (granted, client) in subscribers.iter().enumerate() {
            let [copy] = &w.read(*client)[..] else { panic!("one copy each") };
            let lower = usize::from(qos).min(granted);
            assert!(
                if lower == 0 { !copy.contains(" q") } else { copy.contains(&format!(" q{lower}")) },
                "{copy}"
            );
        }
    }
}

#[test]
fn a_publish_by_a_subscriber_of_several_versions_keeps_what_each_can_say() {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    w.subscribe_with(ann, "a", SubscriptionOptions::with_qos(Q1), Some(268_435_455));
    let bob = w.join(1, V31, "bob");
    w.subscribe(bob, "a", Q1);
    w.read(ann);
    w.publish(ann, Publish { payload: b"", ..message_1(1, "a", "") });
    let mut seen = w.read(ann);
    seen.sort();
    assert_eq!(seen, ["PUBACK #1", r#"a "" q1 #1 ids=[268435455]"#]);
    assert_eq!(w.read(bob), [r#"a "" q1 #1"#]);
}

#[test]
fn one_packet_names_no_more_filters_than_a_turn_can_bear() {
    for (held, taken) in [(1_000, 4_096), (5_000, 5_000)] {
        let mut w = World::limited_with_shards(2, |limits| limits.filters_per_client_max = held);
        let ann = w.join(0, V5, "ann");
        w.subscribe_all(ann, &vec![("a", Q1); 6_000]);
        let suback = w.read(ann).remove(0);
        let codes: Vec<&str> = suback.split(['[', ']']).nth(1).expect("the codes").split(", ").collect();
        assert_eq!(codes.len(), 6_000);
        assert!(
            codes[..taken].iter().all(|code| *code == "01")
                && codes[taken..].iter().all(|code| *code == "97")
        );
    }
}

#[test]
fn many_subscribes_share_the_turn_with_everybody_else() {
    let mut w = World::new(2);
    w.read_bytes_max = usize::MAX;
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(0, V5, "bob"));
    for _ in 0..10 {
        w.subscribe_all(ann, &vec![("a", Q1); 1_000]);
        w.unsubscribe(ann, &vec!["b"; 1_000]);
    }
    w.send(bob, shardmq_shards::wire::Packet::Pingreq);
    w.turn(0);
    assert_eq!(w.read_now(bob), ["PINGRESP"]);
    assert!(w.shard(0).sizes().unread_bytes_max > 0, "what is left waits for the next turn");
    assert_eq!(w.read(ann).len(), 20);
    assert!(w.count("yielded") >= 3);
}

#[test]
fn each_of_many_replays_ends_by_itself() {
    let mut w = World::limited_with_shards(3, |limits| limits.filters_per_client_max = 3_000);
    let bob = w.join(1, V5, "bob");
    for number in 0..300 {
        w.publish(bob, retained(message_1(1, &format!("t/{number}"), "x")));
        w.run();
    }
    let ann = w.connect(0, durable_taking("ann", 1));
    let names: Vec<String> = (0..2_500).map(|number| format!("t/{number}")).collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), Q1)).collect();
    w.subscribe_all(ann, &filters);
    w.run();
    // Those that are left or made anew meanwhile do not take others with them.
    w.unsubscribe(ann, &["t/7", "t/2400"]);
    w.subscribe_all(ann, &[("t/8", Q1), ("t/2401", Q1)]);
    let mut seen = std::collections::BTreeMap::new();
    loop {
        let lines = w.read(ann);
        if lines.is_empty() {
            break;
        }
        for line in lines.iter().filter(|line| line.starts_with("t/")) {
            *seen.entry(line.split(' ').next().expect("a topic").to_string()).or_insert(0) += 1;
            let number =
                line.split('#').nth(1).expect("a packet id").split(' ').next().expect("the id itself");
            w.puback(ann, number.parse().expect("a number"));
        }
    }
    seen.retain(|topic, _| topic != "t/7" && topic != "t/8");
    assert_eq!(seen.len(), 298);
    assert!(seen.values().all(|count| *count == 1));
    assert_eq!(w.shard(0).sizes().replays, 0);
}
