//! MQTT 5 section 3.15 and 4.12, AUTH and enhanced authentication.

use crate::authenticating::{AGAIN, CONTINUE, as_user, auth, guarded, with_method};
use crate::toy::toys;
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::wire::{Auth, Connect, Packet, ReasonCode, Split, split};

/// The AUTH packets among the bytes that `client` has been sent and that no test has read yet.
fn auths(w: &mut World, client: Client) -> Vec<(ReasonCode, Option<String>, Option<String>, usize)> {
    w.run();
    let bytes = std::mem::take(&mut w.wires[client.0].from_broker);
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let Split::Whole(frame) = split(rest, usize::MAX).expect("the broker sends frames") else {
            panic!("the broker stopped within a packet");
        };
        if let Packet::Auth(Auth { reason, properties }) = Packet::decode(frame, V5).expect("well-formed") {
            let own = |text: Option<&str>| text.map(String::from);
            let user = properties.user.iter().count();
            found.push((reason, own(properties.authentication_method), own(properties.reason_string), user));
        }
        rest = &rest[frame.wire_bytes()..];
    }
    found
}

/// Every AUTH of a connection on which all goes well: `connect`, the riddle, and all again after CONNACK.
fn all_auths(connect: Connect<'_>) -> Vec<(ReasonCode, Option<String>, Option<String>, usize)> {
    let mut w = guarded(1);
    let ann = w.dial(0, connect);
    let mut found = auths(&mut w, ann);
    for packet in
        [auth(CONTINUE, "toy", "ann knows"), auth(AGAIN, "toy", "ann"), auth(CONTINUE, "toy", "ann knows")]
    {
        w.send(ann, packet);
        found.extend(auths(&mut w, ann));
    }
    assert_eq!(found.len(), 3, "0x18 before CONNACK, 0x18 and 0x00 after it");
    found
}

