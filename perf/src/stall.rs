//! The `stall` scenario: a subscriber that stops reading while much is published to it; what that costs the broker in
//! memory, and what a paced pair beside it sees.

use crate::broker::Process;
use crate::cli::Shared;
use crate::clock::{Clock, nanos};
use crate::control::{Control, ControlFigures, Seen, load_side, median};
use crate::dial::{Dialer, prepare_process};
use crate::error::BenchError;
use crate::handshake::Client;
use crate::idle::touch;
use crate::ledger::Violations;
use crate::limits::{POUR_BYTES, SAMPLE_NS, STALLED_RECEIVE_BYTES, TOUCH_MIB, WAIT_NS_MAX};
use crate::plan::{Pace, Plan};
use crate::traffic::Traffic;
use serde::Serialize;
use std::fmt;

/// What the scenario's own flags say.
#[derive(Clone, Copy, Debug)]
pub struct StallPlan {
    /// MiB published in each round.
    pub mib: u32,
    /// MiB per second, if not as fast as the broker reads.
    pub mib_per_second: Option<u32>,
    /// Whether the subscriber reads after all.
    pub reading: bool,
    /// Rounds.
    pub rounds: u32,
    /// Messages per second of the control pair.
    pub control_rate: u32,
}

/// What `stall` found.
#[derive(Debug, Serialize)]
pub struct StallReport {
    /// `stall`, or `stall-reading` when the subscriber read.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// QoS of what was published to the stalled subscriber.
    pub qos: u8,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// MiB of payload published in each round.
    pub mib: u32,
    /// Rounds.
    pub rounds: u32,
    /// MiB per second that the broker took, median.
    pub mib_per_second: f64,
    /// The broker's resident memory before the first round, in bytes.
    pub rss_bytes_before: Option<u64>,
    /// The highest seen since then, minus that.
    pub rss_growth_bytes: Option<i64>,
    /// After the last round, minus that.
    pub rss_growth_bytes_after: Option<i64>,
    /// The control pair without the load.
    pub before: ControlFigures,
    /// The control pair during the load.
    pub during: ControlFigures,
    /// Median of each round's p99 during the load, over the median without.
    pub p99_ratio: f64,
    /// What went wrong with the control pair's messages.
    pub violations: Violations,
}

/// The load: one publisher to a subscriber that may have stalled.
struct Pour {
    plan: StallPlan,
    /// Messages of one round.
    messages: u64,
    /// Messages granted at a time.
    chunk: u64,
    payload_bytes: u32,
    stall_ns: u64,
    clock: Clock,
    broker: Option<Process>,
    rss_bytes_max: u64,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, plan: StallPlan) -> Result<StallReport, BenchError> {
    let clock = Clock::start();
    let mut pour = Pour::new(shared, plan, clock)?;
    prepare_process(8, shared.cpu)?;
    let mut dialer = Dialer::new(shared.target()?, shared.ifaddr.clone());
    touch(shared, &mut dialer, TOUCH_MIB)?;
    let prefix = format!("{}/stall", shared.prefix);
    let layout = Plan::fanout(&prefix, u32::from(plan.reading), Pace::Granted);
    let mut load = Traffic::set_up(shared, &layout, load_side(clock))?;
    let mut control = Control::start(shared, plan.control_rate, clock)?;
    control.watch(&mut load, nanos(shared.warmup))?;
    let rss_bytes_before = pour.broker.as_ref().map(Process::resident_bytes).transpose()?;
    let (mut before, mut during, mut speeds) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let stalled = (!plan.reading).then(|| stalled(shared, &mut dialer, &prefix, round)).transpose()?;
        control.catch_up(&mut load, pour.stall_ns)?; // with what was due while that one connected
        before.push(control.watch(&mut load, nanos(shared.seconds))?);
        let (seen, seconds) = pour.round(&mut control, &mut load)?;
        during.push(seen);
        speeds.push(f64::from(plan.mib) / seconds);
        drop(stalled);
    }
    let grown = |bytes: u64| rss_bytes_before.map(|before| bytes as i64 - before as i64);
    let after = pour.broker.as_ref().map(Process::resident_bytes).transpose()?;
    let (before, during) = (ControlFigures::of(&before), ControlFigures::of(&during));
    load.finish(pour.stall_ns)?;
    Ok(StallReport {
        scenario: if plan.reading { "stall-reading" } else { "stall" },
        mqtt: shared.version.to_string(),
        qos: shared.qos as u8,
        payload_bytes: shared.size,
        mib: plan.mib,
        rounds: plan.rounds,
        mib_per_second: median(speeds),
        rss_bytes_before,
        rss_growth_bytes: grown(pour.rss_bytes_max),
        rss_growth_bytes_after: after.and_then(grown),
        p99_ratio: during.p99_median_us / before.p99_median_us,
        before,
        during,
        violations: control.finish(pour.stall_ns)?,
    })
}

