//! The `retained` scenario: very many retained messages, what they cost the broker in memory, and how long a new subscriber of all of them
//! waits for the last, while a paced pair goes on beside it.

use crate::broker::Process;
use crate::cli::Shared;
use crate::clock::{Clock, nanos};
use crate::control::{Control, ControlFigures, load_side, median};
use crate::dial::{Dialer, prepare_process};
use crate::error::BenchError;
use crate::frame::{Cut, RawFrame, cut, read_acknowledgement, read_publish};
use crate::handshake::{Client, publish_template};
use crate::idle::touch;
use crate::ledger::Violations;
use crate::limits::{TAKE_BYTES, TOUCH_MIB};
use crate::plan::{Pace, Plan};
use crate::report::{BrokerFigures, CpuSpan};
use crate::traffic::Traffic;
use serde::Serialize;
use shardmq_shards::wire::{Ack, Packet, PacketId, QoS, Version};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// What the scenario's own flags say.
#[derive(Clone, Copy, Debug)]
pub struct RetainedPlan {
    /// Retained messages, each with a topic of its own.
    pub messages: u32,
    /// Subscribers of all of them, one after the other.
    pub rounds: u32,
    /// Messages per second of the control pair.
    pub control_rate: u32,
}

/// What `retained` found.
#[derive(Debug, Serialize)]
pub struct RetainedReport {
    /// `retained`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// QoS of publisher and subscribers.
    pub qos: u8,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// Bytes of each topic.
    pub topic_bytes: usize,
    /// Retained messages.
    pub messages: u32,
    /// Rounds.
    pub rounds: u32,
    /// Seconds that publishing them took.
    pub publish_seconds: f64,
    /// The broker's resident memory before them, in bytes.
    pub rss_bytes_before: Option<u64>,
    /// What it grew by, for each message.
    pub rss_bytes_per_message: Option<f64>,
    /// From SUBSCRIBE until the last had arrived, in milliseconds: median of the rounds.
    pub all_have_come_ms: f64,
    /// The longest of the rounds.
    pub all_have_come_ms_max: f64,
    /// The broker's side during the last round, for each message, if its process id was given.
    pub broker: Option<BrokerFigures>,
    /// The control pair without a replay.
    pub before: ControlFigures,
    /// The control pair during the replays.
    pub during: ControlFigures,
    /// Median of each round's p99 during the replay, over the median without.
    pub p99_ratio: f64,
    /// Messages that did not come within the stall limit, over all rounds.
    pub missing: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that were never published so.
    pub corrupt: u64,
    /// What went wrong with the control pair's messages.
    pub violations: Violations,
}

/// Messages published and not yet acknowledged, or not yet known to be handled: what a v5 broker of the default settings takes.
const WINDOW: u32 = 50;

/// Topic and payload of message `index`.
fn topic(shared: &Shared, index: u32) -> String {
    format!("{}/retained/{:02}/device/{:05}/temp", shared.prefix, index % 100, index / 100)
}

/// The message that a topic of the scenario belongs to.
fn index_of(topic: &[u8], prefix: &str) -> Option<u32> {
    let rest = std::str::from_utf8(topic).ok()?.strip_prefix(prefix)?.strip_prefix("/retained/")?;
    let (low, rest) = rest.split_once("/device/")?;
    let high: u32 = rest.strip_suffix("/temp")?.parse().ok()?;
    Some(high * 100 + low.parse::<u32>().ok()?)
}

/// A socket that does not block, in the hands of this scenario.
struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    who: &'static str,
}

impl Wire {
    fn of(client: Client, who: &'static str) -> Result<Wire, BenchError> {
        let (stream, unread) = client.into_parts()?;
        Ok(Wire { stream, unread, unsent: Vec::new(), who })
    }

