//! CONNECT and CONNACK (MQTT 5 sections 3.1 and 3.2).

use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::limits::Limits;
use shardmq_shards::shard::Doorway;
use shardmq_shards::wire::{Connect, ConnectProperties, Packet, ReasonCode, Version, Will};
use std::time::Duration;

#[test]
fn every_version_is_accepted_and_pings() {
    let mut w = World::new(2);
    for (shard, version) in [(0, V31), (1, V311), (0, V5)] {
        let ann = w.dial(shard, Connect::new(version, &format!("ann-{version}"), true));
        assert_eq!(w.read(ann), ["CONNACK 00"]);
        w.ping(ann);
    }
}

#[test]
fn an_empty_client_id_is_assigned_or_refused_as_the_version_has_it() {
    let mut w = World::new(1);
    let answer = |w: &mut World, version, clean| {
        let client = w.dial(0, Connect::new(version, "", clean));
        w.read(client)
    };
    assert_eq!(answer(&mut w, V5, true), ["CONNACK 00 assigned"]);
    assert_eq!(answer(&mut w, V5, false), ["CONNACK 00 assigned"]);
    assert_eq!(answer(&mut w, V311, true), ["CONNACK 00"]);
    assert_eq!(answer(&mut w, V311, false), ["CONNACK 85", "closed"], "MQTT-3.1.3-8");
    assert_eq!(answer(&mut w, V31, true), ["CONNACK 85", "closed"], "3.1 knows no empty id");
}

#[test]
fn an_assigned_client_id_can_be_come_back_to() {
    let mut w = World::new(2);
    let properties = ConnectProperties { session_expiry: Some(100), ..Default::default() };
    let ann = w.dial(1, Connect { properties, ..Connect::new(V5, "", false) });
    w.run();
    let assigned = w.connack(ann, |connack| connack.properties.assigned_client_id.map(String::from));
    w.read(ann);
    w.vanish(ann);
    let again = w.dial(0, Connect { properties, ..Connect::new(V5, &assigned.expect("assigned"), false) });
    assert_eq!(w.read(again), ["CONNACK 00 present"]);
}

#[test]
fn an_assigned_client_id_that_somebody_has_guessed_resumes_nothing() {
    let mut w = World::new(2);
    // Another broker with the same secret.
    let mut other = World::new(2);
    let bob = other.dial(0, Connect::new(V5, "", false));
    other.run();
    let guess = other.connack(bob, |connack| connack.properties.assigned_client_id.map(String::from));
    let guess = guess.expect("assigned");
    let guesser = w.connect(1, durable(V5, &guess));
    w.subscribe(guesser, "a", Q1);
    let ann = w.dial(0, Connect::new(V5, "", false));
    w.run();
    let assigned = w.connack(ann, |connack| connack.properties.assigned_client_id.map(String::from));
    assert_eq!(assigned.as_deref(), Some(&*guess), "the guess was right");
    assert_eq!(w.read(ann), ["CONNACK 00 assigned"]);
    assert_eq!(w.read(guesser), ["DISCONNECT 8e", "closed"]);
    w.publish(ann, message_1(1, "a", ""));
    assert_eq!(w.read(ann), ["PUBACK #1 10"]);
}

#[test]
fn connack_names_the_limits_that_differ_from_the_protocols_defaults() {
    let mut w = World::limited(|limits| limits.topic_alias_max = 5);
    let ann = w.dial(0, Connect::new(V5, "ann", true));
    w.run();
    w.connack(ann, |connack| {
        let properties = connack.properties;
        assert_eq!(properties.receive_maximum.map(u16::from), Some(64));
        assert_eq!(properties.maximum_packet_size.map(u32::from), Some(1024 * 1024));
        assert_eq!(properties.topic_alias_maximum, Some(5));
        assert_eq!(properties.shared_available, None, "available");
        assert_eq!(properties.maximum_qos, None);
        assert_eq!(properties.retain_available, None);
        assert_eq!(properties.session_expiry, None);
    });
}

