//! After a start: what the log had is there again, before anybody connects.
//!
//! A shard is restored in one go, before its first turn. Then its interest goes to the others as that of any subscription; a shard that knows that all
//! have applied its own says so ([`Control::Restored`]). What is to be published of its own accord, wills and delayed messages that are due, copies
//! between members of a group, waits until everybody has said it, since only then this shard knows where messages go. The listeners open then, too.

use super::Shard;
use super::interest::Afterwards;
use super::publish::Publisher;
use super::session::{Session, SessionKey};
use super::will_queue::KeptMessage;
use crate::base::kept::{ParkedId, SessionNumber, Written};
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::log::{
    BodyImage, Cause, Log, Occasion, Record, SessionImage, ShardImage, StartRecord, SubscriptionImage,
    WillImage,
};
use crate::mesh::{Control, Keep};
use crate::session::{Author, Inbound, KeptAuthor, Outbound, Will};
use crate::topics::retained::{PublisherMark, Room};
use crate::topics::{Standing, Ticket, TopicFilter};
use crate::wire::{Message, QoS};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How far the end of recovery has come. Nothing is left to wait for where nothing was restored.
#[derive(Default)]
pub(super) struct Restoring {
    /// Some shard has not applied this one's interest.
    own: bool,
    /// Shards that have not said that everybody has applied theirs.
    others: ShardSet,
    /// The newest of this shard's transitions.
    ticket: Ticket,
}

impl Shard {
    /// Makes the state that `image` says, and opens `log`, with its first record of this incarnation: without one nothing would be committed, and
    /// every answer held. Once, before the first turn, on all shards or none (then the log is in memory); [`Shard::is_restored`] says when the
    /// broker may serve.
    ///
    /// What `image` says to have happened later than `now`, since the clock was set back, counts as now.
    pub fn restore(&mut self, now: Time, log: Log, image: ShardImage) {
        self.log = log;
        self.log.plant(self.planted);
        self.log.append(&Record::Start(StartRecord { ended: Cow::Borrowed(&image.ended) }));
        self.restoring = Restoring { own: true, others: self.peers.others(), ticket: Ticket::ZERO };
        self.hold_until_restored(true);
        self.cleaning.ended = image.ended.clone();
        for session in image.superseded.iter().copied() {
            self.log.append(&Record::SessionEnded { session });
        }
        let mut keys = BTreeMap::new();
        for (number, session) in &image.sessions {
            keys.insert(*number, self.restore_session(now, *number, session));
        }
        for (message, publisher, written) in image.retained.values() {
            self.restore_retained(now, message, *publisher, *written);
        }
        self.arm_sweep(now);
        self.restore_parked(now, &image, &keys);
        self.restore_messages(now, image, &keys);
        for key in keys.into_values() {
            self.await_end(now, key);
        }
        self.interest_changed();
        self.after_interest(now, self.restoring.ticket, Afterwards::Restored);
    }

    /// Whether everything restored is in force on all shards: what is published from here on reaches every subscription.
    pub fn is_restored(&self) -> bool {
        !self.restoring.own && self.restoring.others.is_empty()
    }

    /// All shards have applied this one's interest.
    pub(super) fn own_interest_restored(&mut self) {
        self.restoring.own = false;
        for shard in self.peers.others().iter() {
            self.peers[shard].control.push_back(Control::Restored);
        }
        self.go_on_if_restored();
    }

    /// All shards have applied the interest of `peer`.
    pub(super) fn peer_is_restored(&mut self, peer: ShardId) {
        self.restoring.others.remove(peer);
        self.go_on_if_restored();
    }

    fn go_on_if_restored(&mut self) {
        if self.is_restored() {
            self.hold_until_restored(false);
            self.send_again();
        }
    }

    fn hold_until_restored(&mut self, hold: bool) {
        self.wills.waiting = hold;
        self.delayed.blocked = hold;
        self.redispatch.blocked = hold;
    }

