//! The `idle` scenario: what connections cost that do nothing.

use crate::broker::{Process, Thread};
use crate::cli::Shared;
use crate::dial::{Dialer, prepare_process};
use crate::error::BenchError;
use crate::handshake::{Client, publish_template};
use crate::limits::TOUCH_PAYLOAD_BYTES;
use crate::report::{CpuSpan, IdleFigures, IdleReport, Wakeups};
use shardmq_shards::wire::QoS;
use std::time::{Duration, Instant};

/// What the scenario's own flags say.
#[derive(Clone, Copy, Debug)]
pub struct IdlePlan {
    /// Connections.
    pub connections: u32,
    /// Whether each subscribes to a filter of its own.
    pub own_filter: bool,
    /// Between the last connection and the watch.
    pub settle: Duration,
    /// MiB published to nobody before the baseline.
    pub touch_mib: u32,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, plan: IdlePlan) -> Result<IdleReport, BenchError> {
    shared.check_idle()?;
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    prepare_process(plan.connections.into(), shared.cpu)?;
    let mut dialer = Dialer::new(shared.target()?, shared.ifaddr.clone());
    touch(shared, &mut dialer, plan.touch_mib)?;
    std::thread::sleep(plan.settle);
    let baseline = broker.as_ref().map(Process::resident_bytes).transpose()?;
    let began = Instant::now();
    let clients = open(shared, plan, &mut dialer)?;
    let connect_seconds = began.elapsed().as_secs_f64();
    std::thread::sleep(plan.settle);
    let watched = Instant::now();
    let threads = broker.as_ref().map(Process::threads).transpose()?.unwrap_or_default();
    let span = CpuSpan::begin(broker.as_ref())?;
    std::thread::sleep(shared.seconds);
    let seconds = watched.elapsed().as_secs_f64();
    let used = span.map(|span| span.end(seconds, 1)).transpose()?;
    let later = broker.as_ref().map(Process::threads).transpose()?.unwrap_or_default();
    let broker = used.zip(baseline).map(|(used, rss_bytes_baseline)| IdleFigures {
        rss_bytes_baseline,
        rss_bytes: used.rss_bytes,
        rss_bytes_per_connection: (used.rss_bytes as f64 - rss_bytes_baseline as f64)
            / f64::from(plan.connections),
        cpu_percent: used.cpu_percent,
        wakeups: wakeups(&threads, &later, seconds),
    });
    let disturbed = clients.iter().filter(|client| !client.is_quiet()).count() as u32;
    Ok(IdleReport {
        scenario: "idle",
        mqtt: shared.version.to_string(),
        connections: plan.connections,
        own_filter: plan.own_filter,
        disturbed,
        connect_seconds,
        seconds,
        broker,
    })
}

/// How often each thread woke up: it goes to sleep as often. The busiest first.
fn wakeups(before: &[Thread], after: &[Thread], seconds: f64) -> Vec<Wakeups> {
    let of = |thread: &Thread| {
        let earlier =
            before.iter().find(|earlier| earlier.id == thread.id).map_or(0, |earlier| earlier.sleeps);
        let per_second = (thread.sleeps - earlier) as f64 / seconds;
        Wakeups { thread: thread.name.clone(), per_second: (per_second * 1e3).round() / 1e3 }
    };
    let mut wakeups: Vec<_> = after.iter().map(of).collect();
    wakeups.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
    wakeups
}

fn open(shared: &Shared, plan: IdlePlan, dialer: &mut Dialer) -> Result<Vec<Client>, BenchError> {
    let pid = std::process::id();
    (0..plan.connections)
        .map(|index| {
            let mut client =
                Client::connect(dialer, format!("b{pid:x}i{index}"), shared.version, shared.stall)?;
            if plan.own_filter {
                client.subscribe(&[format!("{}/idle/{index}", shared.prefix)], shared.qos)?;
            }
            Ok(client)
        })
        .collect()
}

/// Publishes to nobody, so that receive buffers which exist anyway are resident before the baseline is taken.
pub fn touch(shared: &Shared, dialer: &mut Dialer, mib: u32) -> Result<(), BenchError> {
    let name = format!("b{:x}touch", std::process::id());
    let mut client = Client::connect(dialer, name, shared.version, shared.stall)?;
    let topic = format!("{}/nobody", shared.prefix);
    let packet = publish_template(&topic, QoS::AtMostOnce, TOUCH_PAYLOAD_BYTES as u32, shared.version).bytes;
    for _ in 0..mib as usize * (1024 * 1024 / TOUCH_PAYLOAD_BYTES) {
        client.send(&packet)?;
    }
    client.ping()?;
    client.disconnect()
}
