//! Whole runs, as tests and scripts ask for them.

use super::coverage::Coverage;
use super::crash::CrashPoint;
use super::failure::{Failure, RunFailure};
use super::profile::Flavor;
use super::world::World;
use crate::base::planted::{Bug, Planted};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `seed` for at least `steps` steps, with a planted bug if one is named. The seed also decides the flavor unless one is given.
///
/// # Errors
/// The promise that was broken; a panic counts as one, seen by the checker `panic`.
pub fn run(seed: u64, flavor: Option<Flavor>, steps: u64, bug: Option<Bug>) -> Result<Coverage, RunFailure> {
    let flavor = flavor.unwrap_or(Flavor::ALL[(seed % Flavor::ALL.len() as u64) as usize]);
    let planted = bug.map_or(Planted::default(), Planted::bug);
    guarded(seed, World::new(seed, flavor, planted), steps).map(|(coverage, _)| coverage)
}

/// Runs `seed` with logs that keep, as `flavor` has them, and a broker that ends at `crash`, and perhaps again behind that. Also at how many points of
/// its logs it could have ended.
///
/// # Errors
/// As [`run`].
pub fn run_crashing(
    seed: u64,
    flavor: Flavor,
    steps: u64,
    crash: Option<CrashPoint>,
    bug: Option<Bug>,
) -> Result<(Coverage, u64), RunFailure> {
    let mut world = World::new(seed, flavor, bug.map_or(Planted::default(), Planted::bug));
    crash.into_iter().for_each(|at| world.plan_crash(at));
    guarded(seed, world, steps)
}

fn guarded(seed: u64, world: World, steps: u64) -> Result<(Coverage, u64), RunFailure> {
    catch_unwind(AssertUnwindSafe(|| world.run(steps))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        let failure = Failure { checker: "panic", detail: text.unwrap_or_default() };
        Err(RunFailure { seed, step: 0, failure })
    })
}
