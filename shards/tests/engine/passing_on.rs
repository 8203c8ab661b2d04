//! Messages of shared groups that go on to another shard, since nobody where they arrive can take them, over a crash at each record.

use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Connect, Publish, SubscriptionOptions};
use std::num::NonZeroU32;

const PUBLISHER: usize = 0;
const PASSING: usize = 1;
const TAKING: usize = 2;

/// A broker in which a message to these groups is on its way to a shard whose last member has just left, while an offline one waits elsewhere.
fn on_its_way(filters: &[&str]) -> (World, Client) {
    let mut w = World::durable(3);
    let taker = w.connect(TAKING, durable(V5, "taker"));
    filters.iter().for_each(|filter| w.subscribe(taker, filter, Q2));
    w.vanish(taker);
    let leaver = w.connect(PASSING, durable(V5, "leaver"));
    filters.iter().for_each(|filter| w.subscribe(leaver, filter, Q2));
    let publisher = w.connect(PUBLISHER, durable(V5, "publisher"));
    w.places[PASSING].frozen = true;
    w.unsubscribe(leaver, filters);
    w.publish(publisher, message_2(1, "t", "x"));
    (w, publisher)
}

fn copies_of(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with(r#"t "x" q2"#)).count()
}

#[test]
fn a_message_of_several_groups_goes_on_to_a_member_of_each_whatever_the_log_has_of_it() {
    let filters = ["$share/a/t", "$share/b/t", "$share/c/t"];
    for left in 0..12 {
        let (mut w, publisher) = on_its_way(&filters);
        assert_eq!(w.read(publisher), ["PUBREC #1"], "it is logged where it was published");
        w.places[PASSING].frozen = false;
        w.places[PASSING].log_held = true;
        w.places[TAKING].frozen = true;
        w.run();
        let uncommitted = w.uncommitted(PASSING);
        assert!((4..12).contains(&uncommitted), "{uncommitted}");
        w.crash_leaving(&[0, left, 0]);
        let (_, said) = w.connect_and_read(TAKING, durable(V5, "taker"));
        assert_eq!(copies_of(&said), filters.len(), "{left} of {uncommitted} left: {said:?}");
    }
}

#[test]
fn what_another_shard_published_goes_on_only_when_that_shard_has_committed_it() {
    let filter = "$share/a/t";
    let mut w = World::durable(3);
    let passer = w.join(TAKING, V5, "passer");
    w.subscribe(passer, filter, Q2);
    let taker = w.connect(TAKING, durable(V5, "taker"));
    let leaver = w.connect(PASSING, durable(V5, "leaver"));
    w.subscribe(leaver, filter, Q2);
    let publisher = w.connect(PUBLISHER, durable(V5, "publisher"));
    while w.read(leaver).is_empty() {
        w.publish(publisher, message("t", "whose turn it is"));
    }
    w.publish(publisher, message("t", "the passer's"));
    assert_eq!(w.read(passer).last().map(String::as_str), Some(r#"t "the passer's""#));
    w.places[PUBLISHER].log_held = true;
    w.places[PASSING].frozen = true;
    w.places[TAKING].frozen = true;
    w.publish(publisher, message_2(1, "t", "x"));
    w.unsubscribe(leaver, &[filter]);
    w.run();
    w.places[PASSING].frozen = false;
    w.run();
    assert_eq!(
        w.shard(PASSING).statistics().counters.copies,
        2,
        "it was the leaver's turn, who is not there"
    );
    // As far as is known there, no durable session is a member elsewhere; when it arrives one is.
    w.unsubscribe(passer, &[filter]);
    w.subscribe_with(taker, filter, SubscriptionOptions::with_qos(Q2), None);
    w.places[TAKING].frozen = false;
    let early = copies_of(&w.read(taker));
    w.crash();
    let (taker, again) = w.connect_and_read(TAKING, durable(V5, "taker"));
    let publisher = w.connect(PUBLISHER, durable(V5, "publisher"));
    w.publish(publisher, Publish { dup: true, ..message_2(1, "t", "x") });
    let late = copies_of(&again) + copies_of(&w.read(taker));
    assert_eq!((early, late), (0, 1), "QoS 2 comes once");
}

#[test]
fn a_copy_is_its_groups_after_a_crash_whatever_else_its_member_is_in() {
    let groups = [("$share/a/t", "of a"), ("$share/b/+", "of b"), ("$share/c/t", "of c")];
    let mut w = World::durable(2);
    let member = w.connect(0, durable(V5, "member of all"));
    groups.iter().for_each(|(filter, _)| w.subscribe(member, filter, Q2));
    w.vanish(member);
    let publisher = w.join(1, V5, "publisher");
    w.publish(publisher, message_2(1, "t", "x"));
    assert_eq!(w.read(publisher), ["PUBREC #1"]);
    w.crash();
    for (filter, client_id) in groups {
        let other = w.connect(1, durable(V5, client_id));
        w.subscribe_with(other, filter, SubscriptionOptions::with_qos(Q2), None);
        assert_eq!(copies_of(&w.read(other)), 1, "{client_id}");
    }
}

#[test]
fn what_goes_on_unlogged_waits_for_its_publishers_record_where_it_is_kept_after_all() {
    let filter = "$share/a/t";
    let mut w = World::durable(2);
    // Its shard has the turn, and it takes only little.
    let mut narrow = Connect::new(V5, "narrow", true);
    narrow.properties.maximum_packet_size = NonZeroU32::new(60);
    let narrow = w.connect(0, narrow);
    w.subscribe(narrow, filter, Q2);
    let passer = w.join(1, V5, "passer");
    w.subscribe(passer, filter, Q2);
    let taker = w.connect(1, durable(V5, "taker"));
    let publisher = w.connect(0, durable(V5, "publisher"));
    while w.read(passer).is_empty() {
        w.publish(publisher, message("t", "whose turn it is"));
    }
    w.places[0].log_held = true;
    w.places[1].frozen = true;
    let payload = "x".repeat(100);
    w.publish(publisher, message_2(1, "t", &payload));
    w.run();
    w.unsubscribe(passer, &[filter]);
    w.subscribe_with(taker, filter, SubscriptionOptions::with_qos(Q2), None);
    w.places[1].frozen = false;
    let of_it = |lines: Vec<String>| lines.iter().filter(|line| line.contains(" q2 ")).count();
    let early = of_it(w.read(taker));
    w.crash();
    let (taker, again) = w.connect_and_read(1, durable(V5, "taker"));
    let publisher = w.connect(0, durable(V5, "publisher"));
    w.publish(publisher, Publish { dup: true, ..message_2(1, "t", &payload) });
    assert_eq!((early, of_it(again) + of_it(w.read(taker))), (0, 1), "QoS 2 comes once");
}

#[test]
fn what_waits_for_a_member_that_was_away_is_for_who_comes_after_a_crash() {
    let mut w = World::durable(2);
    let away = w.connect(0, durable(V5, "away"));
    w.subscribe(away, "$share/a/t", Q1);
    let publisher = w.join(1, V5, "publisher");
    w.publish(publisher, message_1(1, "t", "sent"));
    assert_eq!(w.read(away), [r#"t "sent" q1 #1"#]);
    w.vanish(away);
    for number in 2..=4 {
        w.publish(publisher, message_1(number, "t", "never sent"));
    }
    assert_eq!(w.read(publisher).len(), 4);
    w.crash();
    let other = w.connect(1, durable(V5, "other"));
    w.subscribe_with(other, "$share/a/t", SubscriptionOptions::with_qos(Q1), None);
    let said = w.read(other);
    assert_eq!(said.iter().filter(|line| line.starts_with(r#"t "never sent" q1 #"#)).count(), 3, "{said:?}");
    let (_, said) = w.connect_and_read(0, durable(V5, "away"));
    assert_eq!(said, ["CONNACK 00 present", r#"t "sent" q1 #1 dup"#]);
}