/// Connects a subscriber that reads nothing from now on.
fn stalled(shared: &Shared, dialer: &mut Dialer, prefix: &str, round: u32) -> Result<Client, BenchError> {
    let name = format!("b{:x}stalled{round}", std::process::id());
    let mut client = Client::connect(dialer, name, shared.version, shared.stall)?;
    client.limit_receive_buffer(STALLED_RECEIVE_BYTES)?;
    client.subscribe(&[format!("{prefix}/out")], shared.qos)?;
    Ok(client)
}

impl Pour {
    fn new(shared: &Shared, plan: StallPlan, clock: Clock) -> Result<Pour, BenchError> {
        Ok(Pour {
            plan,
            messages: (u64::from(plan.mib) << 20).div_ceil(shared.size.into()),
            chunk: (POUR_BYTES as u64 / u64::from(shared.size)).max(1),
            payload_bytes: shared.size,
            stall_ns: nanos(shared.stall),
            clock,
            broker: shared.broker_pid.map(Process::watch).transpose()?,
            rss_bytes_max: 0,
        })
    }

    /// Publishes one round's messages; what the control pair saw meanwhile, and for how many seconds.
    fn round(&mut self, control: &mut Control, load: &mut Traffic) -> Result<(Seen, f64), BenchError> {
        control.take_seen();
        let began_ns = self.clock.now_ns();
        let (mut granted, mut progress, mut sample_ns) = (0, (0, began_ns), began_ns);
        let pongs = load.exchange().counts().pongs;
        let mut asked = false;
        while load.exchange().counts().pongs == pongs {
            let now_ns = self.clock.now_ns();
            let grants = self.due(now_ns - began_ns, granted).min(self.chunk);
            let is_idle = load.exchange().credit(0) == 0 && !load.is_blocked(0);
            if is_idle && grants > 0 {
                load.exchange().grant(0, grants);
                granted += grants;
            } else if is_idle && granted == self.messages && !asked && load.exchange().is_settled() {
                load.ping(0)?;
                asked = true;
            }
            control.turn(load, if is_idle && grants > 0 { 0 } else { self.pause_ns() })?;
            if now_ns >= sample_ns {
                sample_ns = now_ns + SAMPLE_NS;
                self.sample()?;
            }
            let counts = load.exchange().counts();
            let moved = counts.published + counts.delivered + u64::from(asked);
            if moved != progress.0 || load.exchange().is_settled() && !load.is_blocked(0) && !asked {
                progress = (moved, now_ns);
            } else if now_ns - progress.1 > self.stall_ns {
                let who = "the publisher to the stalled subscriber".into();
                return Err(BenchError::Timeout { who, waiting_for: "the broker to take its messages" });
            }
        }
        let seconds = (self.clock.now_ns() - began_ns) as f64 / 1e9;
        self.sample()?;
        control.catch_up(load, self.stall_ns)?;
        Ok((control.take_seen(), seconds))
    }

    /// Messages that may be granted `elapsed_ns` into the round.
    fn due(&self, elapsed_ns: u64, granted: u64) -> u64 {
        let allowed = self.plan.mib_per_second.map_or(u64::MAX, |mib| {
            (elapsed_ns as f64 * f64::from(mib) * 1048576.0 / 1e9 / f64::from(self.payload_bytes)) as u64
        });
        allowed.min(self.messages).saturating_sub(granted)
    }

    /// How long a turn may sleep: with a rate until some more bytes are due.
    fn pause_ns(&self) -> u64 {
        if self.plan.mib_per_second.is_some() { 200_000 } else { WAIT_NS_MAX }
    }

    fn sample(&mut self) -> Result<(), BenchError> {
        if let Some(broker) = &self.broker {
            self.rss_bytes_max = self.rss_bytes_max.max(broker.resident_bytes_about()?);
        }
        Ok(())
    }
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StallReport { scenario, mqtt, qos, payload_bytes, mib, rounds, mib_per_second, .. } = self;
        write!(f, "{scenario}: MQTT {mqtt}, QoS {qos}, {payload_bytes} bytes, ")?;
        writeln!(f, "{mib} MiB in each of {rounds} rounds, {mib_per_second:.1} MiB/s")?;
        let mib = |bytes: i64| bytes as f64 / 1048576.0;
        if let Some((before, grown)) = self.rss_bytes_before.zip(self.rss_growth_bytes) {
            let after = self.rss_growth_bytes_after.unwrap_or_default();
            write!(
                f,
                "  broker      RSS {:.1} MiB before, {:+.2} MiB at most, ",
                mib(before as i64),
                mib(grown)
            )?;
            writeln!(f, "{:+.2} MiB in the end", mib(after))?;
        }
        writeln!(f, "  pair before {}", self.before)?;
        writeln!(f, "  pair during {}", self.during)?;
        writeln!(f, "  p99 ratio   {:.2}", self.p99_ratio)?;
        write!(f, "  violations  {}", self.violations)
    }
}
