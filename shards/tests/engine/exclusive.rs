//! Exclusive subscriptions: `$exclusive/FILTER` for one client at a time, on whichever shards they are.

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::session::Author;
use shardmq_shards::shard::{End, Extensions, Permission};
use shardmq_shards::topics::{RewriteAction, RewriteRule, RewriteRules};
use shardmq_shards::wire::{Connect, ReasonCode, Version};
use std::sync::Arc;

fn world(shards: usize) -> World {
    let extensions = Extensions { exclusive: true, ..Extensions::default() };
    World::with(Settings { shards, extensions, ..Settings::default() })
}

/// The codes of the SUBACK for `filters`, which is all that comes.
fn codes(w: &mut World, client: Client, filters: &[&str]) -> String {
    let filters: Vec<_> = filters.iter().map(|filter| (*filter, Q1)).collect();
    w.subscribe_all(client, &filters);
    let seen = w.read(client);
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen[0].split_once('[').expect("SUBACK has codes").1.trim_end_matches(']').to_owned()
}

const TAKE: &[&str] = &["$exclusive/a"];

#[test]
fn one_client_over_all_shards_has_it() {
    let mut w = world(3);
    let clients: Vec<_> = (0..6).map(|n| w.join(n % 3, V5, &format!("c{n}"))).collect();
    for client in &clients {
        w.subscribe_all(*client, &[("$exclusive/a", Q1)]);
    }
    w.run();
    let answers: Vec<_> = clients.iter().map(|client| w.read(*client).concat()).collect();
    let granted = answers.iter().filter(|answer| *answer == "SUBACK #1000 [01]").count();
    let refused = answers.iter().filter(|answer| *answer == "SUBACK #1000 [97]").count();
    assert_eq!((granted, refused), (1, 5), "{answers:?}");
    w.publish(clients[0], message("a", "1"));
    let copies: usize = clients.iter().map(|client| w.read(*client).len()).sum();
    assert_eq!(copies, 1);
}