/// [MQTT-3.15.1-1] An AUTH with a flag bit set is malformed: the connection is closed with 0x81 after CONNACK.
#[test]
fn mqtt_3_15_1_1_flags_of_auth_are_reserved() {
    for flags in 1..=0x0f {
        let mut w = guarded(1);
        let ann = w.prove(0, as_user("ann"));
        w.read(ann);
        w.send_bytes(ann, &[0xf0 | flags, 0]);
        assert_eq!(w.read(ann), ["DISCONNECT 81", "closed"], "{flags:04b}");
        let bob = w.dial(0, as_user("bob"));
        assert_eq!(w.read(bob), [r#"AUTH 18 toy "riddle""#]);
        w.send_bytes(bob, &[0xf0 | flags, 0]);
        assert_eq!(w.read(bob).last().map(String::as_str), Some("closed"), "{flags:04b}");
    }
}

/// [MQTT-3.15.2-2] AUTH never has a reason string, whatever size of packet the client takes.
#[test]
fn mqtt_3_15_2_2_auth_has_no_reason_string() {
    assert!(all_auths(as_user("ann")).iter().all(|(_, _, reason_string, _)| reason_string.is_none()));
}

/// [MQTT-3.15.2-3] AUTH never has user properties, whatever size of packet the client takes.
#[test]
fn mqtt_3_15_2_3_auth_has_no_user_properties() {
    assert!(all_auths(as_user("ann")).iter().all(|(_, _, _, user_properties)| *user_properties == 0));
}

/// [MQTT-4.12.0-1] A method that is not offered is refused with CONNACK 0x8C, and the connection closed.
#[test]
fn mqtt_4_12_0_1_an_unknown_method_is_refused_and_closed() {
    for authentication in [toys(true), toys(false), Default::default()] {
        let mut w = World::with(Settings { authentication, ..Settings::default() });
        let ann = w.dial(0, with_method(Connect::new(V5, "ann", true), "KERBEROS", "ann"));
        assert_eq!(w.read(ann), ["CONNACK 8c", "closed"]);
    }
}

/// [MQTT-4.12.0-2] AUTH that asks for more has reason code 0x18.
#[test]
fn mqtt_4_12_0_2_auth_that_asks_for_more_says_continue() {
    let reasons: Vec<_> = all_auths(as_user("ann")).iter().map(|(reason, ..)| *reason).collect();
    assert_eq!(reasons, [CONTINUE, CONTINUE, ReasonCode::Success]);
}

/// [MQTT-4.12.0-3] The answer to AUTH 0x18 must be AUTH 0x18: any other reason code is a protocol error, before CONNACK and after it.
#[test]
fn mqtt_4_12_0_3_an_answer_without_continue_is_a_protocol_error() {
    for reason in [ReasonCode::Success, AGAIN] {
        let mut w = guarded(1);
        let ann = w.dial(0, as_user("ann"));
        w.read(ann);
        w.send(ann, auth(reason, "toy", "ann knows"));
        assert_eq!(w.read(ann), ["CONNACK 82", "closed"]);
        let ann = w.prove(0, as_user("ann"));
        w.read(ann);
        w.send(ann, auth(AGAIN, "toy", "ann"));
        w.read(ann);
        w.send(ann, auth(reason, "toy", "ann knows"));
        assert_eq!(w.read(ann), ["DISCONNECT 82", "closed"]);
    }
}

/// [MQTT-4.12.0-4] A client that fails at any step gets CONNACK 0x87, and its connection is closed.
#[test]
fn mqtt_4_12_0_4_a_rejected_client_is_closed() {
    let mut w = guarded(1);
    let ann = w.dial(0, as_user("ann"));
    w.read(ann);
    w.send(ann, auth(CONTINUE, "toy", "ann guesses"));
    assert_eq!(w.read(ann), ["CONNACK 87", "closed"]);
}

/// [MQTT-4.12.0-5] Every AUTH and the CONNACK carry the method of CONNECT, and a client's AUTH with another is a protocol error.
#[test]
fn mqtt_4_12_0_5_the_method_stays_the_same() {
    let methods = all_auths(as_user("ann"));
    assert!(methods.iter().all(|(_, method, ..)| method.as_deref() == Some("toy")), "{methods:?}");
    let mut w = guarded(1);
    let ann = w.prove(0, as_user("ann"));
    assert_eq!(w.read(ann), [r#"CONNACK 00 method=toy "welcome""#]);
    let bob = w.dial(0, with_method(durable(V5, "bob"), "other", "at-once:bob"));
    assert_eq!(w.read(bob), ["CONNACK 00 method=other"]);
    let eve = w.dial(0, as_user("eve"));
    w.read(eve);
    w.send(eve, auth(CONTINUE, "other", "eve knows"));
    assert_eq!(w.read(eve), ["CONNACK 82", "closed"]);
    w.send(bob, auth(AGAIN, "toy", "at-once:bob"));
    assert_eq!(w.read(bob), ["DISCONNECT 82", "closed"]);
}

/// [MQTT-4.12.0-6] A client that names no method gets no AUTH, and no method in its CONNACK.
#[test]
fn mqtt_4_12_0_6_without_method_there_is_no_auth() {
    let mut w = World::with(Settings { authentication: toys(false), ..Settings::default() });
    let ann = w.dial(0, Connect { username: Some("ann"), ..Connect::new(V5, "ann", true) });
    assert_eq!(w.read(ann), ["CONNACK 00"]);
    w = guarded(1);
    let ann = w.dial(0, Connect { username: Some("ann"), ..Connect::new(V5, "ann", true) });
    assert_eq!(w.read(ann), ["CONNACK 86", "closed"]);
}

/// [MQTT-4.12.0-7] AUTH from a client that named no method is a protocol error.
#[test]
fn mqtt_4_12_0_7_auth_without_method_in_connect_is_a_protocol_error() {
    for reason in [CONTINUE, AGAIN, ReasonCode::Success] {
        let mut w = World::with(Settings { authentication: toys(false), ..Settings::default() });
        let ann = w.join(0, V5, "ann");
        w.send(ann, auth(reason, "toy", "ann"));
        assert_eq!(w.read(ann), ["DISCONNECT 82", "closed"]);
    }
}

/// [MQTT-4.12.1-2] A client that fails to authenticate again gets DISCONNECT 0x87, and its connection is closed.
#[test]
fn mqtt_4_12_1_2_failing_to_authenticate_again_closes() {
    let mut w = guarded(1);
    let ann = w.prove(0, as_user("ann"));
    w.read(ann);
    w.send(ann, auth(AGAIN, "toy", "ann"));
    assert_eq!(w.read(ann), [r#"AUTH 18 toy "riddle""#]);
    w.send(ann, auth(CONTINUE, "toy", "ann guesses"));
    assert_eq!(w.read(ann), ["DISCONNECT 87", "closed"]);
}
