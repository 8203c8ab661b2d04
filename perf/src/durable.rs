//! The `durable` scenario: messages to durable sessions that are offline, as fast as a window of unacknowledged ones allows; then the
//! sessions' clients come back and everything that was acknowledged must be there. A run in which the broker dropped something fails.

use crate::broker::Process;
use crate::cli::Shared;
use crate::clock::nanos;
use crate::dial::prepare_process;
use crate::error::BenchError;
use crate::kept::{Kept, kept_qos};
use crate::ledger::Violations;
use crate::plan::{Pace, Plan};
use crate::report::{BrokerFigures, CpuSpan};
use serde::Serialize;
use std::fmt;
use std::time::Instant;

/// What `durable` found.
#[derive(Debug, Serialize)]
pub struct DurableReport {
    /// `durable`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// QoS of publishers and subscriptions.
    pub qos: u8,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// Publishers, each to one offline session.
    pub publishers: u32,
    /// Messages published and not yet acknowledged, over all publishers.
    pub outstanding: u32,
    /// Seconds measured.
    pub seconds: f64,
    /// Messages acknowledged within them, per second.
    pub acknowledged_per_second: f64,
    /// The broker's side for each acknowledged message, if its process id was given.
    pub broker: Option<BrokerFigures>,
    /// Bytes that the broker gave the disk for each acknowledged message, if /proc tells.
    pub disk_bytes_per_message: Option<f64>,
    /// CPU of the generator itself: near 100 it is the bottleneck.
    pub generator_cpu_percent: f64,
    /// Messages that the sessions must have kept, warm-up included.
    pub kept: u64,
    /// Seconds until all of them had arrived.
    pub drain_seconds: f64,
    /// What went wrong, over the whole run.
    pub violations: Violations,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, publishers: u32, outstanding: u32) -> Result<DurableReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    let own = Process::watch(std::process::id())?;
    prepare_process(2 * u64::from(publishers), shared.cpu)?;
    let plan = Plan::kept(&shared.prefix, publishers, Pace::Acknowledged { outstanding }, None);
    let mut kept = Kept::set_up(shared, &plan)?;
    let stall_ns = nanos(shared.stall);
    kept.publish_until(kept.now_ns() + nanos(shared.warmup), stall_ns)?;
    let written = || broker.as_ref().and_then(Process::written_bytes);
    let (began, before, written_before) = (Instant::now(), kept.acknowledged(), written());
    let span = CpuSpan::begin(broker.as_ref())?;
    let own_span = CpuSpan::begin(Some(&own))?.expect("a process was given");
    kept.publish_until(kept.now_ns() + nanos(shared.seconds), stall_ns)?;
    let (seconds, messages) = (began.elapsed().as_secs_f64(), kept.acknowledged() - before);
    let broker_figures = span.map(|span| span.end(seconds, messages)).transpose()?;
    let generator_cpu_percent = own_span.end(seconds, messages)?.cpu_percent;
    let disk_bytes = written().zip(written_before).map(|(after, before)| after - before);
    kept.stop(stall_ns)?;
    let (published, drained) = (kept.traffic.exchange().counts().published, Instant::now());
    let violations = kept.drain(stall_ns)?;
    Ok(DurableReport {
        scenario: "durable",
        mqtt: shared.version.to_string(),
        qos: kept_qos(shared) as u8,
        payload_bytes: shared.size,
        publishers,
        outstanding,
        seconds,
        acknowledged_per_second: messages as f64 / seconds,
        broker: broker_figures,
        disk_bytes_per_message: disk_bytes.map(|bytes| bytes as f64 / messages.max(1) as f64),
        generator_cpu_percent,
        kept: published,
        drain_seconds: drained.elapsed().as_secs_f64(),
        violations,
    })
}

impl DurableReport {
    /// What the broker failed at, in one line; `None` when every check held.
    pub fn failure(&self) -> Option<String> {
        if !self.violations.is_clean() {
            return Some(self.violations.to_string());
        }
        (self.kept == 0).then(|| "nothing was acknowledged".into())
    }
}

impl fmt::Display for DurableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DurableReport { mqtt, qos, payload_bytes, publishers, outstanding, seconds, .. } = self;
        write!(
            f,
            "durable: MQTT {mqtt}, QoS {qos}, {payload_bytes} bytes, {publishers} publishers to as many "
        )?;
        writeln!(f, "offline sessions, {outstanding} in flight, {seconds:.2} s")?;
        writeln!(f, "  acknowledged {:.0}/s", self.acknowledged_per_second)?;
        if let Some(broker) = &self.broker {
            broker.write(f, "acknowledged message")?;
        }
        if let Some(bytes) = self.disk_bytes_per_message {
            writeln!(f, "  disk        {bytes:.0} bytes per acknowledged message")?;
        }
        writeln!(f, "  generator   {:.1} % of a CPU", self.generator_cpu_percent)?;
        writeln!(f, "  kept        {}, all back after {:.2} s", self.kept, self.drain_seconds)?;
        write!(f, "  violations  {}", self.violations)
    }
}
