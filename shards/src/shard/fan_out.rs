//! From one message to its receivers on this shard. A fan-out larger than the batch limit becomes a cursor that is worked off over several
//! turns, so that one message to a million subscribers never stalls the shard.
//!
//! Messages of a topic with an open cursor queue behind it, so order holds. All that wait when a round starts go round together: each
//! connection then gets them in one send.

use super::draft::Facts;
use super::publish::Publisher;
use super::session::SessionKey;
use super::unsubscribed::Changed;
use super::{ConnectionKey, Shard};
use crate::base::kept::BodyKey;
use crate::base::limits::{COPIES_PER_TURN, CURSOR_MESSAGES_MAX};
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::log::{Cause, Origin};
use crate::session::Incoming;
use crate::topics::{Receiver, Routes, TopicName};
use crate::wire::{Message, QoS};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Messages that go round together at most: with the batch limit it bounds the slice.
const ROUND_MESSAGES_MAX: usize = 32;

struct Waiting {
    message: Message,
    routes: Arc<Routes<SessionKey>>,
    publisher: Publisher,
    /// The log knows that it waits: its body, held.
    open: Option<BodyKey>,
    /// In the order in which messages of all topics began to wait.
    number: u64,
}

#[derive(Default)]
struct Cursor {
    /// The first `round` are being delivered, up to receiver `position`; the rest waits.
    messages: VecDeque<Waiting>,
    round: usize,
    position: usize,
}

/// The open cursors of a shard, by topic.
#[derive(Default)]
pub(super) struct FanOut {
    cursors: BTreeMap<Arc<str>, Cursor>,
    turn: VecDeque<Arc<str>>,
    messages: usize,
    pub(super) next_number: u64,
    pub(super) changed: Changed,
    waiters: VecDeque<ConnectionKey>,
    /// The connection being handled stood at the head of its queue: who waits behind does not block it.
    pub(super) resumed: bool,
}

impl FanOut {
    pub(super) fn is_open(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// Messages in all cursors.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Whether one more message may wait: a publisher whose message does not fit is parked.
    pub(super) fn has_room(&self) -> bool {
        self.messages < CURSOR_MESSAGES_MAX && (self.waiters.is_empty() || self.resumed)
    }

    pub(super) fn wait(&mut self, key: ConnectionKey) {
        self.waiters.push_back(key);
    }

    pub(super) fn waiter_can_go(&self) -> bool {
        !self.waiters.is_empty() && self.messages < CURSOR_MESSAGES_MAX
    }

    pub(super) fn take_waiter(&mut self) -> Option<ConnectionKey> {
        if self.waiter_can_go() { self.waiters.pop_front() } else { None }
    }

    /// Whether a message of `topic` that began to wait before number `before` still waits for some receiver.
    pub(super) fn waits_since(&self, before: u64, topic: &str) -> bool {
        let oldest = self.cursors.get(topic).and_then(|cursor| cursor.messages.front());
        oldest.is_some_and(|waiting| waiting.number < before)
    }

    /// The number of the oldest message that waits; the next one's, if none does.
    pub(super) fn oldest(&self) -> u64 {
        let oldest =
            self.cursors.values().filter_map(|cursor| cursor.messages.front()).map(|first| first.number);
        oldest.min().unwrap_or(self.next_number)
    }

    fn push(&mut self, waiting: Waiting) -> bool {
        self.next_number += 1;
        self.messages += 1;
        let topic = waiting.message.topic();
        if let Some(cursor) = self.cursors.get_mut(topic) {
            cursor.messages.push_back(waiting);
            return false;
        }
        let topic: Arc<str> = topic.into();
        self.turn.push_back(topic.clone());
        let cursor = self.cursors.entry(topic).or_default();
        cursor.messages.push_back(waiting);
        true
    }

    /// Forgets who unsubscribed before the oldest message began to wait.
    fn forget_changes(&mut self) {
        if !self.changed.is_empty() {
            let oldest = self.oldest();
            self.changed.forget_below(oldest);
        }
    }
}

impl Shard {
    /// Whether a message of `topic` would have to go through a cursor.
    pub(super) fn needs_cursor(&self, topic: &str, routes: &Routes<SessionKey>) -> bool {
        let open = self.fan_out.is_open() && self.fan_out.cursors.contains_key(topic);
        if open && self.planted.is(Bug::CursorOvertaken) {
            return false;
        }
        open || routes.receivers().len() > self.limits.fan_out_batch as usize
    }

