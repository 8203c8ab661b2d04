//! Retained messages: who writes them, who reads them after a crash.

use super::client::{Client, Event, Outgoing};
use super::limits::{BURST_GAP_US_MAX, WINDOW_MESSAGES};
use super::verdict::Fault;
use super::world::{Role, Stage, World};
use shardmq_shards::wire::QoS;
use std::collections::BTreeSet;
use std::time::Instant;

/// One in so many writes removes the retained message.
const CLEAR_ONE_IN: u64 = 5;

struct Topic {
    name: String,
    qos: QoS,
    /// Whether each write set a message (else it removed it), in order.
    writes: Vec<bool>,
    /// The latest acknowledged one.
    acknowledged: Option<usize>,
}

impl Topic {
    /// The earliest write whose outcome may stand.
    fn first_valid(&self) -> usize {
        self.acknowledged.unwrap_or(0)
    }

    /// Whether there may be no message.
    fn may_be_absent(&self, first_valid: usize) -> bool {
        self.acknowledged.is_none() || self.writes[first_valid..].contains(&false)
    }
}

/// All retained topics; each has one writer.
#[derive(Default)]
pub struct RetainedBook {
    topics: Vec<Topic>,
    /// Writes acknowledged.
    pub acknowledged: u64,
}

/// Writes retained messages.
pub struct Writer {
    topics: Vec<usize>,
    next_write: Instant,
}

impl Writer {
    /// A writer of `count` topics of its own, half of them at QoS 2.
    pub fn new(world: &mut World, count: usize) -> Writer {
        let book = &mut world.retained;
        let first = book.topics.len();
        for index in first..first + count {
            let qos = if index.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            book.topics.push(Topic {
                name: format!("k/r/{index}"),
                qos,
                writes: Vec::new(),
                acknowledged: None,
            });
        }
        Writer { topics: (first..first + count).collect(), next_write: world.now }
    }
}

/// Topic and write in one number, for the client to give back.
fn token(topic: usize, write: usize) -> u64 {
    (topic as u64) << 32 | write as u64
}

impl Role for Writer {
    fn wants_link(&mut self, world: &mut World) -> bool {
        matches!(world.stage, Stage::Settle | Stage::Traffic)
    }

    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World) {
        match event {
            Event::Connected { present: false, promised: Some(true) } => {
                world.verdict.fault(Fault::SessionMissing, || client.name.clone());
            }
            Event::Acknowledged(token) => {
                let topic = &mut world.retained.topics[(token >> 32) as usize];
                topic.acknowledged = topic.acknowledged.max(Some(token as u32 as usize));
                world.retained.acknowledged += 1;
            }
            _ => {}
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        if world.stage != Stage::Traffic
            || world.now < self.next_write
            || client.in_flight() >= WINDOW_MESSAGES
        {
            return;
        }
        self.next_write = world.soon(BURST_GAP_US_MAX);
        let index = *world.random.pick(&self.topics);
        let sets = !world.random.one_in(CLEAR_ONE_IN);
        let topic = &mut world.retained.topics[index];
        topic.writes.push(sets);
        let write = topic.writes.len() - 1;
        let payload = if sets { format!("{index} {write}").into_bytes() } else { Vec::new() };
        let (topic, qos) = (topic.name.clone(), topic.qos);
        client.publish(Outgoing { token: token(index, write), topic, qos, retain: true, payload });
    }

    fn is_settled(&self, client: &Client, world: &World) -> bool {
        world.stage == Stage::Look || client.is_up() && client.in_flight() == 0
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if !self.is_settled(client, world) {
            let in_flight = client.in_flight();
            world.verdict.fault(Fault::Stuck, || format!("{}: {in_flight} in flight", client.name));
        }
    }
}

/// Reads all retained messages after each start of the broker, before anybody writes again.
#[derive(Default)]
pub struct Reader {
    /// The broker's start that was looked at.
    seen_start: u32,
    is_subscribed: bool,
    /// By topic, when it subscribed: the earliest write that may stand.
    first_valid: Vec<usize>,
    arrived: BTreeSet<usize>,
}

