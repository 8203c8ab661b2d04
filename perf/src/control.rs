//! The control pair: one publisher, one subscriber, paced, beside a load whose effect on others is to be seen.
//!
//! Both loops run in one thread, in turns: the load takes a few events or bytes, then the control pair is looked at again,
//! so that the generator's own work on the load stays out of the control pair's latencies but for some 20 µs.

use crate::cli::Shared;
use crate::clock::Clock;
use crate::error::BenchError;
use crate::ledger::Violations;
use crate::limits::{CONTROL_PAYLOAD_BYTES, EVENTS_BESIDE, WAIT_NS_MAX};
use crate::plan::{Pace, Plan};
use crate::poller::wait_for_either;
use crate::report::Latency;
use crate::traffic::{Side, Traffic};
use hdrhistogram::Histogram;
use serde::Serialize;
use shardmq_shards::wire::QoS;
use std::fmt;

/// The control pair and what it has seen since it was last asked.
pub struct Control {
    traffic: Traffic,
    clock: Clock,
    spin: bool,
    delivered: u64,
    last_ns: u64,
    longest_gap_ns: u64,
}

/// What the control pair saw in one span.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From intended send to receipt.
    pub latency: Histogram<u64>,
    /// The longest time between two deliveries.
    pub longest_gap_ns: u64,
}

/// The figures of one or more spans.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ControlFigures {
    /// Deliveries.
    pub deliveries: u64,
    /// Of all deliveries together.
    #[serde(flatten)]
    pub latency: Latency,
    /// Median of each span's p99, in microseconds.
    pub p99_median_us: f64,
    /// The longest time between two deliveries, in microseconds.
    pub longest_gap_us: f64,
}

/// The side of a load that runs beside a control pair.
pub fn load_side(clock: Clock) -> Side {
    Side { label: "l", events_per_turn: EVENTS_BESIDE, spin: true, durable: false, clock }
}

impl Control {
    /// Connects the pair; it publishes `rate` messages per second, QoS 0, from its first turn on.
    pub fn start(shared: &Shared, rate: u32, clock: Clock) -> Result<Control, BenchError> {
        let shared = Shared { qos: QoS::AtMostOnce, size: CONTROL_PAYLOAD_BYTES, ..shared.clone() };
        let plan = Plan::pairs(&format!("{}/control", shared.prefix), 1, Pace::Open { rate });
        let side = Side { label: "c", events_per_turn: EVENTS_BESIDE, spin: true, durable: false, clock };
        let mut traffic = Traffic::set_up(&shared, &plan, side)?;
        traffic.exchange().record(0..u64::MAX);
        let spin = shared.spin;
        Ok(Control { traffic, clock, spin, delivered: 0, last_ns: clock.now_ns(), longest_gap_ns: 0 })
    }

    /// One turn of the load and one of the pair; then waits for either, or for the pair's next message, at most `wait_ns_max`.
    pub fn turn(&mut self, load: &mut Traffic, wait_ns_max: u64) -> Result<(), BenchError> {
        load.turn(0)?;
        self.traffic.turn(0)?;
        let (now_ns, delivered) = (self.clock.now_ns(), self.traffic.exchange().counts().delivered);
        if delivered != self.delivered {
            self.longest_gap_ns = self.longest_gap_ns.max(now_ns - self.last_ns);
            (self.delivered, self.last_ns) = (delivered, now_ns);
        }
        let due_ns = self.traffic.exchange().next_due_ns().unwrap_or(u64::MAX).saturating_sub(now_ns);
        let wait_ns = wait_ns_max.min(due_ns).min(WAIT_NS_MAX);
        if wait_ns > 0 && !self.spin {
            wait_for_either([self.traffic.poller(), load.poller()], wait_ns)?;
        }
        Ok(())
    }

    /// Turns for `span_ns` and tells what the pair saw meanwhile.
    pub fn watch(&mut self, load: &mut Traffic, span_ns: u64) -> Result<Seen, BenchError> {
        self.take_seen();
        let end_ns = self.clock.now_ns() + span_ns;
        while self.clock.now_ns() < end_ns {
            self.turn(load, end_ns.saturating_sub(self.clock.now_ns()))?;
        }
        Ok(self.take_seen())
    }

    /// Turns until everything that has been due for the pair has arrived, at most `limit_ns`: a load's late effects are counted to
    /// the load and not to the calm after it.
    pub fn catch_up(&mut self, load: &mut Traffic, limit_ns: u64) -> Result<(), BenchError> {
        let end_ns = self.clock.now_ns() + limit_ns;
        loop {
            let now_ns = self.clock.now_ns();
            let exchange = self.traffic.exchange();
            let is_due = exchange.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns);
            if now_ns >= end_ns || (exchange.outstanding() == 0 && !is_due) {
                return Ok(());
            }
            self.turn(load, 0)?; // a turn that sleeps ends when the next message is due, and never sees a moment of nothing
        }
    }

    /// What the pair has seen since the last call; a gap that is still open counts.
    pub fn take_seen(&mut self) -> Seen {
        let now_ns = self.clock.now_ns();
        let longest_gap_ns = self.longest_gap_ns.max(now_ns - self.last_ns);
        (self.longest_gap_ns, self.last_ns) = (0, now_ns);
        Seen { latency: self.traffic.exchange().take_latency(), longest_gap_ns }
    }

    /// Ends the pair: what was wrong with its messages.
    pub fn finish(self, stall_ns: u64) -> Result<Violations, BenchError> {
        self.traffic.finish(stall_ns)
    }
}

impl ControlFigures {
    /// The figures of `spans`, of which there is at least one.
    pub fn of(spans: &[Seen]) -> ControlFigures {
        let mut all = Histogram::new_from(&spans.first().expect("at least one round is run").latency);
        for span in spans {
            all.add(&span.latency).expect("all spans have the same bounds");
        }
        let p99s = spans.iter().map(|span| Latency::of(&span.latency).p99_us).collect();
        let longest_gap_ns = spans.iter().map(|span| span.longest_gap_ns).max().unwrap_or_default();
        ControlFigures {
            deliveries: all.len(),
            latency: Latency::of(&all),
            p99_median_us: median(p99s),
            longest_gap_us: longest_gap_ns as f64 / 1e3,
        }
    }
}

impl fmt::Display for ControlFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p99_us, max_us, .. } = self.latency;
        let Self { deliveries, p99_median_us, longest_gap_us, .. } = self;
        write!(
            f,
            "p50 {p50_us} µs, p99 {p99_us} µs (median of rounds {p99_median_us} µs), max {max_us} µs, "
        )?;
        write!(f, "longest gap {longest_gap_us:.0} µs, {deliveries} deliveries")
    }
}

/// The median; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![9.0, 1.0, 5.0, 3.0]), 4.0);
    }

    #[test]
    fn figures_join_rounds_and_keep_the_worst_gap() {
        let mut calm = Histogram::new_with_bounds(1_000, 1_000_000_000, 3).unwrap();
        let mut bad = calm.clone();
        calm.record_n(10_000, 99).unwrap();
        bad.record_n(5_000_000, 1).unwrap();
        let spans =
            [Seen { latency: calm, longest_gap_ns: 10 }, Seen { latency: bad, longest_gap_ns: 6_000_000 }];
        let figures = ControlFigures::of(&spans);
        assert_eq!((figures.deliveries, figures.longest_gap_us), (100, 6_000.0));
        assert!(figures.latency.p50_us < 11.0 && figures.latency.max_us > 4_900.0);
        assert!((2_400.0..2_600.0).contains(&figures.p99_median_us), "{}", figures.p99_median_us);
    }
}
