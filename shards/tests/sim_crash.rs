//! Crashes: the broker ends in the middle of everything and starts again over what its logs have. With logs on disks, which lose, tear and reorder what
//! they were still to write: 980 seeds with a crash at a random step, 20 with one at every log write, 200
//! with one right after a segment was given up. With logs on tapes: 8 with one after every
//! record. `SIM_FIRST` and `SIM_SEEDS` choose others.

use shardmq_shards::drivers::sim::{
    CRASH_STATES, Coverage, CrashPoint, DISK_STATES, Flavor, RunFailure, run_crashing,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps of a run with a crash anywhere.
const STEPS: u64 = 2_500;
/// Steps of a run that is repeated for each point of its logs.
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
        let outcome = run_crashing(seed, Flavor::Disk, STEPS, Some(CrashPoint::Step(step)), None);
        total.lock().expect("no run panics").add(outcome);
    });
    let states = [&CRASH_STATES[..], &DISK_STATES[..]].concat();
    let missing = total.coverage.missing_of(&states);
    assert!(missing.is_empty() || count < 980, "never reached: {missing:?}");
}

/// What was needed of the segment is on disk once more.
#[test]
fn every_promise_holds_over_a_crash_when_a_segment_is_given_up() {
    let (first, count) = (number("SIM_FIRST", 0), number("SIM_SEEDS", 200).min(200));
    let total = all(first..first + count, |seed, total| {
        let point = CrashPoint::Retired(1 + seed % 4);
        let outcome = run_crashing(seed, Flavor::Disk, STEPS, Some(point), None);
        total.lock().expect("no run panics").add(outcome);
    });
    let missing = total.coverage.missing_of(&["the broker crashes", "a segment is retired"]);
    assert!(missing.is_empty() || count < 200, "never reached: {missing:?}");
}

/// Runs the first seeds, `most` at the most, again and again with a crash at each point of their logs.
fn crashed_everywhere(flavor: Flavor, most: u64) {
    let (first, count) = (number("SIM_FIRST", 0), number("SIM_SEEDS", most).min(most));
    let total = all(first..first + count, |seed, total| {
        let whole = run_crashing(seed, flavor, SHORT_STEPS, None, None);
        let points = whole.as_ref().map_or(0, |(_, points)| *points);
        total.lock().expect("no run panics").add(whole);
        for point in 1..=points {
            let outcome = run_crashing(seed, flavor, SHORT_STEPS, Some(CrashPoint::Log(point)), None);
            total.lock().expect("no run panics").add(outcome);
        }
    });
    assert!(total.runs > 20 * count, "{} runs", total.runs);
}

#[test]
fn every_promise_holds_over_a_crash_at_each_log_write() {
    crashed_everywhere(Flavor::Disk, 20);
}

#[test]
fn every_promise_holds_over_a_crash_after_each_record() {
    crashed_everywhere(Flavor::Crash, 8);
}
