//! Subscriptions that every client gets at CONNECT, as in EMQX: as if it had sent SUBSCRIBE at once, but for the SUBACK. CONNACK stands for that:
//! it waits until the interest is applied everywhere, and retained messages follow it.

use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::topics::{Standing, fill_in};
use crate::wire::{SubscribeFilter, SubscriptionOptions};

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AutoSubscription {
    /// A topic filter, in which `%c` stands for the client id and `%u` for the user name. Clients for which it cannot be filled in do not get it.
    pub filter: Box<str>,
    /// How messages are to be delivered. They replace those of the same subscription in a session that is resumed.
    pub options: SubscriptionOptions,
}

impl Shard {
    /// Subscribes for the client of `key`, whose CONNACK is still to come. What it may not have, or has no room for, it does not get.
    pub(super) fn auto_subscribe(&mut self, key: ConnectionKey, session: SessionKey) {
        if self.extensions.auto_subscribe.is_empty() {
            return;
        }
        let Some(version) = self.connections.get(key).map(|connection| connection.version) else { return };
        self.interest_changed();
        let wanted = self.extensions.auto_subscribe.clone();
        for subscription in wanted.iter() {
            let filter = self
                .author_of(key)
                .and_then(|author| fill_in(&subscription.filter, author.client_id, author.user_name));
            let Some(filter) = filter else { continue };
            let entry = SubscribeFilter { filter: &filter, options: subscription.options };
            // Nobody is there to be told of a refusal; what permission denies is counted and logged there.
            let _ = self.subscribe_one((key, session), &entry, None, version);
        }
        // Until CONNACK it takes nothing that a ready member of its groups could take.
        self.set_standing(session, Standing::Offline);
    }

    /// CONNACK is out: the retained messages of these subscriptions may follow.
    pub(super) fn start_auto_replays(&mut self, session: SessionKey) {
        if self.extensions.auto_subscribe.is_empty() {
            return;
        }
        let Some(session) = self.sessions.get(session) else { return };
        for replay in session.replays.iter() {
            self.retained.start(replay);
        }
    }
}