    /// Reads and sends once what is possible; each whole packet goes to `take`.
    fn turn(&mut self, mut take: impl FnMut(RawFrame<'_>, &mut Vec<u8>)) -> Result<(), BenchError> {
        let start = self.unread.len();
        self.unread.resize(start + TAKE_BYTES, 0);
        let count = match self.stream.read(&mut self.unread[start..]) {
            Ok(0) => return Err(BenchError::Closed { who: self.who.into() }),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(BenchError::system(format!("reading for {}", self.who), error)),
        };
        self.unread.truncate(start + count);
        let mut at = 0;
        loop {
            match cut(&self.unread[at..]) {
                Cut::Whole(frame, bytes) => {
                    take(frame, &mut self.unsent);
                    at += bytes;
                }
                Cut::Partial => break,
                Cut::Malformed => {
                    let what = "no packet".into();
                    return Err(BenchError::Protocol { who: self.who.into(), what });
                }
            }
        }
        self.unread.drain(..at);
        match self.stream.write(&self.unsent) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(BenchError::system(format!("sending for {}", self.who), error)),
        }
        Ok(())
    }
}

/// Publishes every message, or clears every topic, and waits until the broker has handled the last.
fn publish(
    shared: &Shared,
    dialer: &mut Dialer,
    (messages, clear): (u32, bool),
    clock: Clock,
) -> Result<(), BenchError> {
    let name = format!("b{:x}retainer", std::process::id());
    let client = Client::connect(dialer, name, shared.version, shared.stall)?;
    let mut wire = Wire::of(client, "the publisher of retained messages")?;
    let payload_bytes = if clear { 0 } else { shared.size };
    let (mut sent, mut acknowledged, mut refused) = (0, 0, None);
    let mut progress = (0, clock.now_ns());
    while acknowledged < messages {
        let end = messages.min(acknowledged + WINDOW);
        if sent < end && wire.unsent.is_empty() {
            for index in sent..end {
                let template =
                    publish_template(&topic(shared, index), shared.qos, payload_bytes, shared.version);
                let at = wire.unsent.len();
                wire.unsent.extend_from_slice(&template.bytes);
                wire.unsent[at] |= 1; // RETAIN
                if let Some(id_at) = template.packet_id_at {
                    let id = (index % 60_000 + 1) as u16;
                    wire.unsent[at + id_at..at + id_at + 2].copy_from_slice(&id.to_be_bytes());
                }
                if !clear {
                    let payload_at = at + template.payload_at;
                    wire.unsent[payload_at..payload_at + 4].copy_from_slice(&index.to_be_bytes());
                }
            }
            if shared.qos == QoS::AtMostOnce {
                wire.unsent.extend_from_slice(&[0xc0, 0]); // PINGREQ: its answer says that all before it is handled
            }
            sent = end;
        }
        wire.turn(|frame, out| match frame.first >> 4 {
            13 => acknowledged = sent,
            4 | 7 => acknowledged += 1,
            5 => {
                let (id, code) = read_acknowledgement(frame.body).unwrap_or_default();
                out.extend_from_slice(&[0x62, 2, (id >> 8) as u8, id as u8]);
                refused = refused.or((code >= 0x80).then_some(code));
            }
            _ => {}
        })?;
        if let Some(code) = refused {
            let what = format!("a retained message is refused with {code:#04x}");
            return Err(BenchError::Protocol { who: wire.who.into(), what });
        }
        if acknowledged != progress.0 {
            progress = (acknowledged, clock.now_ns());
        } else if clock.now_ns() - progress.1 > nanos(shared.stall) {
            return Err(BenchError::Timeout {
                who: wire.who.into(),
                waiting_for: "the broker to take its messages",
            });
        }
    }
    Ok(())
}

/// What arrives at one subscriber.
struct Arrivals<'a> {
    shared: &'a Shared,
    came: Vec<bool>,
    count: u64,
    duplicated: u64,
    corrupt: u64,
}

