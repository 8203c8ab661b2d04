//! What the clients of a storm say.

use super::Storm;
use crate::authenticating::{AGAIN, CONTINUE, auth, with_method};
use crate::verbs::*;
use crate::web_socket::encoded;
use shardmq_shards::base::random::Random;
use shardmq_shards::wire::{
    Ack, Connect, Disconnect, DisconnectProperties, Packet, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilter, SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters, UserProperties,
    Version, Will, WillProperties,
};
use std::num::{NonZeroU16, NonZeroU32};

const CLIENT_IDS: [&str; 6] = ["", "c0", "c1", "c2", "c3", "c4"];
const USERS: [&str; 2] = ["ann", "bob"];
const SAID: [&str; 7] = ["ann", "ann knows", "bob knows", "at-once:ann", "at-once:bob", "again", "lengthy"];
const TOPICS: [&str; 12] = [
    "a",
    "a",
    "a/b",
    "a/b",
    "b",
    "old/a",
    "later/a",
    "up",
    "bad/a",
    "$delayed/3/a",
    "$delayed/40/old/b",
    "$delayed/x",
];
const FILTERS: [&str; 16] = [
    "a",
    "a/b",
    "a/+",
    "+/b",
    "#",
    "b",
    "old/#",
    "mine/x",
    "bad/x",
    "$share/g/a",
    "$share/g/#",
    "$share/h/+/b",
    "$exclusive/a",
    "$exclusive/a/+",
    "$exclusive/old/a",
    "$share/g/$exclusive/a",
];

/// One of `texts`.
fn one<'a>(random: &mut Random, texts: &[&'a str]) -> &'a str {
    texts[random.below(texts.len() as u64) as usize]
}

impl Storm {
    /// A CONNECT, perhaps with a method, and then perhaps with the answer to the riddle behind it.
    pub fn connect(&mut self, version: Version) -> Vec<u8> {
        let random = &mut self.random;
        let user = one(random, &USERS);
        let mut answer = Vec::new();
        let client_id = *random.pick(&CLIENT_IDS);
        let mut connect = Connect::new(version, client_id, random.one_in(3));
        connect.keep_alive = *random.pick(&[0, 1, 20]);
        connect.username = random.one_in(2).then_some(user);
        if random.one_in(3) {
            let delay = version.is_v5().then(|| *random.pick(&[0, 1, 30, 1_000]));
            let properties = WillProperties { delay, ..WillProperties::default() };
            let (topic, qos) = (*random.pick(&TOPICS), *random.pick(&[Q0, Q1, Q2]));
            connect.will = Some(Will { qos, retain: random.one_in(2), topic, payload: b"will", properties });
        }
        if version.is_v5() {
            let properties = &mut connect.properties;
            properties.session_expiry = Some(*random.pick(&[0, 1, 30, u32::MAX]));
            properties.receive_maximum = NonZeroU16::new(*random.pick(&[0, 1, 2, 100]));
            properties.maximum_packet_size = NonZeroU32::new(*random.pick(&[0, 0, 0, 0, 0, 5, 60, 300]));
            properties.topic_alias_maximum = Some(*random.pick(&[0, 1, 9]));
            if random.one_in(2) {
                let said = if random.one_in(4) { one(random, &SAID) } else { user };
                let method = one(random, &["toy", "toy", "toy", "toy", "toy", "other", "none"]);
                connect = with_method(connect, method, said);
                if !random.one_in(4) {
                    answer = encoded(auth(CONTINUE, method, &format!("{user} knows")), V5);
                }
            }
        }
        [encoded(Packet::Connect(connect), version), answer].concat()
    }

    /// Some that a connected client could send.
    pub fn packets(&mut self, version: Version) -> Vec<u8> {
        let count = *self.random.pick(&[1, 1, 2, 6]);
        (0..count).flat_map(|_| self.packet(version)).collect()
    }

    fn packet(&mut self, version: Version) -> Vec<u8> {
        let random = &mut self.random;
        let number = id(1 + random.below(6) as u16);
        let ack = Ack::new(number);
        let packet = match random.below(60) {
            0..=19 => return self.publish(version),
            20..=31 => return self.subscribe(version),
            32..=34 => {
                let filters = [*random.pick(&FILTERS), *random.pick(&FILTERS)];
                let filters = UnsubscribeFilters::from_slice(&filters);
                let user = UserProperties::NONE;
                return encoded(
                    Packet::Unsubscribe(Unsubscribe { packet_id: number, user, filters }),
                    version,
                );
            }
            35..=40 => Packet::Puback(ack),
            41..=43 => Packet::Pubrec(ack),
            44 => {
                let reason = if version.is_v5() { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
                Packet::Pubrec(Ack::with_reason(number, reason))
            }
            45..=48 => Packet::Pubrel(ack),
            49..=51 => Packet::Pubcomp(ack),
            52 | 53 => Packet::Pingreq,
            54 | 55 => {
                let session_expiry = version.is_v5().then(|| *random.pick(&[0, 1, u32::MAX]));
                let session_expiry = session_expiry.filter(|_| random.one_in(2));
                let reason = ReasonCode::Success;
                let properties = DisconnectProperties { session_expiry, ..Default::default() };
                Packet::Disconnect(Disconnect { reason, properties })
            }
            56 => return self.connect(version),
            57 if version.is_v5() => auth(
                *random.pick(&[AGAIN, CONTINUE]),
                one(random, &["toy", "toy", "other"]),
                one(random, &SAID),
            ),
            _ => Packet::Pingreq,
        };
        encoded(packet, version)
    }

    fn publish(&mut self, version: Version) -> Vec<u8> {
        let random = &mut self.random;
        let number = 1 + random.below(4) as u16;
        let topic = *random.pick(&TOPICS);
        let payload = "x".repeat(*random.pick(&[0, 1, 10, 400]));
        let mut publish = match random.below(3) {
            0 => message(topic, &payload),
            1 => message_1(number, topic, &payload),
            _ => message_2(number, topic, &payload),
        };
        publish.retain = random.one_in(4);
        publish.dup = publish.qos != Q0 && random.one_in(4);
        if version.is_v5() {
            publish.properties.message_expiry = random.one_in(4).then(|| *random.pick(&[0, 1, 20]));
            if random.one_in(4) {
                publish.properties.topic_alias = NonZeroU16::new(1 + random.below(3) as u16);
                publish.topic = if random.one_in(3) { "" } else { topic };
            }
        }
        encoded(Packet::Publish(publish), version)
    }

    fn subscribe(&mut self, version: Version) -> Vec<u8> {
        let random = &mut self.random;
        let mut entries = Vec::new();
        for _ in 0..=random.below(3) {
            let filter = *random.pick(&FILTERS);
            let mut options = SubscriptionOptions::with_qos(*random.pick(&[Q0, Q1, Q2]));
            if version.is_v5() {
                options.no_local = !filter.starts_with("$share") && random.one_in(4);
                options.retain_as_published = random.one_in(2);
                options.retain_handling = *random.pick(&[RetainHandling::Send, RetainHandling::SendIfNew]);
            }
            entries.push(SubscribeFilter { filter, options });
        }
        let subscription_id = (version.is_v5() && random.one_in(3)).then_some(7);
        let (packet_id, user) = (id(1 + random.below(4) as u16), UserProperties::NONE);
        let filters = SubscribeFilters::from_slice(&entries);
        encoded(Packet::Subscribe(Subscribe { packet_id, subscription_id, user, filters }), version)
    }
}
