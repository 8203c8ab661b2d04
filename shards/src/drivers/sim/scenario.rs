//! Runs by hand: a test says whose turn it is, and what each client does. The checkers of the random runs watch all the same.

use super::failure::{Checked, RunFailure};
use super::network::{ClientEnd, SocketId};
use super::profile::{Flavor, Profile};
use super::publish::Intent;
use super::topics::{Filter, TOPICS};
use super::world::World;
use crate::base::planted::{Bug, Planted};
use crate::base::random::Random;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::shard::{Counters, Dropped};
use crate::topics::retained::partition;
use crate::wire::{QoS, SubscriptionOptions, Version};
use std::time::Duration;

/// A client of a scenario, by its number.
pub type Who = usize;

/// A broker without faults whose threads step only when told. The first broken promise ends it: every later call does nothing, and
/// [`Scenario::finish`] tells it.
pub struct Scenario {
    world: World,
    broken: Option<RunFailure>,
}

impl Scenario {
    /// A broker of `shards` shards with the coordinator on its own thread, `clients` durable v5 clients, and `bug` in the engine.
    pub fn new(shards: usize, clients: usize, bug: Option<Bug>) -> Scenario {
        Scenario::with_profile(shards, clients, bug, |_| {})
    }

    /// The same with changes to the profile.
    pub fn with_profile(
        shards: usize,
        clients: usize,
        bug: Option<Bug>,
        change: impl FnOnce(&mut Profile),
    ) -> Scenario {
        let mut random = Random::from_seed(1);
        let mut profile = Profile::of(Flavor::Roomy, &mut random);
        (profile.shards, profile.clients, profile.coordinator_thread) = (shards, clients, true);
        (profile.lane_slots, profile.fingerprint_bits, profile.window) = (64, 64, 1_000_000);
        (profile.lagging, profile.late_lanes, profile.laggard) = (false, false, None);
        (profile.limits.connections_max, profile.limits.fan_out_batch) = (1_000, 100);
        change(&mut profile);
        let planted = bug.map_or(Planted::default(), Planted::bug);
        let mut world = World::with_profile(1, random, profile, planted);
        world.calm = true;
        for client in &mut world.clients {
            (client.version, client.durable) = (Version::V5, true);
        }
        Scenario { world, broken: None }
    }

    fn act(&mut self, act: impl FnOnce(&mut World) -> Checked) -> &mut Scenario {
        if self.broken.is_none() {
            self.world.step += 1;
            self.world.now += Duration::from_millis(1);
            let outcome = act(&mut self.world);
            self.broken = outcome.err().map(|failure| self.world.failed(failure));
        }
        self
    }

    /// The client's sessions end with their connections.
    pub fn is_transient(&mut self, who: Who) -> &mut Scenario {
        self.act(|world| {
            world.clients[who].durable = false;
            Ok(())
        })
    }

    /// The client opens a connection that `shard` accepts, and sends CONNECT. One that it had it forgets.
    pub fn connects(&mut self, who: Who, shard: usize) -> &mut Scenario {
        self.act(|world| {
            let clean = !world.clients[who].durable;
            world.connect_to(who, shard, clean);
            Ok(())
        })
    }

    /// The same with a will that waits for `delay` seconds.
    pub fn connects_with_will(&mut self, who: Who, shard: usize, delay: u32) -> &mut Scenario {
        self.act(|world| {
            world.next_will = Some(delay);
            Ok(())
        });
        self.connects(who, shard)
    }

    /// The client's connection is reset.
    pub fn is_reset(&mut self, who: Who) -> &mut Scenario {
        self.act(|world| {
            let socket = link(world, who);
            world.network.socket(socket).client = ClientEnd::Reset;
            world.give_up(socket);
            Ok(())
        })
    }

    /// The client subscribes.
    pub fn subscribes(&mut self, who: Who, filter: &str, qos: QoS) -> &mut Scenario {
        let filter = Filter::named(filter);
        self.act(|world| {
            let socket = link(world, who);
            world.subscribe(socket, &[(filter, SubscriptionOptions::with_qos(qos))]);
            Ok(())
        })
    }

    /// The client unsubscribes.
    pub fn unsubscribes(&mut self, who: Who, filter: &str) -> &mut Scenario {
        let filter = Filter::named(filter);
        self.act(|world| {
            let socket = link(world, who);
            world.unsubscribe(socket, filter);
            Ok(())
        })
    }

    /// The client publishes; on the topics `r/…` with RETAIN.
    pub fn publishes(&mut self, who: Who, topic: &str, qos: QoS) -> &mut Scenario {
        let topic = TOPICS.iter().position(|known| *known == topic).expect("a topic of the pool");
        self.act(|world| {
            let socket = link(world, who);
            world.publish(socket, Intent { topic, qos, clear: false, expiry: None });
            Ok(())
        })
    }