#[test]
fn keep_alive_is_capped_for_v5_which_is_told() {
    let mut w = World::limited(|limits| limits.keep_alive_max = Duration::from_secs(60));
    let answer = |w: &mut World, version: Version, keep_alive| {
        let client = w.dial(0, Connect { keep_alive, ..Connect::new(version, "ann", true) });
        w.read(client)
    };
    assert_eq!(answer(&mut w, V5, 0), ["CONNACK 00 keep-alive=60"]);
    assert_eq!(answer(&mut w, V5, 61), ["CONNACK 00 keep-alive=60"]);
    assert_eq!(answer(&mut w, V5, 60), ["CONNACK 00"]);
    assert_eq!(answer(&mut w, V311, 61), ["CONNACK 00"]);
}

#[test]
fn connack_carries_the_session_expiry_only_when_it_is_not_what_was_asked() {
    let mut w = World::limited(|limits| limits.session_expiry_max = Duration::from_secs(500));
    let answer = |w: &mut World, session_expiry| {
        let properties = ConnectProperties { session_expiry, ..Default::default() };
        let client = w.dial(0, Connect { properties, ..Connect::new(V5, "ann", true) });
        w.read(client)
    };
    assert_eq!(answer(&mut w, Some(501)), ["CONNACK 00 expiry=500"]);
    assert_eq!(answer(&mut w, Some(u32::MAX)), ["CONNACK 00 expiry=500"]);
    assert_eq!(answer(&mut w, Some(500)), ["CONNACK 00"]);
    assert_eq!(answer(&mut w, None), ["CONNACK 00"]);
}

#[test]
fn a_durable_session_is_present_until_a_clean_start() {
    for version in [V311, V5] {
        let mut w = World::new(2);
        let ann = w.dial(0, durable(version, "ann"));
        assert_eq!(w.read(ann), ["CONNACK 00"]);
        w.leave(ann, ReasonCode::Success);
        let ann = w.dial(1, durable(version, "ann"));
        assert_eq!(w.read(ann), ["CONNACK 00 present"]);
        w.leave(ann, ReasonCode::Success);
        let ann = w.dial(1, Connect { clean_start: true, ..durable(version, "ann") });
        assert_eq!(w.read(ann), ["CONNACK 00"]);
        w.leave(ann, ReasonCode::Success);
        let ann = w.dial(0, durable(version, "ann"));
        let present = if version.is_v5() { "CONNACK 00 present" } else { "CONNACK 00" };
        assert_eq!(
            w.read(ann),
            [present],
            "a clean session of 3.1.1 ends with its connection, one of 5.0 by its expiry"
        );
    }
}

#[test]
fn version_3_1_resumes_without_being_told() {
    let mut w = World::new(1);
    let ann = w.connect(0, durable(V31, "ann"));
    w.subscribe(ann, "a", Q1);
    w.leave(ann, ReasonCode::Success);
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message_1(1, "a", "kept"));
    let ann = w.dial(0, durable(V31, "ann"));
    assert_eq!(w.read(ann), ["CONNACK 00", r#"a "kept" q1 #1"#]);
}

#[test]
fn a_session_ends_when_its_expiry_has_passed_and_not_before() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.vanish(ann);
    w.pass_secs(999);
    let ann = w.dial(1, durable(V5, "ann"));
    assert_eq!(w.read(ann), ["CONNACK 00 present"]);
    w.vanish(ann);
    w.pass_secs(1_001);
    assert_eq!(w.shard(0).sizes().sessions, 0);
    let ann = w.dial(1, durable(V5, "ann"));
    assert_eq!(w.read(ann), ["CONNACK 00"]);
}

#[test]
fn expiry_zero_ends_with_the_connection_and_the_largest_never() {
    let mut w = World::new(1);
    let with = |seconds| {
        let properties = ConnectProperties { session_expiry: Some(seconds), ..Default::default() };
        Connect { properties, ..Connect::new(V5, "ann", false) }
    };
    let ann = w.connect(0, with(0));
    w.vanish(ann);
    assert_eq!(w.shard(0).sizes().sessions, 0);
    let ann = w.connect(0, with(u32::MAX));
    w.vanish(ann);
    w.pass_secs(u64::from(u32::MAX) + 10_000_000);
    let ann = w.dial(0, with(u32::MAX));
    assert_eq!(w.read(ann), ["CONNACK 00 present"]);
}

