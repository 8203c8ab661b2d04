//! The reference broker: flat lists and linear matching. It knows every message that was published and every subscription that was asked
//! for, and says of each pair whether the message must arrive, may arrive, or must not.
//!
//! Steps of the run are its clock: a SUBACK counts from the step in which the shard wrote it, a PUBLISH from the step in which the shard
//! was given its last byte. What lies between is "may".

use super::failure::{Checked, fail};
use super::network::SocketId;
use super::topics::{Filter, TOPICS, Topic};
use crate::base::time::Time;
use crate::topics::{TopicFilter, TopicName};
use crate::wire::{QoS, RetainHandling};
use std::collections::BTreeMap;

/// Names a message: its number stands in the first four bytes of its payload.
pub type MessageId = u32;
/// Names a client.
pub type ClientId = usize;
/// Names a session: a new one of the same client has another number.
pub type SessionId = usize;

/// What a will has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Not a will: a client published it.
    Sent,
    /// The connection that carries it stands, or was never seen to stand.
    Carried,
    /// The connection has ended without DISCONNECT: due from then on.
    Due(Time),
    /// Whether it is published is not for this reference to say.
    Open,
    /// Must not be published any more.
    Void,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Published {
    /// Who published it.
    pub client: ClientId,
    /// The first link that it was sent over.
    pub link: SocketId,
    /// Where.
    pub topic: Topic,
    /// The publisher's QoS.
    pub qos: QoS,
    /// The session that published it, as far as was seen.
    pub of: Option<SessionId>,
    /// To be retained.
    pub retain: bool,
    /// Has an expiry: may be missing.
    pub expires: bool,
    /// How often it was sent; each may be delivered unless it is QoS 2.
    pub sends: u32,
    /// Step of the first sending.
    pub sent: u64,
    /// Step in which a shard had its last byte.
    pub arrived: Option<u64>,
    /// The newest log record of that shard then.
    pub log_then: u64,
    /// Known to be accepted: acknowledged, or handled on a connection that still stood when all was quiet.
    pub certain: bool,
    /// For wills.
    pub fate: Fate,
}

/// One SUBSCRIBE's filter.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// What.
    pub filter: Filter,
    /// Granted QoS.
    pub qos: QoS,
    /// The client's own messages are left out.
    pub no_local: bool,
    /// The retain flag of live messages is kept.
    pub retain_as_published: bool,
    /// Whether retained messages are sent.
    pub retain_handling: RetainHandling,
    /// Step of SUBSCRIBE.
    pub asked: u64,
    /// Step in which the SUBACK was written.
    pub promised: Option<u64>,
    /// Step of UNSUBSCRIBE.
    pub dropped: Option<u64>,
    /// Step in which the UNSUBACK was written.
    pub gone: Option<u64>,
}

/// What a session got of one message.
#[derive(Clone, Copy, Default, Debug)]
pub struct Received {
    /// Deliveries without DUP, or with QoS 2 under a new packet id.
    pub fresh: u32,
}

/// What is on a retained topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// A message.
    Message(MessageId),
    /// Nothing any more.
    Cleared,
}

/// A session as the reference has it.
#[derive(Debug)]
pub struct Session {
    /// Whose.
    pub client: ClientId,
    /// Whether the broker must still have it.
    pub alive: bool,
    /// The link that speaks for it.
    pub link: Option<SocketId>,
    /// Since which step its CONNACK is out.
    pub connected_since: Option<u64>,
    /// Seconds that it outlives its connection.
    pub expiry: u32,
    /// Since when it has no connection.
    pub offline_since: Time,
    /// Everything it ever subscribed.
    pub subscriptions: Vec<Subscription>,
    /// What it got.
    pub received: BTreeMap<MessageId, Received>,
    /// The newest message by publisher's link, topic, QoS of publication and of delivery.
    newest: BTreeMap<(SocketId, Topic, QoS, QoS), MessageId>,
    /// The last thing it saw on each topic.
    pub last_seen: BTreeMap<Topic, Kept>,
    /// The will that waits for its delay.
    pub delayed_will: Option<MessageId>,
}

/// What the retained store should hold for one topic.
#[derive(Clone, Copy, Debug)]
pub struct RetainedTopic {
    /// The last write.
    pub last: Kept,
    link: SocketId,
    /// When it was written.
    pub sent: u64,
    /// The write has reached everyone.
    pub settled: bool,
    /// Writes of different connections have crossed: the last one is not known.
    pub contested: bool,
}

/// A delivery as a client saw it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
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
    /// When.
    pub now: Time,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Ledger {
    /// All messages.
    pub messages: Vec<Published>,
    /// All sessions.
    pub sessions: Vec<Session>,
    /// What is retained.
    pub retained: BTreeMap<Topic, RetainedTopic>,
}

