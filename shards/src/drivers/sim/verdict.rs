//! What the reference says to a delivery: whether this session may get this message now, so often, in this order and in this form.

use super::failure::{Checked, ensure, fail};
use super::ledger::{Fate, Kept, Ledger, MessageId, Published, Session, SessionId, Subscription};
use super::network::Moment;
use super::topics::{TOPICS, Topic};
use crate::base::time::Time;
use crate::wire::{QoS, RetainHandling};
use std::time::Duration;

/// A delivery as a client saw it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Whose session.
    pub session: SessionId,
    /// Which message.
    pub message: MessageId,
    /// On which topic.
    pub topic: Topic,
    /// With which QoS.
    pub qos: QoS,
    /// Marked as repeated.
    pub dup: bool,
    /// Marked as retained.
    pub retain: bool,
    /// Seconds that are left.
    pub expiry: Option<u32>,
    /// The identifiers of the subscriptions that it is for; `None` in v3.
    pub identifiers: Option<&'a [u32]>,
    /// The same session has published it.
    pub own: bool,
    /// It may have, unseen.
    pub perhaps_own: bool,
    /// Copies wait in flight for logs, and those behind them too: they are started before they are sent.
    pub logged: bool,
    /// When it was written.
    pub written: Moment,
    /// Since when the session has the connection.
    pub attached_at: Time,
    /// When it was read.
    pub now: Time,
}

impl Delivery<'_> {
    /// Whether it may have been in flight long before it was sent.
    fn may_have_waited(&self) -> bool {
        self.logged && self.qos > QoS::AtMostOnce
    }
}

impl Ledger {
    /// A client got a message: it must be one that it may get, no more often than it may, and in order.
    pub fn delivered(&mut self, delivery: &Delivery<'_>) -> Checked {
        let Some(message) = self.messages.get(delivery.message as usize) else {
            return fail("integrity", format!("{delivery:?}: no such message"));
        };
        if message.topic != delivery.topic {
            return fail("integrity", format!("{delivery:?} was published on {}", TOPICS[message.topic]));
        }
        check_will(message, delivery)?;
        if let Some(shared) = shared(&self.sessions[delivery.session], delivery) {
            check_expiry(message, delivery, delivery.attached_at)?;
            let has_ended = |session: SessionId| !self.sessions[session].alive;
            return self.groups.delivered(shared, message, delivery, has_ended);
        }
        let session = &mut self.sessions[delivery.session];
        check_wanted(message, session, delivery)?;
        let first = !session.received.contains_key(&delivery.message);
        if first || !delivery.dup {
            session.last_seen.insert(delivery.topic, Kept::Message(delivery.message));
        }
        let received = session.received.entry(delivery.message).or_default();
        received.fresh += u32::from(!delivery.dup || delivery.qos == QoS::ExactlyOnce);
        received.exactly += u32::from(delivery.qos == QoS::ExactlyOnce);
        let (fresh, exactly) = (received.fresh, received.exactly);
        let is_done = !message.retain && received.done == Some((message.sends, message.replays));
        ensure(!is_done, "exactly once", || format!("{delivery:?}: it was done with at the last rest"))?;
        let allowed = allowed_deliveries(message, session);
        if fresh > allowed + message.replays || exactly > allowed {
            let what = format!("{delivery:?}: delivered {fresh} times, at most {allowed} are right");
            return fail("exactly once", what);
        }
        if first && !delivery.retain {
            check_order(message, session, delivery)?;
        }
        Ok(())
    }
}

/// The shared subscription that it is for: told by its identifier, or by the topic, on which v3 clients have nothing else.
fn shared<'s>(session: &'s Session, delivery: &Delivery<'_>) -> Option<&'s Subscription> {
    let is_it = |subscription: &&Subscription| match delivery.identifiers {
        Some(found) => subscription.identifier.is_some_and(|identifier| found.contains(&identifier)),
        None => subscription.filter.matches(delivery.topic),
    };
    let of_shares = session.subscriptions.iter().filter(|subscription| subscription.filter.is_shared());
    of_shares.filter(is_it).max_by_key(|subscription| (subscription.gone.is_none(), subscription.asked))
}

/// A will may only come after its connection has ended without DISCONNECT, and after its delay.
fn check_will(message: &Published, delivery: &Delivery<'_>) -> Checked {
    match message.fate {
        Fate::Void => fail("will", format!("{delivery:?}: this will must not be published")),
        Fate::Due(at) if at > delivery.now => {
            fail("will", format!("{delivery:?}: this will is due at {at:?} only"))
        }
        _ => Ok(()),
    }
}

