//! MQTT in WebSocket, from the handshake to the close (MQTT 5 chapter 6, RFC 6455).

use crate::authenticating::{CONTINUE, as_user, auth};
use crate::spoken::spoken;
use crate::toy::toys;
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::shard::{Doorway, End};
use shardmq_shards::transport::Transport;
use shardmq_shards::wire::{Connect, Packet, Publish, ReasonCode, Version};

pub const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

const CONTINUATION: u8 = 0x00;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// In place of a first byte with its FIN bit.
const UNFINISHED_BINARY: u8 = 0x02;
const FINISHED_CONTINUATION: u8 = 0x80;

/// A broker of two shards, with a WebSocket listener beside the plain one.
pub fn world() -> World {
    let door = |transport| Doorway { versions: Version::ALL.to_vec(), transport };
    let doorways = vec![door(Transport::Tcp), door(Transport::WebSocket)];
    World::with(Settings { shards: 2, doorways, ..Settings::default() })
}

/// A client's frame: masked, with the shortest length.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0xA2, 0x33, 0xF4];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The server's frames in `bytes`, which must be whole: first byte and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second {
            126 => (u16::from_be_bytes([rest[0], rest[1]]) as usize, &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().expect("eight")) as usize, &rest[8..]),
            length => (usize::from(*length), rest),
        };
        assert!(*second < 128, "a server does not mask");
        found.push((*first, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    found
}

pub fn encoded(packet: Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

fn connect(client_id: &str) -> Vec<u8> {
    encoded(Packet::Connect(Connect::new(V5, client_id, true)), V5)
}

fn publish(message: Publish<'_>) -> Vec<u8> {
    encoded(Packet::Publish(message), V5)
}

/// A client whose request was answered with an upgrade; and the answer.
pub fn upgraded(w: &mut World, shard: usize) -> (Client, String) {
    let client = w.arrive(shard, 1, V5);
    w.send_bytes(client, REQUEST.as_bytes());
    w.run();
    let answer = std::mem::take(&mut w.wires[client.0].from_broker);
    (client, String::from_utf8(answer).expect("an HTTP answer is text"))
}

/// What came in frames: packets in words, control frames by their payload, and the end.
pub fn heard(w: &mut World, client: Client) -> Vec<String> {
    w.run();
    let version = w.wires[client.0].version;
    let bytes = std::mem::take(&mut w.wires[client.0].from_broker);
    let mut lines = Vec::new();
    for (first, payload) in frames(&bytes) {
        match first {
            BINARY => lines.extend(spoken(&payload, version)),
            PONG => lines.push(format!("pong {}", String::from_utf8_lossy(&payload))),
            CLOSE => lines.push(format!("close {}", u16::from_be_bytes([payload[0], payload[1]]))),
            other => panic!("a frame of {other:#x}"),
        }
    }
    if w.wires[client.0].closed {
        lines.push("closed".into());
    }
    lines
}

/// A client that is connected through a WebSocket to `shard`.
pub fn joined(w: &mut World, shard: usize, client_id: &str) -> Client {
    let (client, _) = upgraded(w, shard);
    w.send_bytes(client, &frame(BINARY, &connect(client_id)));
    assert_eq!(heard(w, client), ["CONNACK 00"]);
    client
}

#[test]
fn a_request_is_upgraded_and_mqtt_goes_both_ways() {
    let mut w = world();
    let (web, answer) = upgraded(&mut w, 0);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    w.send_bytes(web, &frame(BINARY, &connect("web")));
    assert_eq!(heard(&mut w, web), ["CONNACK 00"]);
    let plain = w.join(1, V5, "plain");
    w.subscribe(plain, "a/#", Q1);
    w.send_bytes(web, &frame(BINARY, &publish(message_1(7, "a/b", "from the web"))));
    assert_eq!(heard(&mut w, web), ["PUBACK #7"]);
    assert_eq!(w.read(plain), [r#"a/b "from the web" q1 #1"#]);
}

#[test]
fn packets_lie_in_frames_as_they_like() {
    let packets =
        [connect("web"), publish(message_1(1, "a", "one")), publish(message_1(2, "a", "two"))].concat();
    for read_bytes in [1, 2, 3, 5, 7, 64 * 1024] {
        for cut in 0..=packets.len() {
            let mut w = world();
            w.read_bytes_max = read_bytes;
            let (web, _) = upgraded(&mut w, 1);
            w.send_bytes(web, &frame(UNFINISHED_BINARY, &packets[..cut]));
            w.send_bytes(web, &frame(PING, b"between"));
            w.send_bytes(web, &frame(CONTINUATION, b""));
            w.send_bytes(web, &frame(FINISHED_CONTINUATION, &packets[cut..]));
            let heard = heard(&mut w, web);
            let packets: Vec<_> = heard.iter().filter(|line| !line.starts_with("pong")).collect();
            assert_eq!(
                packets,
                ["CONNACK 00", "PUBACK #1 10", "PUBACK #2 10"],
                "cut at {cut}, reads of {read_bytes}"
            );
            assert!(heard.contains(&"pong between".to_owned()), "{heard:?}");
        }
    }
}

#[test]
fn lengths_of_every_form_arrive_whole_both_ways() {
    for bytes in [100, 125, 126, 127, 60_000, 65_535, 65_536, 200_000] {
        let mut w = world();
        let web = joined(&mut w, 0, "web");
        let text = "x".repeat(bytes);
        let subscribe = {
            let plain = w.join(1, V5, "plain");
            w.subscribe(plain, "up", Q0);
            plain
        };
        w.send_bytes(web, &frame(BINARY, &publish(message("up", &text))));
        w.run();
        let arrived = publish(message("up", &text));
        assert_eq!(w.wires[subscribe.0].from_broker, arrived);
        w.read(subscribe);
        use shardmq_shards::wire::{
            Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, UserProperties,
        };
        let entries = [SubscribeFilter { filter: "down", options: SubscriptionOptions::with_qos(Q0) }];
        let filters = SubscribeFilters::from_slice(&entries);
        let user = UserProperties::NONE;
        let packet = Packet::Subscribe(Subscribe { packet_id: id(1), subscription_id: None, user, filters });
        w.send_bytes(web, &frame(BINARY, &encoded(packet, V5)));
        assert_eq!(heard(&mut w, web), ["SUBACK #1 [00]"]);
        w.publish(subscribe, message("down", &text));
        w.run();
        let arrived = std::mem::take(&mut w.wires[web.0].from_broker);
        assert_eq!(frames(&arrived), [(BINARY, publish(message("down", &text)))]);
    }
}

#[test]
fn a_session_on_another_shard_gets_the_socket_with_its_web_socket() {
    let mut w = world();
    let at_home = w.connect(1, durable(V5, "ann"));
    w.vanish(at_home);
    let (web, _) = upgraded(&mut w, 0);
    let again =
        [frame(PING, b"p"), frame(BINARY, &encoded(Packet::Connect(durable(V5, "ann")), V5))].concat();
    w.send_bytes(web, &again);
    w.send_bytes(web, &frame(BINARY, &publish(message_1(1, "a", "b"))));
    assert_eq!(heard(&mut w, web), ["pong p", "CONNACK 00 present", "PUBACK #1 10"]);
    assert_eq!(w.shard(1).sizes().sessions, 1, "the session has not moved");
}

#[test]
fn of_many_pings_the_newest_is_answered_and_pings_are_no_sign_of_mqtt_life() {
    let mut w = world();
    let (web, _) = upgraded(&mut w, 0);
    w.send_bytes(
        web,
        &frame(
            BINARY,
            &encoded(Packet::Connect(Connect { keep_alive: 10, ..Connect::new(V5, "web", true) }), V5),
        ),
    );
    assert_eq!(heard(&mut w, web), ["CONNACK 00"]);
    let pings: Vec<u8> =
        (0..10_000).flat_map(|_| frame(PING, b"again")).chain(frame(PING, b"last")).collect();
    w.send_bytes(web, &pings);
    let pongs = heard(&mut w, web);
    assert!(pongs.len() < 100 && pongs.last().is_some_and(|line| line == "pong last"), "{}", pongs.len());
    for _ in 0..4 {
        w.pass_secs(4);
        w.send_bytes(web, &frame(PING, b""));
        w.run();
    }
    let end = heard(&mut w, web);
    assert_eq!(end[end.len() - 3..], ["DISCONNECT 8d", "close 1000", "closed"], "MQTT-3.1.2-22");
}

#[test]
fn what_breaks_the_framing_closes_with_its_status() {
    let unmasked = [BINARY, 1, 0];
    let huge = [BINARY, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4];
    let cases: [(&[u8], &str); 11] = [
        (&frame(TEXT, b"hello"), "close 1003"),
        (&unmasked, "close 1002"),
        (&frame(0xC2, b"reserved bit"), "close 1002"),
        (&frame(0x83, b"reserved opcode"), "close 1002"),
        (&frame(0x8B, b"reserved control"), "close 1002"),
        (&frame(0x09, b"ping in fragments"), "close 1002"),
        (&frame(PING, &[0; 126]), "close 1002"),
        (&frame(FINISHED_CONTINUATION, b"of nothing"), "close 1002"),
        (&[frame(UNFINISHED_BINARY, b""), frame(BINARY, b"")].concat(), "close 1002"),
        (&huge, "close 1002"),
        (&frame(CLOSE, &1001u16.to_be_bytes()), "close 1001"),
    ];
    for (bytes, status) in cases {
        let mut w = world();
        let other = w.join(0, V5, "other");
        let web = joined(&mut w, 0, "web");
        w.send_bytes(web, bytes);
        assert_eq!(heard(&mut w, web), [status, "closed"], "{bytes:?}");
        w.ping(other);
    }
}

#[test]
fn an_mqtt_breach_is_told_in_mqtt_before_the_close() {
    let mut w = world();
    let web = joined(&mut w, 0, "web");
    w.send_bytes(web, &frame(BINARY, &connect("again")));
    assert_eq!(heard(&mut w, web), ["DISCONNECT 82", "close 1000", "closed"]);
    let web = joined(&mut w, 0, "web");
    w.send_bytes(
        web,
        &frame(
            BINARY,
            &encoded(Packet::Disconnect(shardmq_shards::wire::Disconnect::new(ReasonCode::Success)), V5),
        ),
    );
    assert_eq!(heard(&mut w, web), ["close 1000", "closed"]);
}

#[test]
fn requests_that_are_none_are_answered_in_http_and_closed() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 426 "),
        (&REQUEST.replace("Protocol: mqtt", "Protocol: soap"), "HTTP/1.1 400 "),
        (&String::from_utf8_lossy(&connect("plain")), "HTTP/1.1 400 "),
        (&[REQUEST, "more"].concat(), "HTTP/1.1 400 "),
        (&"x".repeat(10_000), "HTTP/1.1 4"),
    ] {
        for read_bytes in [1, 64 * 1024] {
            let mut w = world();
            w.read_bytes_max = read_bytes;
            let client = w.arrive(0, 1, V5);
            w.send_bytes(client, request.as_bytes());
            w.run();
            let wire = &w.wires[client.0];
            // Cut into single bytes the head ends before what must not follow it, and is upgraded; no MQTT packet begins with `m`.
            if read_bytes == 1 && request.ends_with("more") {
                continue;
            }
            assert!(wire.closed, "{request:?}");
            let answer = String::from_utf8_lossy(&wire.from_broker);
            assert!(answer.starts_with(status), "{request:?}: {answer}");
        }
    }
}

#[test]
fn the_subprotocol_of_3_1_carries_3_1_only() {
    for (version, answer) in [(V31, "CONNACK 00"), (V311, "CONNACK 84"), (V5, "CONNACK 84")] {
        let mut w = world();
        let web = w.arrive(0, 1, version);
        w.send_bytes(web, REQUEST.replace("Protocol: mqtt", "Protocol: mqttv3.1").as_bytes());
        w.run();
        let upgraded = std::mem::take(&mut w.wires[web.0].from_broker);
        assert!(String::from_utf8_lossy(&upgraded).to_ascii_lowercase().contains("protocol: mqttv3.1\r\n"));
        w.send_bytes(
            web,
            &frame(BINARY, &encoded(Packet::Connect(Connect::new(version, "web", true)), version)),
        );
        assert_eq!(heard(&mut w, web)[0], answer);
    }
}

#[test]
fn half_a_request_is_closed_by_the_connect_deadline() {
    let mut w = world();
    let client = w.arrive(0, 1, V5);
    w.send_bytes(client, &REQUEST.as_bytes()[..40]);
    w.pass_secs(11);
    assert!(w.wires[client.0].closed && w.wires[client.0].from_broker.is_empty());
    let (upgraded, _) = upgraded(&mut w, 0);
    w.pass_secs(11);
    assert!(w.wires[upgraded.0].closed, "the deadline is of the CONNECT, not of the request");
}

#[test]
fn a_will_is_published_when_a_web_socket_closes_without_disconnect() {
    let mut w = world();
    let watcher = w.join(1, V5, "watcher");
    w.subscribe(watcher, "w", Q0);
    let (web, _) = upgraded(&mut w, 0);
    let will = shardmq_shards::wire::Will {
        qos: Q0,
        retain: false,
        topic: "w",
        payload: b"gone",
        properties: Default::default(),
    };
    let connect = Connect { will: Some(will), ..Connect::new(V5, "web", true) };
    w.send_bytes(web, &frame(BINARY, &encoded(Packet::Connect(connect), V5)));
    assert_eq!(heard(&mut w, web), ["CONNACK 00"]);
    w.send_bytes(web, &frame(CLOSE, b""));
    assert_eq!(heard(&mut w, web), ["close 1000", "closed"]);
    assert_eq!(w.read(watcher), [r#"w "gone""#]);
    let web = joined(&mut w, 0, "web");
    w.end(web, End::Failed);
    w.run();
}

#[test]
fn a_web_socket_that_ends_while_its_claim_is_asked_for_ends_at_home() {
    for (name, end) in [
        ("close", frame(CLOSE, &1000_u16.to_be_bytes())),
        ("breach", frame(TEXT, b"x")),
        ("none", Vec::new()),
    ] {
        for home in [0, 1] {
            let mut w = world();
            let at_home = w.connect(home, durable(V5, "ann"));
            w.vanish(at_home);
            let (web, _) = upgraded(&mut w, 0);
            let connect = frame(BINARY, &encoded(Packet::Connect(durable(V5, "ann")), V5));
            w.send_bytes(web, &[connect, end.clone()].concat());
            w.run();
            assert_eq!(w.wires[web.0].closed, !end.is_empty(), "{name}, home {home}");
            let plain = w.connect_and_read(1, durable(V5, "ann")).1;
            assert_eq!(plain, ["CONNACK 00 present"], "{name}, home {home}");
        }
    }
}

#[test]
fn a_client_authenticates_through_a_web_socket() {
    let door = |transport| Doorway { versions: Version::ALL.to_vec(), transport };
    let doorways = vec![door(Transport::Tcp), door(Transport::WebSocket)];
    let authentication = toys(true);
    let mut w = World::with(Settings { shards: 2, doorways, authentication, ..Settings::default() });
    let at_home = w.prove(1, as_user("ann"));
    w.read(at_home);
    let (web, _) = upgraded(&mut w, 0);
    w.send_bytes(web, &frame(BINARY, &encoded(Packet::Connect(as_user("ann")), V5)));
    assert_eq!(heard(&mut w, web), [r#"AUTH 18 toy "riddle""#]);
    w.send_bytes(web, &frame(PING, b"p"));
    assert_eq!(heard(&mut w, web), ["pong p"]);
    let proof = frame(BINARY, &encoded(auth(CONTINUE, "toy", "ann knows"), V5));
    w.send_bytes(web, &[proof.clone(), frame(PING, b"q")].concat());
    assert_eq!(heard(&mut w, web), ["pong q", r#"CONNACK 00 present method=toy "welcome""#]);
    // All at once, with an answer to what was not asked yet.
    let (eager, _) = upgraded(&mut w, 0);
    let connect = frame(BINARY, &encoded(Packet::Connect(as_user("ann")), V5));
    w.send_bytes(eager, &[connect, proof, frame(PING, b"r")].concat());
    let welcome = r#"CONNACK 00 present method=toy "welcome""#;
    assert_eq!(heard(&mut w, eager), ["pong r", r#"AUTH 18 toy "riddle""#, welcome]);
}
