//! Replays: the retained messages that a new subscription is due, page by page, as the client takes them.

use super::Shard;
use super::deliver::CopyHead;
use super::draft::Facts;
use super::session::SessionKey;
use crate::base::limits::WRITE_BUFFER_BYTES_MAX;
use crate::base::shard_set::ShardId;
use crate::base::slab::Key;
use crate::base::time::Time;
use crate::log::{Cause, Origin};
use crate::mesh::{Control, RetainedQuery};
use crate::session::Incoming;
use crate::topics::retained::PublisherMark;
use crate::wire::{Message, SubscriptionOptions};
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

/// Names a replay within its shard.
pub(super) type ReplayKey = Key<Replay>;

/// The retained messages that one new subscription is due.
pub struct Replay {
    pub(super) session: SessionKey,
    pub(super) filter: Box<str>,
    pub(super) options: SubscriptionOptions,
    pub(super) identifier: Option<NonZeroU32>,
    /// The partition being read.
    pub(super) partition: usize,
    /// The one behind the last: all are read, but only one can have the topic of a filter without wildcards.
    pub(super) partitions_end: usize,
    pub(super) after: Option<Box<str>>,
    pub(super) page: VecDeque<Message>,
    /// A page is on its way.
    pub(super) asked: bool,
    /// Stands in the line for a credit of its partition.
    pub(super) creditless: bool,
    pub(super) started: bool,
    /// What was on its way when the interest was applied has arrived: from here on live messages come without a gap.
    pub(super) open: bool,
    /// Fan-out cursors' next number when the first message of the page was first looked at.
    pub(super) cursors_before: Option<u64>,
    /// Stands in the list of replays to advance.
    pub(super) ready: bool,
    /// Hashes of topics of which the session got a live retained message since.
    pub(super) live: BTreeSet<u64>,
    /// This shard's own lane positions when the replay opened.
    pub(super) own_positions: Box<[u64]>,
}

impl Replay {
    pub(super) fn take_page(&mut self, messages: Vec<Message>, resume: Option<Box<str>>) {
        self.page = messages.into();
        self.partition += usize::from(resume.is_none());
        self.after = resume;
    }
}

impl Shard {
    /// Sends what the client can take of the page, or gets the next page.
    pub(super) fn advance_replay(&mut self, now: Time, key: ReplayKey) {
        let Some(replay) = self.retained.replays.get_mut(key) else { return };
        replay.ready = false;
        if !replay.open && !self.open_replay(key) {
            self.counters.retained_waits += 1;
            return self.retained.await_data(key);
        }
        let replay = self.retained.replays.get_mut(key).expect("looked at above");
        if replay.page.is_empty() {
            return self.next_page(key);
        }
        loop {
            if self.is_behind_cursor(key) {
                // The cursor moves on every turn, and so does the shard.
                return self.retained.wake(key);
            }
            let Some(message) = self.take_retained(key) else { break };
            self.deliver_retained(now, key, &message);
        }
        let Some(replay) = self.retained.replays.get(key) else { return };
        if replay.page.is_empty() {
            self.retained.wake(key);
        }
    }

    /// Messages that were sent before their shard applied the interest may still lie on its lane, from a time when the same filter was
    /// subscribed before; later ones were not sent. Only when those are consumed does a live message stand for the newest of its topic.
    fn open_replay(&mut self, key: ReplayKey) -> bool {
        let caught_up = |source| self.peers[source].consumed >= self.retained.sent_before_applied(source);
        let caught_up = self.peers.others().iter().all(caught_up);
        if caught_up {
            let replay = self.retained.replays.get_mut(key).expect("the caller has looked");
            replay.own_positions = self.peers.positions();
            replay.open = true;
        }
        caught_up
    }

    /// Whether live messages of the topic of the page's first message wait in a fan-out cursor, older than the page: a session that was
    /// subscribed before would get them behind the newer retained copy. Only those are waited for that are there at first sight, so that a
    /// topic that never rests holds nobody up.
    fn is_behind_cursor(&mut self, key: ReplayKey) -> bool {
        if !self.fan_out.is_open() {
            return false;
        }
        let Some(replay) = self.retained.replays.get_mut(key) else { return false };
        let Some(message) = replay.page.front() else { return false };
        let before = *replay.cursors_before.get_or_insert(self.fan_out.next_number);
        self.fan_out.waits_since(before, message.topic())
    }

    /// The next message of the page, if the client can take it at once.
    fn take_retained(&mut self, key: ReplayKey) -> Option<Message> {
        let replay = self.retained.replays.get_mut(key)?;
        let session = self.sessions.get(replay.session)?;
        let connection = self.connections.get(session.connection?)?;
        let room = connection.out.as_ref().is_none_or(|out| out.len() < WRITE_BUFFER_BYTES_MAX);
        if !room || !session.outbound.can_start(&self.limits) {
            return None;
        }
        replay.cursors_before = None;
        replay.page.pop_front()
    }

    fn deliver_retained(&mut self, now: Time, key: ReplayKey, message: &Message) {
        let replay = self.retained.replays.get(key).expect("the caller has looked");
        // The page may have waited for the client (3.3.2.3.3).
        if message.expires_at().is_some_and(|at| at <= now) {
            return;
        }
        if replay.live.contains(&self.retained.key.hash(message.topic_bytes())) {
            self.counters.retained_suppressed += 1;
            return;
        }
        let (session, options) = (replay.session, replay.options);
        let identifier = replay.identifier.map(NonZeroU32::get);
        let copy = CopyHead {
            qos: options.qos.min(message.qos()),
            retain: true,
            identifiers: identifier.as_slice(),
            live: false,
            group: None,
        };
        self.encodings.clear();
        let mut incoming = Incoming::owned(message);
        self.draft.begin(Origin::Own);
        self.deliver_copy(now, &mut incoming, session, &copy);
        let needed = self.draft.is_needed();
        self.record_message(&mut incoming, needed, &Facts::none(Cause::None));
    }

    fn next_page(&mut self, key: ReplayKey) {
        let retained = &mut self.retained;
        let Some(replay) = retained.replays.get_mut(key) else { return };
        if replay.partition == replay.partitions_end {
            let replay = retained.replays.remove(key).expect("looked at above");
            if let Some(session) = self.sessions.get_mut(replay.session) {
                session.replays.remove(retained.filter_hash(&replay.filter), key);
            }
            return;
        }
        let partition = replay.partition;
        if retained.credits[partition] == 0 {
            return retained.await_credit(key, partition);
        }
        retained.credits[partition] -= 1;
        replay.asked = true;
        let replay = retained.replays.get(key).expect("looked at above");
        let client_id = self.sessions.get(replay.session).map(|session| &*session.client_id);
        let local = client_id.filter(|_| replay.options.no_local);
        let query = RetainedQuery {
            query: key.to_bits(),
            filter: replay.filter.clone(),
            after: replay.after.clone(),
            positions: retained.positions_for(replay),
            except: local.map(|client_id| PublisherMark::new(client_id, &retained.key)),
        };
        let partition = ShardId::new(partition);
        if partition == self.id {
            // The own partition has to wait for the lanes like any other.
            return self.retained.asked(partition, query);
        }
        self.peers[partition].control.push_back(Control::RetainedQuery(Box::new(query)));
    }
}
