//! The reference broker: flat lists and linear matching. It knows every message that was published and every subscription that was asked
//! for, and says of each pair whether the message must arrive, may arrive, or must not.
//!
//! Steps of the run are its clock: a SUBACK counts from the step in which the shard wrote it, a PUBLISH from the step in which the shard
//! was given its last byte. What lies between is "may".

use super::network::SocketId;
use super::profile::Profile;
use super::shared::Groups;
use super::topics::{Filter, Topic};
use crate::base::time::Time;
use crate::wire::{QoS, RetainHandling};
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Seconds after which it is not to be delivered any more, if it was not before.
    pub expiry: Option<u32>,
    /// Which properties it has, as bits of [`super::properties::properties_of`].
    pub properties: u8,
    /// Bytes of its payload after the number.
    pub filler: usize,
    /// How often it was sent; each may be delivered unless it is QoS 2.
    pub sends: u32,
    /// Step of the first sending.
    pub sent: u64,
    /// Step in which a shard had its last byte.
    pub arrived: Option<u64>,
    /// When that was; for a will, when its connection ended.
    pub arrived_at: Time,
    /// By when it was surely handled, and its expiry had begun.
    pub handled_by: Option<Time>,
    /// The newest log record of that shard then.
    pub log_then: u64,
    /// Known to be accepted: acknowledged, or handled on a connection that still stood when all was quiet.
    pub certain: bool,
    /// For wills.
    pub fate: Fate,
    /// For wills: due at this time at the latest, however long before its delay was over.
    pub due_by: Time,
    /// All of it was done when all was quiet: every log has what it is to have of it.
    pub settled: bool,
    /// Crashes that perhaps had it done once more.
    pub replays: u32,
}

/// One SUBSCRIBE's filter.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// What.
    pub filter: Filter,
    /// The identifier, which is the session's number of the SUBSCRIBE's first filter, and one more.
    pub identifier: Option<u32>,
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
    /// When that was.
    pub asked_at: Time,
    /// Step of the next SUBSCRIBE of the same filter.
    pub replaced: Option<u64>,
    /// Step in which the SUBACK of that was written.
    pub replaced_surely: Option<u64>,
    /// Step in which the SUBACK was written.
    pub promised: Option<u64>,
    /// Step of UNSUBSCRIBE.
    pub dropped: Option<u64>,
    /// Step in which the UNSUBACK was written.
    pub gone: Option<u64>,
    /// A crash has ended the sending of retained messages, perhaps before its end.
    pub replay_lost: bool,
}

/// What order is promised for: publisher's link, topic, QoS of publication and of delivery.
pub type Stream = (SocketId, Topic, QoS, QoS);

/// What a session got of one message.
#[derive(Clone, Copy, Default, Debug)]
pub struct Received {
    /// Deliveries without DUP, or with QoS 2 under a new packet id.
    pub fresh: u32,
    /// Those of them with QoS 2.
    pub exactly: u32,
    /// It was acknowledged, and that was on disk, when it had been sent and perhaps done again so often: no crash brings it back.
    pub done: Option<(u32, u32)>,
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
    pub newest: BTreeMap<Stream, MessageId>,
    /// The last thing it saw on each topic.
    pub last_seen: BTreeMap<Topic, Kept>,
    /// The will that waits for its delay.
    pub delayed_will: Option<MessageId>,
    /// When it ends if the log has not got what its newest CONNECT changed.
    pub may_end: Option<Time>,
    /// A CONNACK for it is out.
    pub promised: bool,
    /// In which step it ended.
    pub ended: Option<u64>,
    /// Since when it had no connection, and how many seconds it outlives that, as of the last rest.
    pub resting: Option<(Time, u32)>,
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

/// See the module's documentation.
pub struct Ledger {
    /// All messages.
    pub messages: Vec<Published>,
    /// All sessions.
    pub sessions: Vec<Session>,
    /// What is retained.
    pub retained: BTreeMap<Topic, RetainedTopic>,
    /// What went to shared groups.
    pub groups: Groups,
}

impl Subscription {
    /// Whether the filter is not a shared one and matches.
    pub fn matches(&self, topic: Topic) -> bool {
        !self.filter.is_shared() && self.filter.matches(topic)
    }

    /// Whether it may have been in force when `message` was matched, of which a copy was written in step `written`.
    pub fn may_hold(&self, message: &Published, written: u64) -> bool {
        let over = |end: Option<u64>| end.is_some_and(|end| message.sent > end);
        self.asked <= written && !over(self.gone) && !over(self.replaced_surely)
    }

    /// Whether it must have been.
    pub fn must_hold(&self, message: &Published, written: u64) -> bool {
        let lasted = |end: Option<u64>| end.is_none_or(|end| end > written);
        self.promised.is_some_and(|promised| promised < message.sent)
            && lasted(self.dropped)
            && lasted(self.replaced)
    }
}

impl Published {
    /// When its expiry begins at the earliest.
    pub fn begins_at(&self) -> Time {
        if let Fate::Due(at) = self.fate { at } else { self.arrived_at }
    }

    /// When it has surely expired.
    pub fn expired_by(&self) -> Option<Time> {
        Some(self.handled_by? + Duration::from_secs(u64::from(self.expiry?)))
    }

    /// Whether it may have expired by `now`.
    pub fn may_be_expired(&self, now: Time) -> bool {
        self.expiry.is_some_and(|seconds| self.begins_at() + Duration::from_secs(u64::from(seconds)) <= now)
    }
}

impl Ledger {
    /// Of a run that begins.
    pub fn new(profile: &Profile) -> Ledger {
        let (messages, sessions, retained) = (Vec::new(), Vec::new(), BTreeMap::new());
        Ledger { messages, sessions, retained, groups: Groups::new(profile) }
    }

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

    /// What the topic of retained wills holds from `step` on; `None`: that cannot be said.
    pub fn keep_will(&mut self, topic: Topic, will: Option<MessageId>) {
        let last = will.map_or(Kept::Cleared, Kept::Message);
        let (link, sent) = will.map_or((0, 0), |will| {
            let will = &self.messages[will as usize];
            (will.link, will.sent)
        });
        let write = RetainedTopic { last, link, sent, settled: true, contested: will.is_none() };
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
            may_end: None,
            promised: false,
            ended: None,
            resting: None,
        });
        self.sessions.len() - 1
    }
}
