//! A small blocking client on the engine's own codec.

use crate::broker::PATIENCE;
use shardmq_shards::wire::{
    Ack, Connack, Connect, Disconnect, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Split,
    Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters,
    UserProperties, Version, split,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A message as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
}

/// What ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// A DISCONNECT with this reason, then the end.
    Told(ReasonCode),
    /// The end without a word.
    Silently,
}

/// A packet from the broker, as far as the tests look at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrived {
    Connack { session_present: bool, reason: ReasonCode, authentication_data: Vec<u8> },
    Auth(ReasonCode, Vec<u8>),
    Publish(Received, Option<PacketId>),
    Puback(PacketId),
    Pubrec(PacketId),
    Pubrel(PacketId),
    Pubcomp(PacketId),
    Codes(PacketId, Vec<u8>),
    Pingresp,
    Disconnect(ReasonCode),
}

impl From<Packet<'_>> for Arrived {
    fn from(packet: Packet<'_>) -> Arrived {
        match packet {
            Packet::Connack(Connack { session_present, reason, properties }) => {
                let authentication_data = properties.authentication_data.unwrap_or_default().to_owned();
                Arrived::Connack { session_present, reason, authentication_data }
            }
            Packet::Auth(auth) => {
                Arrived::Auth(auth.reason, auth.properties.authentication_data.unwrap_or_default().to_owned())
            }
            Packet::Publish(publish) => Arrived::Publish(
                Received {
                    topic: publish.topic.to_owned(),
                    payload: publish.payload.to_owned(),
                    qos: publish.qos,
                    retain: publish.retain,
                    dup: publish.dup,
                },
                publish.packet_id,
            ),
            Packet::Puback(ack) => Arrived::Puback(ack.packet_id),
            Packet::Pubrec(ack) => Arrived::Pubrec(ack.packet_id),
            Packet::Pubrel(ack) => Arrived::Pubrel(ack.packet_id),
            Packet::Pubcomp(ack) => Arrived::Pubcomp(ack.packet_id),
            Packet::Suback(suback) => Arrived::Codes(suback.packet_id, suback.codes.to_owned()),
            Packet::Unsuback(unsuback) => Arrived::Codes(unsuback.packet_id, unsuback.codes.to_owned()),
            Packet::Pingresp => Arrived::Pingresp,
            Packet::Disconnect(disconnect) => Arrived::Disconnect(disconnect.reason),
            other => panic!("a broker does not send {:?}", other.packet_type()),
        }
    }
}

/// One connection and the packets on their way.
pub struct Client {
    stream: TcpStream,
    pub version: Version,
    input: Vec<u8>,
    next_id: u16,
    /// Messages that arrived while something else was waited for.
    early: Vec<Received>,
    /// PUBLISH packets sent and received, for comparison with the broker's own counts.
    pub published: u64,
    pub received: u64,
    /// Bytes sent and received.
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

impl Client {
    /// A TCP connection without a word said.
    pub fn open(address: SocketAddr, version: Version) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the broker listens");
        stream.set_nodelay(true).expect("a fresh socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a fresh socket");
        Client {
            stream,
            version,
            input: Vec::new(),
            next_id: 0,
            early: Vec::new(),
            published: 0,
            received: 0,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// Connects with a clean session.
    pub fn connect(address: SocketAddr, version: Version, client_id: &str) -> Client {
        let (client, present) = Client::connect_with(address, &Connect::new(version, client_id, true));
        assert!(!present, "a clean session has no past");
        client
    }

    /// Connects as `connect` says; whether a session was present comes back too.
    pub fn connect_with(address: SocketAddr, connect: &Connect<'_>) -> (Client, bool) {
        let mut client = Client::open(address, connect.version);
        let (present, reason) = client.introduce(connect);
        assert_eq!(reason, ReasonCode::Success);
        (client, present)
    }

    /// Sends CONNECT on an open connection and reads the CONNACK.
    pub fn introduce(&mut self, connect: &Connect<'_>) -> (bool, ReasonCode) {
        self.send(&Packet::Connect(*connect));
        self.next("CONNACK", |arrived| match arrived {
            Arrived::Connack { session_present, reason, .. } => Some((*session_present, *reason)),
            _ => None,
        })
    }

    pub fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.send_bytes(&bytes);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
        self.bytes_sent += bytes.len() as u64;
    }

