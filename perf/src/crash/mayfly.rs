//! Sessions that soon outlive their time: there while it lasts, gone afterwards, whatever crashes lie between.

use super::client::{Client, Event, Testament};
use super::limits::{OVERDUE, SHORT_SECS};
use super::verdict::Fault;
use super::world::{Role, Stage, World};
use std::time::{Duration, Instant};

/// One in so many turns the connection is broken.
const BREAK_ONE_IN: u64 = 60;
/// One in so many absences is long enough for the session to end.
const LONG_ONE_IN: u64 = 4;
/// Back after less than this the session has to be there.
const SHORT: Duration = Duration::from_millis(SHORT_SECS as u64 * 1_000 - 100);

/// A client with a session expiry of [`SHORT_SECS`].
#[derive(Default)]
pub struct Mayfly {
    /// When it left, and what [`World::served`] was then.
    away_since: Option<(Instant, Duration)>,
    stays_away: bool,
    has_session: bool,
    /// CONNECTs since the last CONNACK.
    attempts: u32,
}

impl Mayfly {
    fn leave(&mut self, world: &mut World) {
        if self.away_since.is_none() {
            self.away_since = Some((world.now, world.served));
            self.stays_away = world.random.one_in(LONG_ONE_IN);
        }
    }
}

impl Role for Mayfly {
    fn wants_link(&mut self, world: &mut World) -> bool {
        !self.stays_away
            || world.is_final
            || self.away_since.is_none_or(|(_, served)| world.served >= served + OVERDUE)
    }

    fn greeting(&mut self, _world: &mut World) -> (Option<Testament>, bool) {
        self.attempts += 1;
        (None, false)
    }

    fn handle(&mut self, event: Event, client: &mut Client, world: &mut World) {
        match event {
            Event::Connected { present, .. } => {
                let away =
                    self.away_since.take().map(|(since, served)| (world.now - since, world.served - served));
                if self.has_session && !present && away.is_some_and(|(away, _)| away < SHORT) {
                    world.verdict.fault(Fault::SessionMissing, || format!("{} after {away:?}", client.name));
                }
                // An earlier CONNECT without answer may have made a new one.
                if present && self.attempts == 1 && away.is_some_and(|(_, served)| served >= OVERDUE) {
                    world.verdict.fault(Fault::SessionLeft, || format!("{} after {away:?}", client.name));
                }
                self.has_session = true;
                self.attempts = 0;
                self.stays_away = false;
            }
            Event::Closed => self.leave(world),
            _ => {}
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        if world.stage == Stage::Traffic && world.random.one_in(BREAK_ONE_IN) {
            client.abandon();
            self.leave(world);
        }
    }

    fn is_settled(&self, client: &Client, world: &World) -> bool {
        client.is_up() || self.stays_away && !world.is_final
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if !self.is_settled(client, world) {
            world.verdict.fault(Fault::Stuck, || format!("{} cannot connect", client.name));
        }
    }
}