    /// The client reads what has come for it, and answers nothing yet.
    pub fn reads(&mut self, who: Who) -> &mut Scenario {
        self.act(|world| {
            let socket = link(world, who);
            world.client_reads(socket, usize::MAX)
        })
    }

    /// The client sends what it owes.
    pub fn answers(&mut self, who: Who) -> &mut Scenario {
        self.act(|world| {
            let socket = link(world, who);
            world.send_replies(socket, usize::MAX);
            Ok(())
        })
    }

    /// The broker ends in the middle of everything, and starts again with what its logs have.
    pub fn crashes(&mut self) -> &mut Scenario {
        self.act(World::crash)
    }

    /// One whole turn of `shard`, up to going to sleep.
    pub fn turn(&mut self, shard: usize) -> &mut Scenario {
        self.step(shard);
        while self.broken.is_none() && !self.world.loops[shard].is_between_turns() {
            self.step(shard);
        }
        self
    }

    fn step(&mut self, shard: usize) -> &mut Scenario {
        self.act(|world| world.step_thread(shard))
    }

    /// The turn of `shard` up to the point where it has decided to sleep and not announced it yet.
    pub fn turn_until_sleepy(&mut self, shard: usize) -> &mut Scenario {
        self.act(|world| {
            world.loops[shard].stir();
            Ok(())
        });
        while self.broken.is_none() && !self.world.loops[shard].is_about_to_sleep() {
            self.step(shard);
        }
        self
    }

    /// The coordinator answers what it has got.
    pub fn coordinator(&mut self) -> &mut Scenario {
        let thread = self.world.loops.len();
        self.step(thread).step(thread)
    }

    /// `shard` does not look at its lanes from `source`, until all is let go on.
    pub fn blind(&mut self, shard: usize, source: usize) -> &mut Scenario {
        self.act(|world| {
            world.loops[shard].blind.insert(ShardId::new(source));
            Ok(())
        })
    }

    /// `shard` gets one byte per read, and in between none.
    pub fn byte_by_byte(&mut self, shard: usize) -> &mut Scenario {
        self.act(|world| {
            world.loops[shard].byte_by_byte = true;
            Ok(())
        })
    }

    /// Everything runs until nothing moves, and all checks of a rest are made.
    pub fn rest(&mut self) -> &mut Scenario {
        self.act(|world| {
            world.loops.iter_mut().for_each(|shard| shard.blind = ShardSet::EMPTY);
            world.rest()
        })
    }

    /// Nothing happens for so many seconds but what deadlines bring.
    pub fn seconds_pass(&mut self, seconds: u64) -> &mut Scenario {
        self.act(|world| world.idle(Duration::from_secs(seconds)))
    }

    /// How many different messages the client's session has got.
    pub fn received(&self, who: Who) -> usize {
        let session = self.world.clients[who].session;
        session.map_or(0, |session| self.world.ledger.sessions[session].received.len())
    }

    /// Whether the client waits for no SUBACK or UNSUBACK.
    pub fn is_answered(&self, who: Who) -> bool {
        self.world.clients[who].current.is_some_and(|socket| self.world.links[socket].requests.is_empty())
    }

    /// The counters of `shard`.
    pub fn counters(&self, shard: usize) -> Counters {
        self.world.loops[shard].seat.shard.statistics().counters
    }

    /// What `shard` has dropped, by reason.
    pub fn dropped(&self, shard: usize) -> Dropped {
        self.world.loops[shard].seat.shard.statistics().dropped
    }

    /// Releases that the coordinator ignored.
    pub fn stale_releases(&self) -> u64 {
        self.world.with_coordinator(|coordinator| coordinator.stale_releases())
    }

    /// Times that `shard` found something at its second look.
    pub fn sleep_refused(&self, shard: usize) -> u64 {
        self.world.loops[shard].sleep_refused
    }

    /// A retained topic whose partition `shard` keeps.
    pub fn topic_kept_by(&self, shard: usize) -> Option<&'static str> {
        let shards = self.world.loops.len();
        let kept = |topic: &&&str| partition(topic, &self.world.key, shards) == ShardId::new(shard);
        TOPICS.iter().filter(|topic| topic.starts_with("r/")).find(kept).copied()
    }

    /// The end: everybody comes home. The checker that saw a promise broken, if one did.
    pub fn finish(&mut self) -> Option<&'static str> {
        self.rest();
        self.act(|world| world.come_home());
        if let Some(failure) = &self.broken {
            println!("{failure}");
        }
        self.broken.as_ref().map(|failure| failure.failure.checker)
    }
}

fn link(world: &World, who: Who) -> SocketId {
    world.clients[who].current.expect("the scenario has connected it")
}
