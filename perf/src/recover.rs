//! The `recover` scenario: a broker is filled with durable sessions and their messages, killed without warning, and started again: how soon
//! it answers, how soon every session is there, and whether everything that it acknowledged is.

use crate::broker::Process;
use crate::cli::{Shared, connections, outstanding, rounds};
use crate::clock::nanos;
use crate::control::median;
use crate::dial::{Dialer, prepare_process};
use crate::error::BenchError;
use crate::handshake::Client;
use crate::kept::{Kept, kept_qos};
use crate::ledger::Violations;
use crate::limits::{KNOCK_MS, START_LIMIT_SECS};
use crate::plan::{Pace, Plan};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the scenario's own flags say.
#[derive(Args, Clone, Debug)]
pub struct RecoverPlan {
    /// Durable sessions, each with a publisher of its own while the broker is filled
    #[arg(long, default_value_t = 1_000, value_parser = connections())]
    pub sessions: u32,
    /// Messages kept for each
    #[arg(long, default_value_t = 1_000, value_parser = outstanding())]
    pub messages: u32,
    /// How often the broker is killed
    #[arg(long, default_value_t = 3, value_parser = rounds())]
    pub rounds: u32,
    /// The broker's command, which is started here and must listen on --port; its arguments stand behind it
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// What `recover` found.
#[derive(Debug, Serialize)]
pub struct RecoverReport {
    /// `recover`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// QoS of publishers and subscriptions.
    pub qos: u8,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// Durable sessions.
    pub sessions: u32,
    /// Messages that each has kept.
    pub messages: u32,
    /// How often the broker was killed.
    pub rounds: u32,
    /// Seconds that publishing all messages took.
    pub fill_seconds: f64,
    /// The broker's resident memory before it was killed first, in bytes.
    pub rss_bytes_filled: u64,
    /// From starting the broker's process to its first CONNACK, in milliseconds: median of the rounds.
    pub first_connack_ms: f64,
    /// The longest of the rounds.
    pub first_connack_ms_max: f64,
    /// From starting the broker's process until every session's client has its CONNACK: median of the rounds.
    pub all_sessions_ms: f64,
    /// The broker's resident memory at its first CONNACK, in bytes: median of the rounds.
    pub rss_bytes: f64,
    /// The broker's resident memory when every session has a client again.
    pub rss_bytes_all_sessions: f64,
    /// Seconds until all messages had arrived in the end.
    pub drain_seconds: f64,
    /// What went wrong.
    pub violations: Violations,
}

/// A broker of this run's own, ended with the run.
struct Broker(Child);

impl Broker {
    fn start(command: &[String]) -> Result<Broker, BenchError> {
        let (program, arguments) = command.split_first().expect("the command line asks for one");
        let child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Broker).map_err(|error| BenchError::system(format!("starting {program}"), error))
    }

    /// Kills it without warning and waits until it is gone.
    fn kill(&mut self) -> Result<(), BenchError> {
        let gone = self.0.kill().and_then(|()| self.0.wait());
        gone.map(|_| ()).map_err(|error| BenchError::system("killing the broker", error))
    }

