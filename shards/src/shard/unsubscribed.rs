//! What an UNSUBSCRIBE takes back. After UNSUBACK nothing is sent through a filter that was not started before: not from the session's queue, and
//! not by a fan-out that chose its receivers earlier. (Messages still on a lane are matched when they arrive, replays end with their filter,
//! and what waits for a member of a shared group goes to another one.)

use super::fan_out::FanOut;
use super::publish::Publisher;
use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::session::{DropReason, Identifiers, Incoming};
use crate::topics::TopicName;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};

/// Sessions that unsubscribed, or replaced a subscription, while fan-outs were open. Those made before have them among their receivers, and ask anew.
#[derive(Default)]
pub(super) struct Changed {
    /// The number of the next message at that time: those below it were routed before.
    since: BTreeMap<SessionKey, u64>,
    /// The same in the order of the numbers, to be forgotten from the front.
    order: VecDeque<(u64, SessionKey)>,
}

impl Changed {
    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    fn note(&mut self, key: SessionKey, number: u64) {
        if self.since.insert(key, number) != Some(number) {
            self.order.push_back((number, key));
        }
    }

    /// Whether the routes of message `number` may be wrong about this session.
    pub(super) fn concerns(&self, key: SessionKey, number: u64) -> bool {
        self.since.get(&key).is_some_and(|since| number < *since)
    }

    /// All messages below `number` are delivered.
    pub(super) fn forget_below(&mut self, number: u64) {
        while let Some((since, key)) = self.order.front().copied().filter(|(since, _)| *since <= number) {
            self.order.pop_front();
            if self.since.get(&key) == Some(&since) {
                self.since.remove(&key);
            }
        }
    }
}

impl FanOut {
    /// The session has one subscription less, or another in place of one.
    pub(super) fn note_change(&mut self, key: SessionKey) {
        if self.is_open() {
            self.changed.note(key, self.next_number);
        }
    }
}

impl Shard {
    /// The session of `connection` has unsubscribed filters, which had these identifiers.
    pub(super) fn withdraw_unsubscribed(
        &mut self,
        now: Time,
        connection: ConnectionKey,
        key: SessionKey,
        mut left: SmallVec<[u32; 8]>,
    ) {
        self.fan_out.note_change(key);
        let session = self.sessions.get_mut(key).expect("a connected client has its session");
        if session.outbound.queued() == 0 || self.planted.is(Bug::UnsubscribedStillSent) {
            return;
        }
        left.sort_unstable();
        self.work.charge(session.outbound.queued());
        let topics = &mut self.topics;
        let (dropped, revised) = session.outbound.withdraw_unsubscribed(&left, |topic| {
            let topic = TopicName::new(topic).expect("checked when it was published");
            let routes = topics.routes_of(key, topic);
            let receiver = routes.receivers().first()?;
            Some(Identifiers::from(routes.identifiers_of(receiver)))
        });
        self.drop_copies(DropReason::Unsubscribed, u64::from(dropped.copies));
        self.finish_copies(key, &dropped.kept);
        self.record_revised(key, revised);
        self.relieve_congestion(key);
        // Replays that waited behind the queue may go on.
        self.pump(now, connection);
    }

    /// One copy of a message that was routed before the session unsubscribed something: by what it subscribes now.
    pub(super) fn deliver_anew(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        key: SessionKey,
        publisher: Publisher,
    ) {
        let topic = TopicName::new(incoming.topic()).expect("checked when it was published");
        let routes = self.topics.routes_of(key, topic);
        self.deliver(now, incoming, &routes, routes.receivers(), publisher);
    }
}
