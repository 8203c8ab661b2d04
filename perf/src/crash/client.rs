//! A correct MQTT client whose session outlives the broker: it keeps packet ids, unacknowledged messages and received QoS 2 ids over
//! connections, sends again with DUP what was not acknowledged, and acknowledges at once.

use super::limits::{EXPIRY_SECS, KEEP_ALIVE_SECS};
use super::link::Link;
use shardmq_shards::wire::{
    Ack, Connack, Connect, Disconnect, Packet, PacketId, PacketType, Publish, PublishProperties, QoS,
    ReasonCode, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, Unsubscribe,
    UnsubscribeFilters, UserProperties, Version, Will,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// What happened to a client.
#[derive(Debug)]
pub enum Event {
    /// CONNACK.
    Connected {
        /// Whether the session was there.
        present: bool,
        /// Whether it had to be: `None` when either is right.
        promised: Option<bool>,
    },
    /// PUBACK or PUBREC: the broker has taken the message with this token.
    Acknowledged(u64),
    /// SUBACK.
    Subscribed(PacketId, Vec<u8>),
    /// UNSUBACK.
    Unsubscribed(PacketId),
    /// A message, each QoS 2 one once as the protocol has it.
    Arrived(Arrival),
    /// The connection has ended.
    Closed,
    /// CONNECT was refused with this reason.
    Refused(ReasonCode),
    /// The broker broke the protocol.
    Breach(String),
}

/// A message that arrived.
#[derive(Debug)]
pub struct Arrival {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its QoS.
    pub qos: QoS,
    /// Whether it comes from the retained messages.
    pub retain: bool,
    /// Subscription identifiers.
    pub subscriptions: Vec<u32>,
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What its publisher knows it by.
    pub token: u64,
    /// Its topic.
    pub topic: String,
    /// 1 or 2.
    pub qos: QoS,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A message in flight. QoS 2: published until PUBREC, then released until PUBCOMP.
struct InFlight {
    id: PacketId,
    is_released: bool,
    message: Outgoing,
}

/// A will to connect with.
pub struct Testament {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Seconds until it is sent; v5 only.
    pub delay_secs: u32,
}

/// One client.
pub struct Client {
    /// Its client id.
    pub name: String,
    /// The protocol version that it speaks.
    pub version: Version,
    /// Seconds that its session outlives the connection; 0: it does not. A v3 session lives on or not.
    pub expiry_secs: u32,
    link: Option<Link>,
    is_up: bool,
    promised: Option<bool>,
    has_asked_clean: bool,
    next_id: PacketId,
    in_flight: VecDeque<InFlight>,
    received: BTreeMap<PacketId, Vec<u8>>,
    requests: BTreeSet<PacketId>,
}

impl Client {
    /// A client without session.
    pub fn new(name: String, version: Version, expiry_secs: u32) -> Client {
        Client {
            name,
            version,
            expiry_secs,
            link: None,
            is_up: false,
            promised: Some(false),
            has_asked_clean: false,
            next_id: PacketId::MIN,
            in_flight: VecDeque::new(),
            received: BTreeMap::new(),
            requests: BTreeSet::new(),
        }
    }

    /// A client whose session outlives every run.
    pub fn durable(name: String, version: Version) -> Client {
        Client::new(name, version, EXPIRY_SECS)
    }

    /// A client whose session ends with its connection.
    pub fn fleeting(name: String, version: Version) -> Client {
        Client::new(name, version, 0)
    }

    /// Whether there is a connection, accepted or not.
    pub fn has_link(&self) -> bool {
        self.link.is_some()
    }

    /// Whether CONNACK has come over the present connection.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Messages that are not acknowledged to the end.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether a SUBSCRIBE or UNSUBSCRIBE waits for its answer.
    pub fn has_request(&self) -> bool {
        !self.requests.is_empty()
    }

    /// To be polled for reading.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(Link::descriptor)
    }

    /// Sends what the kernel did not take.
    pub fn flush(&mut self) {
        if let Some(link) = &mut self.link {
            link.flush();
        }
    }

    /// Connects; false when nobody listens.
    pub fn connect(&mut self, target: SocketAddr, will: Option<&Testament>, clean: bool) -> bool {
        let Ok(mut link) = Link::open(target) else { return false };
        let is_durable = self.expiry_secs > 0;
        let clean_start = clean || !is_durable;
        let mut connect =
            Connect { keep_alive: KEEP_ALIVE_SECS, ..Connect::new(self.version, &self.name, clean_start) };
        if self.version.is_v5() && is_durable {
            connect.properties.session_expiry = Some(self.expiry_secs);
        }
        connect.will = will.map(|will| {
            let mut packet = Will {
                qos: QoS::ExactlyOnce,
                retain: false,
                topic: &will.topic,
                payload: &will.payload,
                properties: Default::default(),
            };
            packet.properties.delay =
                (self.version.is_v5() && will.delay_secs > 0).then_some(will.delay_secs);
            packet
        });
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        link.send(&bytes);
        self.link = Some(link);
        self.has_asked_clean = clean_start;
        // The client's half of the session ends here (section 3.1.2.4): the broker may have begun a new one even if its CONNACK never comes.
        if clean_start {
            self.in_flight.clear();
            self.received.clear();
        }
        // What was never there may be there once this CONNECT has been sent, whether or not its answer comes.
        if is_durable && self.promised == Some(false) && !clean_start {
            self.promised = None;
        }
        true
    }

    /// Publishes at QoS 1 or 2.
    pub fn publish(&mut self, message: Outgoing) {
        let id = self.take_id();
        let bytes = encode_publish(&message, id, false, self.version);
        self.in_flight.push_back(InFlight { id, is_released: false, message });
        self.send(&bytes);
    }

    /// Subscribes; v5 clients with a subscription identifier if there is one.
    pub fn subscribe(&mut self, filter: &str, qos: QoS, subscription_id: Option<u32>) -> PacketId {
        let packet_id = self.take_id();
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let entries = [SubscribeFilter { filter, options }];
        let packet = Subscribe {
            packet_id,
            subscription_id: subscription_id.filter(|_| self.version.is_v5()),
            user: UserProperties::default(),
            filters: SubscribeFilters::from_slice(&entries),
        };
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.requests.insert(packet_id);
        self.send(&bytes);
        packet_id
    }

    /// Unsubscribes.
    pub fn unsubscribe(&mut self, filter: &str) -> PacketId {
        let packet_id = self.take_id();
        let filters = [filter];
        let packet = Unsubscribe {
            packet_id,
            user: UserProperties::default(),
            filters: UnsubscribeFilters::from_slice(&filters),
        };
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.requests.insert(packet_id);
        self.send(&bytes);
        packet_id
    }

    /// Says goodbye; the broker closes.
    pub fn disconnect(&mut self) {
        let mut bytes = Vec::new();
        Disconnect::new(ReasonCode::Success).encode(self.version, &mut bytes);
        self.send(&bytes);
    }

    /// Drops the connection without a word; what has arrived and is not read is gone, as it is for a client that dies.
    pub fn abandon(&mut self) {
        self.link = None;
        self.close();
    }

    /// Reads what has arrived.
    pub fn take_events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(mut link) = self.link.take() else { return events };
        link.fill();
        let outcome =
            link.take_packets(self.version, |packet, answers| self.handle(packet, answers, &mut events));
        if let Err(text) = outcome {
            events.push(Event::Breach(text));
            self.close();
            events.push(Event::Closed);
        } else if link.has_ended() {
            self.close();
            events.push(Event::Closed);
        } else {
            self.link = Some(link);
        }
        events
    }

    fn close(&mut self) {
        self.is_up = false;
        self.requests.clear();
        if self.expiry_secs == 0 {
            self.in_flight.clear();
            self.received.clear();
            self.promised = Some(false);
        }
    }

    fn handle(&mut self, packet: Packet<'_>, answers: &mut Vec<u8>, events: &mut Vec<Event>) {
        match packet {
            Packet::Connack(connack) => self.handle_connack(&connack, answers, events),
            Packet::Publish(publish) => self.handle_publish(&publish, answers, events),
            Packet::Puback(ack) => self.handle_puback(&ack, events),
            Packet::Pubrec(ack) => self.handle_pubrec(&ack, answers, events),
            Packet::Pubcomp(ack) => {
                self.in_flight.retain(|entry| !(entry.id == ack.packet_id && entry.is_released));
            }
            Packet::Pubrel(ack) => {
                self.received.remove(&ack.packet_id);
                Ack::new(ack.packet_id).encode(PacketType::Pubcomp, self.version, answers);
            }
            Packet::Suback(suback) if self.requests.remove(&suback.packet_id) => {
                events.push(Event::Subscribed(suback.packet_id, suback.codes.to_vec()));
            }
            Packet::Unsuback(unsuback) if self.requests.remove(&unsuback.packet_id) => {
                events.push(Event::Unsubscribed(unsuback.packet_id));
            }
            Packet::Disconnect(_) => {}
            other => events.push(Event::Breach(format!("{:?} out of place", other.packet_type()))),
        }
    }

    fn handle_connack(&mut self, connack: &Connack<'_>, answers: &mut Vec<u8>, events: &mut Vec<Event>) {
        if connack.reason != ReasonCode::Success {
            return events.push(Event::Refused(connack.reason));
        }
        let present = connack.session_present;
        let promised = if self.has_asked_clean { Some(false) } else { self.promised };
        self.is_up = true;
        self.promised = Some(self.expiry_secs > 0);
        if !present {
            self.in_flight.clear();
            self.received.clear();
        }
        for entry in &self.in_flight {
            if entry.is_released {
                Ack::new(entry.id).encode(PacketType::Pubrel, self.version, answers);
            } else {
                answers.extend(encode_publish(&entry.message, entry.id, true, self.version));
            }
        }
        events.push(Event::Connected { present, promised });
    }

    fn handle_publish(&mut self, publish: &Publish<'_>, answers: &mut Vec<u8>, events: &mut Vec<Event>) {
        if let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) {
            Ack::new(id).encode(PacketType::Pubrec, self.version, answers);
            match self.received.get(&id) {
                Some(known) if known == publish.payload => return,
                Some(_) => {
                    return events
                        .push(Event::Breach(format!("packet id {id} has another message before PUBREL")));
                }
                None => self.received.insert(id, publish.payload.to_vec()),
            };
        } else if let Some(id) = publish.packet_id {
            Ack::new(id).encode(PacketType::Puback, self.version, answers);
        }
        events.push(Event::Arrived(Arrival {
            topic: publish.topic.into(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            subscriptions: publish.properties.subscription_ids.iter().collect(),
        }));
    }

    fn handle_puback(&mut self, ack: &Ack<'_>, events: &mut Vec<Event>) {
        let is_this = |entry: &InFlight| entry.id == ack.packet_id && entry.message.qos == QoS::AtLeastOnce;
        let Some(at) = self.in_flight.iter().position(is_this) else {
            return events.push(Event::Breach(format!("PUBACK {} for nothing", ack.packet_id)));
        };
        let entry = self.in_flight.remove(at).expect("just found");
        if (ack.reason as u8) < 0x80 {
            events.push(Event::Acknowledged(entry.message.token));
        }
    }

    fn handle_pubrec(&mut self, ack: &Ack<'_>, answers: &mut Vec<u8>, events: &mut Vec<Event>) {
        let is_this = |entry: &InFlight| entry.id == ack.packet_id && entry.message.qos == QoS::ExactlyOnce;
        let Some(at) = self.in_flight.iter().position(is_this) else {
            return events.push(Event::Breach(format!("PUBREC {} for nothing", ack.packet_id)));
        };
        if ack.reason as u8 >= 0x80 {
            self.in_flight.remove(at);
            return;
        }
        let entry = &mut self.in_flight[at];
        if !entry.is_released {
            entry.is_released = true;
            events.push(Event::Acknowledged(entry.message.token));
        }
        Ack::new(ack.packet_id).encode(PacketType::Pubrel, self.version, answers);
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(link) = &mut self.link {
            link.send(bytes);
        }
    }

    fn take_id(&mut self) -> PacketId {
        loop {
            let id = self.next_id;
            self.next_id = id.plus(1);
            if !self.requests.contains(&id) && self.in_flight.iter().all(|entry| entry.id != id) {
                return id;
            }
        }
    }
}

fn encode_publish(message: &Outgoing, id: PacketId, dup: bool, version: Version) -> Vec<u8> {
    let publish = Publish {
        dup,
        qos: message.qos,
        retain: message.retain,
        topic: &message.topic,
        packet_id: Some(id),
        properties: PublishProperties::default(),
        payload: &message.payload,
    };
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_clean_start_forgets_what_was_received_even_if_its_connack_never_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has ports");
        let target = listener.local_addr().expect("it is bound");
        let mut client = Client::durable("c".into(), Version::V5);
        client.received.insert(PacketId::MIN, b"of the session before".to_vec());
        assert!(client.connect(target, None, false));
        assert_eq!(client.received.len(), 1, "the session goes on");
        client.abandon();
        assert!(client.connect(target, None, true));
        client.abandon();
        assert!(client.received.is_empty(), "the new session's packet ids begin anew");
    }
}
