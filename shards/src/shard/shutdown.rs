//! The orderly end: v5 clients are told, everybody's output is flushed, every connection is closed.

use super::connection::{Connection, Phase};
use super::{CloseMode, Shard};
use crate::base::time::Time;
use crate::wire::ReasonCode;

/// Connections told per turn, so that the lanes keep flowing.
const CLOSED_PER_TURN: usize = 256;

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stopping {
    /// In service.
    No,
    /// Telling the connections, in slot order; this slot is next.
    From(usize),
    /// All are told.
    Told,
}

impl Shard {
    /// Starts the end; [`Shard::handle_work`] carries it on.
    pub fn handle_shutdown(&mut self) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::From(0);
        }
    }

    /// Whether the end has begun: no more accepts.
    pub fn is_stopping(&self) -> bool {
        self.stopping != Stopping::No
    }

    /// Whether every connection is gone after [`Shard::handle_shutdown`], but for those on their way between shards: their sockets close
    /// with the process.
    pub fn is_drained(&self) -> bool {
        let on_its_way =
            |connection: &Connection| matches!(connection.phase, Phase::Claiming | Phase::Moving);
        self.stopping == Stopping::Told
            && self.connections.iter().all(|(_, connection)| on_its_way(connection))
    }

    pub(super) fn close_slice(&mut self, now: Time) {
        let Stopping::From(mut from) = self.stopping else { return };
        for _ in 0..CLOSED_PER_TURN {
            let Some(key) = self.connections.next_key(from) else {
                self.stopping = Stopping::Told;
                return;
            };
            from = key.index() + 1;
            let phase = self.connections.get(key).expect("next_key names used slots").phase;
            // The broker's own end is not the client's: the next run publishes its will, or nobody does.
            if !self.log.keeps() {
                self.keep_will_silent(key);
            }
            match phase {
                Phase::Connected => self.send_away(now, key),
                Phase::AwaitConnect | Phase::Authenticating | Phase::Authenticated => {
                    self.close_broken(now, key, CloseMode::Now)
                }
                // "Server shutting down" stands in DISCONNECT only (section 2.4).
                Phase::AwaitConnack => self.refuse(now, key, ReasonCode::ServerUnavailable),
                // The first two are refused where they arrive.
                Phase::Claiming | Phase::Moving | Phase::Closing => {}
            }
        }
        self.stopping = Stopping::From(from);
    }

    fn keep_will_silent(&mut self, key: super::ConnectionKey) {
        let session = self.connections.get(key).and_then(|connection| connection.session);
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(session)) {
            session.will = None;
        }
    }
}