impl Arrivals<'_> {
    fn take(&mut self, frame: RawFrame<'_>, out: &mut Vec<u8>) {
        let acknowledge = |packet: fn(Ack<'static>) -> Packet<'static>, id: u16, out: &mut Vec<u8>| {
            let Some(id) = PacketId::new(id) else { return };
            packet(Ack::new(id)).encode(Version::V311, out); // without reason it is the same in all versions
        };
        match frame.first >> 4 {
            3 => {}
            6 => {
                let (id, _) = read_acknowledgement(frame.body).unwrap_or_default();
                return acknowledge(Packet::Pubcomp, id, out);
            }
            _ => return,
        }
        let Some(publish) = read_publish(frame, self.shared.version.is_v5()) else {
            self.corrupt += 1;
            return;
        };
        match frame.first >> 1 & 3 {
            1 => acknowledge(Packet::Puback, publish.packet_id, out),
            2 => acknowledge(Packet::Pubrec, publish.packet_id, out),
            _ => {}
        }
        let index = index_of(publish.topic, &self.shared.prefix).filter(|index| {
            let whole = publish.payload.len() == self.shared.size as usize && frame.first & 1 == 1;
            whole && publish.payload[..4] == index.to_be_bytes()
        });
        match index.and_then(|index| self.came.get_mut(index as usize)) {
            None => self.corrupt += 1,
            Some(came) if *came => self.duplicated += 1,
            Some(came) => {
                *came = true;
                self.count += 1;
            }
        }
    }
}

/// Subscribes to all and waits for the last; in how many nanoseconds it came.
fn replay(
    arrivals: &mut Arrivals<'_>,
    dialer: &mut Dialer,
    (control, load): (&mut Control, &mut Traffic),
    (clock, round): (Clock, u32),
) -> Result<u64, BenchError> {
    let shared = arrivals.shared;
    let name = format!("b{:x}all{round}", std::process::id());
    let mut client = Client::connect(dialer, name, shared.version, shared.stall)?;
    control.catch_up(load, nanos(shared.stall))?;
    control.take_seen();
    let began_ns = clock.now_ns();
    client.subscribe(&[format!("{}/retained/#", shared.prefix)], shared.qos)?;
    let mut wire = Wire::of(client, "the subscriber of all retained messages")?;
    let mut progress = (0, began_ns);
    while arrivals.count < arrivals.came.len() as u64 {
        wire.turn(|frame, out| arrivals.take(frame, out))?;
        control.turn(load, 0)?;
        let now_ns = clock.now_ns();
        if arrivals.count != progress.0 {
            progress = (arrivals.count, now_ns);
        } else if now_ns - progress.1 > nanos(shared.stall) {
            break; // the report tells what is missing
        }
    }
    Ok(progress.1.max(began_ns) - began_ns)
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, plan: RetainedPlan) -> Result<RetainedReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    let (clock, stall_ns) = (Clock::start(), nanos(shared.stall));
    prepare_process(8, shared.cpu)?;
    let mut dialer = Dialer::new(shared.target()?, shared.ifaddr.clone());
    touch(shared, &mut dialer, TOUCH_MIB)?;
    let rss_bytes_before = broker.as_ref().map(Process::resident_bytes).transpose()?;
    let began_ns = clock.now_ns();
    publish(shared, &mut dialer, (plan.messages, false), clock)?;
    let publish_seconds = (clock.now_ns() - began_ns) as f64 / 1e9;
    let rss_bytes = broker.as_ref().map(Process::resident_bytes).transpose()?;
    let grown = rss_bytes.zip(rss_bytes_before).map(|(after, before)| after as f64 - before as f64);
    // The pair is alone but for the replay: the load that it is made for is empty.
    let nobody = Plan::fanout(&format!("{}/nobody", shared.prefix), 0, Pace::Granted);
    let mut load = Traffic::set_up(shared, &nobody, load_side(clock))?;
    let mut control = Control::start(shared, plan.control_rate, clock)?;
    control.watch(&mut load, nanos(shared.warmup))?;
    let (mut before, mut during, mut spans_ms, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), None);
    let (mut missing, mut duplicated, mut corrupt) = (0, 0, 0);
    for round in 0..plan.rounds {
        before.push(control.watch(&mut load, nanos(shared.seconds))?);
        let came = vec![false; plan.messages as usize];
        let mut arrivals = Arrivals { shared, came, count: 0, duplicated: 0, corrupt: 0 };
        let span = CpuSpan::begin(broker.as_ref())?;
        let span_ns = replay(&mut arrivals, &mut dialer, (&mut control, &mut load), (clock, round))?;
        cpu = span.map(|span| span.end(span_ns as f64 / 1e9, u64::from(plan.messages))).transpose()?;
        control.catch_up(&mut load, stall_ns)?;
        during.push(control.take_seen());
        spans_ms.push(span_ns as f64 / 1e6);
        missing += u64::from(plan.messages) - arrivals.count;
        duplicated += arrivals.duplicated;
        corrupt += arrivals.corrupt;
    }
    load.finish(stall_ns)?;
    let violations = control.finish(stall_ns)?;
    publish(shared, &mut dialer, (plan.messages, true), clock)?;
    let (before, during) = (ControlFigures::of(&before), ControlFigures::of(&during));
    Ok(RetainedReport {
        scenario: "retained",
        mqtt: shared.version.to_string(),
        qos: shared.qos as u8,
        payload_bytes: shared.size,
        topic_bytes: topic(shared, 0).len(),
        messages: plan.messages,
        rounds: plan.rounds,
        publish_seconds,
        rss_bytes_before,
        rss_bytes_per_message: grown.map(|grown| grown / f64::from(plan.messages)),
        all_have_come_ms_max: spans_ms.iter().copied().fold(0.0, f64::max),
        all_have_come_ms: median(spans_ms),
        broker: cpu,
        p99_ratio: during.p99_median_us / before.p99_median_us,
        before,
        during,
        missing,
        duplicated,
        corrupt,
        violations,
    })
}

