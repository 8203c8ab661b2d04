//! Exclusive subscriptions: of all clients that subscribe to `$exclusive/FILTER` one gets FILTER, as in EMQX; the others are answered 0x97 until it is
//! given up or its holder's session ends. A subscription to FILTER without the prefix asks nobody.
//!
//! The coordinator decides. A SUBSCRIBE that needs its answer stays in front of the connection's input, with all behind it, and is handled when the answer
//! is there: a round trip that depends on no client.

use super::connection::{Parked, Phase};
use super::peers::News;
use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::limits::EXCLUSIVE_PER_SUBSCRIBE_MAX;
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::mesh::{ExclusiveReply, ExclusiveRequest};
use crate::topics::TopicFilter;
use crate::wire::Subscribe;
use std::collections::{BTreeMap, BTreeSet};

/// What a filter of an exclusive subscription begins with.
const PREFIX: &str = "$exclusive/";

/// A filter as the client wrote it, and whether it wants it exclusively.
pub(super) fn exclusive_filter(text: &str) -> (&str, bool) {
    text.strip_prefix(PREFIX).map_or((text, false), |filter| (filter, true))
}

/// A request under way.
struct Asked {
    connection: ConnectionKey,
    session: SessionKey,
    filter: Box<str>,
}

/// A SUBSCRIBE that waits.
#[derive(Default)]
struct Waiting {
    /// Answers still to come.
    open: usize,
    granted: Vec<Box<str>>,
}

/// What this shard holds and asks for.
#[derive(Default)]
pub(super) struct Exclusive {
    /// By session and filter, the number of the request that was granted.
    held: BTreeMap<(SessionKey, Box<str>), u64>,
    /// By number.
    asked: BTreeMap<u64, Asked>,
    /// Connections whose SUBSCRIBE waits.
    waiting: BTreeMap<ConnectionKey, Waiting>,
    newest: u64,
}

impl Exclusive {
    /// Exclusive subscriptions of this shard's sessions.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// What a session held before the last end of the broker. In the order of [`crate::log::ShardImage::exclusive`], by which the coordinator knows the
    /// numbers.
    pub(super) fn restore(&mut self, session: SessionKey, filter: &str) {
        self.newest += 1;
        self.held.insert((session, filter.into()), self.newest);
    }

    fn holds(&self, session: SessionKey, filter: &str) -> bool {
        self.held.contains_key(&(session, filter.into()))
    }

    /// The filters that `session` holds.
    fn of(&self, session: SessionKey) -> Vec<Box<str>> {
        let from = self.held.range((session, Box::default())..);
        from.take_while(|((of, _), _)| *of == session).map(|((_, filter), _)| filter.clone()).collect()
    }
}

impl Shard {
    /// Asks the coordinator for what a SUBSCRIBE wants exclusively and its session does not hold. Whether the SUBSCRIBE has to wait: the connection was
    /// parked then. When it comes again it does not ask again: what it does not hold then it does not get.
    pub(super) fn awaits_exclusive(&mut self, key: ConnectionKey, subscribe: &Subscribe<'_>) -> bool {
        if !self.extensions.exclusive || self.exclusive.waiting.contains_key(&key) {
            return false;
        }
        let Some(session) = self.connections.get(key).and_then(|connection| connection.session) else {
            return false;
        };
        let mut asked = BTreeSet::new();
        for entry in subscribe.filters.iter() {
            let Some(filter) = self.exclusive_wish(key, entry.filter) else { continue };
            if !self.exclusive.holds(session, &filter) {
                asked.insert(filter);
            }
            if asked.len() == EXCLUSIVE_PER_SUBSCRIBE_MAX {
                break;
            }
        }
        if asked.is_empty() {
            return false;
        }
        self.exclusive.waiting.insert(key, Waiting { open: asked.len(), granted: Vec::new() });
        for filter in asked {
            self.exclusive.newest += 1;
            let number = self.exclusive.newest;
            let request = ExclusiveRequest::Take { filter: filter.clone(), number };
            self.tell(Lsn::NONE, News::Exclusive(request));
            self.exclusive.asked.insert(number, Asked { connection: key, session, filter });
        }
        self.park(key);
        true
    }

