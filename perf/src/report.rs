//! What a run found: text for people, one line of JSON for scripts.

use crate::broker::{CpuTime, Process};
use crate::burst::BurstReport;
use crate::cleaning::CleaningReport;
use crate::disk::DiskReport;
use crate::durable::DurableReport;
use crate::error::BenchError;
use crate::filters::FiltersReport;
use crate::ledger::Violations;
use crate::recover::RecoverReport;
use crate::retained::RetainedReport;
use crate::stall::StallReport;
use crate::takeover::TakeoverReport;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 99 of 100 were at most this.
    pub p99_us: f64,
    /// 999 of 1,000 were at most this.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    /// The percentiles of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Latency { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us: micros(histogram.max()) }
    }
}

fn micros(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 100.0).round() / 10.0
}

/// What the broker used while it was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BrokerFigures {
    /// CPU time for each delivered message (`conn`: for each cycle), in microseconds, user and system.
    pub cpu_us_per_message: f64,
    /// Of one CPU, in percent.
    pub cpu_percent: f64,
    /// The user part of the CPU time, in percent.
    pub user_percent: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
}

/// A measured span of a process' CPU time.
pub struct CpuSpan {
    before: CpuTime,
    process: Process,
}

impl CpuSpan {
    /// Begins now; `None` without a process to watch.
    pub fn begin(process: Option<&Process>) -> Result<Option<CpuSpan>, BenchError> {
        process
            .map(|process| Ok(CpuSpan { before: process.cpu_time()?, process: process.clone() }))
            .transpose()
    }

    /// Ends now, after `seconds` in which `messages` were handled.
    pub fn end(&self, seconds: f64, messages: u64) -> Result<BrokerFigures, BenchError> {
        let used = self.process.cpu_time()?.since(&self.before);
        let ticks_ns = (used.user_ns + used.system_ns).max(1);
        Ok(BrokerFigures {
            cpu_us_per_message: used.best_ns() as f64 / 1e3 / messages.max(1) as f64,
            cpu_percent: used.best_ns() as f64 / 1e7 / seconds,
            user_percent: 100.0 * used.user_ns as f64 / ticks_ns as f64,
            rss_bytes: self.process.resident_bytes()?,
        })
    }
}

/// What `pair`, `fanout`, `fanin` and `wildcard` found.
#[derive(Debug, Serialize)]
pub struct TrafficReport {
    /// The scenario's name; `paced` for pairs at a rate.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// QoS of publishers and subscriptions.
    pub qos: u8,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// Publishers.
    pub publishers: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Seconds measured.
    pub seconds: f64,
    /// Messages published per second.
    pub published_per_second: f64,
    /// Copies received per second.
    pub delivered_per_second: f64,
    /// Copies received within the measured seconds.
    pub delivered: u64,
    /// From intended send to receipt.
    #[serde(flatten)]
    pub latency: Latency,
    /// The broker's side, if its process id was given.
    pub broker: Option<BrokerFigures>,
    /// CPU of the generator itself: near 100 it is the bottleneck.
    pub generator_cpu_percent: f64,
    /// What went wrong, over the whole run.
    pub violations: Violations,
}

/// What `conn` found.
#[derive(Debug, Serialize)]
pub struct ConnReport {
    /// `conn`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// Connections at a time.
    pub parallel: u32,
    /// Seconds measured.
    pub seconds: f64,
    /// Cycles completed within them.
    pub cycles: u64,
    /// Cycles per second.
    pub cycles_per_second: f64,
    /// From opening the connection to the broker having closed it.
    #[serde(flatten)]
    pub latency: Latency,
    /// The broker's side, if its process id was given.
    pub broker: Option<BrokerFigures>,
    /// CPU of the generator itself.
    pub generator_cpu_percent: f64,
}

/// What `idle` found.
#[derive(Debug, Serialize)]
pub struct IdleReport {
    /// `idle`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// Connections opened.
    pub connections: u32,
    /// Whether each has a filter of its own.
    pub own_filter: bool,
    /// Connections that the broker closed, or wrote to, while they were idle.
    pub disturbed: u32,
    /// Seconds from the first to the last connection.
    pub connect_seconds: f64,
    /// Seconds watched.
    pub seconds: f64,
    /// The broker's side, if its process id was given.
    pub broker: Option<IdleFigures>,
}

/// How often a thread of the broker woke up.
#[derive(Clone, Debug, Serialize)]
pub struct Wakeups {
    /// The thread's name.
    pub thread: String,
    /// Voluntary context switches per second: each sleep ends with a wake-up.
    pub per_second: f64,
}

/// The broker's cost of idle connections.
#[derive(Clone, Debug, Serialize)]
pub struct IdleFigures {
    /// Resident memory before the connections, in bytes.
    pub rss_bytes_baseline: u64,
    /// Resident memory with them, in bytes.
    pub rss_bytes: u64,
    /// The difference, per connection.
    pub rss_bytes_per_connection: f64,
    /// Of one CPU over the watched seconds, in percent.
    pub cpu_percent: f64,
    /// Of each thread, the busiest first.
    pub wakeups: Vec<Wakeups>,
}

/// The report of a scenario.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of messages.
    Traffic(TrafficReport),
    /// Of connecting.
    Conn(ConnReport),
    /// Of being connected.
    Idle(IdleReport),
    /// Of one session's two clients.
    Takeover(TakeoverReport),
    /// Of a subscriber that does not read.
    Stall(StallReport),
    /// Of a message to very many.
    Burst(BurstReport),
    /// Of very many filters.
    Filters(FiltersReport),
    /// Of very many retained messages.
    Retained(RetainedReport),
    /// Of messages to sessions that are away.
    Durable(DurableReport),
    /// Of a broker that was killed.
    Recover(RecoverReport),
    /// Of a log under traffic.
    Cleaning(CleaningReport),
    /// Of bare logs.
    Disk(DiskReport),
}

