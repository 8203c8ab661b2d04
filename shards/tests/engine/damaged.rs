//! A record that is hit where it lies: what the others say is there all the same.

use crate::cleaning::{SEGMENT_BYTES, rounds};
use crate::verbs::*;
use crate::world::{Settings, World};
use shardmq_shards::log::Record;
use shardmq_shards::wire::ReasonCode;

/// Whether the log says whose a session is in this record.
fn is_head(record: &Record<'_>) -> bool {
    matches!(record, Record::Session(_))
}

/// Ann is away, with three messages; other heads are Cleo's, who reads `others` messages and is away then.
fn away(segment_bytes: u64, others: u16) -> World {
    let segment_bytes = Some(segment_bytes);
    let mut w = World::with(Settings { logs: true, segment_bytes, ..Settings::default() });
    let ann = w.connect(0, durable(V5, "ann"));
    w.subscribe_all(ann, &[("a/+", Q1), ("b", Q2)]);
    w.leave(ann, ReasonCode::Success);
    let (cleo, bob) = (w.connect(0, durable(V5, "cleo")), w.join(0, V5, "bob"));
    w.subscribe(cleo, "c", Q1);
    for payload in ["1", "2", "3"] {
        w.publish(bob, message_1(9, "a/x", payload));
        w.read(bob);
    }
    let payload = "x".repeat(300);
    for number in 1..=others {
        w.publish(bob, message_1(9, "c", &payload));
        w.read(cleo);
        w.puback(cleo, number);
        w.read(bob);
    }
    w.leave(cleo, ReasonCode::Success);
    w.run();
    w
}

/// Ann is back, with all that was hers.
fn check(w: &mut World, what: &str) {
    let (ann, said) = w.connect_and_read(0, durable(V5, "ann"));
    assert_eq!(said[0], "CONNACK 00 present", "{what}");
    let messages: Vec<_> = said[1..].iter().map(|line| line.trim_end_matches(" dup")).collect();
    assert_eq!(messages, [r#"a/x "1" q1 #1"#, r#"a/x "2" q1 #2"#, r#"a/x "3" q1 #3"#], "{what}");
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message("a/y", "new"));
    w.publish(bob, message("b", "new"));
    assert_eq!(w.read(ann), [r#"a/y "new""#, r#"b "new""#], "{what}");
}

#[test]
fn whose_a_session_is_stands_in_two_records() {
    for (segment_bytes, others, is_cleaned) in [(1 << 20, 0, false), (SEGMENT_BYTES, 60, true)] {
        let mut hit = 0;
        loop {
            let mut w = away(segment_bytes, others);
            assert_eq!(rounds(&w) > 3, is_cleaned, "or the heads are those that CONNECT made");
            w.die_leaving(&[]);
            let was_there = w.platters[0].hit(0, hit, is_head);
            w.start();
            check(&mut w, &format!("cleaned: {is_cleaned}, without head {hit}"));
            if !was_there {
                break;
            }
            hit += 1;
        }
        assert!(hit >= 4, "two sessions have two heads each: {hit}");
    }
}