    /// Bytes that the broker may cut off by closing.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn packet_id(&mut self) -> PacketId {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.next_id).expect("never 0")
    }

    /// Reads more bytes until `deadline`; false at the end of the connection or when the time is over.
    fn read_more(&mut self, deadline: Instant) -> Result<bool, ErrorKind> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut);
        }
        self.stream.set_read_timeout(Some(left)).expect("more than no time");
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(bytes) => {
                self.input.extend_from_slice(&chunk[..bytes]);
                self.bytes_received += bytes as u64;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut),
            Err(error) => Err(error.kind()),
        }
    }

    /// The next packet; `None` at the end of the connection or when nothing comes before `deadline`.
    fn packet(&mut self, deadline: Instant) -> Option<Arrived> {
        loop {
            if let Split::Whole(frame) = split(&self.input, usize::MAX).expect("the broker frames well") {
                let packet = Packet::decode(frame, self.version).expect("the broker encodes well");
                let (arrived, bytes) = (Arrived::from(packet), frame.wire_bytes());
                self.input.drain(..bytes);
                return Some(arrived);
            }
            if !self.read_more(deadline).unwrap_or(false) {
                return None;
            }
        }
    }

    /// Reads until `find` knows a packet; messages on the way are acknowledged and kept for [`Client::receive`].
    pub fn next<T>(&mut self, what: &str, find: impl Fn(&Arrived) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let arrived = self.packet(deadline).unwrap_or_else(|| panic!("waited in vain for {what}"));
            if let Some(found) = find(&arrived) {
                return found;
            }
            if let Some(message) = self.take(arrived) {
                self.early.push(message);
            }
        }
    }

    /// Answers what must be answered; a message that is complete comes back.
    fn take(&mut self, arrived: Arrived) -> Option<Received> {
        match arrived {
            Arrived::Publish(message, None) => {
                self.received += 1;
                Some(message)
            }
            Arrived::Publish(message, Some(id)) => {
                self.received += 1;
                match message.qos {
                    QoS::ExactlyOnce => self.send(&Packet::Pubrec(Ack::new(id))),
                    _ => self.send(&Packet::Puback(Ack::new(id))),
                }
                Some(message)
            }
            Arrived::Pubrel(id) => {
                self.send(&Packet::Pubcomp(Ack::new(id)));
                None
            }
            other => panic!("unexpected: {other:?}"),
        }
    }

    /// The next message, acknowledged as its QoS asks.
    pub fn receive(&mut self) -> Received {
        self.receive_within(PATIENCE).expect("a message was to come")
    }

    /// The next message, if one comes in time.
    pub fn receive_within(&mut self, patience: Duration) -> Option<Received> {
        if !self.early.is_empty() {
            return Some(self.early.remove(0));
        }
        let deadline = Instant::now() + patience;
        loop {
            let arrived = self.packet(deadline)?;
            if let Some(message) = self.take(arrived) {
                return Some(message);
            }
        }
    }

    /// Receives one message without acknowledging it.
    pub fn receive_unacknowledged(&mut self) -> Received {
        self.next("a message", |arrived| match arrived {
            Arrived::Publish(message, _) => Some(message.clone()),
            _ => None,
        })
    }

    /// Publishes and waits for the acknowledgement that the QoS promises.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS) {
        self.publish_retained(topic, payload, qos, false);
    }

    /// As [`Client::publish`], with the retain flag.
    pub fn publish_retained(&mut self, topic: &str, payload: &[u8], qos: QoS, retain: bool) {
        let packet_id = (qos > QoS::AtMostOnce).then(|| self.packet_id());
        let properties = PublishProperties::default();
        let dup = false;
        self.send(&Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload }));
        self.published += 1;
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                self.next("PUBACK", |arrived| (*arrived == Arrived::Puback(id)).then_some(()))
            }
            (QoS::ExactlyOnce, Some(id)) => {
                self.next("PUBREC", |arrived| (*arrived == Arrived::Pubrec(id)).then_some(()));
                self.send(&Packet::Pubrel(Ack::new(id)));
                self.next("PUBCOMP", |arrived| (*arrived == Arrived::Pubcomp(id)).then_some(()));
            }
            _ => {}
        }
    }

    /// Publishes with QoS 1 and waits for nothing.
    pub fn send_publish(&mut self, topic: &str, payload: &[u8], packet_id: u16) {
        let packet_id = PacketId::new(packet_id);
        let (dup, retain, qos) = (false, false, QoS::AtLeastOnce);
        let properties = PublishProperties::default();
        self.send(&Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload }));
    }

    /// Publishes with QoS 1; the reason in its PUBACK.
    pub fn publish_for(&mut self, topic: &str, payload: &[u8]) -> ReasonCode {
        let packet_id = self.packet_id();
        self.send_publish(topic, payload, packet_id.get());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Split::Whole(frame) = split(&self.input, usize::MAX).expect("the broker frames well") {
                let packet = Packet::decode(frame, self.version).expect("the broker encodes well");
                let reason = match packet {
                    Packet::Puback(ack) => (ack.packet_id == packet_id).then_some(ack.reason),
                    _ => None,
                };
                let bytes = frame.wire_bytes();
                self.input.drain(..bytes);
                if let Some(reason) = reason {
                    return reason;
                }
            } else {
                assert!(self.read_more(deadline).unwrap_or(false), "waited in vain for a PUBACK");
            }
        }
    }

    /// The packet id of the next PUBACK; `None` when the connection ends before one comes.
    pub fn puback_or_end(&mut self) -> Option<u16> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(arrived) = self.packet(deadline) {
            if let Arrived::Puback(id) = arrived {
                return Some(id.get());
            }
        }
        assert!(Instant::now() < deadline, "neither a PUBACK nor the end");
        None
    }

    /// Subscribes and waits for the SUBACK, which must grant the QoS.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        let packet_id = self.packet_id();
        let entries = [SubscribeFilter { filter, options: SubscriptionOptions::with_qos(qos) }];
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            subscription_id: None,
            user: UserProperties::default(),
            filters: SubscribeFilters::from_slice(&entries),
        }));
        let codes = self.acknowledged(packet_id);
        assert_eq!(codes, [qos as u8], "{filter} is granted as asked");
    }

    /// Subscribes with QoS 1; the SUBACK's code.
    pub fn subscribe_for(&mut self, filter: &str) -> u8 {
        let packet_id = self.packet_id();
        let options = SubscriptionOptions::with_qos(QoS::AtLeastOnce);
        let entries = [SubscribeFilter { filter, options }];
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            subscription_id: None,
            user: UserProperties::default(),
            filters: SubscribeFilters::from_slice(&entries),
        }));
        self.acknowledged(packet_id)[0]
    }

    /// Unsubscribes and waits for the UNSUBACK.
    pub fn unsubscribe(&mut self, filter: &str) {
        let packet_id = self.packet_id();
        let filters = [filter];
        self.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            user: UserProperties::default(),
            filters: UnsubscribeFilters::from_slice(&filters),
        }));
        self.acknowledged(packet_id);
    }

    fn acknowledged(&mut self, packet_id: PacketId) -> Vec<u8> {
        self.next("SUBACK or UNSUBACK", |arrived| match arrived {
            Arrived::Codes(id, codes) if *id == packet_id => Some(codes.clone()),
            _ => None,
        })
    }

    /// A round trip: everything sent before has been handled.
    pub fn ping(&mut self) {
        self.send(&Packet::Pingreq);
        self.next("PINGRESP", |arrived| (*arrived == Arrived::Pingresp).then_some(()));
    }

    /// Says DISCONNECT and waits until the broker has closed.
    pub fn disconnect(mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        assert_eq!(self.end(), Ended::Silently);
    }

    /// All bytes until the end of the connection, which must come.
    pub fn raw_answer(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.read_more(deadline).unwrap_or(false) {}
        assert!(Instant::now() < deadline, "the broker closes the connection");
        std::mem::take(&mut self.input)
    }

    /// Waits for the end of the connection, which must come; messages on the way are dropped.
    pub fn end(&mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let mut told = None;
        while let Some(arrived) = self.packet(deadline) {
            if let Arrived::Disconnect(reason) = arrived {
                told = Some(reason);
            }
        }
        assert!(Instant::now() < deadline, "the broker closes the connection");
        told.map_or(Ended::Silently, Ended::Told)
    }
}