impl Report {
    /// What the broker failed at, in one line; `None` when every check held.
    pub fn failure(&self) -> Option<String> {
        match self {
            Report::Traffic(report) if !report.violations.is_clean() => Some(report.violations.to_string()),
            Report::Traffic(report) if report.delivered == 0 => Some("nothing was delivered".into()),
            Report::Conn(report) if report.cycles == 0 => Some("no connection was completed".into()),
            Report::Idle(report) if report.disturbed > 0 => {
                Some(format!("{} idle connections were closed or written to", report.disturbed))
            }
            Report::Takeover(report) if !report.breaches.is_clean() => Some(report.breaches.to_string()),
            Report::Takeover(report) if report.takeovers == 0 => Some("nothing was taken over".into()),
            Report::Stall(StallReport { violations, .. }) if !violations.is_clean() => {
                Some(format!("the control pair: {violations}"))
            }
            Report::Burst(report) if !report.violations.is_clean() => Some(report.violations.to_string()),
            Report::Burst(report) if !report.control_violations.is_clean() => {
                Some(format!("the control pair: {}", report.control_violations))
            }
            Report::Retained(report) => report.failure(),
            Report::Durable(report) => report.failure(),
            Report::Recover(report) => report.failure(),
            Report::Cleaning(report) => report.failure(),
            _ => None,
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violations { lost, duplicated, reordered, corrupt, unacknowledged, unsent, examples } = self;
        write!(f, "lost {lost}, duplicated {duplicated}, out of order {reordered}, corrupt {corrupt}, ")?;
        write!(f, "unacknowledged {unacknowledged}, due but unsent {unsent}")?;
        examples.iter().try_for_each(|example| write!(f, "; {example}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Traffic(report) => report.fmt(f),
            Report::Conn(report) => report.fmt(f),
            Report::Idle(report) => report.fmt(f),
            Report::Takeover(report) => report.fmt(f),
            Report::Stall(report) => report.fmt(f),
            Report::Burst(report) => report.fmt(f),
            Report::Filters(report) => report.fmt(f),
            Report::Retained(report) => report.fmt(f),
            Report::Durable(report) => report.fmt(f),
            Report::Recover(report) => report.fmt(f),
            Report::Cleaning(report) => report.fmt(f),
            Report::Disk(report) => report.fmt(f),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p99_us, p999_us, max_us } = self;
        writeln!(f, "  latency     p50 {p50_us} µs, p99 {p99_us} µs, p99.9 {p999_us} µs, max {max_us} µs")
    }
}

impl BrokerFigures {
    /// Writes its line; `per` names what the CPU time is told for.
    pub fn write(&self, f: &mut fmt::Formatter<'_>, per: &str) -> fmt::Result {
        let BrokerFigures { cpu_us_per_message, cpu_percent, user_percent, rss_bytes } = self;
        write!(f, "  broker      {cpu_us_per_message:.2} µs CPU per {per}, {cpu_percent:.1} % of a CPU ")?;
        writeln!(f, "({user_percent:.0} % of it user), RSS {:.1} MiB", *rss_bytes as f64 / 1048576.0)
    }
}

impl fmt::Display for TrafficReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrafficReport { scenario, mqtt, qos, payload_bytes, publishers, subscribers, seconds, .. } = self;
        write!(f, "{scenario}: MQTT {mqtt}, QoS {qos}, {payload_bytes} bytes, ")?;
        writeln!(f, "{publishers} publishers, {subscribers} subscribers, {seconds:.2} s")?;
        write!(f, "  published   {:.0}/s, delivered ", self.published_per_second)?;
        writeln!(f, "{:.0}/s ({} copies)", self.delivered_per_second, self.delivered)?;
        self.latency.fmt(f)?;
        if let Some(broker) = &self.broker {
            broker.write(f, "delivered message")?;
        }
        writeln!(f, "  generator   {:.1} % of a CPU", self.generator_cpu_percent)?;
        write!(f, "  violations  {}", self.violations)
    }
}

impl fmt::Display for ConnReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conn: MQTT {}, {} at a time, {:.2} s", self.mqtt, self.parallel, self.seconds)?;
        writeln!(f, "  cycles      {:.0}/s ({} in all)", self.cycles_per_second, self.cycles)?;
        self.latency.fmt(f)?;
        if let Some(broker) = &self.broker {
            broker.write(f, "cycle")?;
        }
        write!(f, "  generator   {:.1} % of a CPU", self.generator_cpu_percent)
    }
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = if self.own_filter { "one own filter each" } else { "no subscription" };
        write!(f, "idle: MQTT {}, {} connections, {filter}, ", self.mqtt, self.connections)?;
        write!(f, "opened in {:.2} s, watched for {:.2} s", self.connect_seconds, self.seconds)?;
        if let Some(broker) = &self.broker {
            let mib = |bytes: u64| bytes as f64 / 1048576.0;
            write!(f, "\n  broker      {:.0} bytes per connection ", broker.rss_bytes_per_connection)?;
            write!(f, "(RSS {:.1} → {:.1} MiB), ", mib(broker.rss_bytes_baseline), mib(broker.rss_bytes))?;
            write!(f, "{:.3} % of a CPU\n  wake-ups/s ", broker.cpu_percent)?;
            broker
                .wakeups
                .iter()
                .try_for_each(|Wakeups { thread, per_second }| write!(f, " {thread} {per_second:.2}"))?;
        }
        write!(f, "\n  disturbed   {}", self.disturbed)
    }
}