#[test]
fn disconnect_changes_the_expiry_but_not_from_zero() {
    let mut w = World::new(1);
    let ann = w.connect(0, durable(V5, "ann"));
    w.leave_with(ann, ReasonCode::Success, Some(5));
    w.pass_secs(7);
    assert_eq!(w.shard(0).sizes().sessions, 0);
    let ann = w.connect(0, durable(V5, "ann"));
    w.leave_with(ann, ReasonCode::Success, Some(0));
    assert_eq!(w.shard(0).sizes().sessions, 0);
    let bob = w.join(0, V5, "bob");
    w.leave_with(bob, ReasonCode::Success, Some(5));
    assert_eq!(w.read(bob), ["DISCONNECT 82", "closed"], "3.14.2.2.2");
    assert_eq!(w.shard(0).sizes().sessions, 0);
}

#[test]
fn an_unknown_protocol_is_refused_as_version_3_does_it() {
    let mut w = World::new(1);
    let level_6 = w.arrive(0, 0, V311);
    w.send_bytes(level_6, b"\x10\x0f\x00\x04MQTT\x06\x02\x00\x00\x00\x03ann");
    assert_eq!(w.read(level_6), ["CONNACK 84", "closed"], "MQTT-3.1.2-2");
    let name = w.arrive(0, 0, V311);
    w.send_bytes(name, b"\x10\x0f\x00\x04MQTX\x04\x02\x00\x00\x00\x03ann");
    assert_eq!(w.read(name).last().map(String::as_str), Some("closed"));
}

#[test]
fn a_malformed_connect_is_told_so_in_v5_and_closed_without_a_word_in_v3() {
    let mut w = World::new(1);
    // The reserved connect flag is set.
    let v5 = w.arrive(0, 0, V5);
    w.send_bytes(v5, b"\x10\x10\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x03ann");
    assert_eq!(w.read(v5), ["CONNACK 81", "closed"]);
    let v3 = w.arrive(0, 0, V311);
    w.send_bytes(v3, b"\x10\x0f\x00\x04MQTT\x04\x03\x00\x00\x00\x03ann");
    assert_eq!(w.read(v3), ["closed"], "3.1.1: MQTT-3.1.4-1");
}

#[test]
fn a_will_topic_deeper_than_the_limit_is_refused() {
    let mut w = World::new(1);
    let topic = "a/".repeat(200);
    let will = Will { qos: Q0, retain: false, topic: &topic, payload: b"", properties: Default::default() };
    let v5 = w.dial(0, Connect { will: Some(will), ..Connect::new(V5, "ann", true) });
    assert_eq!(w.read(v5), ["CONNACK 90", "closed"]);
    let v3 = w.dial(0, Connect { will: Some(will), ..Connect::new(V311, "ann", true) });
    assert_eq!(w.read(v3), ["closed"]);
}

#[test]
fn a_method_of_extended_authentication_is_refused() {
    let mut w = World::new(1);
    let properties = ConnectProperties { authentication_method: Some("SCRAM"), ..Default::default() };
    let ann = w.dial(0, Connect { properties, ..Connect::new(V5, "ann", true) });
    assert_eq!(w.read(ann), ["CONNACK 8c", "closed"]);
}

#[test]
fn a_listener_takes_only_its_versions() {
    let doorways = vec![Doorway::tcp(&[V311]), Doorway::tcp(&[V5])];
    let mut w = World::with(Settings { doorways, ..Settings::default() });
    let mut answer = |listener, version| {
        let client = w.arrive(0, listener, version);
        w.send(client, Packet::Connect(Connect::new(version, "ann", true)));
        w.read(client)
    };
    assert_eq!(answer(0, V311), ["CONNACK 00"]);
    assert_eq!(answer(0, V5), ["CONNACK 84", "closed"]);
    assert_eq!(answer(1, V311), ["CONNACK 84", "closed"]);
    assert_eq!(answer(1, V5), ["CONNACK 00"]);
}

