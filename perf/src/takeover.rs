//! The `takeover` scenario: two clients with one client id take a persistent session from each other as fast as they can,
//! while a third one publishes QoS 1 to it in a closed window.

use crate::arena::{Arena, clear};
use crate::broker::Process;
use crate::cli::Shared;
use crate::clock::nanos;
use crate::contest::Breaches;
use crate::dial::prepare_process;
use crate::error::BenchError;
use crate::limits::LINGER_NS;
use crate::report::{BrokerFigures, CpuSpan, Latency};
use serde::Serialize;
use std::fmt;

/// What `takeover` found.
#[derive(Debug, Serialize)]
pub struct TakeoverReport {
    /// `takeover`, or `takeover-race`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// Seconds of contest.
    pub seconds: f64,
    /// CONNACKs within these seconds: each takes the session from the one before; abandoned ones are left out.
    pub takeovers: u64,
    /// The same, per second.
    pub takeovers_per_second: f64,
    /// CONNECTs that the broker closed without CONNACK, for a newer one.
    pub overtaken: u64,
    /// Connections that their client closed at once, without reading what the broker had sent.
    pub abandoned: u64,
    /// From opening a connection to its CONNACK.
    #[serde(flatten)]
    pub latency: Latency,
    /// Messages published, all QoS 1.
    pub published: u64,
    /// Copies that came again.
    pub redelivered: u64,
    /// The broker's side per takeover, if its process id was given.
    pub broker: Option<BrokerFigures>,
    /// What went wrong.
    pub breaches: Breaches,
}

const SIDES: u32 = 2;

/// Runs the scenario and reports.
pub fn run(shared: &Shared, race: bool) -> Result<TakeoverReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    prepare_process(64, shared.cpu)?;
    let mut arena = Arena::set_up(shared, race)?;
    let began_ns = arena.clock.now_ns();
    let span = CpuSpan::begin(broker.as_ref())?;
    let end_ns = began_ns + nanos(shared.seconds);
    for side in 1..SIDES {
        arena.begin(side)?;
    }
    if race {
        arena.begin(0)?;
    }
    while arena.clock.now_ns() < end_ns {
        arena.turn()?;
    }
    let seconds = (arena.clock.now_ns() - began_ns) as f64 / 1e9;
    let takeovers = arena.takeovers - arena.abandoned; // who comes after one that gave up may find nobody
    let broker = span.map(|span| span.end(seconds, takeovers)).transpose()?;
    settle(&mut arena, nanos(shared.stall))?;
    let (published, unacknowledged) = (arena.messages.published(), arena.messages.unacknowledged());
    let (redelivered, overtaken, abandoned) = (arena.contest.redelivered(), arena.overtaken, arena.abandoned);
    let latency = Latency::of(&arena.latency);
    let breaches = arena.contest.close(published, unacknowledged);
    clear(shared, &mut arena.dialer)?;
    Ok(TakeoverReport {
        scenario: if race { "takeover-race" } else { "takeover" },
        mqtt: shared.version.to_string(),
        seconds,
        takeovers,
        takeovers_per_second: takeovers as f64 / seconds,
        overtaken,
        abandoned,
        latency,
        published,
        redelivered,
        broker,
        breaches,
    })
}

/// Ends the contest: one client connects for good and gets everything that is still outstanding.
fn settle(arena: &mut Arena, stall_ns: u64) -> Result<(), BenchError> {
    arena.contesting = false;
    while !arena.is_answered() {
        arena.turn()?; // bounded by the limit on each CONNECT
    }
    arena.begin(0)?;
    let last = arena.latest();
    while arena.connections() > 1 || !arena.is_answered() {
        arena.turn()?; // bounded likewise, and by the limit on each end
    }
    arena.publishing = false;
    let mut progress = (arena.messages.in_flight(), arena.clock.now_ns());
    while arena.messages.in_flight() > 0 && arena.clock.now_ns() - progress.1 <= stall_ns {
        arena.turn()?;
        if arena.messages.in_flight() != progress.0 {
            progress = (arena.messages.in_flight(), arena.clock.now_ns());
        }
    }
    let end_ns = arena.clock.now_ns() + LINGER_NS;
    while arena.clock.now_ns() < end_ns {
        arena.turn()?;
    }
    if arena.answers(last)? != Some(true) {
        let text = || "the client that connected for good is not served".into();
        arena.contest.breach(|breaches| &mut breaches.unanswered, text);
    }
    Ok(())
}

impl fmt::Display for TakeoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: MQTT {}, QoS 1, {:.2} s", self.scenario, self.mqtt, self.seconds)?;
        write!(f, "  takeovers   {:.0}/s ({} in all), ", self.takeovers_per_second, self.takeovers)?;
        writeln!(f, "{} CONNECTs overtaken, {} abandoned", self.overtaken, self.abandoned)?;
        self.latency.fmt(f)?;
        writeln!(f, "  messages    {} published, {} redelivered", self.published, self.redelivered)?;
        if let Some(broker) = &self.broker {
            broker.write(f, "takeover")?;
        }
        write!(f, "  breaches    {}", self.breaches)
    }
}