/// Nothing is sent for the first time after its expiry, and what is left is told: no more than is left when it cannot have been encoded
/// before `not_before`, no less than is left now.
fn check_expiry(message: &Published, delivery: &Delivery<'_>, not_before: Time) -> Checked {
    let told = match (message.expiry, delivery.expiry) {
        (None, None) => return Ok(()),
        (Some(_), None) if delivery.identifiers.is_none() => None,
        (Some(expiry), Some(left)) if left <= expiry => Some(left),
        _ => return fail("expiry", format!("{delivery:?} tells an expiry of {message:?}")),
    };
    let late = |than: Time| told.is_some_and(|left| than.since(Time::ZERO) > seconds(left));
    let least = (message.begins_at() + seconds(message.expiry.unwrap_or(0))).since(delivery.written.at);
    ensure(!late(Time::ZERO + least), "expiry", || format!("{delivery:?} had {least:?} left: {message:?}"))?;
    // What was published twice began to expire twice.
    let Some(over) = message.expired_by().filter(|_| message.sends == 1) else { return Ok(()) };
    let started_before = delivery.dup || delivery.may_have_waited();
    ensure(started_before || not_before <= over, "expiry", || {
        format!("{delivery:?} was not started before {not_before:?}: {message:?}")
    })?;
    let most = over.since(not_before);
    let told = seconds(told.unwrap_or(0));
    ensure(told < most + Duration::from_secs(1), "expiry", || {
        format!("{delivery:?} cannot have had more than {most:?} left: {message:?}")
    })
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

/// One copy for all subscriptions that match, as they ask for it, or one from the retained store for one of them.
fn check_wanted(message: &Published, session: &Session, delivery: &Delivery<'_>) -> Checked {
    let step = delivery.written.step;
    let of_others = |subscription: &&Subscription| {
        subscription.matches(message.topic) && !(delivery.own && subscription.no_local)
    };
    let matching: Vec<&Subscription> = session.subscriptions.iter().filter(of_others).collect();
    let may = || matching.iter().filter(|subscription| subscription.may_hold(message, step));
    let surely = |subscription: &Subscription| !(delivery.perhaps_own && subscription.no_local);
    let must = || {
        matching.iter().filter(|subscription| subscription.must_hold(message, step) && surely(subscription))
    };
    let as_published = message.retain && may().any(|subscription| subscription.retain_as_published);
    if delivery.retain
        && let Some(asked_at) = replay_asked_at(message, session, delivery)
    {
        let not_before = if as_published { delivery.attached_at } else { asked_at.max(delivery.attached_at) };
        return check_expiry(message, delivery, not_before);
    }
    check_expiry(message, delivery, delivery.attached_at)?;
    // What was started before the UNSUBACK is sent again after it. A copy that waits does not say who published it: another subscription
    // keeps it, no-local or not.
    let stands = |subscription: &Subscription| {
        let before = delivery.may_have_waited() && subscription.gone.is_none_or(|gone| message.sent <= gone);
        subscription.matches(message.topic) && (subscription.gone.is_none() || delivery.dup || before)
    };
    ensure(may().next().is_none() || session.subscriptions.iter().any(stands), "unsubscribed", || {
        format!("{delivery:?} was started after the UNSUBACK of {matching:?}")
    })?;
    let Some(granted) = may().map(|subscription| subscription.qos).max() else {
        return fail("unwanted", format!("{delivery:?} matches no subscription"));
    };
    ensure(delivery.qos <= granted.min(message.qos), "unwanted", || {
        format!("{delivery:?} exceeds the granted QoS {granted:?}")
    })?;
    let least = must().map(|subscription| subscription.qos).max().unwrap_or_default();
    ensure(delivery.qos >= least.min(message.qos), "overlap", || {
        format!("{delivery:?} is less than the granted QoS {least:?}")
    })?;
    let unmarked = !must().any(|subscription| subscription.retain_as_published) || !message.retain;
    ensure(if delivery.retain { as_published } else { unmarked }, "retain flag", || {
        format!("{delivery:?} of {message:?} for {matching:?}")
    })?;
    let named = |subscription: &&Subscription| subscription.identifier;
    let may = may().filter_map(named);
    let must = must().filter_map(named);
    let right = delivery.identifiers.is_none_or(|found| {
        is_part(must.collect(), found.to_vec()) && is_part(found.to_vec(), may.collect())
    });
    ensure(right, "identifiers", || format!("{delivery:?} for {matching:?}"))
}

/// Whether `part` is in `whole`, as often.
fn is_part(part: Vec<u32>, mut whole: Vec<u32>) -> bool {
    part.into_iter().all(|one| {
        let at = whole.iter().position(|other| *other == one);
        at.map(|at| whole.swap_remove(at)).is_some()
    })
}

/// When the subscription was made from whose replay of the retained store it may be; the first of several.
fn replay_asked_at(message: &Published, session: &Session, delivery: &Delivery<'_>) -> Option<Time> {
    let is_for = |subscription: &&Subscription| {
        subscription.matches(message.topic)
            && message.retain
            && subscription.may_hold(message, delivery.written.step)
            && (subscription.gone.is_none() || delivery.dup || delivery.may_have_waited())
            && subscription.qos.min(message.qos) == delivery.qos
            && subscription.is_replayed(session)
            && delivery.identifiers.is_none_or(|found| found == subscription.identifier.as_slice())
    };
    session.subscriptions.iter().filter(is_for).map(|subscription| subscription.asked_at).min()
}

impl Subscription {
    /// Whether retained messages may be sent because of it (MQTT 5 section 3.3.1.3).
    pub fn is_replayed(&self, session: &Session) -> bool {
        let was_there = |before: &Subscription| {
            before.filter == self.filter
                && before.asked < self.asked
                && before.promised.is_some()
                && before.dropped.is_none_or(|dropped| dropped > self.asked)
        };
        match self.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !session.subscriptions.iter().any(was_there),
            RetainHandling::DoNotSend => false,
        }
    }
}

fn allowed_deliveries(message: &Published, session: &Session) -> u32 {
    let is_replayed =
        |of: &&Subscription| message.retain && of.matches(message.topic) && of.is_replayed(session);
    let retained = session.subscriptions.iter().filter(is_replayed).count() as u32;
    let live = if message.qos == QoS::AtLeastOnce { message.sends } else { 1 };
    live + retained
}

fn check_order(message: &Published, session: &mut Session, delivery: &Delivery<'_>) -> Checked {
    // What was sent twice may have been dropped from a full queue once and got through later.
    if message.fate != Fate::Sent || message.sends > 1 {
        return Ok(());
    }
    let stream = (message.link, message.topic, message.qos, delivery.qos);
    match session.newest.insert(stream, delivery.message) {
        Some(newest) if newest > delivery.message => {
            fail("order", format!("{delivery:?} after message {newest} of the same publisher and topic"))
        }
        _ => Ok(()),
    }
}
