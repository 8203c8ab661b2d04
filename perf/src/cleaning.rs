//! The `cleaning` scenario: durable sessions that are away and keep what they have, QoS 1 through durable sessions that take and acknowledge
//! everything, as fast as it goes, and a paced pair beside them. The broker's log fills with what is done with, around what lives, and has to be
//! cleaned all the time. Run it against a broker that cleans and one that does not: the pair tells what it costs.

use crate::broker::Process;
use crate::cli::{Shared, connections, control_rate, outstanding, rounds};
use crate::clock::{Clock, nanos};
use crate::control::{Control, ControlFigures, load_side};
use crate::dial::prepare_process;
use crate::error::BenchError;
use crate::kept::{Kept, kept_qos};
use crate::ledger::Violations;
use crate::limits::DESCRIPTORS_SPARE;
use crate::plan::{Pace, Plan};
use crate::report::{BrokerFigures, CpuSpan};
use crate::traffic::{Side, Traffic};
use clap::Args;
use serde::Serialize;
use std::fmt;

/// What the scenario's own flags say.
#[derive(Args, Clone, Debug)]
pub struct CleaningPlan {
    /// Durable sessions that stay away
    #[arg(long, default_value_t = 1_000, value_parser = connections())]
    pub sessions: u32,
    /// Messages kept for each
    #[arg(long, default_value_t = 300, value_parser = outstanding())]
    pub messages: u32,
    /// Publishers, each to one durable session that is there
    #[arg(long, default_value_t = 20, value_parser = connections())]
    pub pairs: u32,
    /// Messages published to them and not yet received
    #[arg(long, default_value_t = 800, value_parser = outstanding())]
    pub outstanding: u32,
    /// Spans of --seconds that are looked at
    #[arg(long, default_value_t = 5, value_parser = rounds())]
    pub rounds: u32,
    /// Messages per second of the pair beside it
    #[arg(long, default_value_t = 2_000, value_parser = control_rate())]
    pub control_rate: u32,
}

/// What `cleaning` found.
#[derive(Debug, Serialize)]
pub struct CleaningReport {
    /// `cleaning`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// QoS of the load.
    pub qos: u8,
    /// Payload bytes of the load.
    pub payload_bytes: u32,
    /// Messages that are kept all the time.
    pub kept: u64,
    /// Messages delivered through the other durable sessions, per second.
    pub delivered_per_second: f64,
    /// The broker's side for each of these, if its process id was given.
    pub broker: Option<BrokerFigures>,
    /// Bytes that the broker gave the disk for each of these, if /proc tells.
    pub disk_bytes_per_message: Option<f64>,
    /// The control pair meanwhile.
    pub control: ControlFigures,
    /// What went wrong with the load.
    pub violations: Violations,
    /// What went wrong with the control pair's messages.
    pub control_violations: Violations,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, plan: &CleaningPlan) -> Result<CleaningReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    let (clock, stall_ns) = (Clock::start(), nanos(shared.stall));
    prepare_process(2 * u64::from(plan.sessions.max(plan.pairs)) + DESCRIPTORS_SPARE, shared.cpu)?;
    let kept = fill(shared, plan, stall_ns)?;
    let layout = Plan::pairs(
        &format!("{}/cleaning", shared.prefix),
        plan.pairs,
        Pace::Closed { outstanding: plan.outstanding },
    );
    let shared = &Shared { qos: kept_qos(shared), ..shared.clone() };
    let side = Side { durable: true, ..load_side(clock) };
    let mut load = Traffic::set_up(shared, &layout, side)?;
    let mut control = Control::start(shared, plan.control_rate, clock)?;
    control.watch(&mut load, nanos(shared.warmup))?;
    let written = || broker.as_ref().and_then(Process::written_bytes);
    let (began_ns, before, written_before) = (clock.now_ns(), load.exchange().counts().delivered, written());
    let span = CpuSpan::begin(broker.as_ref())?;
    let mut seen = Vec::new();
    for _ in 0..plan.rounds {
        seen.push(control.watch(&mut load, nanos(shared.seconds))?);
    }
    let seconds = (clock.now_ns() - began_ns) as f64 / 1e9;
    let delivered = load.exchange().counts().delivered - before;
    let figures = span.map(|span| span.end(seconds, delivered)).transpose()?;
    let disk_bytes = written().zip(written_before).map(|(after, before)| after - before);
    Ok(CleaningReport {
        scenario: "cleaning",
        mqtt: shared.version.to_string(),
        qos: shared.qos as u8,
        payload_bytes: shared.size,
        kept,
        delivered_per_second: delivered as f64 / seconds,
        broker: figures,
        disk_bytes_per_message: disk_bytes.map(|bytes| bytes as f64 / delivered.max(1) as f64),
        control: ControlFigures::of(&seen),
        violations: load.finish(stall_ns)?,
        control_violations: control.finish(stall_ns)?,
    })
}

/// What the sessions that are away keep; how many messages that is.
fn fill(shared: &Shared, plan: &CleaningPlan, stall_ns: u64) -> Result<u64, BenchError> {
    let count = u64::from(plan.sessions) * u64::from(plan.messages);
    let pace = Pace::Acknowledged { outstanding: plan.sessions * shared.in_flight.min(plan.messages) };
    let layout = Plan::kept(&shared.prefix, plan.sessions, pace, Some(count));
    let mut kept = Kept::set_up(shared, &layout)?;
    kept.publish_until(u64::MAX, stall_ns)?;
    kept.stop(stall_ns)?;
    Ok(kept.acknowledged())
}

impl CleaningReport {
    /// What the broker failed at, in one line; `None` when every check held.
    pub fn failure(&self) -> Option<String> {
        if !self.violations.is_clean() {
            return Some(self.violations.to_string());
        }
        let control = &self.control_violations;
        (!control.is_clean()).then(|| format!("the control pair: {control}"))
    }
}

impl fmt::Display for CleaningReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CleaningReport { mqtt, qos, payload_bytes, kept, .. } = self;
        writeln!(
            f,
            "cleaning: MQTT {mqtt}, QoS {qos}, {payload_bytes} bytes, {kept} messages kept all the time"
        )?;
        writeln!(f, "  delivered   {:.0}/s", self.delivered_per_second)?;
        if let Some(broker) = &self.broker {
            broker.write(f, "delivery")?;
        }
        if let Some(bytes) = self.disk_bytes_per_message {
            writeln!(f, "  disk        {bytes:.0} bytes per delivery")?;
        }
        writeln!(f, "  pair        {}", self.control)?;
        writeln!(f, "  violations  {}", self.violations)?;
        write!(f, "  of the pair {}", self.control_violations)
    }
}
