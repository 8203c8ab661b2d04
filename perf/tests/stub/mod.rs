//! A tiny broker in a thread of the test, correct or with one planted fault in every [`EVERY`] chances.

use shardmq_shards::wire::{
    Ack, AckProperties, Connack, ConnackProperties, Packet, PacketId, Publish, QoS, ReasonCode, Split,
    Suback, Version, split,
};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A fault strikes once in so many chances.
pub const EVERY: u64 = 500;

/// What the stub does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// A copy is not sent.
    Lose,
    /// A copy is sent twice.
    Duplicate,
    /// A copy changes places with the next one of its topic at its subscriber.
    Swap,
    /// A byte of a copy's payload is another.
    Alter,
    /// A copy goes out under another topic.
    Rename,
    /// An acknowledgement is not sent.
    SwallowAck,
    /// A connection is closed.
    HangUp,
    /// Every subscription is granted at QoS 0.
    Downgrade,
    /// A connection that lost its session stays open, and gets every copy, too.
    KeepOld,
    /// What a session has in flight is forgotten when it is taken over.
    ForgetInFlight,
    /// What a session has in flight comes again without DUP.
    OmitDup,
    /// CONNACK says that there was no session.
    DenySession,
    /// A CONNECT to a session is never answered.
    IgnoreConnect,
}

/// Packet id, topic and payload.
type Message = (PacketId, String, Vec<u8>);

/// The one persistent session that the stub keeps, of one subscription at QoS 1.
struct Session {
    stream: TcpStream,
    /// Connections that should have been closed.
    old: Vec<TcpStream>,
    version: Version,
    filter: Option<String>,
    /// Sent and not acknowledged, by the publisher's packet ids: the generator has one publisher to it.
    in_flight: Vec<Message>,
}

struct Subscription {
    filter: String,
    stream: TcpStream,
    version: Version,
    /// A copy held back until the next one of the same topic.
    held: Option<(String, Vec<u8>)>,
}

struct Broker {
    fault: Fault,
    /// Where the session's filter and messages are written as they come, for a stub that is to survive being killed.
    file: Option<PathBuf>,
    chances: u64,
    subscriptions: Vec<Subscription>,
    session: Option<Session>,
    /// Topic, payload and packet id of what is retained.
    retained: Vec<(String, Vec<u8>, Option<PacketId>)>,
}

impl Session {
    fn is(&self, stream: &TcpStream) -> bool {
        matches!((self.stream.peer_addr(), stream.peer_addr()), (Ok(own), Ok(other)) if own == other)
    }

    fn send(&mut self, packet_id: PacketId, dup: bool) {
        let message = self.in_flight.iter().find(|(id, _, _)| *id == packet_id).expect("it is in flight");
        let publish = Publish {
            dup,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: &message.1,
            packet_id: Some(packet_id),
            properties: Default::default(),
            payload: &message.2,
        };
        let mut bytes = Vec::new();
        publish.encode(self.version, &mut bytes);
        for stream in self.old.iter_mut().chain([&mut self.stream]) {
            let _ = stream.write_all(&bytes); // its client may be gone
        }
    }
}

/// What the file of a stub that was killed says: the session's filter, and the messages for it.
fn read_back(file: &Path) -> Option<(String, Vec<Message>)> {
    let text = std::fs::read_to_string(file).ok()?;
    let (filter, messages) = text.split_once('\n')?;
    let read = |line: &str| {
        let (id, payload) = line.split_once(' ').expect("a line is written at once");
        let bytes = (0..payload.len()).step_by(2).map(|at| u8::from_str_radix(&payload[at..at + 2], 16));
        let id = id.parse().ok().and_then(PacketId::new).expect("the stub has written it");
        (id, filter.to_string(), bytes.collect::<Result<_, _>>().expect("the stub has written it"))
    };
    Some((filter.to_string(), messages.lines().map(read).collect()))
}

impl Broker {
    /// Writes a line of the session to the file, if there is one; what was there before is kept unless it is the first.
    fn write_down(&self, is_first: bool, line: String) {
        let Some(file) = &self.file else { return };
        let mut options = OpenOptions::new();
        let open = options.create(true).write(true).append(!is_first).truncate(is_first).open(file);
        open.expect("the test has made the directory").write_all(line.as_bytes()).expect("the disk has room");
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        if self.fault == fault {
            self.chances += 1;
            return self.chances.is_multiple_of(EVERY);
        }
        false
    }

