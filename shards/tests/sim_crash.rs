//! Crashes: the broker ends in the middle of everything and starts again over what its logs have. 980 seeds with a crash at a random step, 20 with one
//! after every record. `SIM_FIRST`, `SIM_SEEDS` and `SIM_RECORD` choose others.

use shardmq_shards::drivers::sim::{CRASH_STATES, Coverage, CrashPoint, RunFailure, run_crashing};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps of a run with a crash anywhere.
const STEPS: u64 = 2_500;
/// Steps of a run that is repeated for each of its records.
const SHORT_STEPS: u64 = 1_200;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// What all runs together have reached, and those that failed.
#[derive(Default)]
struct Total {
    coverage: Coverage,
    runs: u64,
    failures: Vec<RunFailure>,
}

impl Total {
    fn add(&mut self, outcome: Result<(Coverage, u64), RunFailure>) {
        self.runs += 1;
        match outcome {
            Ok((coverage, _)) => self.coverage.merge(&coverage),
            Err(failure) => {
                println!("{failure}");
                self.failures.push(failure);
            }
        }
    }
}

/// Calls `run` with each number, on two threads.
fn all(numbers: std::ops::Range<u64>, run: impl Fn(u64, &Mutex<Total>) + Sync) -> Total {
    let next = AtomicU64::new(numbers.start);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        break;
                    }
                    run(number, &total);
                }
            });
        }
    });
    let total = total.into_inner().expect("no run panics: that is a failure of the run");
    println!("{}", total.coverage);
    let failed = total.failures.len();
    assert!(failed == 0, "{failed} of {} runs failed, the first: {}", total.runs, total.failures[0]);
    total
}

#[test]
fn every_promise_holds_over_a_crash_anywhere() {
    let (first, count) = (number("SIM_FIRST", 20), number("SIM_SEEDS", 980));
    let total = all(first..first + count, |seed, total| {
        let step = 1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % STEPS;
        let outcome = run_crashing(seed, STEPS, Some(CrashPoint::Step(step)), None);
        total.lock().expect("no run panics").add(outcome);
    });
    let missing = total.coverage.missing_of(&CRASH_STATES);
    assert!(missing.is_empty() || count < 980, "never reached: {missing:?}");
}

#[test]
fn every_promise_holds_over_a_crash_after_each_record() {
    let (first, count) = (number("SIM_FIRST", 0), number("SIM_SEEDS", 20).min(20));
    all(first..first + count, |seed, total| {
        let whole = run_crashing(seed, SHORT_STEPS, None, None);
        let records = whole.as_ref().map_or(0, |(_, records)| *records);
        total.lock().expect("no run panics").add(whole);
        for record in 1..=records {
            let outcome = run_crashing(seed, SHORT_STEPS, Some(CrashPoint::Record(record)), None);
            total.lock().expect("no run panics").add(outcome);
        }
    });
}
