//! The `burst` scenario: a message to very many subscribers at once, and what a paced pair beside them sees of that.

use crate::broker::Process;
use crate::cli::Shared;
use crate::clock::{Clock, nanos};
use crate::control::{Control, ControlFigures, load_side, median};
use crate::dial::prepare_process;
use crate::error::BenchError;
use crate::ledger::Violations;
use crate::limits::{DESCRIPTORS_SPARE, WAIT_NS_MAX};
use crate::plan::{Pace, Plan};
use crate::report::{BrokerFigures, CpuSpan, Latency};
use crate::traffic::Traffic;
use serde::Serialize;
use std::fmt;

/// What the scenario's own flags say.
#[derive(Clone, Copy, Debug)]
pub struct BurstPlan {
    /// Subscribers.
    pub subscribers: u32,
    /// Messages in a row.
    pub messages: u32,
    /// Rounds.
    pub rounds: u32,
    /// Messages per second of the control pair.
    pub control_rate: u32,
}

/// What `burst` found.
#[derive(Debug, Serialize)]
pub struct BurstReport {
    /// `burst`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// QoS of the burst.
    pub qos: u8,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// Subscribers.
    pub subscribers: u32,
    /// Messages in a row.
    pub messages: u32,
    /// Rounds.
    pub rounds: u32,
    /// From publish until every subscriber had everything, in milliseconds: median of the rounds.
    pub all_have_it_ms: f64,
    /// The longest of the rounds.
    pub all_have_it_ms_max: f64,
    /// From publish to receipt, over all copies.
    #[serde(flatten)]
    pub latency: Latency,
    /// The broker's side during the last burst, for each copy, if its process id was given.
    pub broker: Option<BrokerFigures>,
    /// The control pair without a burst.
    pub before: ControlFigures,
    /// The control pair during the bursts.
    pub during: ControlFigures,
    /// What went wrong with the copies.
    pub violations: Violations,
    /// What went wrong with the control pair's messages.
    pub control_violations: Violations,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, plan: BurstPlan) -> Result<BurstReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    let (clock, stall_ns) = (Clock::start(), nanos(shared.stall));
    prepare_process(u64::from(plan.subscribers) + DESCRIPTORS_SPARE, shared.cpu)?;
    let prefix = format!("{}/burst", shared.prefix);
    let layout = Plan::fanout(&prefix, plan.subscribers, Pace::Granted);
    let mut load = Traffic::set_up(shared, &layout, load_side(clock))?;
    let mut control = Control::start(shared, plan.control_rate, clock)?;
    control.watch(&mut load, nanos(shared.warmup))?;
    load.exchange().record(0..u64::MAX);
    let (mut before, mut during, mut spans_ms) = (Vec::new(), Vec::new(), Vec::new());
    let mut cpu = None;
    for _ in 0..plan.rounds {
        before.push(control.watch(&mut load, nanos(shared.seconds))?);
        let span = CpuSpan::begin(broker.as_ref())?;
        let span_ns = burst(&mut control, &mut load, u64::from(plan.messages), (clock, stall_ns))?;
        let copies = u64::from(plan.messages) * u64::from(plan.subscribers);
        cpu = span.map(|span| span.end(span_ns as f64 / 1e9, copies)).transpose()?;
        control.catch_up(&mut load, stall_ns)?;
        during.push(control.take_seen());
        spans_ms.push(span_ns as f64 / 1e6);
    }
    let latency = Latency::of(&load.exchange().take_latency());
    Ok(BurstReport {
        scenario: "burst",
        mqtt: shared.version.to_string(),
        qos: shared.qos as u8,
        payload_bytes: shared.size,
        subscribers: plan.subscribers,
        messages: plan.messages,
        rounds: plan.rounds,
        all_have_it_ms_max: spans_ms.iter().copied().fold(0.0, f64::max),
        all_have_it_ms: median(spans_ms),
        latency,
        broker: cpu,
        before: ControlFigures::of(&before),
        during: ControlFigures::of(&during),
        violations: load.finish(stall_ns)?,
        control_violations: control.finish(stall_ns)?,
    })
}

/// Publishes `messages` in a row and waits until all subscribers have them; how many nanoseconds that took.
fn burst(
    control: &mut Control,
    load: &mut Traffic,
    messages: u64,
    (clock, stall_ns): (Clock, u64),
) -> Result<u64, BenchError> {
    control.take_seen();
    let began_ns = clock.now_ns();
    load.exchange().grant(0, messages);
    let mut progress = (0, began_ns);
    let mut wait_ns = 0;
    while load.exchange().credit(0) > 0 || !load.exchange().is_settled() {
        control.turn(load, wait_ns)?;
        wait_ns = WAIT_NS_MAX;
        let (now_ns, delivered) = (clock.now_ns(), load.exchange().counts().delivered);
        if delivered != progress.0 {
            progress = (delivered, now_ns);
        } else if now_ns - progress.1 > stall_ns {
            break; // the ledger tells what is missing
        }
    }
    Ok(clock.now_ns() - began_ns)
}

impl fmt::Display for BurstReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BurstReport { mqtt, qos, payload_bytes, subscribers, messages, rounds, .. } = self;
        write!(f, "burst: MQTT {mqtt}, QoS {qos}, {payload_bytes} bytes, ")?;
        writeln!(f, "{messages} in a row to {subscribers} subscribers, {rounds} rounds")?;
        write!(f, "  all have it {:.2} ms (median), ", self.all_have_it_ms)?;
        writeln!(f, "{:.2} ms (longest)", self.all_have_it_ms_max)?;
        self.latency.fmt(f)?;
        if let Some(broker) = &self.broker {
            broker.write(f, "copy")?;
        }
        writeln!(f, "  pair before {}", self.before)?;
        writeln!(f, "  pair during {}", self.during)?;
        writeln!(f, "  violations  {}", self.violations)?;
        write!(f, "  of the pair {}", self.control_violations)
    }
}
