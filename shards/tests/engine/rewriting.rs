//! Topic rewriting rules.

use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::session::Author;
use shardmq_shards::shard::{Extensions, Permission};
use shardmq_shards::topics::{RewriteAction, RewriteRule, RewriteRules};
use shardmq_shards::wire::{Connect, Will, WillProperties};
use std::sync::Arc;

const fn rule<'a>(action: RewriteAction, filter: &'a str, pattern: &'a str, to: &'a str) -> RewriteRule<'a> {
    RewriteRule { action, filter, pattern, to }
}

fn extensions() -> Extensions {
    let rules = [
        rule(RewriteAction::All, "old/#", "^old/(.*)$", "new/$1"),
        rule(RewriteAction::Publish, "up", "", "up/%c/%u"),
        rule(RewriteAction::Subscribe, "mine/#", "^mine/(.*)$", "clients/%c/$1"),
        rule(RewriteAction::Publish, "later/#", "^later/(.*)$", "$delayed/5/$1"),
        rule(RewriteAction::All, "bad/#", "^bad/(.*)$", "$1#"),
    ];
    let rewrite = RewriteRules::new(&rules).expect("the rules are right");
    Extensions { rewrite, delayed: true, ..Extensions::default() }
}

fn world() -> World {
    World::with(Settings { shards: 2, extensions: extensions(), ..Settings::default() })
}

#[test]
fn publications_and_subscriptions_meet_under_the_new_topic() {
    for version in [V31, V311, V5] {
        let mut w = world();
        let ann = w.join(0, version, "ann");
        w.subscribe(ann, "old/+/x", Q1);
        let bob = w.join(1, V5, "bob");
        w.subscribe(bob, "new/#", Q0);
        w.publish(bob, message("old/1/x", "1"));
        assert_eq!(w.read(ann), [r#"new/1/x "1""#]);
        assert_eq!(w.read(bob), [r#"new/1/x "1""#]);
        w.unsubscribe(ann, &["old/+/x"]);
        assert!(w.read(ann)[0].starts_with("UNSUBACK #1001"));
        w.publish(bob, message("new/1/x", "2"));
        assert!(w.read(ann).is_empty(), "the same rule takes it away");
        assert_eq!(w.read(bob).len(), 1);
    }
}

#[test]
fn client_id_and_user_name_are_filled_in() {
    let mut w = world();
    let ann = w.connect(0, Connect { username: Some("root"), ..Connect::new(V5, "ann", true) });
    w.subscribe_all(ann, &[("mine/in", Q0), ("up/#", Q0), ("up", Q0)]);
    assert_eq!(w.read(ann), ["SUBACK #1000 [00, 00, 00]"]);
    w.publish(ann, message("up", "1"));
    assert_eq!(w.read(ann), [r#"up/ann/root "1""#]);
    let bob = w.join(1, V5, "bob");
    w.publish(bob, message("up", "2"));
    assert_eq!(w.read(ann), [r#"up "2""#], "without user name the topic stays");
    w.publish(bob, message("mine/in", "3"));
    w.publish(bob, message("clients/ann/in", "4"));
    assert_eq!(w.read(ann), [r#"clients/ann/in "4""#], "that rule is for subscriptions");
}

#[test]
fn of_a_shared_filter_the_part_behind_the_name_is_rewritten() {
    let mut w = world();
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V5, "bob"));
    w.subscribe(ann, "$share/g/old/1", Q0);
    w.subscribe(bob, "$share/g/new/1", Q0);
    w.publish(ann, message("new/1", "1"));
    w.publish(ann, message("old/1", "2"));
    let seen = [w.read(ann), w.read(bob)].concat();
    assert_eq!(seen.len(), 2, "one group: {seen:?}");
    w.unsubscribe(ann, &["$share/g/old/1"]);
    assert_eq!(w.read(ann), ["UNSUBACK #1001 [00]"]);
}

#[test]
fn what_is_no_topic_in_the_end_is_refused() {
    let mut w = world();
    let ann = w.join(0, V5, "ann");
    w.publish(ann, message_1(1, "bad/a", "1"));
    assert_eq!(w.read(ann), ["PUBACK #1 90"]);
    w.subscribe_all(ann, &[("bad/a", Q0), ("bad/", Q0), ("ok", Q0)]);
    assert_eq!(w.read(ann), ["SUBACK #1000 [8f, 00, 00]"], "`a#` is no filter, `#` is one");
    let bob = w.join(0, V311, "bob");
    w.publish(bob, message_1(1, "bad/a", "1"));
    assert_eq!(w.read(bob), ["closed"]);
}

#[test]
fn a_topic_can_become_a_delayed_one_and_a_delayed_one_another() {
    let mut w = world();
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "#", Q0);
    w.publish(ann, message("later/x", "1"));
    w.publish(ann, message("$delayed/5/old/y", "2"));
    assert!(w.read(ann).is_empty());
    w.pass_secs(7);
    assert_eq!(w.read(ann), [r#"x "1""#, r#"new/y "2""#]);
}

#[test]
fn wills_are_rewritten_when_they_are_published() {
    let mut w = world();
    let bob = w.join(1, V5, "bob");
    w.subscribe_all(bob, &[("new/#", Q0), ("up/#", Q0)]);
    w.read(bob);
    for topic in ["old/will", "up"] {
        let properties = WillProperties::default();
        let will = Will { qos: Q1, retain: false, topic, payload: b"will", properties };
        let ann = w.connect(0, Connect { will: Some(will), username: Some("u"), ..durable(V5, "ann") });
        w.vanish(ann);
    }
    assert_eq!(w.read(bob), [r#"new/will "will""#, r#"up/ann/u "will""#]);
}

#[test]
fn aliases_stand_for_the_topic_as_the_client_named_it() {
    let mut w = world();
    let ann = w.join(0, V5, "ann");
    w.subscribe(ann, "new/a", Q0);
    let mut publish = message("old/a", "1");
    publish.properties.topic_alias = std::num::NonZeroU16::new(1);
    w.publish(ann, publish);
    w.publish(ann, shardmq_shards::wire::Publish { topic: "", ..publish });
    assert_eq!(w.read(ann), [r#"new/a "1""#, r#"new/a "1""#]);
}

/// Everybody may everything below `old/`, behind a delay too, and nothing else.
#[derive(Debug)]
struct Old;

impl Permission for Old {
    fn may_publish(&self, _: Author<'_>, topic: &str) -> bool {
        topic.starts_with("old/")
    }

    fn may_subscribe(&self, _: Author<'_>, filter: &str) -> bool {
        filter.starts_with("old/")
    }
}

#[test]
fn permission_is_asked_for_the_topic_as_the_client_named_it_and_behind_its_delay() {
    let permission: Option<Arc<dyn Permission>> = Some(Arc::new(Old));
    let extensions = Extensions { permission, ..extensions() };
    let mut w = World::with(Settings { extensions, ..Settings::default() });
    let ann = w.join(0, V5, "ann");
    w.subscribe_all(ann, &[("old/#", Q0), ("new/#", Q0)]);
    assert_eq!(w.read(ann), ["SUBACK #1000 [00, 87]"]);
    w.publish(ann, message_1(1, "new/a", "1"));
    w.publish(ann, message_1(2, "$delayed/1/new/a", "2"));
    w.publish(ann, message_1(3, "$delayed/1/old/a", "3"));
    assert_eq!(w.read(ann), ["PUBACK #1 87", "PUBACK #2 87", "PUBACK #3"]);
    w.pass_secs(2);
    assert_eq!(w.read(ann), [r#"new/a "3""#]);
}