    fn restore_session(&mut self, now: Time, number: SessionNumber, image: &SessionImage) -> SessionKey {
        let will = image.will.as_ref().map(|will| Box::new(self.restored_will(&image.client_id, will)));
        let key = self.sessions.insert(Session {
            number,
            client_id: image.client_id.clone(),
            user: image.user.as_deref().map(Into::into),
            connection: None,
            epoch: image.epoch,
            durable: true,
            expiry_seconds: image.expiry_seconds,
            offline_since: image.offline_since.map_or(now, |since| since.min(now)),
            timer: None,
            filters: Default::default(),
            congested: false,
            inbound: Inbound::restored(&image.received),
            outbound: Outbound::new(self.limits.in_flight_max),
            next_copy: image.next_copy,
            written: image.written,
            record_bytes: 0,
            will,
            replays: Default::default(),
        });
        self.offline_sessions += 1;
        let identity = self.identities.get_or_insert(&image.client_id);
        (identity.session, identity.epoch) = (Some(key), image.epoch);
        if image.offline_since.is_none() {
            // The end of the last run was its connection's: it does not live longer with every start.
            self.log_offline(key);
        }
        self.weigh_head(key);
        for (text, subscription) in &image.subscriptions {
            self.weigh_filter(key, text);
            self.restore_subscription(key, text, subscription);
        }
        self.set_standing(key, Standing::Offline);
        key
    }

    fn restored_will(&self, client_id: &str, will: &WillImage) -> Will {
        let author = Author { client_id, user_name: will.user_name.as_deref(), peer: will.peer };
        let asked = self.extensions.ask_for_author();
        let author = asked.then(|| Box::new(KeptAuthor::from(author)));
        Will::restored(will.message.clone(), will.delay_seconds, will.expiry_seconds, author)
    }

    fn restore_subscription(&mut self, key: SessionKey, text: &str, image: &SubscriptionImage) {
        let filter = TopicFilter::new(text).expect("only what was subscribed is logged");
        let durable = image.options.qos > QoS::AtMostOnce;
        let session = self.sessions.get_mut(key).expect("it was restored just now");
        let (options, identifier) = (image.options, image.identifier);
        let filters = &mut session.filters;
        let subscribed = self.topics.subscribe(key, filter, options, identifier, durable, filters);
        self.restoring.ticket = self.restoring.ticket.max(subscribed.ticket);
        self.is_own_transition(subscribed.ticket);
        if image.exclusive {
            self.exclusive.restore(key, text);
        }
    }

    fn restore_retained(
        &mut self,
        now: Time,
        message: &Message,
        publisher: Option<PublisherMark>,
        written: Written,
    ) {
        if self.retained.store.set(message.clone(), publisher, Room::Reserve, written).is_err() {
            // The limit is lower than it was.
            self.retained_refused(now);
            let topic = Cow::Borrowed(message.topic());
            self.log.append(&Record::RetainedCleared { topic });
        }
    }

    /// Wills that were due, and delayed messages.
    fn restore_parked(&mut self, now: Time, image: &ShardImage, keys: &BTreeMap<SessionNumber, SessionKey>) {
        if image.parked.is_empty() {
            return;
        }
        let mark = |session: &SessionImage| PublisherMark::new(&session.client_id, &self.retained.key);
        let by: BTreeMap<_, _> =
            image.sessions.iter().map(|(number, session)| (mark(session), keys[number])).collect();
        for (number, parked) in &image.parked {
            let body = image.bodies.get(&parked.body).expect("an image is settled");
            let of = body.publisher.and_then(|mark| by.get(&mark));
            let of = of.map_or(Publisher::Elsewhere, |key| Publisher::Session(*key));
            let kept = restored_message(*number, body, of);
            match parked.occasion {
                Occasion::At(at) => self.keep_delayed(now, at, kept),
                Occasion::Slot => self.wills.due.push_back(kept),
                Occasion::Member { .. } | Occasion::FanOut { .. } => {}
            }
        }
    }
}

/// A message that was parked under this name.
fn restored_message(parked: ParkedId, body: &BodyImage, of: Publisher) -> KeptMessage {
    let keep = Keep { publisher: body.publisher, room: Room::Open };
    KeptMessage {
        message: body.message.clone(),
        of,
        keep: body.message.retain().then_some(keep),
        cause: Cause::Parked(parked),
        written: Written::default(),
    }
}
