//! A model client subscribes and unsubscribes.

use super::client::{Request, Sent};
use super::ledger::Subscription;
use super::network::SocketId;
use super::profile::Flavor;
use super::topics::Filter;
use super::world::World;
use crate::wire::{
    Packet, QoS, RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions,
    Unsubscribe, UnsubscribeFilters, Version,
};
use std::num::NonZeroU32;

impl World {
    pub(super) fn subscribe_something(&mut self, socket: SocketId) {
        let count = 1 + self.random.below(3) as usize;
        let v5 = self.clients[self.links[socket].client].version == Version::V5;
        let mut entries: Vec<(Filter, SubscriptionOptions)> = Vec::new();
        for _ in 0..count {
            let filter = self.pick_filter();
            if entries.iter().any(|(other, _)| *other == filter) {
                continue;
            }
            let retain_as_published = v5 && self.random.one_in(4);
            let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
            let options = SubscriptionOptions {
                qos: *self.random.pick(&QoS::ALL),
                no_local: v5 && self.random.one_in(5),
                retain_as_published,
                retain_handling: if v5 { *self.random.pick(&handling) } else { RetainHandling::Send },
            };
            // Nearly always as plain as can be, where it is about who ends with what.
            let plain = self.profile.flavor == Flavor::Retained && self.random.below(8) > 0;
            let options = if plain { SubscriptionOptions::with_qos(QoS::AtLeastOnce) } else { options };
            entries.push((filter, options));
        }
        self.subscribe(socket, &entries);
    }

    fn pick_filter(&mut self) -> Filter {
        let index = match self.profile.flavor {
            Flavor::FanOut if self.random.below(4) > 0 => self.random.below(3) as usize,
            Flavor::Retained if self.random.below(4) > 0 => *self.random.pick(&[7, 8, 9, 15, 17, 14]),
            _ => self.random.below(Filter::COUNT as u64) as usize,
        };
        Filter::numbered(index)
    }

    /// Subscribes `entries`.
    pub(super) fn subscribe(&mut self, socket: SocketId, entries: &[(Filter, SubscriptionOptions)]) {
        let Some(attached) = self.links[socket].attached else { return };
        let client = self.links[socket].client;
        let packet_id = self.clients[client].packet_id(&self.links[socket]);
        let identifier = (self.clients[client].version == Version::V5 && self.random.one_in(4))
            .then(|| 1 + self.random.below(9) as u32);
        let filters: Vec<SubscribeFilter<'_>> = entries
            .iter()
            .map(|(filter, options)| SubscribeFilter { filter: filter.text(), options: *options })
            .collect();
        let packet = Packet::Subscribe(Subscribe {
            packet_id,
            subscription_id: identifier.and_then(NonZeroU32::new).map(NonZeroU32::get),
            user: Default::default(),
            filters: SubscribeFilters::from_slice(&filters),
        });
        let from = self.ledger.sessions[attached.session].subscriptions.len();
        for (filter, options) in entries {
            self.ledger.sessions[attached.session].subscriptions.push(Subscription {
                filter: *filter,
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                retain_handling: options.retain_handling,
                asked: self.step,
                promised: None,
                dropped: None,
                gone: None,
            });
        }
        let asked = (from..from + entries.len()).collect();
        self.links[socket].requests.insert(packet_id, Request::Subscribe(asked));
        self.send_packet(socket, &packet, Sent::Other);
    }

    /// Unsubscribes `filter`.
    pub(super) fn unsubscribe(&mut self, socket: SocketId, filter: Filter) {
        let client = self.links[socket].client;
        let packet_id = self.clients[client].packet_id(&self.links[socket]);
        let step = self.step;
        let mut dropped = Vec::new();
        for (index, subscription) in self.subscriptions_of(socket).enumerate() {
            if subscription.filter == filter && subscription.gone.is_none() {
                subscription.dropped.get_or_insert(step);
                dropped.push(index);
            }
        }
        self.links[socket].requests.insert(packet_id, Request::Unsubscribe(dropped));
        let filters = [filter.text()];
        let packet = Packet::Unsubscribe(Unsubscribe {
            packet_id,
            user: Default::default(),
            filters: UnsubscribeFilters::from_slice(&filters),
        });
        self.send_packet(socket, &packet, Sent::Other);
    }
}
