//! Durable subscribers: online, offline over several crashes, or coming and going.

use super::book::{AudienceId, Class, Copy};
use super::client::{Client, Event};
use super::limits::DRAIN_ONE_IN;
use super::verdict::Fault;
use super::world::{Role, Stage, World};
use shardmq_shards::wire::QoS;

/// When a subscriber is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Habit {
    /// Always.
    Online,
    /// In the check after some of the rounds; its queue outlives the others.
    Offline,
    /// Always, but it breaks its connection again and again.
    Flapping,
}

/// One in so many turns a flapping subscriber breaks its connection.
const BREAK_ONE_IN: u64 = 30;

/// A durable subscriber of one filter.
pub struct Subscriber {
    audience: AudienceId,
    filter: String,
    qos: QoS,
    habit: Habit,
    is_subscribed: bool,
    /// An offline subscriber drains its queue in this check.
    drains: bool,
    /// Whether all that is due has to be there at the end of each check.
    is_prompt: bool,
}

impl Subscriber {
    /// A subscriber of all of `class`, as a member of the group `share` if there is one.
    pub fn new(
        audience: AudienceId,
        class: Class,
        qos: QoS,
        habit: Habit,
        share: Option<&str>,
    ) -> Subscriber {
        let filter = match share {
            Some(share) => format!("$share/{share}/{}/#", class.topic_prefix()),
            None => format!("{}/#", class.topic_prefix()),
        };
        // Delayed messages are acknowledged long before they come.
        let is_prompt = class != Class::Delayed;
        Subscriber { audience, filter, qos, habit, is_subscribed: false, drains: true, is_prompt }
    }
}

impl Role for Subscriber {
    fn wants_link(&mut self, world: &mut World) -> bool {
        match self.habit {
            Habit::Offline => !self.is_subscribed || world.stage == Stage::Settle && self.drains,
            _ => true,
        }
    }

    fn enter_stage(&mut self, client: &mut Client, world: &mut World) {
        match world.stage {
            Stage::Look => self.drains = world.is_final || world.random.one_in(DRAIN_ONE_IN),
            Stage::Traffic if self.habit == Habit::Offline => match world.random.below(2) {
                0 => client.disconnect(),
                _ => client.abandon(),
            },
            _ => {}
        }
    }

    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World) {
        match event {
            Event::Connected { present, promised } => {
                if !present && promised == Some(true) {
                    world.verdict.fault(Fault::SessionMissing, || client.name.clone());
                    world.book.write_off(self.audience, &mut world.verdict);
                    self.is_subscribed = false;
                }
                if !self.is_subscribed {
                    client.subscribe(&self.filter, self.qos, None);
                }
            }
            Event::Subscribed(_, codes) => {
                if codes != [self.qos as u8] {
                    world.verdict.fault(Fault::Protocol, || format!("{} granted {codes:?}", client.name));
                }
                self.is_subscribed = true;
            }
            Event::Arrived(arrival) => {
                let copy = Copy { topic: &arrival.topic, payload: &arrival.payload, qos: arrival.qos };
                world.book.enter(self.audience, &copy, &mut world.verdict);
            }
            _ => {}
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        let is_busy = world.stage == Stage::Traffic && self.habit == Habit::Flapping;
        if is_busy && world.random.one_in(BREAK_ONE_IN) {
            match world.random.below(2) {
                0 => client.disconnect(),
                _ => client.abandon(),
            }
        }
    }

    fn is_settled(&self, client: &Client, world: &World) -> bool {
        if self.habit == Habit::Offline && self.is_subscribed && (world.stage == Stage::Look || !self.drains)
        {
            return true;
        }
        let waits = self.is_prompt || world.is_final;
        client.is_up() && self.is_subscribed && (!waits || world.book.missing(self.audience) == 0)
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if self.is_settled(client, world) {
            return;
        }
        if !client.is_up() || !self.is_subscribed {
            world.verdict.fault(Fault::Stuck, || format!("{} connected {}", client.name, client.is_up()));
        }
        world.book.write_off(self.audience, &mut world.verdict);
    }
}
