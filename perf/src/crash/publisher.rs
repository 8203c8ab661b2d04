//! Publishers: QoS 1 and QoS 2 streams, delayed messages.

use super::book::{Class, MessageId, StreamId, payload};
use super::client::{Client, Event, Outgoing};
use super::limits::{BURST_GAP_US_MAX, BURST_MESSAGES_MAX, WINDOW_MESSAGES};
use super::verdict::Fault;
use super::world::{Role, Stage, World};
use shardmq_shards::wire::QoS;
use std::collections::BTreeMap;
use std::time::Instant;

/// One in so many turns a publisher breaks its connection.
const BREAK_ONE_IN: u64 = 400;

/// A publisher of streams. With a durable session it sends again what was not acknowledged; without one that is given up.
pub struct Publisher {
    streams: Vec<StreamId>,
    topic_prefix: &'static str,
    unacknowledged: BTreeMap<u64, MessageId>,
    next_token: u64,
    next_burst: Instant,
}

impl Publisher {
    /// A publisher with one stream at QoS 1 and one at QoS 2.
    pub fn new(world: &mut World, class: Class) -> Publisher {
        let streams = [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| world.book.open_stream(class, qos));
        let topic_prefix = if class == Class::Delayed { "$delayed/1/" } else { "" };
        Publisher {
            streams: streams.into(),
            topic_prefix,
            unacknowledged: BTreeMap::new(),
            next_token: 0,
            next_burst: world.now,
        }
    }

    fn publish(&mut self, client: &mut Client, world: &mut World) {
        let stream = *world.random.pick(&self.streams);
        let message = world.book.next(stream);
        let (topic, qos) = world.book.stream(stream);
        let token = self.next_token;
        self.next_token += 1;
        self.unacknowledged.insert(token, message);
        let topic = format!("{}{topic}", self.topic_prefix);
        client.publish(Outgoing { token, topic, qos, retain: false, payload: payload(message) });
    }
}

impl Publisher {
    /// Without a session nothing of the connection before is sent again.
    fn begin_anew(&mut self, world: &mut World) {
        self.unacknowledged.clear();
        self.streams.iter().for_each(|&stream| world.book.begin_anew(stream));
    }
}

impl Role for Publisher {
    fn wants_link(&mut self, world: &mut World) -> bool {
        matches!(world.stage, Stage::Settle | Stage::Traffic)
    }

    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World) {
        match event {
            Event::Connected { present: false, promised: Some(true) } => {
                world.verdict.fault(Fault::SessionMissing, || client.name.clone());
                self.unacknowledged.clear();
            }
            Event::Acknowledged(token) => {
                if let Some(message) = self.unacknowledged.remove(&token) {
                    world.book.make_due(message);
                }
            }
            Event::Closed if client.expiry_secs == 0 => self.begin_anew(world),
            _ => {}
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        if world.stage != Stage::Traffic || world.now < self.next_burst {
            return;
        }
        for _ in 0..=world.random.below(BURST_MESSAGES_MAX) {
            if client.in_flight() < WINDOW_MESSAGES {
                self.publish(client, world);
            }
        }
        self.next_burst = world.soon(BURST_GAP_US_MAX);
        if world.random.one_in(BREAK_ONE_IN) {
            client.abandon();
            if client.expiry_secs == 0 {
                self.begin_anew(world);
            }
        }
    }

    fn is_settled(&self, client: &Client, world: &World) -> bool {
        world.stage == Stage::Look || client.is_up() && client.in_flight() == 0
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if !self.is_settled(client, world) {
            world.verdict.fault(Fault::Stuck, || {
                format!(
                    "{} connected {}, {} messages in flight",
                    client.name,
                    client.is_up(),
                    client.in_flight()
                )
            });
        }
    }
}