impl Subscription {
    /// Whether the filter matches.
    pub fn matches(&self, topic: Topic) -> bool {
        let filter = TopicFilter::new(self.filter.text()).expect("the pool holds valid filters");
        filter.matches(TopicName::new(TOPICS[topic]).expect("the pool holds valid topics"))
    }
}

impl Ledger {
    /// A message that is about to be sent for the first time.
    pub fn publish(&mut self, message: Published) -> MessageId {
        self.messages.push(message);
        (self.messages.len() - 1) as MessageId
    }

    /// The message `id`.
    pub fn message(&mut self, id: MessageId) -> &mut Published {
        &mut self.messages[id as usize]
    }

    /// A retained topic is written by `link` at `step`.
    /// `again`: it may have been written before, and then may not be written now.
    pub fn write_retained(&mut self, topic: Topic, kept: Kept, (link, again): (SocketId, bool), step: u64) {
        let before = self.retained.get(&topic);
        let crossed =
            before.is_some_and(|before| !before.settled && (before.link != link || before.contested));
        let write =
            RetainedTopic { last: kept, link, sent: step, settled: false, contested: crossed || again };
        self.retained.insert(topic, write);
    }

    /// All is quiet: writes have reached everyone, or never will.
    pub fn settle_retained(&mut self) {
        for write in self.retained.values_mut() {
            let certain = match write.last {
                Kept::Message(id) => self.messages[id as usize].certain,
                Kept::Cleared => false,
            };
            // A write that may have been lost leaves open what is kept.
            write.contested |= !certain;
            write.settled = true;
        }
    }

    /// A new session of `client`.
    pub fn start_session(&mut self, client: ClientId, expiry: u32, now: Time) -> SessionId {
        self.sessions.push(Session {
            client,
            alive: true,
            link: None,
            connected_since: None,
            expiry,
            offline_since: now,
            subscriptions: Vec::new(),
            received: BTreeMap::new(),
            newest: BTreeMap::new(),
            last_seen: BTreeMap::new(),
            delayed_will: None,
        });
        self.sessions.len() - 1
    }

    /// A client got a message: it must be one that it may get, no more often than it may, and in order.
    pub fn delivered(&mut self, delivery: Delivery) -> Checked {
        let Some(message) = self.messages.get(delivery.message as usize) else {
            return fail("integrity", format!("{delivery:?}: no such message"));
        };
        let session = &mut self.sessions[delivery.session];
        if message.topic != delivery.topic {
            return fail("integrity", format!("{delivery:?} was published on {}", TOPICS[message.topic]));
        }
        check_will(message, &delivery)?;
        check_wanted(message, session, &delivery)?;
        let first = !session.received.contains_key(&delivery.message);
        if first || !delivery.dup {
            session.last_seen.insert(delivery.topic, Kept::Message(delivery.message));
        }
        let received = session.received.entry(delivery.message).or_default();
        received.fresh += u32::from(!delivery.dup || delivery.qos == QoS::ExactlyOnce);
        let allowed = allowed_deliveries(message, session);
        let fresh = session.received[&delivery.message].fresh;
        if fresh > allowed {
            let what = format!("{delivery:?}: delivered {fresh} times, at most {allowed} are right");
            return fail("exactly once", what);
        }
        if first && !delivery.retain {
            check_order(message, session, &delivery)?;
        }
        Ok(())
    }
}

/// A will may only come after its connection has ended without DISCONNECT, and after its delay.
fn check_will(message: &Published, delivery: &Delivery) -> Checked {
    match message.fate {
        Fate::Void => fail("will", format!("{delivery:?}: this will must not be published")),
        Fate::Due(at) if at > delivery.now => {
            fail("will", format!("{delivery:?}: this will is due at {at:?} only"))
        }
        _ => Ok(()),
    }
}

fn check_wanted(message: &Published, session: &Session, delivery: &Delivery) -> Checked {
    // A client whose session has ended is somebody else when it comes back.
    let own = message.of == Some(delivery.session) && !delivery.retain;
    let wanted = session.subscriptions.iter().filter(|subscription| {
        subscription.matches(message.topic)
            && subscription.gone.is_none_or(|gone| message.sent <= gone)
            && !(own && subscription.no_local)
    });
    match wanted.map(|subscription| subscription.qos).max() {
        None => fail("unwanted", format!("{delivery:?} matches no subscription")),
        Some(granted) if delivery.qos > granted.min(message.qos) => {
            fail("unwanted", format!("{delivery:?} exceeds the granted QoS {granted:?}"))
        }
        Some(_) => Ok(()),
    }
}

fn allowed_deliveries(message: &Published, session: &Session) -> u32 {
    let subscribed = session.subscriptions.iter().filter(|subscription| subscription.matches(message.topic));
    let retained = if message.retain { subscribed.count() as u32 } else { 0 };
    let live = if message.qos == QoS::AtLeastOnce { message.sends } else { 1 };
    live + retained
}

fn check_order(message: &Published, session: &mut Session, delivery: &Delivery) -> Checked {
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
