//! The simulator's runs: 1,000 seeds of 4,000 steps and more, with every state reached. `scripts/sim.sh N FIRST` runs others.

use shardmq_shards::drivers::sim::{Coverage, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps of a run before everybody comes home.
const STEPS: u64 = 4_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_promise_holds_on_every_seed() {
    let (first, count) = (number("SIM_FIRST", 0), number("SIM_SEEDS", 1_000));
    let steps = number("SIM_STEPS", STEPS);
    let next = AtomicU64::new(first);
    let total = Mutex::new((Coverage::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let outcome = run(seed, None, steps, None);
                    let mut total = total.lock().expect("no run panics: that is a failure of the run");
                    match outcome {
                        Ok(coverage) => total.0.merge(&coverage),
                        Err(failure) => {
                            println!("{failure}");
                            total.1.push(failure);
                        }
                    }
                }
            });
        }
    });
    let (coverage, failures) = total.into_inner().expect("all threads have ended");
    println!("{coverage}");
    assert!(failures.is_empty(), "{} of {count} runs failed, the first: {}", failures.len(), failures[0]);
    let missing = coverage.missing();
    assert!(missing.is_empty() || count < 1_000, "never reached: {missing:?}");
}