    fn retain(&mut self, publish: &Publish<'_>) {
        self.retained.retain(|(topic, ..)| topic != publish.topic);
        if !publish.payload.is_empty() {
            self.retained.push((publish.topic.into(), publish.payload.to_vec(), publish.packet_id));
        }
    }

    /// Appends what is retained for a new subscription of `filter`.
    fn replay(&mut self, filter: &str, (qos, version): (QoS, Version), replies: &mut Vec<u8>) {
        for (topic, mut payload, packet_id) in self.retained.clone() {
            if !matches(filter, &topic) || self.strikes(Fault::Lose) {
                continue;
            }
            if self.strikes(Fault::Alter) {
                payload[0] ^= 1;
            }
            let start = replies.len();
            let properties = Default::default();
            let (topic, payload) = (&topic[..], &payload[..]);
            Publish { dup: false, qos, retain: true, topic, packet_id, properties, payload }
                .encode(version, replies);
            if self.strikes(Fault::Duplicate) {
                replies.extend_from_within(start..);
            }
        }
    }

    fn deliver(&mut self, publish: &Publish<'_>) {
        for index in 0..self.subscriptions.len() {
            if matches(&self.subscriptions[index].filter, publish.topic) {
                self.deliver_copy(index, publish);
            }
        }
        if self.session.is_some() && self.strikes(Fault::Lose) {
            return;
        }
        if let (Some(session), Some(packet_id)) = (self.session.as_ref(), publish.packet_id)
            && session.filter.as_deref() == Some(publish.topic)
        {
            let hex: String = publish.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            self.write_down(false, format!("{packet_id} {hex}\n"));
            let session = self.session.as_mut().expect("it was there");
            session.in_flight.push((packet_id, publish.topic.into(), publish.payload.to_vec()));
            session.send(packet_id, false);
        }
    }

    fn deliver_copy(&mut self, index: usize, publish: &Publish<'_>) {
        if self.strikes(Fault::Lose) {
            return;
        }
        let version = self.subscriptions[index].version;
        let mut payload = publish.payload.to_vec();
        // Only what clears a retained topic carries no stamp.
        if !payload.is_empty() && self.strikes(Fault::Alter) {
            *payload.last_mut().expect("payloads carry a stamp") ^= 1;
        }
        let topic = if self.strikes(Fault::Rename) { "elsewhere" } else { publish.topic };
        let mut bytes = Vec::new();
        Publish { payload: &payload, topic, dup: false, ..*publish }.encode(version, &mut bytes);
        if self.strikes(Fault::Duplicate) {
            bytes.extend_from_within(..);
        }
        if self.strikes(Fault::Swap) && self.subscriptions[index].held.is_none() {
            self.subscriptions[index].held = Some((publish.topic.into(), bytes));
            return;
        }
        let subscription = &mut self.subscriptions[index];
        if let Some((_, held)) = subscription.held.take_if(|(topic, _)| topic == publish.topic) {
            bytes.extend(held);
        }
        let _ = subscription.stream.write_all(&bytes); // the generator may be gone
    }
}

impl Broker {
    /// A client connects to the session, which it takes from whoever has it.
    fn take_over(&mut self, stream: &TcpStream, version: Version) {
        if self.fault == Fault::IgnoreConnect && self.session.is_some() {
            return;
        }
        let file = self.file.as_ref().filter(|_| self.session.is_none());
        let kept = file.and_then(|file| read_back(file));
        let present = (self.session.is_some() || kept.is_some()) && self.fault != Fault::DenySession;
        let stream = stream.try_clone().expect("descriptors suffice");
        let old = Vec::new();
        let session = self.session.get_or_insert_with(|| {
            let stream = stream.try_clone().expect("descriptors suffice");
            let (filter, in_flight) = kept.map_or((None, Vec::new()), |(filter, kept)| (Some(filter), kept));
            Session { stream, old, version, filter, in_flight }
        });
        let before = std::mem::replace(&mut session.stream, stream);
        if self.fault == Fault::KeepOld {
            session.old.push(before);
        } else if !session.is(&before) {
            let _ = before.shutdown(std::net::Shutdown::Both);
        }
        let (reason, properties) = (ReasonCode::Success, ConnackProperties::default());
        let mut bytes = Vec::new();
        Packet::Connack(Connack { session_present: present, reason, properties }).encode(version, &mut bytes);
        let _ = session.stream.write_all(&bytes);
        if self.fault == Fault::ForgetInFlight {
            session.in_flight.clear();
        }
        let ids: Vec<_> = session.in_flight.iter().map(|(id, _, _)| *id).collect();
        ids.into_iter().for_each(|id| session.send(id, self.fault != Fault::OmitDup));
    }
}

