//! The connections of the `takeover` scenario: who connects, who has lost the session, what each of them reads.

use crate::cli::Shared;
use crate::clock::Clock;
use crate::connection::{Arrived, Connection};
use crate::contest::Contest;
use crate::dial::Dialer;
use crate::error::BenchError;
use crate::exchange::Role;
use crate::frame::{Cut, RawFrame, cut, read_acknowledgement, read_publish};
use crate::handshake::{Client, contested_packet, publish_template, read_connack};
use crate::limits::{
    ABANDON_EVERY, EVENTS_PER_WAIT, LATENCY_NS_MAX, PACKET_BYTES_MAX, READ_BYTES_MAX, SWEEP_PASSES_MAX,
    TAKEOVER_LIMIT_NS, WAIT_NS_MAX,
};
use crate::poller::{Interest, Poller};
use crate::publisher::{Publisher, Step};
use crate::stamp::{FILLER, STAMP_BYTES, Stamp};
use hdrhistogram::Histogram;
use shardmq_shards::wire::{QoS, Version};
use std::collections::BTreeMap;

const PUBLISHER: u64 = 0;

/// How far a contender is: `Opening ─ writable ► Connecting ─ CONNACK ► Connected ─ end ► (gone)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Opening,
    Connecting,
    Connected,
}

struct Contender {
    connection: Connection,
    /// Which of the clients it belongs to.
    side: u32,
    stage: Stage,
    /// Since when it waits for what must come within the limit: CONNACK, or its end once it has been taken over.
    since_ns: u64,
}

/// What never changes.
struct Terms {
    version: Version,
    race: bool,
    hello: Vec<u8>,
    run: u32,
    window: u32,
}

/// The loop: two clients of one session, one publisher to it.
pub struct Arena {
    /// The clock of the run.
    pub clock: Clock,
    poller: Poller,
    /// Opens the connections.
    pub dialer: Dialer,
    terms: Terms,
    contenders: BTreeMap<u64, Contender>,
    next_token: u64,
    publisher: Connection,
    /// What is published.
    pub messages: Publisher,
    /// What is found.
    pub contest: Contest,
    /// From opening a connection to its CONNACK.
    pub latency: Histogram<u64>,
    /// CONNACKs while it lasted.
    pub takeovers: u64,
    /// CONNECTs that the broker closed without CONNACK.
    pub overtaken: u64,
    /// Connections that their client closed at once, without reading what the broker had sent.
    pub abandoned: u64,
    pongs: u64,
    /// Whether those who lose the session come again.
    pub contesting: bool,
    /// Whether the publisher publishes.
    pub publishing: bool,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

/// The contested client id.
fn contested() -> String {
    format!("b{:x}contested", std::process::id())
}

/// Ends the persistent session.
pub fn clear(shared: &Shared, dialer: &mut Dialer) -> Result<(), BenchError> {
    Client::connect(dialer, contested(), shared.version, shared.stall)?.disconnect()
}

impl Arena {
    /// Creates the session, with its subscription, and the publisher.
    pub fn set_up(shared: &Shared, race: bool) -> Result<Arena, BenchError> {
        let clock = Clock::start();
        let mut dialer = Dialer::new(shared.target()?, shared.ifaddr.clone());
        let topic = format!("{}/contested", shared.prefix);
        let hello = contested_packet(&contested(), shared.version);
        clear(shared, &mut dialer)?; // what a run that was broken off may have left
        let mut first = Client::greet(&mut dialer, contested(), (shared.version, &hello), shared.stall)?;
        first.subscribe(std::slice::from_ref(&topic), QoS::AtLeastOnce)?;
        let name = format!("b{:x}p", std::process::id());
        let publisher = Client::connect(&mut dialer, name, shared.version, shared.stall)?;
        let window = shared.in_flight.min(publisher.receive_maximum.into());
        let poller = Poller::new(EVENTS_PER_WAIT)?;
        let (stream, unread) = publisher.into_parts()?;
        poller.add(&stream, PUBLISHER, Interest::Read)?;
        let template = publish_template(&topic, QoS::AtLeastOnce, shared.size, shared.version);
        let mut arena = Arena {
            clock,
            poller,
            dialer,
            terms: Terms { version: shared.version, race, hello, run: std::process::id(), window },
            contenders: BTreeMap::new(),
            next_token: PUBLISHER + 1,
            publisher: Connection::new(stream, Role::Publisher(0), unread),
            messages: Publisher::new(template, 1, window),
            contest: Contest::default(),
            latency: Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("the bounds are constants"),
            takeovers: 0,
            overtaken: 0,
            abandoned: 0,
            pongs: 0,
            contesting: true,
            publishing: true,
            buffer: vec![0; PACKET_BYTES_MAX + READ_BYTES_MAX],
            out: Vec::new(),
        };
        arena.admit(first)?;
        Ok(arena)
    }

