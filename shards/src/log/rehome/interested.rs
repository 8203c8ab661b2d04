//! Who of a shard's sessions a message is for.

use crate::base::hash::HashKey;
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::log::image::ShardImage;
use crate::log::record::{CopyEntry, CopyState};
use crate::topics::{Subscriber, SubscriptionTree, TopicFilter, TopicName};
use crate::wire::{Message, QoS, SubscriptionOptions};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The subscriptions of an image, to be matched.
pub(super) struct Interested {
    plain: SubscriptionTree<SessionNumber>,
    /// Members of shared groups, by their filter.
    groups: BTreeMap<Box<str>, Members>,
}

#[derive(Default)]
struct Members {
    members: Vec<Subscriber<SessionNumber>>,
    /// Whose turn it is.
    turn: usize,
}

impl Interested {
    /// What the sessions of `image` have subscribed. A copy of QoS 0 is not kept, but one that is kept says for which other subscriptions it is, too
    /// [MQTT-3.3.4-4]. `key` is any.
    pub(super) fn of(image: &ShardImage, key: &HashKey) -> Interested {
        let mut interested =
            Interested { plain: SubscriptionTree::new(key.clone()), groups: BTreeMap::new() };
        for (number, session) in &image.sessions {
            for (text, subscription) in &session.subscriptions {
                let Ok(filter) = TopicFilter::new(text) else { continue };
                let kept = subscription.options.qos > QoS::AtMostOnce;
                let subscriber =
                    Subscriber::new(*number, subscription.options, subscription.identifier, kept);
                if filter.shared().is_none() {
                    interested.plain.insert(filter, subscriber);
                } else if kept {
                    interested.groups.entry(text.clone()).or_default().members.push(subscriber);
                }
            }
        }
        interested
    }

    /// A copy for each session with a subscription that matches and `counts`, with all that those ask for. Their numbers are yet to be given.
    pub(super) fn copies(
        &self,
        message: &Message,
        counts: impl Fn(SessionNumber, SubscriptionOptions) -> bool,
    ) -> Vec<CopyEntry> {
        let mut matching = Vec::new();
        if let Ok(topic) = TopicName::new(message.topic()) {
            self.plain.matches(topic, &mut matching);
        }
        matching.retain(|subscriber| counts(subscriber.key, subscriber.options));
        matching.sort_by_key(|subscriber| (subscriber.key, subscriber.identifier()));
        matching.chunk_by(|a, b| a.key == b.key).filter_map(|session| copy(message, session, None)).collect()
    }

    /// A copy for the next member of the group; `None`: it has no member here.
    pub(super) fn member(&mut self, group: &str, message: &Message) -> Option<CopyEntry> {
        let Members { members, turn } = self.groups.get_mut(group)?;
        let member = members[*turn % members.len()];
        *turn += 1;
        copy(message, &[member], Some(group))
    }
}

/// One copy for the session that has these subscriptions (MQTT 5, 3.3.4); none of a message of QoS 0.
fn copy(message: &Message, matching: &[Subscriber<SessionNumber>], group: Option<&str>) -> Option<CopyEntry> {
    let granted = matching.iter().map(Subscriber::qos).max()?;
    let qos = granted.min(message.qos());
    let as_published = matching.iter().any(|subscriber| subscriber.options.retain_as_published);
    (qos > QoS::AtMostOnce).then(|| CopyEntry {
        session: matching[0].key,
        number: CopyNumber::default(),
        qos,
        retain: message.retain() && as_published,
        group: group.map(Arc::from),
        state: CopyState::Queued,
        identifiers: matching.iter().filter_map(Subscriber::identifier).map(NonZeroU32::get).collect(),
    })
}