impl Reader {
    /// Judges one that arrived.
    fn enter(&mut self, topic: &str, payload: &[u8], world: &mut World) {
        let text = String::from_utf8_lossy(payload);
        let mut parts = text.split(' ').map(str::parse::<usize>);
        let (Some(Ok(index)), Some(Ok(write))) = (parts.next(), parts.next()) else {
            return world.verdict.fault(Fault::Corrupt, || format!("retained on {topic}: {text}"));
        };
        let known = world.retained.topics.get(index).filter(|known| known.name == topic);
        if known.is_none_or(|known| known.writes.get(write) != Some(&true)) {
            return world.verdict.fault(Fault::Corrupt, || format!("retained on {topic}: {text}"));
        }
        self.arrived.insert(index);
        let first_valid = self.first_valid.get(index).copied().unwrap_or(0);
        if write < first_valid {
            world.verdict.fault(Fault::RetainedStale, || {
                format!("{topic} has write {write} though {first_valid} was acknowledged")
            });
        }
    }

    fn lacks<'a>(&'a self, world: &'a World) -> impl Iterator<Item = usize> + 'a {
        let due = |index: &usize| !world.retained.topics[*index].may_be_absent(self.first_valid[*index]);
        (0..self.first_valid.len()).filter(move |index| due(index) && !self.arrived.contains(index))
    }
}

impl Role for Reader {
    fn wants_link(&mut self, world: &mut World) -> bool {
        world.stage == Stage::Look
    }

    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World) {
        match event {
            Event::Connected { .. } => {
                self.arrived.clear();
                self.first_valid = world.retained.topics.iter().map(Topic::first_valid).collect();
                client.subscribe("k/r/#", QoS::AtLeastOnce, None);
            }
            Event::Subscribed(..) => {
                self.is_subscribed = true;
                self.seen_start = world.starts;
            }
            Event::Arrived(arrival) if arrival.retain => self.enter(&arrival.topic, &arrival.payload, world),
            Event::Closed => self.is_subscribed = false,
            _ => {}
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        if world.stage == Stage::Traffic {
            client.disconnect(); // it has stayed until here for what might still come
        }
    }

    fn is_settled(&self, _client: &Client, world: &World) -> bool {
        self.seen_start == world.starts && (world.stage != Stage::Look || self.lacks(world).next().is_none())
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if world.stage != Stage::Look {
            return;
        }
        if self.seen_start != world.starts {
            world.verdict.fault(Fault::Stuck, || format!("{} could not subscribe", client.name));
        }
        self.seen_start = world.starts;
        let lost: Vec<usize> = self.lacks(world).collect();
        for index in lost {
            let topic = &mut world.retained.topics[index];
            let (name, write) = (&topic.name, self.first_valid[index]);
            world.verdict.fault(Fault::RetainedLost, || format!("{name} lacks write {write}"));
            topic.acknowledged = None;
        }
        self.first_valid.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes 0 and 1 set, write 2 removes, write 3 sets; the latest acknowledged one; what a reader finds.
    fn faults(acknowledged: Option<usize>, found: Option<usize>) -> Vec<Fault> {
        let mut world = World::new(1);
        Writer::new(&mut world, 1);
        let topic = &mut world.retained.topics[0];
        topic.writes = vec![true, true, false, true];
        topic.acknowledged = acknowledged;
        let mut reader = Reader { first_valid: vec![topic.first_valid()], ..Reader::default() };
        world.stage = Stage::Look;
        if let Some(write) = found {
            reader.enter("k/r/0", format!("0 {write}").as_bytes(), &mut world);
        }
        let client = Client::fleeting("reader".into(), shardmq_shards::wire::Version::V5);
        reader.give_up(&client, &mut world);
        Fault::ALL.into_iter().filter(|&fault| world.verdict.count(fault) > 0).collect()
    }

    #[test]
    fn the_last_acknowledged_write_or_a_later_one_stands() {
        assert_eq!(faults(None, None), []);
        assert_eq!(faults(None, Some(0)), []);
        assert_eq!(faults(Some(1), Some(1)), []);
        assert_eq!(faults(Some(1), Some(3)), []);
        assert_eq!(faults(Some(1), None), [], "the later removal may have been kept");
        assert_eq!(faults(Some(1), Some(0)), [Fault::RetainedStale]);
        assert_eq!(faults(Some(2), None), []);
        assert_eq!(faults(Some(2), Some(1)), [Fault::RetainedStale]);
        assert_eq!(faults(Some(3), None), [Fault::RetainedLost]);
        assert_eq!(faults(Some(3), Some(2)), [Fault::Corrupt, Fault::RetainedLost], "write 2 set nothing");
    }
}
