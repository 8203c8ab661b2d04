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

impl World {
    pub(super) fn subscribe_something(&mut self, socket: SocketId) {
        if self.random.one_in(self.profile.shares_one_in) {
            return self.join_group(socket);
        }
        let count = 1 + self.random.below(3) as usize;
        let v5 = self.clients[self.links[socket].client].version == Version::V5;
        let mut entries: Vec<(Filter, SubscriptionOptions)> = Vec::new();
        for _ in 0..count {
            let filter = self.pick_filter();
            let again = entries.iter().any(|(other, _)| *other == filter);
            if again || !v5 && self.is_ambiguous(socket, filter) {
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
        if !entries.is_empty() {
            self.subscribe(socket, &entries);
        }
    }

    /// Subscribes a shared filter.
    fn join_group(&mut self, socket: SocketId) {
        let filter = self.pick_share();
        let v5 = self.clients[self.links[socket].client].version == Version::V5;
        if !v5 && self.is_ambiguous(socket, filter) {
            return;
        }
        let again = self.subscriptions_of(socket).find(|subscription| subscription.filter == filter && !v5);
        let again = again.map(|subscription| subscription.qos);
        let plain = SubscriptionOptions::with_qos(again.unwrap_or(*self.random.pick(&QoS::ALL)));
        let retain_as_published = v5 && self.random.one_in(3);
        self.subscribe(socket, &[(filter, SubscriptionOptions { retain_as_published, ..plain })]);
    }

    /// Most of the time those that stay few, so that their groups have many members.
    pub(super) fn pick_share(&mut self) -> Filter {
        let shares = Filter::COUNT - Filter::PLAIN;
        let among = if self.random.below(3) > 0 { shares.min(3) } else { shares };
        Filter::numbered(Filter::PLAIN + self.random.below(among as u64) as usize)
    }

    /// Whether a client that gets no identifiers could not tell for which of its subscriptions a copy is.
    fn is_ambiguous(&mut self, socket: SocketId, filter: Filter) -> bool {
        self.subscriptions_of(socket).any(|subscription| {
            subscription.filter != filter
                && (filter.is_shared() || subscription.filter.is_shared())
                && subscription.filter.overlaps(filter)
        })
    }

    fn pick_filter(&mut self) -> Filter {
        let index = match self.profile.flavor {
            Flavor::FanOut if self.random.below(4) > 0 => self.random.below(3) as usize,
            Flavor::Retained if self.random.below(4) > 0 => *self.random.pick(&[7, 8, 9, 15, 17, 14]),
            _ => self.random.below(Filter::PLAIN as u64) as usize,
        };
        Filter::numbered(index)
    }

    /// Subscribes `entries`.
    pub(super) fn subscribe(&mut self, socket: SocketId, entries: &[(Filter, SubscriptionOptions)]) {
        let Some(attached) = self.links[socket].attached else { return };
        let client = self.links[socket].client;
        let packet_id = self.clients[client].packet_id(&self.links[socket], self.profile.keeps);
        let filters: Vec<SubscribeFilter<'_>> = entries
            .iter()
            .map(|(filter, options)| SubscribeFilter { filter: filter.text(), options: *options })
            .collect();
        let from = self.ledger.sessions[attached.session].subscriptions.len();
        // A copy for a shared group is known by its identifier.
        let v5 = self.clients[client].version == Version::V5;
        let shared = entries.iter().any(|(filter, _)| filter.is_shared());
        let identifier = (v5 && (shared || self.random.below(4) > 0)).then_some(from as u32 + 1);
        let packet = Packet::Subscribe(Subscribe {
            packet_id,
            subscription_id: identifier,
            user: Default::default(),
            filters: SubscribeFilters::from_slice(&filters),
        });
        let (step, now) = (self.step, self.now);
        for (filter, options) in entries {
            self.ledger.groups.disturb_filter(*filter);
            let subscriptions = &mut self.ledger.sessions[attached.session].subscriptions;
            for before in subscriptions.iter_mut().filter(|before| before.filter == *filter) {
                before.replaced.get_or_insert(step);
            }
            subscriptions.push(Subscription {
                filter: *filter,
                identifier,
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                retain_handling: options.retain_handling,
                asked: step,
                asked_at: now,
                replaced: None,
                replaced_surely: None,
                promised: None,
                dropped: None,
                gone: None,
                replay_lost: false,
            });
        }
        let asked = (from..from + entries.len()).collect();
        self.links[socket].requests.insert(packet_id, Request::Subscribe(asked));
        self.send_packet(socket, &packet, Sent::Other);
    }

    /// Unsubscribes `filter`.
    pub(super) fn unsubscribe(&mut self, socket: SocketId, filter: Filter) {
        let client = self.links[socket].client;
        let packet_id = self.clients[client].packet_id(&self.links[socket], self.profile.keeps);
        let step = self.step;
        self.ledger.groups.disturb_filter(filter);
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
