//! Durable sessions with wills, a new one with each connection.
//!
//! What has to become of the will of a connection that CONNACK has accepted:
//! - Delay 0: when the connection ends without DISCONNECT (the broker's death is such an end) the will comes, once.
//! - A delay that the client lets pass: the will comes, once, whatever crashes lie between.
//! - A delay before whose end the client is back: once the new connection is accepted the will does not come any more.
//! - DISCONNECT: the will does not come, which holds for certain once the same broker has accepted the next connection; if it was killed
//!   before that, nobody has been told that the DISCONNECT was kept, and the will may come once.
//!
//! The will of a connection that was never accepted may come once or not.

use super::book::{Class, MessageId, StreamId, payload};
use super::client::{Client, Event, Testament};
use super::limits::{LONG_DELAY_SECS, OVERDUE, SHORT_SECS};
use super::verdict::Fault;
use super::world::{Role, Stage, World};
use shardmq_shards::wire::QoS;
use std::time::Duration;

/// One in so many turns the connection is broken.
const BREAK_ONE_IN: u64 = 120;

/// How a client deals with its will.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attitude {
    /// No delay.
    Prompt,
    /// A delay, and back before it has passed.
    Returning,
    /// A delay, and back when the will has come.
    Patient,
}

/// A client with wills.
pub struct Willer {
    stream: StreamId,
    attitude: Attitude,
    /// The will of the last CONNECT.
    current: Option<MessageId>,
    /// Wills of earlier CONNECTs that the next CONNACK prevents; if a start is named, only a CONNACK of that start of the broker.
    earlier: Vec<(MessageId, Option<u32>)>,
    is_accepted: bool,
    /// The broker's start that was told goodbye by the present connection.
    goodbye: Option<u32>,
    /// What [`World::served`] was when the connection ended.
    away_since: Option<Duration>,
}

impl Willer {
    /// A client with wills in a stream of its own.
    pub fn new(world: &mut World, attitude: Attitude) -> Willer {
        let stream = world.book.open_stream(Class::Will, QoS::ExactlyOnce);
        Willer {
            stream,
            attitude,
            current: None,
            earlier: Vec::new(),
            is_accepted: false,
            goodbye: None,
            away_since: None,
        }
    }

    fn close(&mut self, world: &mut World) {
        let Some(current) = self.current.take() else { return };
        let was_accepted = std::mem::take(&mut self.is_accepted);
        let goodbye = self.goodbye.take();
        match (self.attitude, goodbye) {
            (_, Some(start)) => self.earlier.push((current, Some(start))),
            (Attitude::Returning, None) => self.earlier.push((current, None)),
            (Attitude::Prompt, None) if was_accepted => world.book.make_due(current),
            (Attitude::Patient, None) if was_accepted => {
                self.away_since = Some(world.served);
                self.current = Some(current);
            }
            _ => {}
        }
    }

    /// Whether the will that a patient client waits for has come, or never will.
    fn has_waited(&mut self, world: &mut World) -> bool {
        let (Some(since), Some(current)) = (self.away_since, self.current) else { return true };
        let has_come = world.book.has_arrived(current);
        if !has_come && world.served < since + OVERDUE {
            return false;
        }
        world.book.make_due(current);
        if !has_come {
            world.book.write_off_everywhere(current, &mut world.verdict);
        }
        (self.away_since, self.current) = (None, None);
        true
    }
}

impl Role for Willer {
    fn wants_link(&mut self, world: &mut World) -> bool {
        self.has_waited(world)
    }

    fn greeting(&mut self, world: &mut World) -> (Option<Testament>, bool) {
        let will = world.book.next(self.stream);
        self.current = Some(will);
        self.is_accepted = false;
        let delay_secs = match self.attitude {
            Attitude::Prompt => 0,
            Attitude::Returning => LONG_DELAY_SECS,
            Attitude::Patient => SHORT_SECS,
        };
        let topic = world.book.stream(self.stream).0.to_string();
        (Some(Testament { topic, payload: payload(will), delay_secs }), false)
    }

    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World) {
        match event {
            Event::Connected { present, promised } => {
                if !present && promised == Some(true) {
                    world.verdict.fault(Fault::SessionMissing, || client.name.clone());
                }
                self.is_accepted = true;
                for (will, start) in std::mem::take(&mut self.earlier) {
                    if start.is_none_or(|start| start == world.starts) {
                        world.book.prevent(will);
                    }
                }
            }
            Event::Closed => self.close(world),
            _ => {}
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        if world.stage != Stage::Traffic || self.goodbye.is_some() || !world.random.one_in(BREAK_ONE_IN) {
            return;
        }
        if world.random.one_in(2) {
            client.abandon();
            self.close(world);
        } else {
            client.disconnect();
            self.goodbye = Some(world.starts);
        }
    }

    fn is_settled(&self, client: &Client, world: &World) -> bool {
        client.is_up() || self.away_since.is_some() && !world.is_final
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if !self.is_settled(client, world) {
            world.verdict.fault(Fault::Stuck, || format!("{} cannot connect", client.name));
        }
    }
}