#[test]
fn one_connection_too_many_is_told_and_the_place_is_free_again_afterwards() {
    let mut w = World::limited_with_shards(2, |limits| limits.connections_max = 2);
    let ann = w.join(0, V5, "ann");
    w.join(1, V311, "bob");
    let cid = w.dial(1, Connect::new(V5, "cid", true));
    assert_eq!(w.read(cid), ["CONNACK 97", "closed"]);
    let cid = w.dial(0, Connect::new(V311, "cid", true));
    assert_eq!(w.read(cid), ["CONNACK 88", "closed"], "return code 3");
    w.leave(ann, ReasonCode::Success);
    w.join(1, V5, "cid");
    let dan = w.dial(0, Connect::new(V5, "dan", true));
    assert_eq!(w.read(dan), ["CONNACK 97", "closed"]);
}

#[test]
fn at_the_maximum_a_client_gets_through_over_its_own_connection_and_only_so() {
    for shard in [0, 1] {
        let mut w = World::limited_with_shards(2, |limits| limits.connections_max = 2);
        let ann = w.connect(0, durable(V5, "ann"));
        let old = w.join(1, V5, "bob");
        // Half open: its end has not noticed that it is gone.
        let bob = w.dial(shard, Connect::new(V5, "bob", true));
        assert_eq!(w.read(bob), ["CONNACK 00"], "by shard {shard}");
        assert_eq!(w.read(old), ["DISCONNECT 8e", "closed"]);
        w.vanish(ann);
        w.join(shard, V5, "cid");
        // A session alone gives no place.
        let ann = w.dial(shard, durable(V5, "ann"));
        assert_eq!(w.read(ann), ["CONNACK 97", "closed"]);
        w.leave(bob, ReasonCode::Success);
        let ann = w.dial(shard, durable(V5, "ann"));
        assert_eq!(w.read(ann), ["CONNACK 00 present"]);
        w.leave_with(ann, ReasonCode::Success, Some(0));
    }
}

#[test]
fn a_session_that_ends_after_its_client_was_refused_for_want_of_a_place_is_forgotten() {
    let mut w = World::limited_with_shards(2, |limits| limits.connections_max = 1);
    let ann = w.connect(0, durable(V5, "ann"));
    w.vanish(ann);
    let bob = w.join(1, V5, "bob");
    let ann = w.dial(1, durable(V5, "ann"));
    assert_eq!(w.read(ann), ["CONNACK 97", "closed"]);
    w.pass_secs(1_001);
    w.leave(bob, ReasonCode::Success);
    w.run();
    assert!(w.places.iter().all(|place| place.seat.shard.sizes().identities == 0));
    let ann = w.dial(1, durable(V5, "ann"));
    assert_eq!(w.read(ann), ["CONNACK 00"]);
}

#[test]
fn the_deadline_runs_anew_at_home_and_a_log_that_is_late_does_not_hold_a_client_for_ever() {
    let mut w = World::new(2);
    let old = w.connect(1, durable(V5, "ann"));
    w.vanish(old);
    w.places[1].log_held = true;
    let ann = w.arrive(0, 0, V5);
    w.pass_secs(6);
    w.send(ann, Packet::Connect(durable(V5, "ann")));
    w.pass_secs(9);
    assert_eq!(w.read(ann), [""; 0], "ten seconds from its arrival at home");
    w.pass_secs(2);
    assert_eq!(w.read(ann), ["CONNACK 88", "closed"]);
    w.commit(1);
    let ann = w.dial(0, durable(V5, "ann"));
    assert_eq!(w.read(ann), ["CONNACK 00 present"]);
    w.pass_secs(60);
    w.ping(ann);
}

#[test]
fn assigned_client_ids_differ_in_all_of_their_128_bits() {
    let mut w = World::new(1);
    let mut ids: Vec<u128> = (0..50)
        .map(|_| {
            let client = w.dial(0, Connect::new(V5, "", true));
            w.run();
            let id = w.connack(client, |connack| connack.properties.assigned_client_id.map(String::from));
            let id = id.expect("assigned");
            u128::from_str_radix(id.strip_prefix("auto-0-").expect("names its shard"), 16).expect("hex")
        })
        .collect();
    let changed = ids.windows(2).fold(0, |changed, pair| changed | (pair[0] ^ pair[1]));
    assert_eq!(changed, u128::MAX, "every bit changes");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50);
}

