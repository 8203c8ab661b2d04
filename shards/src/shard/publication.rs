//! A message on its way out: to the receivers here, into the log, to the other shards, into the retained store.

use super::Shard;
use super::draft::Facts;
use super::outbox::Sent;
use super::publish::Publisher;
use super::share::Plan;
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::log::{Cause, Destination, Origin, Record};
use crate::mesh::Deliver;
use crate::session::Incoming;
use crate::topics::retained::PublisherMark;
use crate::wire::QoS;
use std::borrow::Cow;

impl Shard {
    /// Sends a message everywhere it goes. Slots are reserved. Returns the log record that its acknowledgement waits for.
    pub(super) fn publish(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        plan: &Plan,
        (publisher, cause): (Publisher, Cause),
    ) -> Lsn {
        let routes = &plan.routes;
        self.counters.messages_in += 1;
        self.counters.unmatched += u64::from(routes.is_nowhere());
        self.draft.begin(Origin::Own);
        let durable_here = self.fan_out(now, incoming, routes, publisher);
        let durable_share = self.share_out(now, incoming, plan);
        debug_assert_eq!(incoming.retain(), plan.keep.is_some(), "a plan says how a message is retained");
        let mut retained = false;
        if let Some((_, keep)) = plan.keep.filter(|(shard, _)| *shard == self.id) {
            let message = incoming.message().clone();
            retained = self.store_retained(now, message, keep);
        }
        if incoming.qos() == QoS::AtMostOnce {
            // Of this the log has at most what it uses up; and the retained store has logged its own.
            let lsn = self.record_message(incoming, false, &Facts::none(cause));
            self.send_to_peers(incoming, plan, lsn, ShardSet::EMPTY);
            return lsn;
        }
        let lsn = if self.log.keeps() {
            self.publish_kept_message(incoming, plan, (publisher, cause), retained)
        } else {
            let durable = durable_here || durable_share || !routes.remote_durable().is_empty();
            self.record_message(incoming, incoming.retain() || durable, &Facts::none(cause))
        };
        self.send_to_peers(incoming, plan, lsn, self.outbox.destinations_of(lsn));
        lsn
    }

    /// Logs a message of QoS above 0, and puts it into the outbox as far as others have to log it.
    fn publish_kept_message(
        &mut self,
        incoming: &mut Incoming<'_>,
        plan: &Plan,
        (publisher, cause): (Publisher, Cause),
        retained: bool,
    ) -> Lsn {
        let destinations = self.destinations(plan);
        let needed = self.draft.is_needed() || retained || !destinations.is_empty();
        let mark = plan.keep.and_then(|(_, keep)| keep.publisher);
        let mark = mark.or_else(|| self.draft.is_open().then(|| self.mark_of(publisher)).flatten());
        if destinations.is_empty() {
            let facts = Facts { cause, publisher: mark, destinations: &[], retained };
            return self.record_message(incoming, needed, &facts);
        }
        let body = self.draft.body(&mut self.bodies, incoming.message());
        self.bodies.hold(body);
        let facts = Facts { cause, publisher: mark, destinations: &destinations, retained };
        let lsn = self.record_message(incoming, true, &facts);
        let written = self.bodies.get(body).written();
        self.outbox.push(Sent { lsn, body, destinations: destinations.into(), written });
        lsn
    }

    /// By what a publisher is known that may be gone after a restart.
    pub(super) fn mark_of(&self, publisher: Publisher) -> Option<PublisherMark> {
        let Publisher::Session(key) = publisher else { return None };
        let session = self.sessions.get(key)?;
        Some(PublisherMark::new(&session.client_id, &self.retained.key))
    }

    /// The other shards that have to log the message: those with durable interest, those whose members of shared groups are durable, and the one
    /// that retains it.
    fn destinations(&self, plan: &Plan) -> Vec<Destination<'static>> {
        let durable = plan.routes.remote_durable();
        let keeper = plan.keep.map(|(shard, _)| shard);
        let mut destinations = Vec::new();
        for shard in plan.targets(self.id).iter() {
            let groups: Vec<_> = plan.picked_durable(shard).map(|pick| self.name_group(pick)).collect();
            let (fan_out, store) = (durable.contains(shard), keeper == Some(shard));
            if fan_out || store || !groups.is_empty() {
                destinations.push(Destination { shard, fan_out, store, groups: Cow::Owned(groups) });
            }
        }
        destinations
    }

    fn send_to_peers(&mut self, incoming: &mut Incoming<'_>, plan: &Plan, lsn: Lsn, keeping: ShardSet) {
        let kept = plan.keep.filter(|(shard, _)| *shard != self.id);
        let retained_position = kept.map_or(0, |(shard, _)| self.peers[shard].sent + 1);
        let remote = plan.routes.remote();
        let targets = plan.targets(self.id);
        if targets.is_empty() {
            return;
        }
        let message = incoming.message();
        for shard in targets.iter() {
            let fan_out = remote.contains(shard);
            let groups = plan.picks_of(shard);
            self.counters.remote_out += u64::from(fan_out || !groups.is_empty());
            let store = kept.filter(|(keeper, _)| *keeper == shard).map(|(_, keep)| keep);
            let message = message.clone();
            let kept = keeping.contains(shard);
            let deliver =
                Deliver { message, fan_out, store, retained_position, lsn, kept, groups, sent_on: false };
            self.peers.send(shard, deliver);
        }
    }

    /// What came from `source` is delivered: its record with the mark, or only a mark if it is `kept` and nobody here has to have it.
    pub(super) fn record_arrival(
        &mut self,
        incoming: &mut Incoming<'_>,
        (source, lsn, kept): (ShardId, Lsn, bool),
        publisher: Option<PublisherMark>,
        retained: bool,
    ) {
        let needed = self.draft.is_needed() || retained;
        if needed && lsn != Lsn::NONE && self.planted.is(Bug::MarkBeforeMessage) {
            self.log.append(&Record::Mark { source, lsn });
        }
        let facts = Facts { cause: Cause::None, publisher, destinations: &[], retained };
        let own = self.record_message(incoming, needed, &facts);
        if lsn == Lsn::NONE {
            return;
        }
        if needed && !self.planted.is(Bug::ArrivalTakenForOwn) {
            self.marks.logged(source, own, lsn);
        } else if kept {
            self.marks.note(source, lsn);
        }
        if self.planted.is(Bug::MarkToldEarly) {
            self.marks.tell(source, lsn);
        }
    }
}
