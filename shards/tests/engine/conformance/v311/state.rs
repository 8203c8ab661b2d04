//! MQTT 3.1.1 section 4.1 and 4.2, session state and network connections. The statement about connections is tested over sockets
//! (src/tests/conformance_transport.rs).

use crate::conformance::v5::state as both;
use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::Connect;

/// [MQTT-4.1.0-1] A session keeps its state from its first connection to its end: subscriptions, what is on its way in both directions, what
/// waits.
#[test]
fn mqtt_4_1_0_1_a_session_keeps_its_state() {
    let mut w = World::new(2);
    let (ann, bob) = both::full_session(&mut w, durable(V311, "ann"));
    for shard in [1, 0, 1] {
        w.leave(ann, shardmq_shards::wire::ReasonCode::Success);
        w.pass_secs(3_000);
        w.publish(bob, message_1(4, "a", "waits"));
        w.run();
        let (ann, seen) = w.connect_and_read(shard, durable(V311, "ann"));
        let unfinished = ["CONNACK 00 present", r#"a "one" q1 #1 dup"#, r#"a "two" q2 #2 dup"#, "PUBREL #3"];
        assert_eq!(seen[..4], unfinished, "{seen:?}");
        assert!(seen[4..].iter().all(|line| line.starts_with(r#"a "waits" q1"#)), "{seen:?}");
        w.publish(ann, message_2(7, "a", "a repetition"));
        assert_eq!(w.read(ann), ["PUBREC #7"], "the id was received before");
        w.vanish(ann);
    }
}

/// [MQTT-4.1.0-2] A session lasts as long as its connection, for days, with CleanSession 1 and 0.
#[test]
fn mqtt_4_1_0_2_a_connected_session_is_kept() {
    for clean_session in [true, false] {
        both::a_connected_session_is_kept(V311, Connect::new(V311, "ann", clean_session));
    }
}