#[test]
fn what_is_sent_behind_connect_is_handled_in_order_also_by_another_shard() {
    let mut w = World::new(2);
    let old = w.connect(1, durable(V5, "ann"));
    w.vanish(old);
    // The session lives on shard 1: the connection moves there with all that was read behind CONNECT.
    let ann = w.dial(0, durable(V5, "ann"));
    w.subscribe_all(ann, &[("a/#", Q1)]);
    w.publish(ann, message_1(1, "a/b", "to myself"));
    w.send(ann, Packet::Pingreq);
    let mut seen = w.read(ann);
    assert_eq!(seen.remove(0), "CONNACK 00 present");
    // PUBACK waits for the log, SUBACK for shard 0: which is first does not matter.
    seen.sort();
    assert_eq!(seen, ["PINGRESP", "PUBACK #1", "SUBACK #1000 [01]", r#"a/b "to myself" q1 #1"#]);
    assert_eq!(w.count("handed_off"), 1);
    w.puback(ann, 1);
    w.run();
}

#[test]
fn connack_waits_until_the_interest_of_a_resumed_session_is_known_to_all() {
    let mut w = World::new(2);
    let ann = w.connect(0, durable(V5, "ann"));
    w.places[1].frozen = true;
    w.subscribe_all(ann, &[("a", Q1)]);
    assert!(w.read(ann).is_empty(), "shard 1 has not applied the interest");
    let again = w.dial(0, durable(V5, "ann"));
    assert_eq!(w.read(ann), ["DISCONNECT 8e", "closed"]);
    assert!(w.read(again).is_empty());
    w.places[1].frozen = false;
    assert_eq!(w.read(again), ["CONNACK 00 present"]);
}

#[test]
fn the_connack_of_a_durable_session_waits_for_the_log() {
    let mut w = World::new(1);
    w.places[0].log_held = true;
    let ann = w.dial(0, durable(V5, "ann"));
    let bob = w.dial(0, Connect::new(V5, "bob", true));
    assert!(w.read(ann).is_empty());
    assert_eq!(w.read(bob), ["CONNACK 00"], "a clean session has nothing on disk");
    w.commit(0);
    assert_eq!(w.read(ann), ["CONNACK 00"]);
}

#[test]
fn a_client_that_is_gone_before_its_connack_leaves_nothing_behind() {
    let mut w = World::new(2);
    let old = w.connect(1, durable(V311, "ann"));
    w.vanish(old);
    let ann = w.dial(0, durable(V311, "ann"));
    w.end(ann, shardmq_shards::shard::End::Eof);
    w.run();
    let cid = w.dial(1, Connect::new(V311, "cid", true));
    w.end(cid, shardmq_shards::shard::End::Failed);
    w.run();
    assert_eq!((w.shard(0).sizes().connections, w.shard(1).sizes().connections), (0, 0));
    assert_eq!(w.shard(1).sizes().sessions, 1);
}

#[test]
fn new_durable_sessions_go_to_the_emptiest_shard_when_one_has_too_many() {
    let mut w = World::new(2);
    let clients: Vec<Client> =
        (0..200).map(|number| w.connect(0, durable(V5, &format!("c{number}")))).collect();
    let sessions = |shard| w.shard(shard).sizes().sessions;
    assert!(sessions(0) <= sessions(1) + sessions(1) / 10 + 65, "{} and {}", sessions(0), sessions(1));
    assert!(sessions(1) > 50);
    for client in clients {
        w.ping(client);
    }
    for number in 0..200 {
        w.join(0, V5, &format!("clean{number}"));
    }
    assert_eq!(
        w.shard(0).sizes().connections,
        w.shard(0).sizes().sessions,
        "clean sessions stay where they come"
    );
}

#[test]
fn half_open_sockets_stay_in_the_backlog_above_the_limit() {
    let limits = Limits { connect_deadline: Duration::from_secs(10), ..Limits::default() };
    let mut w = World::with(Settings { limits, ..Settings::default() });
    let clients: Vec<Client> = (0..4_100).map(|_| w.arrive(0, 0, V5)).collect();
    w.run();
    assert_eq!(w.shard(0).sizes().half_open, 4_096);
    w.vanish(clients[0]);
    assert_eq!(w.shard(0).sizes().half_open, 4_096, "one left, one of those that waited was accepted");
    w.pass_secs(21);
    assert_eq!(w.shard(0).sizes().half_open, 0);
}