    /// Delivers to this shard's receivers, or opens a cursor. Whether a durable session is to keep the message.
    pub(super) fn fan_out(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        routes: &Arc<Routes<SessionKey>>,
        publisher: Publisher,
    ) -> bool {
        if !self.needs_cursor(incoming.topic(), routes) {
            self.work.charge(routes.receivers().len());
            return self.deliver(now, incoming, routes, routes.receivers(), publisher);
        }
        let message = incoming.message().clone();
        let durable = message.qos() > QoS::AtMostOnce && routes.is_durable_here();
        let open = (durable && self.log.keeps()).then(|| self.draft.open(&mut self.bodies, &message));
        let (routes, number) = (routes.clone(), self.fan_out.next_number);
        let opened = self.fan_out.push(Waiting { message, routes, publisher, open, number });
        self.counters.cursors += u64::from(opened);
        durable
    }

    /// The same for a message of another shard, which this shard matches in its own tree.
    pub(super) fn fan_out_locally(&mut self, now: Time, incoming: &mut Incoming<'_>, publisher: Publisher) {
        let topic = TopicName::new(incoming.topic()).expect("checked by the shard that accepted the PUBLISH");
        let routes = self.topics.routes(topic);
        self.fan_out(now, incoming, &routes, publisher);
    }

    /// One slice of each open cursor, until the slices of the turn have made as many copies as publishers may. Those are not charged for
    /// it: they go on between the slices.
    pub(super) fn advance_cursors(&mut self, now: Time) {
        let enough = self.counters.copies + u64::from(COPIES_PER_TURN);
        for _ in 0..self.fan_out.turn.len() {
            if self.counters.copies >= enough {
                break;
            }
            let Some(topic) = self.fan_out.turn.pop_front() else { break };
            let mut cursor = self.fan_out.cursors.remove(&topic).expect("every cursor has its turn");
            self.advance(now, &mut cursor);
            if !cursor.messages.is_empty() {
                self.fan_out.cursors.insert(topic.clone(), cursor);
                self.fan_out.turn.push_back(topic);
            }
        }
        self.fan_out.forget_changes();
    }

    fn advance(&mut self, now: Time, cursor: &mut Cursor) {
        if cursor.round == 0 {
            let first = &cursor.messages[0];
            let together = |waiting: &&Waiting| Arc::ptr_eq(&waiting.routes, &first.routes);
            cursor.round = cursor.messages.iter().take(ROUND_MESSAGES_MAX).take_while(together).count();
            cursor.position = 0;
        }
        let routes = cursor.messages[0].routes.clone();
        let receivers = routes.receivers();
        let end = (cursor.position + self.limits.fan_out_batch as usize).min(receivers.len());
        for waiting in cursor.messages.iter().take(cursor.round) {
            self.deliver_slice(now, waiting, (cursor.position..end, end == receivers.len()));
        }
        cursor.position = end;
        if end == receivers.len() {
            cursor.messages.drain(..cursor.round);
            self.fan_out.messages -= cursor.round;
            cursor.round = 0;
        }
    }

    /// Delivers to a slice of the receivers, the last one or not.
    fn deliver_slice(&mut self, now: Time, waiting: &Waiting, (slice, last): (Range<usize>, bool)) {
        let Waiting { message, open, .. } = waiting;
        let mut incoming = Incoming::owned(message);
        match open {
            None => self.draft.begin(Origin::Own),
            Some(body) => self.draft.resume(*body, &mut self.bodies),
        }
        self.deliver_to_slice(now, &mut incoming, waiting, slice);
        match open {
            // Somebody whose subscription does not say that it is durable.
            None => {
                let needed = self.draft.is_needed();
                self.record_message(&mut incoming, needed, &Facts::none(Cause::None));
            }
            Some(body) => {
                self.record_slice(*body, last);
                if last {
                    self.bodies.release(*body);
                }
            }
        }
    }

    fn deliver_to_slice(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        waiting: &Waiting,
        slice: Range<usize>,
    ) {
        let Waiting { routes, publisher, number, .. } = waiting;
        let mut rest = &routes.receivers()[slice];
        if !self.fan_out.changed.is_empty() {
            let concerned = |receiver: &Receiver<_>| self.fan_out.changed.concerns(receiver.key(), *number);
            let anew: Vec<usize> = (0..rest.len()).filter(|at| concerned(&rest[*at])).collect();
            let mut from = 0;
            for at in anew {
                self.deliver(now, incoming, routes, &rest[from..at], *publisher);
                self.deliver_anew(now, incoming, rest[at].key(), *publisher);
                from = at + 1;
            }
            rest = &rest[from..];
        }
        self.deliver(now, incoming, routes, rest, *publisher);
    }
}
