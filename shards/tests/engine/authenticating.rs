//! Enhanced authentication: who gets in, who does not, and what happens to whoever authenticates again.

use crate::telling::reason_strings;
use crate::toy::toys;
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::base::limits::{AUTH_DATA_BYTES_MAX, AUTH_STEPS_MAX};
use shardmq_shards::wire::{Auth, AuthProperties, Connect, Disconnect, Packet, ReasonCode, Version, Will};
use std::num::NonZeroU32;
use std::time::Duration;

pub const CONTINUE: ReasonCode = ReasonCode::ContinueAuthentication;
pub const AGAIN: ReasonCode = ReasonCode::Reauthenticate;

/// A broker on which everybody must authenticate.
pub fn guarded(shards: usize) -> World {
    World::with(Settings { shards, authentication: toys(true), ..Settings::default() })
}

/// `connect` with a method and the first data.
pub fn with_method<'a>(connect: Connect<'a>, method: &'a str, data: &'a str) -> Connect<'a> {
    let mut connect = connect;
    connect.properties.authentication_method = Some(method);
    connect.properties.authentication_data = Some(data.as_bytes());
    connect
}

/// The CONNECT of the user `user` under the client id of the same name.
pub fn as_user(user: &str) -> Connect<'_> {
    with_method(durable(V5, user), "toy", user)
}

pub fn auth<'a>(reason: ReasonCode, method: &'a str, data: &'a str) -> Packet<'a> {
    let properties = AuthProperties {
        authentication_method: Some(method),
        authentication_data: Some(data.as_bytes()),
        ..AuthProperties::default()
    };
    Packet::Auth(Auth { reason, properties })
}

