//! How a planted bug is sought: seed after seed, until the checker that is there for it sees it.

use shardmq_shards::base::planted::Bug;
use shardmq_shards::drivers::sim::RunFailure;
use std::collections::BTreeMap;

/// Seeds within which a bug must show. Nearly all do within ten; that a partition answers too early matters only if nothing is published on the
/// topic until the next rest, once in a hundred. What only a crash within one write of one of two logs shows is seen by one in a thousand.
const SEEDS: u64 = 3_000;

/// Runs seeds with `bug` in the engine until `checker` sees it. Others may see it too: many bugs break several promises. With `PLANTED_SURVEY` set it runs
/// all of them, and says how many see it.
pub fn caught_by<T>(checker: &str, bug: Bug, run: impl Fn(u64) -> Result<T, RunFailure>) {
    let mut others = BTreeMap::new();
    if std::env::var_os("PLANTED_SURVEY").is_some() {
        let sees = |seed: &u64| run(*seed).is_err_and(|failure| failure.failure.checker == checker);
        let seen: Vec<u64> = (0..SEEDS).filter(sees).collect();
        println!("{bug:?}: {} of {SEEDS} seeds, first {:?}", seen.len(), &seen[..seen.len().min(10)]);
        assert!(!seen.is_empty(), "{bug:?} was not seen by `{checker}`");
        return;
    }
    for seed in 0..SEEDS {
        match run(seed) {
            Err(failure) if failure.failure.checker == checker => {
                println!("{bug:?}: {failure}");
                return;
            }
            Err(failure) => *others.entry(failure.failure.checker).or_insert(0) += 1,
            Ok(_) => {}
        }
    }
    panic!("{bug:?} was not seen by `{checker}` in {SEEDS} seeds, but by {others:?}");
}
