//! The `conn` scenario: CONNECT, CONNACK, DISCONNECT, closed by the broker; so many at a time, again and again.

use crate::broker::Process;
use crate::cli::Shared;
use crate::clock::{Clock, nanos};
use crate::dial::{Dialer, prepare_process};
use crate::error::BenchError;
use crate::handshake::{check_connack, connect_packet, disconnect_packet};
use crate::limits::{EVENTS_PER_WAIT, LATENCY_NS_MAX, PACKET_BYTES_MAX, WAIT_NS_MAX};
use crate::poller::{Interest, Poller};
use crate::report::{ConnReport, CpuSpan, Latency};
use hdrhistogram::Histogram;
use shardmq_shards::wire::{Packet, Split, Version, split};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// How far a cycle is: `Opening ─ writable ► Connecting ─ CONNACK ► Closing ─ end ► (next cycle)`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Connecting,
    Closing,
}

struct Cycle {
    stream: TcpStream,
    stage: Stage,
    began_ns: u64,
    unread: Vec<u8>,
}

struct Churn {
    clock: Clock,
    poller: Poller,
    dialer: Dialer,
    version: Version,
    goodbye: Vec<u8>,
    hellos: Vec<Vec<u8>>,
    cycles: Vec<Option<Cycle>>,
    completed: u64,
    last_ns: u64,
    recording: bool,
    latency: Histogram<u64>,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, parallel: u32) -> Result<ConnReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    let own = Process::watch(std::process::id())?;
    prepare_process(parallel.into(), shared.cpu)?;
    let mut churn = Churn::new(shared, parallel)?;
    for slot in 0..parallel as usize {
        churn.begin(slot)?;
    }
    let stall_ns = nanos(shared.stall);
    churn.run_until(churn.clock.now_ns() + nanos(shared.warmup), stall_ns, true)?;
    let (began_ns, before) = (churn.clock.now_ns(), churn.completed);
    let span = CpuSpan::begin(broker.as_ref())?;
    let own_span = CpuSpan::begin(Some(&own))?.expect("a process was given");
    churn.recording = true;
    churn.run_until(began_ns + nanos(shared.seconds), stall_ns, true)?;
    churn.recording = false;
    let seconds = (churn.clock.now_ns() - began_ns) as f64 / 1e9;
    let cycles = churn.completed - before;
    let broker = span.map(|span| span.end(seconds, cycles)).transpose()?;
    let generator_cpu_percent = own_span.end(seconds, cycles)?.cpu_percent;
    churn.run_until(churn.clock.now_ns() + stall_ns, stall_ns, false)?;
    Ok(ConnReport {
        scenario: "conn",
        mqtt: shared.version.to_string(),
        parallel,
        seconds,
        cycles,
        cycles_per_second: cycles as f64 / seconds,
        latency: Latency::of(&churn.latency),
        broker,
        generator_cpu_percent,
    })
}

impl Churn {
    fn new(shared: &Shared, parallel: u32) -> Result<Churn, BenchError> {
        let pid = std::process::id();
        Ok(Churn {
            clock: Clock::start(),
            poller: Poller::new(EVENTS_PER_WAIT)?,
            dialer: Dialer::new(shared.target()?, shared.ifaddr.clone()),
            version: shared.version,
            goodbye: disconnect_packet(shared.version),
            hellos: (0..parallel)
                .map(|slot| connect_packet(&format!("b{pid:x}c{slot}"), shared.version))
                .collect(),
            cycles: (0..parallel).map(|_| None).collect(),
            completed: 0,
            last_ns: 0,
            recording: false,
            latency: Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("the bounds are constants"),
        })
    }

    fn begin(&mut self, slot: usize) -> Result<(), BenchError> {
        let began_ns = self.clock.now_ns();
        let stream = self.dialer.start()?;
        self.poller.add(&stream, slot as u64, Interest::Write)?;
        self.cycles[slot] = Some(Cycle { stream, stage: Stage::Opening, began_ns, unread: Vec::new() });
        Ok(())
    }

