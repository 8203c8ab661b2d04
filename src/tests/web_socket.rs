//! MQTT in WebSocket, with a WebSocket library that is not ours on the client's side.

use crate::broker::{Driver, PATIENCE, Setup};
use shardmq_shards::wire::{
    Connect, Packet, PacketId, Publish, QoS, Split, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscriptionOptions, UserProperties, Version, split,
};
use std::net::{SocketAddr, TcpStream};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

crate::on_both_drivers![large_and_small_messages_pass_in_order, a_plain_client_is_told_in_http];

const LISTENERS: [&str; 2] =
    ["(address: \"127.0.0.1:0\")", "(address: \"127.0.0.1:0\", transport: websocket)"];
const MESSAGES: usize = 200;

/// A client behind a WebSocket: what it has read and not looked at.
struct Web {
    socket: WebSocket<TcpStream>,
    unread: Vec<u8>,
}

impl Web {
    fn open(address: SocketAddr) -> Web {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        let mut request = format!("ws://{address}/mqtt").into_client_request().expect("a request");
        let subprotocol = "mqtt".parse().expect("a header");
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
        let (socket, response) = tungstenite::client(request, stream).expect("it is upgraded");
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
        Web { socket, unread: Vec::new() }
    }

    fn send(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes);
        self.socket.send(Message::binary(bytes)).expect("the broker reads");
    }

    /// Looks at the next packet.
    fn next<T>(&mut self, look: impl FnOnce(Packet<'_>) -> T) -> T {
        loop {
            if let Split::Whole(frame) = split(&self.unread, usize::MAX).expect("packets") {
                let bytes = frame.wire_bytes();
                let seen = look(Packet::decode(frame, Version::V5).expect("a packet"));
                self.unread.drain(..bytes);
                return seen;
            }
            match self.socket.read().expect("messages keep coming") {
                Message::Binary(bytes) => self.unread.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn large_and_small_messages_pass_in_order(driver: Driver) {
    let broker = Setup::new(driver).shards(2).listeners(&LISTENERS).start();
    let mut web = Web::open(broker.addresses()[1]);
    web.send(Packet::Connect(Connect::new(Version::V5, "web", true)));
    web.next(|packet| assert!(matches!(packet, Packet::Connack(_))));
    let entries =
        [SubscribeFilter { filter: "w/#", options: SubscriptionOptions::with_qos(QoS::AtMostOnce) }];
    let subscribe = Subscribe {
        packet_id: PacketId::new(1).expect("not zero"),
        subscription_id: None,
        user: UserProperties::NONE,
        filters: SubscribeFilters::from_slice(&entries),
    };
    web.send(Packet::Subscribe(subscribe));
    web.next(|packet| assert!(matches!(packet, Packet::Suback(_))));
    let payload = |n: usize| vec![n as u8; [0, 10, 125, 126, 4_000, 70_000, 300_000][n % 7]];
    for n in 0..MESSAGES {
        let payload = payload(n);
        web.send(Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "w/t",
            packet_id: None,
            properties: Default::default(),
            payload: &payload,
        }));
        web.next(|packet| match packet {
            Packet::Publish(publish) => assert_eq!(publish.payload, payload, "message {n}"),
            other => panic!("{other:?}"),
        });
    }
    web.socket.close(None).expect("the close is sent");
    while web.socket.read().is_ok() {}
}

fn a_plain_client_is_told_in_http(driver: Driver) {
    use std::io::Read;
    let broker = Setup::new(driver).listeners(&LISTENERS).start();
    let mut stream = TcpStream::connect(broker.addresses()[1]).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let mut connect = Vec::new();
    Packet::Connect(Connect::new(Version::V5, "plain", true)).encode(Version::V5, &mut connect);
    std::io::Write::write_all(&mut stream, &connect).expect("the broker reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, then the end");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    broker.wait_for_log("the reason", |line| line.contains("upgrades to WebSocket").then_some(()));
}
