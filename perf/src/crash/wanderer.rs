//! Wanderers: durable sessions that subscribe and unsubscribe all the time, and start anew now and then.

use super::client::{Client, Event, Testament};
use super::probes::{FILTERS, Grant, topic};
use super::verdict::Fault;
use super::world::{Role, Stage, World};
use shardmq_shards::wire::{PacketId, QoS, ReasonCode, Version};
use std::collections::BTreeMap;

/// One in so many turns a wanderer sends a request.
const REQUEST_ONE_IN: u64 = 6;
/// Requests that it has unanswered at most.
const REQUESTS_MAX: usize = 4;
/// One in so many turns it breaks its connection.
const BREAK_ONE_IN: u64 = 80;
/// One in so many of its connections starts a new session.
const CLEAN_ONE_IN: u64 = 6;

/// A session with subscriptions that come and go.
pub struct Wanderer {
    number: usize,
    version: Version,
    asks_clean: bool,
    pending: BTreeMap<PacketId, (usize, Option<Grant>)>,
}

impl Wanderer {
    /// A wanderer that speaks `version`.
    pub fn new(world: &mut World, version: Version) -> Wanderer {
        let number = world.probes.add_wanderer();
        Wanderer { number, version, asks_clean: false, pending: BTreeMap::new() }
    }

    fn request(&mut self, client: &mut Client, world: &mut World) {
        let filter = world.random.below(FILTERS as u64) as usize;
        if self.pending.len() >= REQUESTS_MAX || self.pending.values().any(|(busy, _)| *busy == filter) {
            return;
        }
        let grant = (!world.random.one_in(3)).then(|| Grant {
            qos: *world.random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
            id: (self.version.is_v5() && world.random.one_in(2))
                .then(|| 1 + world.random.below(1_000_000) as u32),
        });
        let name = topic(self.number, filter);
        let packet_id = match grant {
            Some(grant) => client.subscribe(&name, grant.qos, grant.id),
            None => client.unsubscribe(&name),
        };
        world.probes.may_be(self.number, filter, grant);
        self.pending.insert(packet_id, (filter, grant));
    }

    fn close(&mut self, world: &mut World) {
        self.pending.clear();
        world.probes.set_ready(self.number, false);
    }
}

impl Role for Wanderer {
    fn wants_link(&mut self, _world: &mut World) -> bool {
        true
    }

    fn greeting(&mut self, world: &mut World) -> (Option<Testament>, bool) {
        // A v3 session that starts anew is not durable.
        self.asks_clean = self.version.is_v5() && world.random.one_in(CLEAN_ONE_IN);
        if self.asks_clean {
            world.probes.is_empty_now(self.number, false);
        }
        (None, self.asks_clean)
    }

    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World) {
        match event {
            Event::Connected { present, promised } => {
                match (present, promised) {
                    (false, Some(true)) => world.verdict.fault(Fault::SessionMissing, || client.name.clone()),
                    (true, Some(false)) => world.verdict.fault(Fault::SessionLeft, || client.name.clone()),
                    _ => {}
                }
                if !present {
                    world.probes.is_empty_now(self.number, true);
                }
            }
            Event::Subscribed(id, codes) => {
                if let Some((filter, grant)) = self.pending.remove(&id) {
                    // A disk that is being taken away may look full first. The subscription is what it was, then: both go on being believed.
                    if world.is_stopping
                        && codes.iter().all(|code| *code >= ReasonCode::UnspecifiedError as u8)
                    {
                        return;
                    }
                    if grant.is_none_or(|grant| codes != [grant.qos as u8]) {
                        world.verdict.fault(Fault::Protocol, || format!("{grant:?} answered {codes:?}"));
                    }
                    world.probes.is_now(self.number, filter, grant);
                }
            }
            Event::Unsubscribed(id) => {
                if let Some((filter, _)) = self.pending.remove(&id) {
                    world.probes.is_now(self.number, filter, None);
                }
            }
            Event::Arrived(arrival) => world.probes.enter(self.number, &arrival, &mut world.verdict),
            Event::Closed => self.close(world),
            _ => {}
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        match world.stage {
            Stage::Traffic if world.random.one_in(BREAK_ONE_IN) => {
                client.abandon();
                self.close(world);
            }
            Stage::Traffic if world.random.one_in(REQUEST_ONE_IN) => self.request(client, world),
            Stage::Settle => world.probes.set_ready(self.number, !client.has_request()),
            _ => {}
        }
    }

    fn enter_stage(&mut self, _client: &mut Client, world: &mut World) {
        if world.stage == Stage::Traffic {
            world.probes.set_ready(self.number, false);
        }
    }

    fn is_settled(&self, client: &Client, _world: &World) -> bool {
        client.is_up()
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if !client.is_up() {
            world.verdict.fault(Fault::Stuck, || format!("{} cannot connect", client.name));
        }
    }
}