impl RetainedReport {
    /// What the broker failed at, in one line; `None` when every check held.
    pub fn failure(&self) -> Option<String> {
        if self.missing + self.duplicated + self.corrupt > 0 {
            let (missing, duplicated, corrupt) = (self.missing, self.duplicated, self.corrupt);
            return Some(format!(
                "{missing} retained messages missing, {duplicated} duplicated, {corrupt} corrupt"
            ));
        }
        (!self.violations.is_clean()).then(|| format!("the control pair: {}", self.violations))
    }
}

impl fmt::Display for RetainedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RetainedReport { mqtt, qos, payload_bytes, topic_bytes, messages, rounds, .. } = self;
        write!(f, "retained: MQTT {mqtt}, QoS {qos}, {messages} messages of {payload_bytes} bytes, ")?;
        writeln!(f, "topics of {topic_bytes}, {rounds} rounds, published in {:.2} s", self.publish_seconds)?;
        if let Some((before, each)) = self.rss_bytes_before.zip(self.rss_bytes_per_message) {
            let overhead = each - f64::from(*payload_bytes);
            write!(f, "  memory      {each:.0} bytes each, {overhead:.0} without payload, ")?;
            let topic = overhead - *topic_bytes as f64;
            writeln!(f, "{topic:.0} without topic (RSS {:.1} MiB before)", before as f64 / 1048576.0)?;
        }
        write!(f, "  all come in {:.1} ms (median), ", self.all_have_come_ms)?;
        writeln!(f, "{:.1} ms (longest)", self.all_have_come_ms_max)?;
        if let Some(broker) = &self.broker {
            broker.write(f, "message")?;
        }
        writeln!(f, "  pair before {}", self.before)?;
        writeln!(f, "  pair during {}", self.during)?;
        writeln!(f, "  p99 ratio   {:.2}", self.p99_ratio)?;
        let RetainedReport { missing, duplicated, corrupt, .. } = self;
        writeln!(f, "  retained    missing {missing}, duplicated {duplicated}, corrupt {corrupt}")?;
        write!(f, "  violations  {}", self.violations)
    }
}