    /// Knocks until the first CONNACK.
    fn await_connack(&mut self, shared: &Shared) -> Result<(), BenchError> {
        let mut dialer = Dialer::new(shared.target()?, shared.ifaddr.clone());
        let began = Instant::now();
        loop {
            let name = format!("b{:x}knock", std::process::id());
            let refused = match Client::connect(&mut dialer, name, shared.version, shared.stall) {
                Ok(client) => return client.disconnect(),
                Err(error) => error,
            };
            let ended =
                self.0.try_wait().map_err(|error| BenchError::system("watching the broker", error))?;
            if let Some(status) = ended {
                let what = format!("it ended while it started: {status}");
                return Err(BenchError::Protocol { who: "the broker".into(), what });
            }
            if began.elapsed() > Duration::from_secs(START_LIMIT_SECS) {
                return Err(refused);
            }
            std::thread::sleep(Duration::from_millis(KNOCK_MS));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.kill(); // it may be gone
    }
}

/// One round: what was measured after a kill.
struct Round {
    first_connack_ms: f64,
    all_sessions_ms: f64,
    rss_bytes: f64,
    rss_bytes_all_sessions: f64,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, plan: &RecoverPlan) -> Result<RecoverReport, BenchError> {
    let RecoverPlan { sessions, messages, rounds, ref command } = *plan;
    prepare_process(2 * u64::from(sessions), shared.cpu)?;
    let mut broker = Broker::start(command)?;
    broker.await_connack(shared)?;
    let (stall_ns, count) = (nanos(shared.stall), u64::from(sessions) * u64::from(messages));
    let pace = Pace::Acknowledged { outstanding: sessions * shared.in_flight.min(messages) };
    let traffic = Plan::kept(&shared.prefix, sessions, pace, Some(count));
    let mut kept = Kept::set_up(shared, &traffic)?;
    let filled = Instant::now();
    kept.publish_until(u64::MAX, stall_ns)?;
    kept.stop(stall_ns)?;
    let fill_seconds = filled.elapsed().as_secs_f64();
    let rss_bytes_filled = Process::watch(broker.0.id())?.resident_bytes()?;
    let mut found = Vec::new();
    for _ in 0..rounds {
        found.push(round(shared, command, &mut broker, &mut kept)?);
    }
    let drained = Instant::now();
    let violations = kept.drain(stall_ns)?;
    let of = |value: fn(&Round) -> f64| median(found.iter().map(value).collect());
    Ok(RecoverReport {
        scenario: "recover",
        mqtt: shared.version.to_string(),
        qos: kept_qos(shared) as u8,
        payload_bytes: shared.size,
        sessions,
        messages,
        rounds,
        fill_seconds,
        rss_bytes_filled,
        first_connack_ms: of(|round| round.first_connack_ms),
        first_connack_ms_max: found.iter().map(|round| round.first_connack_ms).fold(0.0, f64::max),
        all_sessions_ms: of(|round| round.all_sessions_ms),
        rss_bytes: of(|round| round.rss_bytes),
        rss_bytes_all_sessions: of(|round| round.rss_bytes_all_sessions),
        drain_seconds: drained.elapsed().as_secs_f64(),
        violations,
    })
}

/// Kills the broker, starts it again, and looks for every session.
fn round(
    shared: &Shared,
    command: &[String],
    broker: &mut Broker,
    kept: &mut Kept<'_>,
) -> Result<Round, BenchError> {
    broker.kill()?;
    let began = Instant::now();
    *broker = Broker::start(command)?;
    broker.await_connack(shared)?;
    let first_connack_ms = began.elapsed().as_secs_f64() * 1e3;
    let process = Process::watch(broker.0.id())?;
    let rss_bytes = process.resident_bytes_about()? as f64;
    let clients = kept.look()?;
    let all_sessions_ms = began.elapsed().as_secs_f64() * 1e3;
    let rss_bytes_all_sessions = process.resident_bytes()? as f64;
    drop(clients); // unread: what was on its way to them comes again
    Ok(Round { first_connack_ms, all_sessions_ms, rss_bytes, rss_bytes_all_sessions })
}

impl RecoverReport {
    /// What the broker failed at, in one line; `None` when every check held.
    pub fn failure(&self) -> Option<String> {
        (!self.violations.is_clean()).then(|| self.violations.to_string())
    }
}

impl fmt::Display for RecoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecoverReport { mqtt, qos, payload_bytes, sessions, messages, rounds, .. } = self;
        let mib = |bytes: f64| bytes / 1048576.0;
        write!(f, "recover: MQTT {mqtt}, QoS {qos}, {sessions} sessions × {messages} messages of ")?;
        writeln!(f, "{payload_bytes} bytes, killed {rounds} times")?;
        write!(f, "  filled      in {:.2} s, ", self.fill_seconds)?;
        writeln!(f, "RSS {:.1} MiB", mib(self.rss_bytes_filled as f64))?;
        write!(f, "  first CONNACK {:.0} ms (median), ", self.first_connack_ms)?;
        writeln!(f, "{:.0} ms (longest), RSS {:.1} MiB", self.first_connack_ms_max, mib(self.rss_bytes))?;
        write!(f, "  all sessions {:.0} ms (median), ", self.all_sessions_ms)?;
        writeln!(f, "RSS {:.1} MiB", mib(self.rss_bytes_all_sessions))?;
        writeln!(f, "  all messages came in {:.2} s", self.drain_seconds)?;
        write!(f, "  violations  {}", self.violations)
    }
}
