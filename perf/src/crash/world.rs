//! What all clients of the ledger share, and what one of them is.

use super::book::Book;
use super::client::{Client, Event, Testament};
use super::limits::PAUSE_US_MAX;
use super::probes::Probes;
use super::retained::RetainedBook;
use super::verdict::{Fault, Verdict};
use shardmq_shards::base::random::Random;
use std::time::{Duration, Instant};

/// Where a round stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The broker runs and clients come back; retained messages are read before anybody writes again.
    Look,
    /// Everybody is back and sends again what was not acknowledged; nothing new is published, all that is due has to come.
    Settle,
    /// Traffic, until the cut.
    Traffic,
    /// The broker is gone: what has arrived is still read, nobody connects.
    Down,
}

/// The ledger's state beside its clients.
pub struct World {
    /// Messages.
    pub book: Book,
    /// Retained messages.
    pub retained: RetainedBook,
    /// Subscriptions that come and go, and the messages that try them.
    pub probes: Probes,
    /// Faults found.
    pub verdict: Verdict,
    /// The run's randomness.
    pub random: Random,
    /// Now, read once per turn.
    pub now: Instant,
    /// Where the round stands.
    pub stage: Stage,
    /// The how many-th round.
    pub round: u32,
    /// How often the broker was started.
    pub starts: u32,
    /// How long a broker was there to be connected to, over all starts: what is due after a while is due after so much of this, however
    /// long the starts take.
    pub served: Duration,
    /// Whether the broker was asked to stop, or has to since its disk is gone.
    pub is_stopping: bool,
    /// Whether this is the check after the last cut: everything has to come now.
    pub is_final: bool,
}

impl World {
    /// Before the first start of the broker.
    pub fn new(seed: u64) -> World {
        World {
            book: Book::default(),
            retained: RetainedBook::default(),
            probes: Probes::default(),
            verdict: Verdict::default(),
            random: Random::from_seed(seed),
            now: Instant::now(),
            stage: Stage::Down,
            round: 0,
            starts: 0,
            served: Duration::ZERO,
            is_stopping: false,
            is_final: false,
        }
    }

    /// A moment within the next `micros_max` microseconds.
    pub fn soon(&mut self, micros_max: u64) -> Instant {
        self.now + Duration::from_micros(self.random.below(micros_max))
    }
}

/// What a client does with its connection.
pub trait Role {
    /// Whether it wants to be connected now.
    fn wants_link(&mut self, world: &mut World) -> bool;

    /// What it connects with: its will, and whether the session is to start anew. Called for each CONNECT.
    fn greeting(&mut self, _world: &mut World) -> (Option<Testament>, bool) {
        (None, false)
    }

    /// Something happened.
    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World);

    /// Its turn, while it is connected and accepted.
    fn turn(&mut self, client: &mut Client, world: &mut World);

    /// A stage begins.
    fn enter_stage(&mut self, _client: &mut Client, _world: &mut World) {}

    /// Whether the round can go on as far as this client is concerned.
    fn is_settled(&self, client: &Client, world: &World) -> bool;

    /// What it still lacks is counted as faults, so that the next round does not wait for it again.
    fn give_up(&mut self, client: &Client, world: &mut World);
}

/// A client and what it does.
pub struct Actor {
    /// The client.
    pub client: Client,
    /// What it does.
    pub role: Box<dyn Role>,
    /// Not connected before.
    pub rests_until: Instant,
}

impl Actor {
    /// A client that connects as soon as its role wants to.
    pub fn new(client: Client, role: impl Role + 'static) -> Actor {
        Actor { client, role: Box::new(role), rests_until: Instant::now() }
    }

    /// Hands on what has arrived; whether there was anything.
    pub fn receive(&mut self, world: &mut World) -> bool {
        let events = self.client.take_events();
        let any = !events.is_empty();
        for event in events {
            if let Event::Closed = event {
                self.rests_until = world.soon(PAUSE_US_MAX);
            }
            let name = &self.client.name;
            match &event {
                Event::Breach(text) => world.verdict.fault(Fault::Protocol, || format!("{name}: {text}")),
                // A broker that is about to end may refuse who comes meanwhile.
                Event::Refused(reason) if !world.is_stopping => {
                    world.verdict.fault(Fault::Protocol, || format!("{name} refused: {reason:?}"));
                }
                _ => {}
            }
            self.role.handle(event, &mut self.client, world);
        }
        any
    }
}