    /// Takes in the client that has created the session.
    fn admit(&mut self, first: Client) -> Result<(), BenchError> {
        let (stream, unread) = first.into_parts()?;
        let token = self.token();
        self.poller.add(&stream, token, Interest::Read)?;
        self.contest.connected(token);
        self.contest.end_sweep(true);
        let connection = Connection::new(stream, Role::Subscriber(0), unread);
        let since_ns = self.clock.now_ns();
        self.contenders.insert(token, Contender { connection, side: 0, stage: Stage::Connected, since_ns });
        Ok(())
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// Client `side` begins to connect.
    pub fn begin(&mut self, side: u32) -> Result<(), BenchError> {
        let since_ns = self.clock.now_ns();
        let stream = self.dialer.start()?;
        let token = self.token();
        self.poller.add(&stream, token, Interest::Write)?;
        let connection = Connection::new(stream, Role::Subscriber(side), Vec::new());
        self.contenders.insert(token, Contender { connection, side, stage: Stage::Opening, since_ns });
        Ok(())
    }

    /// The connection that was begun last.
    pub fn latest(&self) -> u64 {
        self.next_token
    }

    /// Whether every CONNECT has had its answer.
    pub fn is_answered(&self) -> bool {
        self.contenders.values().all(|contender| contender.stage == Stage::Connected)
    }

    /// Open connections to the session.
    pub fn connections(&self) -> usize {
        self.contenders.len()
    }

    /// Whether `connection` answers a PINGREQ within the limit; `None` when it is not open.
    pub fn answers(&mut self, connection: u64) -> Result<Option<bool>, BenchError> {
        let (asked_ns, pongs) = (self.clock.now_ns(), self.pongs);
        let sent =
            self.contenders.get_mut(&connection).map(|contender| contender.connection.send(&[0xc0, 0]));
        if sent != Some(true) {
            return Ok(None);
        }
        while self.clock.now_ns() - asked_ns < TAKEOVER_LIMIT_NS && self.pongs == pongs {
            self.turn()?;
        }
        Ok(Some(self.pongs > pongs))
    }

    /// One turn: publish, wait, carry on those that open, read everything there is, look at the clock.
    pub fn turn(&mut self) -> Result<(), BenchError> {
        self.publish()?;
        let ready = self.poller.wait(WAIT_NS_MAX)?;
        for index in 0..ready {
            let event = self.poller.ready(index);
            if event.token == PUBLISHER {
                if event.writable && self.publisher.is_blocked() {
                    self.unblock()?;
                }
                self.receive_acknowledgements()?;
            } else if event.writable {
                self.open(event.token)?;
            }
        }
        self.sweep()?;
        self.check_limits()
    }

    fn publish(&mut self) -> Result<(), BenchError> {
        if !self.publishing || self.publisher.is_blocked() {
            return Ok(());
        }
        self.out.clear();
        while self.messages.in_flight() < self.terms.window {
            self.messages.publish(self.terms.run, 0, self.clock.now_ns(), &mut self.out);
        }
        if !self.out.is_empty() && !self.publisher.send(&self.out) {
            return Err(BenchError::Closed { who: "the publisher".into() });
        }
        if self.publisher.is_blocked() {
            self.poller.modify(&self.publisher.stream, PUBLISHER, Interest::Both)?;
        }
        Ok(())
    }

    fn unblock(&mut self) -> Result<(), BenchError> {
        if !self.publisher.flush() {
            return Err(BenchError::Closed { who: "the publisher".into() });
        }
        if !self.publisher.is_blocked() {
            self.poller.modify(&self.publisher.stream, PUBLISHER, Interest::Read)?;
        }
        Ok(())
    }

    fn receive_acknowledgements(&mut self) -> Result<(), BenchError> {
        let protocol = |what: String| BenchError::Protocol { who: "the publisher".into(), what };
        let total = match self.publisher.read(&mut self.buffer) {
            Arrived::Bytes(total) => total,
            Arrived::Nothing => return Ok(()),
            Arrived::End => return Err(BenchError::Closed { who: "the publisher".into() }),
        };
        let mut at = 0;
        while let Cut::Whole(frame, bytes) = cut(&self.buffer[at..total]) {
            let (id, reason) = match (frame.first >> 4, read_acknowledgement(frame.body)) {
                (4, Some(acknowledgement)) => acknowledgement,
                _ => return Err(protocol(format!("packet {:#04x} instead of PUBACK", frame.first))),
            };
            if reason >= 0x80 || !self.messages.acknowledged(id, Step::Puback) {
                return Err(protocol(format!("PUBACK for packet id {id} with reason {reason:#04x}")));
            }
            at += bytes;
        }
        self.publisher.keep(&self.buffer[at..total]);
        Ok(())
    }

    /// A contender's socket is open, or has failed.
    fn open(&mut self, token: u64) -> Result<(), BenchError> {
        let Some(contender) = self.contenders.get_mut(&token).filter(|open| open.stage == Stage::Opening)
        else {
            return Ok(());
        };
        self.dialer.outcome(&contender.connection.stream)?;
        if !contender.connection.send(&self.terms.hello) || contender.connection.is_blocked() {
            return Err(BenchError::Closed { who: format!("connection {token}") });
        }
        contender.stage = Stage::Connecting;
        self.poller.modify(&contender.connection.stream, token, Interest::Read)
    }

    /// Reads every open connection until nothing is there, again while that brings news of who owns the session.
    fn sweep(&mut self) -> Result<(), BenchError> {
        let mut news = true;
        for _ in 0..SWEEP_PASSES_MAX {
            if !news {
                break;
            }
            news = false;
            let tokens: Vec<u64> = self.contenders.keys().copied().collect();
            for token in tokens {
                news |= self.read(token)?;
            }
        }
        self.contest.end_sweep(!news);
        Ok(())
    }

    /// Reads all that `token` has; whether that is news.
    fn read(&mut self, token: u64) -> Result<bool, BenchError> {
        let mut news = false;
        loop {
            let Some(contender) = self.contenders.get_mut(&token).filter(|open| open.stage != Stage::Opening)
            else {
                return Ok(news);
            };
            let total = match contender.connection.read(&mut self.buffer) {
                Arrived::Bytes(total) => total,
                Arrived::Nothing => return Ok(news),
                Arrived::End => {
                    self.ended(token)?;
                    return Ok(news);
                }
            };
            let buffer = std::mem::take(&mut self.buffer);
            self.out.clear();
            let mut at = 0;
            while let Cut::Whole(frame, bytes) = cut(&buffer[at..total]) {
                news |= self.handle_frame(token, frame)?;
                at += bytes;
                if !self.contenders.contains_key(&token) {
                    break; // abandoned: the rest is never read
                }
            }
            if let Some(contender) = self.contenders.get_mut(&token) {
                contender.connection.keep(&buffer[at..total]);
                let _ = contender.connection.send(&self.out); // it may just have lost the session: its end is read next
            }
            self.buffer = buffer;
        }
    }

    /// The broker has closed a contender's connection.
    fn ended(&mut self, token: u64) -> Result<(), BenchError> {
        let contender = self.contenders.remove(&token).expect("only open connections are read");
        self.contest.closed(token);
        let overtaken = contender.stage != Stage::Connected;
        self.overtaken += u64::from(overtaken);
        if self.contesting && (overtaken || !self.terms.race) {
            self.begin(contender.side)?;
        }
        Ok(())
    }

    /// Handles one packet to a contender; whether it is news.
    fn handle_frame(&mut self, token: u64, frame: RawFrame<'_>) -> Result<bool, BenchError> {
        match frame.first >> 4 {
            2 => {
                self.handle_connack(token, frame)?;
                Ok(true)
            }
            3 => {
                self.handle_publish(token, frame)?;
                Ok(self.contest.is_contested())
            }
            13 => {
                self.pongs += 1;
                Ok(false)
            }
            14 => Ok(false), // its end follows
            other => {
                let what = format!("unexpected packet of type {other}");
                Err(BenchError::Protocol { who: format!("connection {token}"), what })
            }
        }
    }

    fn handle_connack(&mut self, token: u64, frame: RawFrame<'_>) -> Result<(), BenchError> {
        let protocol = |what: String| BenchError::Protocol { who: format!("connection {token}"), what };
        let present = read_connack(frame, self.terms.version).map_err(protocol)?;
        let now_ns = self.clock.now_ns();
        let contender = self.contenders.get_mut(&token).expect("only open connections are read");
        if contender.stage == Stage::Connected {
            return Err(protocol("a second CONNACK".into()));
        }
        contender.stage = Stage::Connected;
        self.latency.saturating_record(now_ns - contender.since_ns);
        let side = contender.side;
        for (&other, open) in self.contenders.iter_mut() {
            if open.stage == Stage::Connected && !self.contest.is_superseded(other) {
                open.since_ns = now_ns; // from here on its end is awaited
            }
        }
        self.contest.connected(token);
        self.takeovers += u64::from(self.contesting);
        if !present && self.terms.version != Version::V31 {
            let text = || format!("connection {token} got no session");
            self.contest.breach(|breaches| &mut breaches.session_lost, text);
        }
        if self.contesting && token.is_multiple_of(ABANDON_EVERY) {
            self.contenders.remove(&token); // what was sent to it must come again
            self.contest.closed(token);
            self.abandoned += 1;
            self.begin(side)?;
        } else if self.contesting && self.terms.race {
            self.begin(side)?;
        }
        Ok(())
    }

    fn handle_publish(&mut self, token: u64, frame: RawFrame<'_>) -> Result<(), BenchError> {
        let malformed =
            || BenchError::Protocol { who: format!("connection {token}"), what: "malformed PUBLISH".into() };
        let publish = read_publish(frame, self.terms.version.is_v5()).ok_or_else(malformed)?;
        let stamp = Stamp::read(publish.payload).filter(|stamp| {
            frame.first & 0x07 == 0x02
                && (stamp.run, stamp.publisher) == (self.terms.run, 0)
                && stamp.sequence < self.messages.published()
                && publish.topic == self.messages.topic()
                && publish.payload[STAMP_BYTES..].iter().all(|&byte| byte == FILLER)
        });
        let [high, low] = publish.packet_id.to_be_bytes();
        self.out.extend_from_slice(&[0x40, 2, high, low]);
        let Some(stamp) = stamp else {
            let text = || format!("connection {token} got what nobody published");
            self.contest.breach(|breaches| &mut breaches.corrupt, text);
            return Ok(());
        };
        if self.contest.received(token, stamp.sequence, frame.first & 0x08 != 0) {
            self.messages.received(stamp.sequence);
        }
        Ok(())
    }

    /// Gives up what has waited for too long, and goes on without it.
    fn check_limits(&mut self) -> Result<(), BenchError> {
        let now_ns = self.clock.now_ns();
        let late = self.contenders.iter().find(|(token, contender)| {
            let waits = contender.stage != Stage::Connected || self.contest.is_superseded(**token);
            waits && now_ns.saturating_sub(contender.since_ns) > TAKEOVER_LIMIT_NS
        });
        let Some((&token, _)) = late else { return Ok(()) };
        let contender = self.contenders.remove(&token).expect("it has just been found");
        self.contest.closed(token);
        if contender.stage == Stage::Connected {
            let text = || format!("connection {token} is still open a second after it was taken over");
            self.contest.breach(|breaches| &mut breaches.not_closed, text);
        } else {
            let text = || format!("connection {token} waited a second for CONNACK");
            self.contest.breach(|breaches| &mut breaches.unanswered, text);
        }
        if self.contesting && (contender.stage != Stage::Connected || !self.terms.race) {
            self.begin(contender.side)?;
        }
        Ok(())
    }
}
