//! What clients do, and what they see.

use crate::spoken::spoken;
use crate::world::{Client, World};
use shardmq_shards::shard::End;
use shardmq_shards::wire::{
    Ack, Connack, Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, PacketId, Publish,
    QoS, ReasonCode, Split, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, Unsubscribe,
    UnsubscribeFilters, UserProperties, Version, split,
};
use std::num::NonZeroU16;

pub use shardmq_shards::wire::QoS::{AtLeastOnce as Q1, AtMostOnce as Q0, ExactlyOnce as Q2};
pub use shardmq_shards::wire::Version::{V5, V31, V311};

pub fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

/// A PUBLISH of QoS 0 to be changed with struct update.
pub fn message<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish {
        dup: false,
        qos: Q0,
        retain: false,
        topic,
        packet_id: None,
        properties: Default::default(),
        payload: payload.as_bytes(),
    }
}

pub fn message_1<'a>(number: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: Q1, packet_id: Some(id(number)), ..message(topic, payload) }
}

pub fn message_2<'a>(number: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: Q2, packet_id: Some(id(number)), ..message(topic, payload) }
}

/// `publish` with RETAIN set.
pub fn retained(publish: Publish<'_>) -> Publish<'_> {
    Publish { retain: true, ..publish }
}

/// The CONNECT of a session that outlives its connection by 1,000 s (v3: by the broker's default).
pub fn durable<'a>(version: Version, client_id: &'a str) -> Connect<'a> {
    let expiry = version.is_v5().then_some(1_000);
    let properties = ConnectProperties { session_expiry: expiry, ..Default::default() };
    Connect { properties, ..Connect::new(version, client_id, false) }
}

/// [`durable`] with a Receive Maximum.
pub fn durable_taking(client_id: &str, receive_maximum: u16) -> Connect<'_> {
    let mut connect = durable(V5, client_id);
    connect.properties.receive_maximum = NonZeroU16::new(receive_maximum);
    connect
}