/// Starts a stub on a port of its own, which it returns.
pub fn start(fault: Fault) -> u16 {
    start_on(0, None, fault)
}

/// Starts a stub on `port`, or on one of its own instead of 0; which one it is. With a file its session survives it.
pub fn start_on(port: u16, file: Option<PathBuf>, fault: Fault) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let broker = Arc::new(Mutex::new(Broker {
        fault,
        file,
        chances: 0,
        subscriptions: Vec::new(),
        session: None,
        retained: Vec::new(),
    }));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let broker = broker.clone();
            std::thread::spawn(move || serve(stream, &broker));
        }
    });
    port
}

fn serve(mut stream: TcpStream, broker: &Mutex<Broker>) {
    let mut version = Version::V311;
    let mut unread = Vec::new();
    let mut chunk = [0; 64 * 1024];
    let _ = stream.set_nodelay(true);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        unread.extend_from_slice(&chunk[..count]);
        let mut at = 0;
        while let Ok(Split::Whole(frame)) = split(&unread[at..], 1 << 24) {
            at += frame.wire_bytes();
            let packet = Packet::decode(frame, version).expect("the generator speaks MQTT");
            if let Packet::Connect(connect) = &packet {
                version = connect.version;
            }
            let mut replies = Vec::new();
            let goes_on = handle(packet, version, &stream, broker, &mut replies);
            if !goes_on || stream.write_all(&replies).is_err() {
                let _ = stream.shutdown(std::net::Shutdown::Both); // a clone may live on as a subscription
                return;
            }
        }
        unread.drain(..at);
    }
}

/// Handles one packet; false: the connection ends.
fn handle(
    packet: Packet<'_>,
    version: Version,
    stream: &TcpStream,
    broker: &Mutex<Broker>,
    replies: &mut Vec<u8>,
) -> bool {
    let mut broker = broker.lock().expect("no connection panics with the lock");
    let ack = |packet_id: PacketId| Ack {
        packet_id,
        reason: ReasonCode::Success,
        properties: AckProperties::default(),
    };
    match packet {
        Packet::Connect(connect) if !connect.clean_start => {
            broker.take_over(stream, version);
        }
        Packet::Connect(_) => {
            let (reason, properties) = (ReasonCode::Success, ConnackProperties::default());
            Packet::Connack(Connack { session_present: false, reason, properties }).encode(version, replies);
        }
        Packet::Subscribe(subscribe) => {
            let mut codes = Vec::new();
            for entry in subscribe.filters.iter() {
                let stream = stream.try_clone().expect("descriptors suffice");
                let filter = entry.filter.to_string();
                if let Some(session) = broker.session.as_mut().filter(|session| session.is(&stream)) {
                    session.filter = Some(filter.clone());
                    broker.write_down(true, filter + "\n");
                    codes.push(entry.options.qos as u8);
                    continue;
                }
                broker.subscriptions.push(Subscription { filter, stream, version, held: None });
                let qos = if broker.fault == Fault::Downgrade { QoS::AtMostOnce } else { entry.options.qos };
                codes.push(qos as u8);
            }
            let (packet_id, properties) = (subscribe.packet_id, AckProperties::default());
            Packet::Suback(Suback { packet_id, properties, codes: &codes }).encode(version, replies);
            for entry in subscribe.filters.iter() {
                broker.replay(entry.filter, (entry.options.qos, version), replies);
            }
        }
        Packet::Publish(publish) => {
            if broker.strikes(Fault::HangUp) {
                return false;
            }
            if publish.retain {
                broker.retain(&publish);
            }
            broker.deliver(&publish);
            match publish.packet_id.filter(|_| !broker.strikes(Fault::SwallowAck)) {
                None => {}
                Some(id) if publish.qos == QoS::AtLeastOnce => {
                    Packet::Puback(ack(id)).encode(version, replies)
                }
                Some(id) => Packet::Pubrec(ack(id)).encode(version, replies),
            }
        }
        Packet::Puback(acknowledged) => {
            if let Some(session) = broker.session.as_mut().filter(|session| session.is(stream)) {
                session.in_flight.retain(|(id, _, _)| *id != acknowledged.packet_id);
            }
        }
        Packet::Pubrec(received) => Packet::Pubrel(ack(received.packet_id)).encode(version, replies),
        Packet::Pubrel(released) => Packet::Pubcomp(ack(released.packet_id)).encode(version, replies),
        Packet::Pingreq => Packet::Pingresp.encode(version, replies),
        Packet::Disconnect(_) => return false,
        _ => {}
    }
    true
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