impl World {
    /// Connects as `user` and solves the riddle.
    pub fn prove(&mut self, shard: usize, connect: Connect<'_>) -> Client {
        let user = connect.properties.authentication_data.expect("with_method sets it");
        let answer = format!("{} knows", String::from_utf8_lossy(user));
        let client = self.dial(shard, connect);
        assert_eq!(self.read(client), [r#"AUTH 18 toy "riddle""#]);
        self.send(client, auth(CONTINUE, "toy", &answer));
        client
    }
}

/// What the broker says to `packet` of a client that was asked the riddle.
fn after_riddle(packet: Packet<'_>) -> (World, Vec<String>) {
    let mut w = guarded(1);
    let ann = w.dial(0, as_user("ann"));
    assert_eq!(w.read(ann), [r#"AUTH 18 toy "riddle""#]);
    w.send(ann, packet);
    let said = w.read(ann);
    (w, said)
}

#[test]
fn whoever_solves_the_riddle_is_let_in_wherever_its_session_lives() {
    let mut w = guarded(3);
    for shard in [0, 1, 2, 0] {
        let ann = w.prove(shard, as_user("ann"));
        let present = if w.count("connected") == 0 { "" } else { " present" };
        assert_eq!(w.read(ann), [format!(r#"CONNACK 00{present} method=toy "welcome""#)]);
        w.send(ann, auth(AGAIN, "toy", "at-once:ann"));
        assert_eq!(w.read(ann), ["AUTH 00 toy"], "user and method have come along");
    }
    assert_eq!(w.count("handed_off"), 2, "the session stays on the first shard");
    assert_eq!((w.count("not_authenticated"), w.count("violations")), (0, 0));
}

#[test]
fn every_cut_of_the_bytes_says_the_same() {
    let mut bytes = Vec::new();
    Packet::Connect(as_user("ann")).encode(V5, &mut bytes);
    auth(CONTINUE, "toy", "ann knows").encode(V5, &mut bytes);
    Packet::Pingreq.encode(V5, &mut bytes);
    for home in [0, 1] {
        for cut in 0..bytes.len() {
            let mut w = guarded(2);
            let first = w.prove(home, as_user("ann"));
            w.read(first);
            let ann = w.arrive(0, 0, V5);
            w.send_bytes(ann, &bytes[..cut]);
            w.run();
            w.send_bytes(ann, &bytes[cut..]);
            let expected =
                [r#"AUTH 18 toy "riddle""#, r#"CONNACK 00 present method=toy "welcome""#, "PINGRESP"];
            assert_eq!(w.read(ann), expected, "home {home}, cut at {cut}");
        }
    }
}

#[test]
fn an_answer_that_comes_before_the_question_is_read_moves_with_nothing_on_its_way() {
    let mut w = guarded(2);
    let first = w.prove(1, as_user("ann"));
    w.read(first);
    let ann = w.dial(0, as_user("ann"));
    w.send(ann, auth(CONTINUE, "toy", "ann knows"));
    w.send(ann, Packet::Pingreq);
    w.wires[ann.0].space = 3;
    w.pass_secs(5);
    assert_eq!(w.count("handed_off"), 0, "the question is still on its way");
    w.wires[ann.0].space = usize::MAX;
    let expected = [r#"AUTH 18 toy "riddle""#, r#"CONNACK 00 present method=toy "welcome""#, "PINGRESP"];
    assert_eq!(w.read(ann), expected);
    // One that never reads it is gone at the deadline, and so is one that closes.
    let stuck = w.dial(0, as_user("bob"));
    let gone = w.dial(0, as_user("bob"));
    for client in [stuck, gone] {
        w.send(client, auth(CONTINUE, "toy", "bob knows"));
        w.wires[client.0].space = 3;
    }
    w.run();
    w.vanish(gone);
    w.pass_secs(20);
    assert!(w.wires[stuck.0].closed && w.wires[gone.0].closed);
    assert_eq!(w.count("timed_out"), 1);
    w.ping(ann);
}

#[test]
fn one_step_and_no_data_are_methods_too() {
    let mut w = guarded(1);
    let ann = w.dial(0, with_method(durable(V5, "ann"), "other", "at-once:ann"));
    assert_eq!(w.read(ann), ["CONNACK 00 method=other"]);
    let mut connect = as_user("bob");
    connect.properties.authentication_data = None;
    let bob = w.dial(0, connect);
    assert_eq!(w.read(bob), [r#"AUTH 18 toy "who?""#]);
    w.send(bob, auth(CONTINUE, "toy", "bob"));
    assert_eq!(w.read(bob), [r#"AUTH 18 toy "riddle""#]);
    w.send(bob, auth(CONTINUE, "toy", "bob knows"));
    assert_eq!(w.read(bob), [r#"CONNACK 00 method=toy "welcome""#]);
}

#[test]
fn a_client_id_is_given_only_to_who_is_let_in() {
    let mut w = guarded(2);
    let ann = w.prove(0, with_method(Connect::new(V5, "", true), "toy", "ann"));
    assert_eq!(w.read(ann), [r#"CONNACK 00 assigned method=toy "welcome""#]);
    let eve = w.dial(0, with_method(Connect::new(V5, "", true), "toy", "eve"));
    w.read(eve);
    w.send(eve, auth(CONTINUE, "toy", "eve guesses"));
    assert_eq!(w.read(eve), ["CONNACK 87", "closed"]);
}

#[test]
fn a_stranger_takes_nothing_over() {
    let mut w = guarded(2);
    let ann = w.prove(0, as_user("ann"));
    w.read(ann);
    let eve = w.dial(1, as_user("ann"));
    assert_eq!(w.read(eve), [r#"AUTH 18 toy "riddle""#]);
    w.ping(ann);
    w.send(eve, auth(CONTINUE, "toy", "ann guesses"));
    assert_eq!(w.read(eve), ["CONNACK 87", "closed"]);
    w.ping(ann);
    assert_eq!((w.count("not_authenticated"), w.count("refused"), w.count("taken_over")), (1, 1, 0));
}

#[test]
fn who_must_authenticate_and_does_not_is_refused() {
    for (version, plain, with_password) in [(V5, "87", "86"), (V311, "87", "86"), (V31, "87", "86")] {
        let mut w = guarded(1);
        let nobody = w.dial(0, Connect::new(version, "ann", true));
        assert_eq!(w.read(nobody), [&format!("CONNACK {plain}"), "closed"], "{version}");
        let named = Connect { username: Some("ann"), ..Connect::new(version, "ann", true) };
        let ann = w.dial(0, Connect { password: Some(b"secret"), ..named });
        assert_eq!(w.read(ann), [&format!("CONNACK {with_password}"), "closed"], "{version}");
        assert_eq!((w.count("not_authenticated"), w.count("violations")), (2, 0));
    }
}

#[test]
fn who_is_refused_is_told_by_what_to_authenticate_unless_it_does_not_care() {
    for (wants, told) in [(None, Some("authenticate with toy or other")), (Some(false), None)] {
        let mut w = guarded(1);
        let mut connect = Connect { username: Some("ann"), ..Connect::new(V5, "ann", true) };
        connect.properties.request_problem_information = wants;
        let ann = w.dial(0, connect);
        assert_eq!(reason_strings(&mut w, ann), [told.map(String::from)]);
    }
}

#[test]
fn where_it_is_not_required_both_come_in() {
    let mut w = World::with(Settings { authentication: toys(false), ..Settings::default() });
    for version in Version::ALL {
        w.join(0, version, &format!("{version}"));
    }
    let ann = w.prove(0, as_user("ann"));
    assert_eq!(w.read(ann), [r#"CONNACK 00 method=toy "welcome""#]);
}

#[test]
fn only_auth_with_the_method_of_connect_goes_on() {
    let without_method = Packet::Auth(Auth { reason: CONTINUE, properties: Default::default() });
    let success = auth(ReasonCode::Success, "toy", "ann knows");
    let breaches = [
        (without_method, "82"),
        (Packet::Auth(Auth { reason: ReasonCode::Success, properties: Default::default() }), "82"),
        (auth(CONTINUE, "other", "ann knows"), "82"),
        (auth(AGAIN, "toy", "ann knows"), "82"),
        (success, "82"),
        (Packet::Pingreq, "82"),
        (Packet::Publish(message("a", "x")), "82"),
        (Packet::Connect(as_user("ann")), "82"),
    ];
    for (packet, code) in breaches {
        let text = format!("{packet:?}");
        let (w, said) = after_riddle(packet);
        assert_eq!(said, [&format!("CONNACK {code}"), "closed"], "{text}");
        assert_eq!((w.count("violations"), w.count("refused"), w.count("connected")), (1, 1, 0), "{text}");
    }
}

#[test]
fn a_client_may_leave_within_the_exchange() {
    let (w, said) = after_riddle(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    assert_eq!(said, ["closed"]);
    assert_eq!((w.count("violations"), w.count("refused")), (0, 0));
    let mut w = guarded(1);
    let ann = w.dial(0, as_user("ann"));
    w.run();
    w.vanish(ann);
    assert!(w.wires[ann.0].closed);
}

#[test]
fn steps_and_data_have_a_limit() {
    let mut w = guarded(1);
    let ann = w.dial(0, with_method(durable(V5, "ann"), "toy", "again"));
    for _ in 1..AUTH_STEPS_MAX {
        assert_eq!(w.read(ann), [r#"AUTH 18 toy "again?""#]);
        w.send(ann, auth(CONTINUE, "toy", "again"));
    }
    assert_eq!(w.read(ann), [r#"AUTH 18 toy "again?""#]);
    w.send(ann, auth(CONTINUE, "toy", "again"));
    assert_eq!(w.read(ann), ["CONNACK 87", "closed"]);
    let long = "x".repeat(AUTH_DATA_BYTES_MAX);
    let bob = w.dial(0, with_method(durable(V5, "bob"), "toy", &long));
    assert_eq!(w.read(bob), [r#"AUTH 18 toy "riddle""#], "the limit itself is taken");
    let longer = "x".repeat(AUTH_DATA_BYTES_MAX + 1);
    w.send(bob, auth(CONTINUE, "toy", &longer));
    assert_eq!(w.read(bob), ["CONNACK 97", "closed"]);
    let bob = w.dial(0, with_method(durable(V5, "bob"), "toy", &longer));
    assert_eq!(w.read(bob), ["CONNACK 97", "closed"]);
    assert_eq!(w.count("violations"), 2);
}

#[test]
fn an_auth_that_is_too_large_for_the_client_is_not_sent() {
    let mut w = guarded(1);
    let mut connect = with_method(durable(V5, "ann"), "toy", "lengthy");
    connect.properties.maximum_packet_size = NonZeroU32::new(1_000);
    let ann = w.dial(0, connect);
    assert_eq!(w.read(ann), ["CONNACK 95", "closed"]);
    connect.properties.authentication_data = Some(b"ann");
    let ann = w.prove(0, connect);
    w.read(ann);
    w.send(ann, auth(AGAIN, "toy", "lengthy"));
    assert_eq!(w.read(ann), ["DISCONNECT 95", "closed"]);
    // AUTH fits, the CONNACK with the last data would not.
    connect.properties.maximum_packet_size = NonZeroU32::new(25);
    let ann = w.prove(0, connect);
    assert_eq!(w.read(ann), ["CONNACK 95", "closed"]);
}

#[test]
fn the_connect_deadline_covers_the_exchange() {
    let mut w = guarded(1);
    let ann = w.dial(0, with_method(durable(V5, "ann"), "toy", "again"));
    for _ in 0..4 {
        w.pass_secs(2);
        assert_eq!(w.read(ann), [r#"AUTH 18 toy "again?""#]);
        w.send(ann, auth(CONTINUE, "toy", "again"));
    }
    w.pass(Duration::from_millis(1_900));
    assert_eq!(w.read(ann), [r#"AUTH 18 toy "again?""#]);
    w.pass(Duration::from_millis(1_200));
    assert_eq!(w.read(ann), ["closed"], "a step does not buy time");
    assert_eq!(w.count("timed_out"), 1);
}

#[test]
fn a_broker_that_stops_waits_for_no_answer() {
    let mut w = guarded(2);
    let asked = w.dial(0, as_user("ann"));
    w.run();
    w.request_shutdown();
    w.run();
    assert_eq!(w.read(asked), [r#"AUTH 18 toy "riddle""#, "closed"]);
}

#[test]
fn messages_flow_while_a_client_authenticates_again() {
    let mut w = guarded(2);
    let ann = w.prove(0, as_user("ann"));
    let bob = w.prove(1, as_user("bob"));
    w.read(ann);
    w.read(bob);
    w.subscribe(ann, "a", Q1);
    for round in 1..=2 {
        w.send(ann, auth(AGAIN, "toy", "ann"));
        w.publish(bob, message_1(round * 2, "a", "before"));
        assert_eq!(w.read(bob), [format!("PUBACK #{}", round * 2)]);
        let first = round * 2 - 1;
        assert_eq!(
            w.read(ann),
            [r#"AUTH 18 toy "riddle""#, &format!(r#"a "before" q1 #{first}"#)],
            "a client is who it was until it is somebody else"
        );
        w.puback(ann, first);
        w.publish(ann, message_1(9, "a", "own"));
        w.send(ann, auth(CONTINUE, "toy", "ann knows"));
        let second = first + 1;
        assert_eq!(
            w.read(ann),
            [&format!(r#"a "own" q1 #{second}"#), r#"AUTH 00 toy "welcome""#, "PUBACK #9"]
        );
        w.puback(ann, second);
    }
    w.ping(ann);
}

/// What the broker says to a connected `ann` who sends `packets`; whether its will went out.
fn connected_and(packets: &[Packet<'_>]) -> (Vec<String>, bool) {
    let mut w = guarded(2);
    let watcher = w.prove(1, as_user("watcher"));
    w.read(watcher);
    w.subscribe(watcher, "gone", Q0);
    let will = Will { qos: Q0, retain: false, topic: "gone", payload: b"x", properties: Default::default() };
    let ann = w.prove(0, Connect { will: Some(will), ..as_user("ann") });
    w.read(ann);
    for packet in packets {
        w.send(ann, *packet);
    }
    let said = w.read(ann);
    (said, w.read(watcher) == [r#"gone "x""#])
}

#[test]
fn authenticating_again_and_failing_ends_the_connection_and_publishes_the_will() {
    let wrong = [auth(AGAIN, "toy", "ann"), auth(CONTINUE, "toy", "ann guesses"), Packet::Pingreq];
    let told = vec![r#"AUTH 18 toy "riddle""#.to_string(), "DISCONNECT 87".into(), "closed".into()];
    assert_eq!(connected_and(&wrong), (told, true));
    // Nobody becomes another user on the way.
    let other = [auth(AGAIN, "toy", "at-once:bob")];
    assert_eq!(connected_and(&other), (vec!["DISCONNECT 87".to_string(), "closed".into()], true));
    let same = [auth(AGAIN, "toy", "at-once:ann"), Packet::Pingreq];
    assert_eq!(connected_and(&same), (vec!["AUTH 00 toy".to_string(), "PINGRESP".into()], false));
}

#[test]
fn auth_out_of_turn_ends_the_connection() {
    let breaches: [&[Packet<'_>]; 6] = [
        &[auth(CONTINUE, "toy", "ann")],
        &[auth(ReasonCode::Success, "toy", "ann")],
        &[auth(AGAIN, "other", "ann")],
        &[Packet::Auth(Auth { reason: AGAIN, properties: Default::default() })],
        &[auth(AGAIN, "toy", "ann"), auth(AGAIN, "toy", "ann")],
        &[auth(AGAIN, "toy", "ann"), auth(ReasonCode::Success, "toy", "ann knows")],
    ];
    for packets in breaches {
        let (said, will) = connected_and(packets);
        assert_eq!(said[said.len() - 2..], ["DISCONNECT 82", "closed"], "{packets:?}");
        assert!(will);
    }
}

#[test]
fn a_session_is_resumed_by_its_user_only() {
    let mut w = guarded(2);
    let ann = w.prove(0, as_user("ann"));
    w.read(ann);
    w.subscribe(ann, "for/ann", Q1);
    let eve = w.prove(1, with_method(durable(V5, "ann"), "toy", "eve"));
    assert_eq!(w.read(eve), [r#"CONNACK 00 method=toy "welcome""#], "another user starts anew");
    assert_eq!(w.read(ann), ["DISCONNECT 8e", "closed"]);
    w.publish(eve, message("for/ann", "x"));
    w.ping(eve);
    let eve = w.prove(0, with_method(durable(V5, "ann"), "toy", "eve"));
    assert_eq!(w.read(eve), [r#"CONNACK 00 present method=toy "welcome""#]);
}