#[test]
fn the_prefix_is_no_part_of_the_topic_and_without_it_everybody_may() {
    let mut w = world(2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V311, "bob"));
    assert_eq!(codes(&mut w, ann, &["x", "$exclusive/a/+", "y"]), "01, 01, 01");
    assert_eq!(codes(&mut w, bob, &["$exclusive/a/+", "a/+"]), "80, 01");
    w.publish(bob, message("a/1", "1"));
    assert_eq!(w.read(ann), [r#"a/1 "1""#]);
    assert_eq!(w.read(bob), [r#"a/1 "1""#]);
    w.publish(bob, message("$exclusive/a/1", "2"));
    assert!(w.read(ann).is_empty() && w.read(bob).is_empty(), "for PUBLISH it is no prefix");
}

#[test]
fn unsubscribe_and_the_end_of_the_session_set_it_free() {
    for version in Version::ALL {
        let mut w = world(2);
        let ann = w.connect(0, durable(version, "ann"));
        let bob = w.join(1, V5, "bob");
        assert_eq!(codes(&mut w, ann, TAKE), "01");
        assert_eq!(codes(&mut w, ann, TAKE), "01", "it is its own already");
        assert_eq!(codes(&mut w, bob, TAKE), "97");
        w.unsubscribe(ann, TAKE);
        assert!(w.read(ann)[0].starts_with("UNSUBACK"));
        assert_eq!(codes(&mut w, bob, TAKE), "01");
        w.leave(bob, ReasonCode::Success);
        assert_eq!(codes(&mut w, ann, TAKE), "01", "bob's session ended with its connection");
        w.vanish(ann);
        let cid = w.join(1, V5, "cid");
        assert_eq!(codes(&mut w, cid, TAKE), "97", "ann's session has it, connected or not");
        let ann = w.connect(1, durable(version, "ann"));
        assert_eq!(codes(&mut w, ann, TAKE), "01", "and has it still when it comes back");
        w.vanish(ann);
        w.pass_secs(3_700);
        assert_eq!(codes(&mut w, cid, TAKE), "01", "until it expires");
    }
}

#[test]
fn what_comes_behind_waits_in_its_order() {
    let mut w = world(2);
    let ann = w.join(1, V5, "ann");
    w.places[0].frozen = true;
    w.subscribe_all(ann, &[("b", Q0), ("$exclusive/a", Q0)]);
    w.publish(ann, message("a", "1"));
    w.publish(ann, message_1(1, "b", "2"));
    w.send(ann, shardmq_shards::wire::Packet::Pingreq);
    assert!(w.read(ann).is_empty(), "the coordinator is on the other shard");
    w.places[0].frozen = false;
    let seen = w.read(ann);
    assert_eq!(seen.iter().filter(|line| line.starts_with("SUBACK #1000 [00, 00]")).count(), 1, "{seen:?}");
    assert!(seen.contains(&r#"a "1""#.to_owned()) && seen.contains(&r#"b "2""#.to_owned()), "{seen:?}");
    assert!(seen.contains(&"PINGRESP".to_owned()) && seen.contains(&"PUBACK #1".to_owned()), "{seen:?}");
}

#[test]
fn several_subscribes_in_one_read_are_answered_each() {
    let mut w = world(2);
    let (ann, bob) = (w.join(1, V5, "ann"), w.join(0, V5, "bob"));
    assert_eq!(codes(&mut w, bob, &["$exclusive/b"]), "01");
    w.subscribe_all(ann, &[("$exclusive/a", Q0), ("$exclusive/b", Q0), ("$exclusive/a", Q1)]);
    w.subscribe_all(ann, &[("$exclusive/b", Q0), ("$exclusive/c", Q0)]);
    assert_eq!(w.read(ann), ["SUBACK #1000 [00, 97, 01]", "SUBACK #1001 [97, 00]"]);
    w.unsubscribe(ann, &["$exclusive/a", "$exclusive/b"]);
    w.subscribe_all(ann, &[("$exclusive/a", Q1)]);
    assert_eq!(w.read(ann), ["UNSUBACK #1002 [00, 11]", "SUBACK #1003 [01]"]);
}

#[test]
fn a_connection_that_goes_while_it_waits_keeps_nothing() {
    for end in [End::Failed, End::Eof] {
        let mut w = world(2);
        let (ann, bob) = (w.connect(1, durable(V5, "ann")), w.join(0, V5, "bob"));
        w.places[0].frozen = true;
        w.subscribe_all(ann, &[("$exclusive/a", Q1), ("$exclusive/b", Q1)]);
        w.run();
        w.end(ann, end);
        w.run();
        w.places[0].frozen = false;
        w.run();
        // What had arrived whole before the end of the stream is handled.
        let expected = if end == End::Eof { "97, 97" } else { "01, 01" };
        assert_eq!(codes(&mut w, bob, &["$exclusive/a", "$exclusive/b"]), expected);
    }
}

#[test]
fn a_takeover_while_it_waits_leaves_it_to_the_new_connection() {
    let mut w = world(2);
    let ann = w.connect(1, durable(V5, "ann"));
    w.places[0].frozen = true;
    w.subscribe_all(ann, &[("$exclusive/a", Q1)]);
    w.run();
    let again = w.dial(1, durable(V5, "ann"));
    w.run();
    w.places[0].frozen = false;
    w.run();
    w.read(ann);
    assert_eq!(w.read(again).len(), 1);
    let bob = w.join(0, V5, "bob");
    let holders = [codes(&mut w, again, TAKE), codes(&mut w, bob, TAKE)];
    assert_eq!(holders, ["01", "97"]);
}

#[test]
fn forms_that_make_no_sense_are_refused() {
    let mut w = world(1);
    let ann = w.join(0, V5, "ann");
    let wrong =
        ["$exclusive/", "$exclusive/a/#/b", "$exclusive/$share/g/a", "$exclusive", "$share/g/$exclusive/a"];
    assert_eq!(codes(&mut w, ann, &wrong), "8f, 8f, 8f, 01, 01", "the last two are other filters");
}

/// Nobody may subscribe to `secret`.
#[derive(Debug)]
struct NoSecrets;

impl Permission for NoSecrets {
    fn may_publish(&self, _: Author<'_>, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, author: Author<'_>, filter: &str) -> bool {
        filter != "secret" || author.user_name == Some("root")
    }
}

#[test]
fn who_is_refused_for_another_reason_keeps_nobody_out() {
    let rules = [RewriteRule { action: RewriteAction::All, filter: "old", pattern: "^old$", to: "new" }];
    let extensions = Extensions {
        exclusive: true,
        permission: Some(Arc::new(NoSecrets)),
        rewrite: RewriteRules::new(&rules).expect("right"),
        ..Extensions::default()
    };
    let mut settings = Settings { shards: 2, extensions, ..Settings::default() };
    settings.limits.filters_per_client_max = 2;
    let mut w = World::with(settings);
    let ann = w.join(1, V5, "ann");
    let root = w.connect(0, Connect { username: Some("root"), ..Connect::new(V5, "root", true) });
    let filters = ["$exclusive/secret", "$exclusive/a", "$exclusive/b", "$exclusive/c"];
    assert_eq!(codes(&mut w, ann, &filters), "87, 01, 01, 97");
    assert_eq!(w.count("subscribe_denied"), 1);
    assert_eq!(codes(&mut w, root, &["$exclusive/c", "$exclusive/secret"]), "01, 01", "they are free");
    w.unsubscribe(root, &["c", "$exclusive/secret"]);
    w.unsubscribe(ann, &["a", "b"]);
    w.read(root);
    w.read(ann);
    // The lock is on what is subscribed in the end.
    assert_eq!(codes(&mut w, root, &["$exclusive/old"]), "01");
    assert_eq!(codes(&mut w, ann, &["$exclusive/new", "$exclusive/old", "$exclusive/c"]), "97, 97, 01");
}

#[test]
fn not_enabled_nobody_can_subscribe_to_it() {
    let mut w = World::new(1);
    let ann = w.join(0, V5, "ann");
    assert_eq!(codes(&mut w, ann, &["$exclusive/a", "a"]), "8f, 01");
    w.unsubscribe(ann, TAKE);
    assert_eq!(w.read(ann), ["UNSUBACK #1001 [11]"]);
}

#[test]
fn one_subscribe_asks_for_a_bounded_number() {
    let mut w = world(2);
    let ann = w.join(1, V5, "ann");
    let texts: Vec<String> = (0..300).map(|number| format!("$exclusive/{number:03}")).collect();
    let filters: Vec<&str> = texts.iter().map(|text| &**text).collect();
    let granted = |codes: &str| codes.split(", ").filter(|code| *code == "01").count();
    let first = codes(&mut w, ann, &filters);
    assert_eq!((granted(&first), first.ends_with("97")), (256, true));
    assert_eq!(granted(&codes(&mut w, ann, &filters)), 300, "the next asks for what it does not hold");
}
