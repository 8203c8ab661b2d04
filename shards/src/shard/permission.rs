//! Who may publish and subscribe where: asked for every PUBLISH, for every filter of a SUBSCRIBE, and for a will when it is published,
//! since what its client was allowed at CONNECT may have changed (MQTT 5 section 5.4.2).

use super::{ConnectionKey, Event, Shard};
use crate::session::{Author, KeptAuthor};
use crate::topics::TopicFilter;
use std::fmt;

/// The operator's rules. Asked on the shard's own thread in the middle of a turn, so an implementation answers from memory, at once.
///
/// Topics and filters are those that the client named: before rewriting, without `$share/NAME/`.
pub trait Permission: fmt::Debug + Send + Sync {
    /// Whether `author` may publish to `topic`, a valid topic name.
    fn may_publish(&self, author: Author<'_>, topic: &str) -> bool;

    /// Whether `author` may subscribe to `filter`, a valid topic filter.
    fn may_subscribe(&self, author: Author<'_>, filter: &str) -> bool;
}

impl Shard {
    /// The client behind a connection that has its session.
    pub(super) fn author_of(&self, key: ConnectionKey) -> Option<Author<'_>> {
        let connection = self.connections.get(key)?;
        let session = self.sessions.get(connection.session?)?;
        let user_name = connection.extra.as_ref().and_then(|extra| extra.user_name.as_deref());
        Some(Author { client_id: &session.client_id, user_name, peer: connection.peer })
    }

    /// Whether `author` may publish to `topic`.
    pub(super) fn may_publish(&self, author: Author<'_>, topic: &str) -> bool {
        self.extensions.permission.as_ref().is_none_or(|rules| rules.may_publish(author, topic))
    }

    /// Counts a PUBLISH or a will that its author may not publish, and tells the operator.
    pub(super) fn publish_denied(&mut self, author: KeptAuthor, topic: &str) {
        self.counters.publish_denied += 1;
        self.report(Event::Denied { author, what: "publish to", topic: topic.into() });
    }

    /// Whether the client of `key` may subscribe to `filter`.
    pub(super) fn allows_subscribe(&self, key: ConnectionKey, filter: TopicFilter<'_>) -> bool {
        let (Some(rules), Some(author)) = (&self.extensions.permission, self.author_of(key)) else {
            return true;
        };
        rules.may_subscribe(author, filter.shared().map_or(filter, |(_, filter)| filter).as_str())
    }

    /// Whether the client of `key` may subscribe to `filter`; a refusal is counted and told to the operator.
    pub(super) fn may_subscribe(&mut self, key: ConnectionKey, filter: TopicFilter<'_>) -> bool {
        if self.allows_subscribe(key, filter) {
            return true;
        }
        let filter = filter.shared().map_or(filter, |(_, filter)| filter).as_str();
        let author = KeptAuthor::from(self.author_of(key).expect("it was asked for just now"));
        self.counters.subscribe_denied += 1;
        self.report(Event::Denied { author, what: "subscribe to", topic: filter.into() });
        false
    }
}
