//! What a model client does next.

use super::client::{Link, LinkState, Sent};
use super::failure::Checked;
use super::ledger::ClientId;
use super::network::{ClientEnd, SocketId};
use super::topics::Filter;
use super::world::World;
use crate::wire::{Disconnect, DisconnectProperties, Packet, ReasonCode, Version};

impl World {
    /// One client does one thing.
    pub(super) fn client_acts(&mut self) -> Checked {
        if self.random.one_in(60) {
            self.open_hostile();
            return Ok(());
        }
        let client = self.random.below(self.clients.len() as u64) as usize;
        let Some(socket) = self.clients[client].current else {
            if self.random.one_in(3) {
                self.connect(client);
            }
            return Ok(());
        };
        match self.links[socket].state {
            LinkState::Up => self.act_connected(client, socket),
            LinkState::Connecting if self.random.one_in(30) => {
                self.coverage.reach("a client gives up before CONNACK and connects again");
                self.connect(client);
                Ok(())
            }
            _ => self.client_reads(socket, usize::MAX),
        }
    }

    fn act_connected(&mut self, client: ClientId, socket: SocketId) -> Checked {
        let mut weights = self.profile.weights;
        if self.links[socket].requests.len() > 10 {
            (weights.subscribe, weights.unsubscribe) = (0, 0);
        }
        let mut dice = self.random.below(1_000);
        let mut is = |weight: u64| {
            let hit = dice < weight;
            dice = dice.wrapping_sub(weight);
            hit
        };
        if is(weights.publish) {
            self.publish_something(client, socket);
        } else if is(weights.subscribe) {
            self.subscribe_something(socket);
        } else if is(weights.unsubscribe) {
            let filter = if self.random.one_in(self.profile.shares_one_in) {
                self.pick_share()
            } else {
                Filter::numbered(self.random.below(Filter::PLAIN as u64) as usize)
            };
            self.unsubscribe(socket, filter);
        } else if is(weights.ping) {
            self.ping(socket);
        } else if is(weights.leave) {
            self.leave(client, socket);
        } else if is(weights.again) {
            self.coverage.reach("a client connects again without closing");
            self.connect(client);
        } else if is(weights.stall) {
            let reading = &mut self.clients[client].reading;
            *reading = !*reading;
            if !*reading {
                self.links[socket].stalled = true;
                self.coverage.reach("a client stops reading");
            }
        } else if self.random.one_in(2) {
            let count = 1 + self.random.below(3) as usize;
            self.send_replies(socket, count);
        } else if self.clients[client].reading {
            let count = if self.random.one_in(3) { self.random.below(40) as usize } else { usize::MAX };
            return self.client_reads(socket, count);
        }
        Ok(())
    }

    /// Sends one packet.
    pub(super) fn client_sends(&mut self, socket: SocketId, bytes: &[u8], sent: Sent) {
        self.network.socket(socket).send(bytes);
        self.links[socket].note(bytes.len(), sent);
    }

    /// Encodes and sends one packet.
    pub(super) fn send_packet(&mut self, socket: SocketId, packet: &Packet<'_>, sent: Sent) {
        let version = self.clients[self.links[socket].client].version;
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        self.trace(|| format!("link {socket} sends {packet:?}"));
        self.client_sends(socket, &bytes, sent);
    }

    /// A peer that is no MQTT client.
    fn open_hostile(&mut self) {
        let socket = self.network.open(self.profile.window);
        let mut link = Link::new(0, self.now);
        link.hostile = true;
        link.state = LinkState::Over;
        self.links.push(link);
        let shard = self.random.below(self.loops.len() as u64) as usize;
        self.loops[shard].accept(self.now, socket);
        let bytes: Vec<u8> = (0..1 + self.random.below(40)).map(|_| self.random.next_u64() as u8).collect();
        self.network.socket(socket).send(&bytes);
    }

    fn ping(&mut self, socket: SocketId) {
        self.links[socket].pings += 1;
        self.send_packet(socket, &Packet::Pingreq, Sent::Other);
    }

    /// A line of the run's story.
    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            println!("{} {:?} {}", self.step, self.now, line());
        }
    }

    /// The connection ends: with DISCONNECT, or in one of the bad ways.
    fn leave(&mut self, client: ClientId, socket: SocketId) {
        let v5 = self.clients[client].version == Version::V5;
        match self.random.below(5) {
            0 | 1 => {
                let with_will = v5 && self.random.one_in(3);
                self.disconnect(socket, with_will);
                return;
            }
            2 => self.network.socket(socket).client = ClientEnd::Finished,
            3 => self.network.socket(socket).client = ClientEnd::Reset,
            _ => {
                self.coverage.reach("a client vanishes");
                self.network.socket(socket).client = ClientEnd::Vanished;
            }
        }
        self.trace(|| format!("link {socket}: {:?}", self.network.peek(socket).client));
        self.give_up(socket);
    }

    /// DISCONNECT, keeping the will if asked to, then end of stream.
    pub(super) fn disconnect(&mut self, socket: SocketId, with_will: bool) {
        let reason = if with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
        let link = &self.links[socket];
        // An expiry of 0 stays (MQTT 5 section 3.14.2.2.2).
        let can = self.clients[link.client].version == Version::V5 && link.expiry > 0;
        let session_expiry = if can && self.random.one_in(2) {
            self.coverage.reach("a DISCONNECT changes the session's expiry");
            Some(*self.random.pick(&[0, 0, 7, 90]))
        } else {
            None
        };
        self.links[socket].expiry_at_end = session_expiry;
        let properties = DisconnectProperties { session_expiry, ..DisconnectProperties::default() };
        let packet = Packet::Disconnect(Disconnect { reason, properties });
        self.send_packet(socket, &packet, Sent::Disconnect(!with_will));
        self.network.socket(socket).client = ClientEnd::Finished;
        self.give_up(socket);
    }
}
