//! What export writes and import reads: a line of JSON for each session, each retained message, and each message that waits in nobody's queue.

use super::message_line::{LineError, MessageLine};
use serde::{Deserialize, Serialize};
use shardmq_shards::base::kept::{CopyNumber, ParkedId, SessionNumber};
use shardmq_shards::base::lsn::Lsn;
use shardmq_shards::base::rising_map::RisingMap;
use shardmq_shards::base::time::Time;
use shardmq_shards::log::{
    BodyId, BodyImage, CopyEntry, CopyState, Occasion, Origin, ParkedImage, SessionImage, ShardImage,
    SubscriptionImage, WillImage,
};
use shardmq_shards::mesh::Epoch;
use shardmq_shards::topics::TopicFilter;
use shardmq_shards::wire::{Message, PacketId, QoS, SubscriptionOptions, Version};
use std::num::NonZeroU32;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first: which version of these lines follows.
    ShardmqExport(u32),
    Session(Box<SessionLine>),
    Retained(MessageLine),
    Waiting(WaitingLine),
}

/// The version of the lines.
pub const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionLine {
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    expiry_seconds: u32,
    /// Microseconds since 1970; left out when it was connected to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offline_since: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    will: Option<WillLine>,
    subscriptions: Vec<SubscriptionLine>,
    /// QoS 2 packet ids from the client that wait for PUBREL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    received: Vec<u16>,
    queue: Vec<CopyLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WillLine {
    message: MessageLine,
    delay_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    peer: std::net::SocketAddr,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionLine {
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identifier: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exclusive: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CopyLine {
    qos: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    identifiers: Vec<u32>,
    state: StateLine,
    /// Left out once the client has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageLine>,
}

/// The number is the packet id.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateLine {
    Queued,
    Started(u16),
    Arrived(u16),
}

/// A message that nobody has yet: delayed, a will that is due, or taken back from a member of a shared group.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingLine {
    waits_for: WaitsFor,
    message: MessageLine,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WaitsFor {
    /// Microseconds since 1970.
    Time(u64),
    Slot,
    Member(String),
}

/// The lines that say what `image`, the only one of its broker, has.
pub fn lines_of(image: &ShardImage) -> impl Iterator<Item = Line> {
    let sessions = image.sessions.values();
    let sessions = sessions.map(|session| Line::Session(Box::new(SessionLine::of(session, &image.bodies))));
    let retained = image.retained.values().map(|(message, ..)| Line::Retained(MessageLine::of(message)));
    let waiting = image.parked.values().map(|parked| Line::Waiting(WaitingLine::of(parked, &image.bodies)));
    std::iter::once(Line::ShardmqExport(VERSION)).chain(sessions).chain(retained).chain(waiting)
}

impl SessionLine {
    fn of(session: &SessionImage, bodies: &RisingMap<BodyId, BodyImage>) -> SessionLine {
        let message = |body: &BodyId| bodies.get(body).map(|body| MessageLine::of(&body.message));
        let subscriptions = session.subscriptions.iter();
        SessionLine {
            client_id: session.client_id.to_string(),
            user: session.user.as_deref().map(str::to_owned),
            expiry_seconds: session.expiry_seconds,
            offline_since: session.offline_since.map(Time::as_micros),
            will: session.will.as_ref().map(WillLine::of),
            subscriptions: subscriptions.map(|(filter, image)| SubscriptionLine::of(filter, image)).collect(),
            received: session.received.iter().map(|id| id.get()).collect(),
            queue: session.copies.values().map(|(body, copy)| CopyLine::of(copy, message(body))).collect(),
        }
    }

    fn to_image(&self, number: SessionNumber, messages: &mut Messages) -> Result<SessionImage, LineError> {
        let mut copies = RisingMap::default();
        for (index, copy) in self.queue.iter().enumerate() {
            let copy_number = CopyNumber(index as u64);
            copies.insert(copy_number, copy.to_image(number, copy_number, messages)?);
        }
        let mut received = self.received.iter().map(|id| packet_id(*id)).collect::<Result<Vec<_>, _>>()?;
        received.sort_unstable();
        let subscriptions = self.subscriptions.iter().map(SubscriptionLine::to_image);
        Ok(SessionImage {
            client_id: self.client_id.as_str().into(),
            user: self.user.as_deref().map(Into::into),
            epoch: Epoch(number.0),
            expiry_seconds: self.expiry_seconds,
            offline_since: self.offline_since.map(Time::from_micros),
            will: self.will.as_ref().map(WillLine::to_image).transpose()?,
            subscriptions: subscriptions.collect::<Result<_, _>>()?,
            received,
            next_copy: CopyNumber(copies.len() as u64),
            written: Default::default(),
            head: Default::default(),
            again: Default::default(),
            away: Default::default(),
            copies,
        })
    }
}

impl WillLine {
    fn of(will: &WillImage) -> WillLine {
        WillLine {
            message: MessageLine::of(&will.message),
            delay_seconds: will.delay_seconds,
            expiry_seconds: will.expiry_seconds,
            user_name: will.user_name.as_deref().map(str::to_owned),
            peer: will.peer,
        }
    }

    fn to_image(&self) -> Result<WillImage, LineError> {
        Ok(WillImage {
            message: self.message.to_message()?,
            delay_seconds: self.delay_seconds,
            expiry_seconds: self.expiry_seconds,
            user_name: self.user_name.as_deref().map(Into::into),
            peer: self.peer,
        })
    }
}

impl SubscriptionLine {
    fn of(filter: &str, subscription: &SubscriptionImage) -> SubscriptionLine {
        let SubscriptionOptions { qos, no_local, retain_as_published, retain_handling } =
            subscription.options;
        SubscriptionLine {
            filter: filter.to_owned(),
            qos: qos as u8,
            no_local,
            retain_as_published,
            retain_handling: retain_handling as u8,
            identifier: subscription.identifier,
            exclusive: subscription.exclusive,
        }
    }

    fn to_image(&self) -> Result<(Box<str>, SubscriptionImage), LineError> {
        TopicFilter::new(&self.filter).map_err(|error| LineError(format!("{:?}: {error}", self.filter)))?;
        let flags = u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3;
        if self.qos > 2 || self.retain_handling > 2 {
            return Err(LineError(format!("{:?}: qos and retain_handling are 0, 1 or 2", self.filter)));
        }
        let byte = self.qos | flags | self.retain_handling << 4;
        let options = SubscriptionOptions::from_byte(byte, Version::V5)
            .map_err(|violation| LineError(format!("{:?}: {violation}", self.filter)))?;
        if self.identifier.is_some_and(|identifier| identifier.get() > 268_435_455) {
            return Err(LineError(format!("{:?}: the identifier is above 268,435,455", self.filter)));
        }
        let SubscriptionLine { identifier, exclusive, .. } = *self;
        Ok((self.filter.as_str().into(), SubscriptionImage { options, identifier, exclusive }))
    }
}

impl CopyLine {
    fn of(copy: &CopyEntry, message: Option<MessageLine>) -> CopyLine {
        CopyLine {
            qos: copy.qos as u8,
            retain: copy.retain,
            group: copy.group.as_deref().map(str::to_owned),
            identifiers: copy.identifiers.to_vec(),
            state: match copy.state {
                CopyState::Queued => StateLine::Queued,
                CopyState::Started(id) => StateLine::Started(id.get()),
                CopyState::Arrived(id) => StateLine::Arrived(id.get()),
            },
            message: message.filter(|_| !matches!(copy.state, CopyState::Arrived(_))),
        }
    }

    fn to_image(
        &self,
        session: SessionNumber,
        number: CopyNumber,
        messages: &mut Messages,
    ) -> Result<(BodyId, CopyEntry), LineError> {
        let state = match self.state {
            StateLine::Queued => CopyState::Queued,
            StateLine::Started(id) => CopyState::Started(packet_id(id)?),
            StateLine::Arrived(id) => CopyState::Arrived(packet_id(id)?),
        };
        let qos = QoS::from_bits(self.qos).filter(|qos| *qos > QoS::AtMostOnce);
        let qos = qos.ok_or_else(|| LineError("a copy's qos is 1 or 2".to_owned()))?;
        let body = match (&self.message, state) {
            (Some(message), _) => messages.add(message.to_message()?),
            (None, CopyState::Arrived(_)) => BodyId::default(),
            (None, _) => return Err(LineError("a copy that has not arrived has a message".to_owned())),
        };
        let group = self.group.as_deref().map(shared_filter).transpose()?.map(Into::into);
        let retain = self.retain;
        let identifiers = self.identifiers.iter().copied().collect();
        Ok((body, CopyEntry { session, number, qos, retain, group, state, identifiers }))
    }
}

impl WaitingLine {
    fn of(parked: &ParkedImage, bodies: &RisingMap<BodyId, BodyImage>) -> WaitingLine {
        let waits_for = match &parked.occasion {
            Occasion::At(due) => WaitsFor::Time(due.as_micros()),
            Occasion::Member { group, .. } => WaitsFor::Member(group.to_string()),
            Occasion::Slot | Occasion::FanOut { .. } => WaitsFor::Slot,
        };
        WaitingLine { waits_for, message: MessageLine::of(&bodies[&parked.body].message) }
    }

    fn occasion(&self) -> Result<Occasion<'static>, LineError> {
        Ok(match &self.waits_for {
            WaitsFor::Time(due) => Occasion::At(Time::from_micros(*due)),
            WaitsFor::Slot => Occasion::Slot,
            WaitsFor::Member(group) => {
                Occasion::Member { group: shared_filter(group)?.to_owned().into(), sent_on: false }
            }
        })
    }
}

fn shared_filter(group: &str) -> Result<&str, LineError> {
    let filter = TopicFilter::new(group).ok().filter(|filter| filter.shared().is_some());
    filter.map(|_| group).ok_or_else(|| LineError(format!("{group:?} is no shared filter")))
}

fn packet_id(id: u16) -> Result<PacketId, LineError> {
    PacketId::new(id).ok_or_else(|| LineError("a packet id is above 0".to_owned()))
}

/// The messages of an image that is being made.
#[derive(Default)]
struct Messages {
    bodies: RisingMap<BodyId, BodyImage>,
    newest: Lsn,
}

impl Messages {
    fn add(&mut self, message: Message) -> BodyId {
        self.newest = self.newest.next();
        let body = BodyImage { message, publisher: None, origin: Origin::Own, place: None };
        self.bodies.insert(BodyId(self.newest), body);
        BodyId(self.newest)
    }
}

/// Makes an image of lines.
#[derive(Default)]
pub struct Importer {
    image: ShardImage,
    messages: Messages,
    clients: std::collections::BTreeSet<Box<str>>,
}

impl Importer {
    /// Takes a line that is not the first.
    pub fn take(&mut self, line: &Line) -> Result<(), LineError> {
        match line {
            Line::ShardmqExport(_) => return Err(LineError("a second beginning".to_owned())),
            Line::Session(session) => {
                if !self.clients.insert(session.client_id.as_str().into()) {
                    return Err(LineError(format!("a second session of {:?}", session.client_id)));
                }
                let number = SessionNumber(self.clients.len() as u64);
                let image = session.to_image(number, &mut self.messages)?;
                self.image.sessions.insert(number, image);
            }
            Line::Retained(message) => {
                let message = message.to_message()?;
                self.image.retained.insert(message.topic().into(), (message, None, Default::default()));
            }
            Line::Waiting(waiting) => {
                let occasion = waiting.occasion()?;
                let body = self.messages.add(waiting.message.to_message()?);
                self.image.parked.insert(ParkedId::alone(body.0), ParkedImage { occasion, body });
            }
        }
        Ok(())
    }

    /// What all lines say.
    pub fn finish(self) -> ShardImage {
        ShardImage { bodies: self.messages.bodies, ..self.image }
    }
}