    /// The filter that `text` asks for exclusively, if the client may have it at all.
    fn exclusive_wish(&self, key: ConnectionKey, text: &str) -> Option<Box<str>> {
        let (filter, true) = exclusive_filter(text) else { return None };
        let filter = TopicFilter::new(filter).ok().filter(|filter| filter.shared().is_none())?;
        if !self.allows_subscribe(key, filter) {
            return None;
        }
        let rewritten = self.rewrite_filter(key, filter);
        self.filter_in_use(rewritten.as_deref(), filter).map(|filter| filter.as_str().into())
    }

    /// Whether the session may subscribe to `filter` although it is exclusive.
    pub(super) fn holds_exclusive(&self, session: SessionKey, filter: TopicFilter<'_>) -> bool {
        self.exclusive.holds(session, filter.as_str())
    }

    /// The coordinator's answer. What came too late, since the connection is gone, is given up at once.
    pub(super) fn exclusive_answered(&mut self, now: Time, reply: ExclusiveReply) {
        let asked = self.exclusive.asked.remove(&reply.number).expect("each request is answered once");
        let Asked { connection: key, session, filter } = asked;
        let waits = self.connections.get(key).is_some_and(|connection| {
            connection.session == Some(session)
                && connection.phase == Phase::Connected
                && connection.parked == Parked::Waiting
        });
        let waiting = self.exclusive.waiting.get_mut(&key).expect("there is one for each request under way");
        waiting.open -= 1;
        let answered = waiting.open == 0;
        if reply.granted {
            self.exclusive.held.insert((session, filter.clone()), reply.number);
            if waits {
                waiting.granted.push(filter);
            } else {
                self.give_up_exclusive(session, &filter, Lsn::NONE);
            }
        }
        if !answered {
            return;
        }
        if waits {
            // The SUBSCRIBE lies in front of its input: it is handled, and settled, first.
            self.resume(now, key);
        } else {
            self.settle_exclusive(key, Some(session));
        }
    }

    /// A SUBSCRIBE is handled: what was granted for it and is no subscription, since another rule refused it, is given up.
    pub(super) fn settle_exclusive(&mut self, key: ConnectionKey, session: Option<SessionKey>) {
        let (Some(waiting), Some(session)) = (self.exclusive.waiting.remove(&key), session) else { return };
        for text in waiting.granted {
            let filter = TopicFilter::new(&text).expect("checked when it was asked for");
            if self.topics.subscription(session, filter).is_none() {
                self.give_up_exclusive(session, &text, Lsn::NONE);
            }
        }
    }

    /// The connection closes. With answers still to come, the last of them settles; else its SUBSCRIBE waited for the next turn only.
    pub(super) fn abandon_exclusive(&mut self, key: ConnectionKey, session: Option<SessionKey>) {
        if self.exclusive.waiting.get(&key).is_some_and(|waiting| waiting.open == 0) {
            self.settle_exclusive(key, session);
        }
    }

    /// The subscription to `filter` has ended, by the record `lsn`: before that is committed nobody else may have it.
    pub(super) fn give_up_exclusive(&mut self, session: SessionKey, filter: &str, lsn: Lsn) {
        if self.exclusive.held.is_empty() {
            return;
        }
        if let Some(number) = self.exclusive.held.remove(&(session, filter.into())) {
            let request = ExclusiveRequest::GiveUp { filter: filter.into(), number };
            self.tell(lsn, News::Exclusive(request));
        }
    }

    /// The session has ended, by the record `lsn`.
    pub(super) fn give_up_all_exclusive(&mut self, session: SessionKey, lsn: Lsn) {
        if self.exclusive.held.is_empty() {
            return;
        }
        for filter in self.exclusive.of(session) {
            self.give_up_exclusive(session, &filter, lsn);
        }
    }
}
