//! Who takes part.

use super::book::Class;
use super::client::Client;
use super::mayfly::Mayfly;
use super::probes::Prober;
use super::publisher::Publisher;
use super::retained::{Reader, Writer};
use super::subscriber::{Habit, Subscriber};
use super::wanderer::Wanderer;
use super::willer::{Attitude, Willer};
use super::world::{Actor, Role, World};
use shardmq_shards::wire::{QoS, Version};

/// Retained topics of each writer.
const TOPICS_PER_WRITER: usize = 6;

struct Cast<'a> {
    actors: Vec<Actor>,
    world: &'a mut World,
    prefix: &'a str,
}

/// All clients. `extensions`: those too that need what ShardMQ has beyond the specification. `prefix` begins their client ids.
pub fn cast(world: &mut World, prefix: &str, extensions: bool) -> Vec<Actor> {
    let mut cast = Cast { actors: Vec::new(), world, prefix };
    cast.add_subscribers();
    cast.add_shared_group();
    cast.add_publishers();
    cast.add_others();
    if extensions {
        cast.add_delayed();
    }
    cast.actors
}

impl Cast<'_> {
    fn name(&self, what: &str) -> String {
        format!("{}-{what}-{}", self.prefix, self.actors.len())
    }

    fn durable(&mut self, what: &str, version: Version, role: impl Role + 'static) {
        let client = Client::durable(self.name(what), version);
        self.actors.push(Actor::new(client, role));
    }

    fn fleeting(&mut self, what: &str, role: impl Role + 'static) {
        let client = Client::fleeting(self.name(what), Version::V5);
        self.actors.push(Actor::new(client, role));
    }

    fn add_subscriber(&mut self, class: Class, version: Version, qos: QoS, habit: Habit) {
        let name = self.name(&format!("{habit:?}"));
        let audience = self.world.book.open_audience(&name, class, qos, false);
        self.durable(&format!("{habit:?}"), version, Subscriber::new(audience, class, qos, habit, None));
    }

    fn add_subscribers(&mut self) {
        for habit in [Habit::Online, Habit::Offline] {
            for version in [Version::V311, Version::V5] {
                for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    self.add_subscriber(Class::Data, version, qos, habit);
                }
            }
            self.add_subscriber(Class::Will, Version::V5, QoS::ExactlyOnce, habit);
        }
        self.add_subscriber(Class::Data, Version::V311, QoS::ExactlyOnce, Habit::Flapping);
        self.add_subscriber(Class::Data, Version::V5, QoS::ExactlyOnce, Habit::Flapping);
    }

    /// One audience of three sessions: each message goes to one of them.
    fn add_shared_group(&mut self) {
        let audience = self.world.book.open_audience("group", Class::Data, QoS::ExactlyOnce, true);
        for habit in [Habit::Online, Habit::Online, Habit::Flapping] {
            let role = Subscriber::new(audience, Class::Data, QoS::ExactlyOnce, habit, Some("group"));
            self.durable("member", Version::V5, role);
        }
    }

    fn add_publishers(&mut self) {
        for version in [Version::V311, Version::V5, Version::V311, Version::V5] {
            let role = Publisher::new(self.world, Class::Data);
            self.durable("publisher", version, role);
        }
        let role = Publisher::new(self.world, Class::Data);
        self.fleeting("forgetful", role);
        for version in [Version::V311, Version::V5] {
            let role = Writer::new(self.world, TOPICS_PER_WRITER);
            self.durable("writer", version, role);
        }
    }

    fn add_others(&mut self) {
        for version in [Version::V311, Version::V5, Version::V5, Version::V5] {
            let role = Wanderer::new(self.world, version);
            self.durable("wanderer", version, role);
        }
        for (version, attitude) in [
            (Version::V311, Attitude::Prompt),
            (Version::V5, Attitude::Prompt),
            (Version::V5, Attitude::Returning),
            (Version::V5, Attitude::Patient),
            (Version::V5, Attitude::Patient),
        ] {
            let role = Willer::new(self.world, attitude);
            self.durable("willer", version, role);
        }
        for _ in 0..2 {
            let client = Client::new(self.name("mayfly"), Version::V5, super::limits::SHORT_SECS);
            self.actors.push(Actor::new(client, Mayfly::default()));
        }
        self.fleeting("reader", Reader::default());
        self.fleeting("prober", Prober::default());
    }

    fn add_delayed(&mut self) {
        self.add_subscriber(Class::Delayed, Version::V5, QoS::ExactlyOnce, Habit::Online);
        let role = Publisher::new(self.world, Class::Delayed);
        self.durable("delaying", Version::V5, role);
    }
}