impl World {
    /// Sends a packet in the client's version.
    pub fn send(&mut self, client: Client, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.wires[client.0].version, &mut bytes);
        self.send_bytes(client, &bytes);
    }

    pub fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        self.wires[client.0].to_broker.extend(bytes);
    }

    /// What the broker has sent to `client` since the last time, and `closed` at the end if it has closed the socket.
    pub fn read(&mut self, client: Client) -> Vec<String> {
        self.run();
        self.read_now(client)
    }

    /// As [`World::read`], without letting the broker do anything.
    pub fn read_now(&mut self, client: Client) -> Vec<String> {
        let wire = &mut self.wires[client.0];
        let mut lines = spoken(&std::mem::take(&mut wire.from_broker), wire.version);
        if wire.closed && !std::mem::replace(&mut wire.closed_told, true) {
            lines.push("closed".into());
        }
        lines
    }

    /// A socket with its CONNECT sent.
    pub fn dial(&mut self, shard: usize, connect: Connect<'_>) -> Client {
        let client = self.arrive(shard, 0, connect.version);
        self.send(client, Packet::Connect(connect));
        client
    }

    /// The CONNACK that lies on the wire to `client`.
    pub fn connack<T>(&self, client: Client, get: impl FnOnce(&Connack<'_>) -> T) -> T {
        let wire = &self.wires[client.0];
        let Ok(Split::Whole(frame)) = split(&wire.from_broker, usize::MAX) else {
            panic!("{:x?}", wire.from_broker)
        };
        match Packet::decode(frame, wire.version) {
            Ok(Packet::Connack(connack)) => get(&connack),
            other => panic!("{other:?}"),
        }
    }

    /// A client that is accepted, with or without an earlier session.
    pub fn connect(&mut self, shard: usize, connect: Connect<'_>) -> Client {
        let client = self.dial(shard, connect);
        let answer = self.read(client);
        assert!(answer.first().is_some_and(|line| line.starts_with("CONNACK 00")), "{answer:?}");
        assert_eq!(answer.len(), 1, "nothing waited: {answer:?}");
        client
    }

    /// A client that is accepted, and all that it is sent at once.
    pub fn connect_and_read(&mut self, shard: usize, connect: Connect<'_>) -> (Client, Vec<String>) {
        let client = self.dial(shard, connect);
        (client, self.read(client))
    }

    /// A client whose session ends with its connection.
    pub fn join(&mut self, shard: usize, version: Version, client_id: &str) -> Client {
        self.connect(shard, Connect::new(version, client_id, true))
    }

    /// Subscribes, and sees it granted.
    pub fn subscribe(&mut self, client: Client, filter: &str, qos: QoS) {
        self.subscribe_with(client, filter, SubscriptionOptions::with_qos(qos), None);
        let number = self.wires[client.0].next_packet_id - 1;
        assert_eq!(self.read(client), [format!("SUBACK #{number} [{:02x}]", qos as u8)]);
    }

    /// Sends a SUBSCRIBE of one filter.
    pub fn subscribe_with(
        &mut self,
        client: Client,
        filter: &str,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
    ) {
        let entries = [SubscribeFilter { filter, options }];
        let packet_id = self.next_id(client);
        let filters = SubscribeFilters::from_slice(&entries);
        let user = UserProperties::NONE;
        self.send(client, Packet::Subscribe(Subscribe { packet_id, subscription_id, user, filters }));
    }

    /// Sends a SUBSCRIBE of several filters.
    pub fn subscribe_all(&mut self, client: Client, filters: &[(&str, QoS)]) {
        let entry = |&(filter, qos): &(&'static str, QoS)| SubscribeFilter {
            filter,
            options: SubscriptionOptions::with_qos(qos),
        };
        let leaked: Vec<(&'static str, QoS)> =
            filters.iter().map(|(filter, qos)| (&*String::from(*filter).leak(), *qos)).collect();
        let entries: Vec<_> = leaked.iter().map(entry).collect();
        let packet_id = self.next_id(client);
        let filters = SubscribeFilters::from_slice(&entries);
        let user = UserProperties::NONE;
        let subscribe = Subscribe { packet_id, subscription_id: None, user, filters };
        self.send(client, Packet::Subscribe(subscribe));
    }

    pub fn unsubscribe(&mut self, client: Client, filters: &[&str]) {
        let packet_id = self.next_id(client);
        let filters = UnsubscribeFilters::from_slice(filters);
        let user = UserProperties::NONE;
        self.send(client, Packet::Unsubscribe(Unsubscribe { packet_id, user, filters }));
    }

    fn next_id(&mut self, client: Client) -> PacketId {
        let wire = &mut self.wires[client.0];
        wire.next_packet_id += 1;
        id(wire.next_packet_id - 1)
    }

    pub fn publish(&mut self, client: Client, publish: Publish<'_>) {
        self.send(client, Packet::Publish(publish));
    }

    pub fn puback(&mut self, client: Client, number: u16) {
        self.send(client, Packet::Puback(Ack::new(id(number))));
    }

    pub fn pubrec(&mut self, client: Client, number: u16) {
        self.send(client, Packet::Pubrec(Ack::new(id(number))));
    }

    pub fn pubrel(&mut self, client: Client, number: u16) {
        self.send(client, Packet::Pubrel(Ack::new(id(number))));
    }

    pub fn pubcomp(&mut self, client: Client, number: u16) {
        self.send(client, Packet::Pubcomp(Ack::new(id(number))));
    }

    /// Pings, and sees that nothing but the answer comes.
    pub fn ping(&mut self, client: Client) {
        self.send(client, Packet::Pingreq);
        assert_eq!(self.read(client), ["PINGRESP"]);
    }

    /// DISCONNECT for `reason`, then the client closes.
    pub fn leave(&mut self, client: Client, reason: ReasonCode) {
        self.leave_with(client, reason, None);
    }

    pub fn leave_with(&mut self, client: Client, reason: ReasonCode, session_expiry: Option<u32>) {
        let properties = DisconnectProperties { session_expiry, ..Default::default() };
        self.send(client, Packet::Disconnect(Disconnect { reason, properties }));
        self.run();
    }

    /// The client's end breaks without a word.
    pub fn vanish(&mut self, client: Client) {
        self.end(client, End::Failed);
        self.run();
    }

    /// Copies dropped over all shards, by the reason's name.
    pub fn dropped(&self) -> Vec<(&'static str, u64)> {
        use shardmq_shards::session::DropReason;
        let count = |reason: &DropReason| {
            self.places.iter().map(|place| place.seat.shard.statistics().dropped[*reason as usize]).sum()
        };
        let all = DropReason::ALL.iter().map(|reason| (reason.name(), count(reason)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// One of the counters, over all shards.
    pub fn count(&self, name: &str) -> u64 {
        use shardmq_shards::shard::Counters;
        let index = Counters::NAMES.iter().position(|known| *known == name).expect("a counter's name");
        self.places.iter().map(|place| place.seat.shard.statistics().counters.to_array()[index]).sum()
    }
}