    /// Turns until `end_ns`; without `again` no cycle follows a finished one, and the end comes with the last.
    fn run_until(&mut self, end_ns: u64, stall_ns: u64, again: bool) -> Result<(), BenchError> {
        self.last_ns = self.clock.now_ns();
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= end_ns || self.cycles.iter().all(Option::is_none) {
                break;
            }
            if now_ns - self.last_ns > stall_ns {
                return Err(BenchError::Timeout { who: "conn".into(), waiting_for: "any cycle to complete" });
            }
            let ready = self.poller.wait((end_ns - now_ns).min(WAIT_NS_MAX))?;
            for index in 0..ready {
                let slot = self.poller.ready(index).token as usize;
                if self.advance(slot)? {
                    self.complete(slot);
                    if again {
                        self.begin(slot)?;
                    }
                }
            }
        }
        let open = self.cycles.iter().flatten().count();
        if !again && open > 0 {
            let who = format!("{open} of the last connections");
            return Err(BenchError::Timeout { who, waiting_for: "the broker to close them" });
        }
        Ok(())
    }

    fn complete(&mut self, slot: usize) {
        let cycle = self.cycles[slot].take().expect("only an open cycle completes");
        self.last_ns = self.clock.now_ns();
        self.completed += 1;
        if self.recording {
            self.latency.saturating_record(self.last_ns - cycle.began_ns);
        }
    }

    /// Carries a cycle on; true when the broker has closed it as it should.
    fn advance(&mut self, slot: usize) -> Result<bool, BenchError> {
        let who = || format!("connection {slot}");
        let cycle = self.cycles[slot].as_mut().expect("only open cycles are watched");
        if cycle.stage == Stage::Opening {
            self.dialer.outcome(&cycle.stream)?;
            write_whole(&mut cycle.stream, &self.hellos[slot], who)?;
            self.poller.modify(&cycle.stream, slot as u64, Interest::Read)?;
            cycle.stage = Stage::Connecting;
            return Ok(false);
        }
        let mut chunk = [0; 1024];
        let count = match cycle.stream.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(BenchError::system(who(), error)),
        };
        match (cycle.stage, count) {
            (Stage::Closing, 0) => return Ok(true),
            (_, 0) => return Err(BenchError::Closed { who: who() }),
            (Stage::Closing, _) => {
                return Err(BenchError::Protocol { who: who(), what: "bytes after DISCONNECT".into() });
            }
            (_, count) => cycle.unread.extend_from_slice(&chunk[..count]),
        }
        if is_accepted(&cycle.unread, self.version)
            .map_err(|what| BenchError::Protocol { who: who(), what })?
        {
            write_whole(&mut cycle.stream, &self.goodbye, who)?;
            cycle.stage = Stage::Closing;
        }
        Ok(false)
    }
}

/// Whether `input` is an accepting CONNACK; false while it is incomplete.
fn is_accepted(input: &[u8], version: Version) -> Result<bool, String> {
    let Split::Whole(frame) = split(input, PACKET_BYTES_MAX).map_err(|violation| violation.to_string())?
    else {
        return Ok(false);
    };
    match Packet::decode(frame, version).map_err(|violation| violation.to_string())? {
        Packet::Connack(connack) => check_connack(&connack).map(|_| true),
        other => Err(format!("{:?} instead of CONNACK", other.packet_type())),
    }
}

/// Writes a packet that a fresh socket's buffer always takes.
fn write_whole(stream: &mut TcpStream, bytes: &[u8], who: impl Fn() -> String) -> Result<(), BenchError> {
    match stream.write(bytes) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(BenchError::Usage(format!("{}: the socket buffer is too small for one packet", who()))),
        Err(error) => Err(BenchError::system(who(), error)),
    }
}
