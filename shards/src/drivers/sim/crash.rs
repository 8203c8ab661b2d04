//! The end of the broker in the middle of everything, and its next start.
//!
//! Nothing survives, as the logs are in memory: shards, lanes and the coordinator are dropped between two steps, every socket is reset. Clients keep what
//! clients keep (`client`), the reference what was promised (`aftermath`).

use super::broker::{Broker, Start};
use super::client::LinkState;
use super::failure::Checked;
use super::network::{ClientEnd, SocketId};
use super::world::World;
use crate::base::lsn::Incarnation;
use crate::session::DropReason;
use std::time::Duration;

impl World {
    /// The broker ends, as by `kill -9` or the loss of power, and starts again.
    pub(super) fn crash(&mut self) -> Checked {
        self.coverage.reach("the broker crashes");
        self.trace(|| "the broker crashes".into());
        self.read_last_words()?;
        for socket in 0..self.links.len() {
            self.cut_off(socket);
        }
        self.read_counters();
        for shard in &self.loops {
            let dropped = shard.seat.shard.statistics().dropped;
            self.dropped_before.iter_mut().zip(dropped).for_each(|(sum, dropped)| *sum += dropped);
        }
        self.note_crash();
        self.restart()
    }

    /// What the broker had written may have reached its client before the end, in part.
    fn read_last_words(&mut self) -> Checked {
        for client in 0..self.clients.len() {
            let Some(socket) = self.clients[client].current else { continue };
            if self.random.one_in(2) && self.is_open(socket) {
                let count = if self.random.one_in(2) { usize::MAX } else { self.random.below(60) as usize };
                self.client_reads(socket, count)?;
            }
        }
        Ok(())
    }

    /// Nothing comes from or goes to the broker over this socket any more.
    fn cut_off(&mut self, socket: SocketId) {
        let endpoint = self.network.socket(socket);
        endpoint.client = ClientEnd::Reset;
        endpoint.broker_closed = true;
        if self.links[socket].state != LinkState::Over {
            self.give_up(socket);
        }
    }

    /// The next start, some time later, and whom it has.
    fn restart(&mut self) -> Checked {
        let down = [0, 1_000, 3_000_000, 40_000_000];
        let longest = *self.random.pick(&down);
        self.now += Duration::from_micros(self.random.below(1 + longest));
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        let start = Start { key: &self.key, planted: self.planted, incarnation: self.incarnation };
        let broker = Broker::start(&self.profile, start, &mut self.random);
        (self.loops, self.coordinator) = (broker.loops, broker.coordinator);
        self.recognise()
    }

    /// Copies dropped for `reason` since the run began.
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        let of_shards = self.loops.iter().map(|shard| shard.seat.shard.statistics().dropped[reason as usize]);
        self.dropped_before[reason as usize] + of_shards.sum::<u64>()
    }
}
