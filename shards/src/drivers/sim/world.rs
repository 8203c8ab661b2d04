//! A run: the broker's threads, the network, the clients and what they were promised, advanced one step at a time.

use super::broker::{Broker, Start};
use super::client::{Client, Link};
use super::coordinator_thread::CoordinatorLoop;
use super::coverage::Coverage;
use super::crash::CrashPoint;
use super::driver::{Loop, Surroundings};
use super::failure::{Checked, Failure, RunFailure};
use super::ledger::{Ledger, SessionId};
use super::network::Network;
use super::profile::{Flavor, Profile};
use super::stored::fresh;
use crate::base::hash::HashKey;
use crate::base::kept::SessionNumber;
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::Planted;
use crate::base::random::Random;
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::log::Record;
use crate::shard::{Dropped, SessionKey, SessionView};
use crate::wire::Version;
use std::collections::BTreeMap;
use std::time::Duration;

/// See the module's documentation.
pub struct World {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) now: Time,
    pub(super) random: Random,
    pub(super) profile: Profile,
    pub(super) key: HashKey,
    pub(super) network: Network,
    pub(super) loops: Vec<Loop>,
    pub(super) coordinator: Option<CoordinatorLoop>,
    pub(super) clients: Vec<Client>,
    pub(super) links: Vec<Link>,
    pub(super) ledger: Ledger,
    /// The sessions that the broker had at the last look.
    pub(super) seen: BTreeMap<(ShardId, SessionKey), (SessionId, SessionView)>,
    /// The highest epoch that has spoken for each client id.
    pub(super) epochs: BTreeMap<String, u64>,
    pub(super) coverage: Coverage,
    pub(super) calm: bool,
    /// The next CONNECT carries a will with this delay, in seconds.
    pub(super) next_will: Option<u32>,
    /// At the last rest a retained will was perhaps published.
    pub(super) wills_pending: bool,
    /// Tells what happens.
    pub(super) traced: bool,
    /// The bug in the engine.
    pub(super) planted: Planted,
    /// The step in which all was quiet last: everything up to it is on disk.
    pub(super) last_rest: u64,
    /// Of the logs: another number of shards has another one.
    pub(super) generation: u64,
    /// The start of the broker that runs, from 1.
    pub(super) incarnation: Incarnation,
    /// Sessions by the number that the logs have them under.
    pub(super) numbers: BTreeMap<SessionNumber, SessionId>,
    /// When the broker is to end next.
    pub(super) crash_at: Option<CrashPoint>,
    /// What the logs have kept over earlier starts, by shard.
    pub(super) kept: Vec<Vec<(Lsn, Record<'static>)>>,
    /// Records that earlier starts have appended.
    pub(super) records_before: u64,
    /// What earlier starts of the broker have dropped.
    pub(super) dropped_before: Dropped,
}

impl World {
    /// The run that `seed` stands for, with `planted` in its engine.
    pub fn new(seed: u64, flavor: Flavor, planted: Planted) -> World {
        let mut random = Random::from_seed(seed);
        let profile = Profile::of(flavor, &mut random);
        World::with_profile(seed, random, profile, planted)
    }

    /// A run whose profile is given.
    pub fn with_profile(seed: u64, mut random: Random, profile: Profile, planted: Planted) -> World {
        let key = HashKey::from_seed(random.next_u64());
        let (now, incarnation) = (Time::from_micros(1_000_000), Incarnation(1));
        let found = fresh(&profile, planted, &mut random);
        let start = Start { key: &key, planted, incarnation, now, found };
        let Broker { loops, coordinator } = Broker::start(&profile, start, &mut random);
        let clients = (0..profile.clients).map(|number| {
            let version = *random.pick(&Version::ALL);
            Client::new(format!("c{number}"), version, random.below(3) > 0)
        });
        let clients = clients.collect();
        World {
            seed,
            step: 0,
            now,
            ledger: Ledger::new(&profile),
            profile,
            key,
            network: Network::default(),
            loops,
            coordinator,
            clients,
            links: Vec::new(),
            seen: BTreeMap::new(),
            epochs: BTreeMap::new(),
            coverage: Coverage::default(),
            calm: false,
            next_will: None,
            wills_pending: false,
            traced: std::env::var_os("SIM_TRACE").is_some(),
            planted,
            last_rest: 0,
            generation: 1,
            incarnation: Incarnation(1),
            numbers: BTreeMap::new(),
            crash_at: None,
            kept: Vec::new(),
            records_before: 0,
            dropped_before: Dropped::default(),
            random,
        }
    }

    /// Runs `steps` random steps, then lets everything come home. What was reached and at how many points of its logs it could have ended, or which
    /// promise was broken.
    ///
    /// # Errors
    /// The first promise that a checker saw broken.
    pub fn run(mut self, steps: u64) -> Result<(Coverage, u64), RunFailure> {
        let outcome = self.recover().and_then(|()| self.run_steps(steps)).and_then(|()| {
            self.crash_at = None;
            self.loops.iter_mut().for_each(|shard| shard.log.set_failing(false));
            self.come_home()
        });
        match outcome {
            Ok(()) => {
                self.read_counters();
                let points = self.log_points();
                Ok((self.coverage, points))
            }
            Err(failure) => Err(self.failed(failure)),
        }
    }

    pub(super) fn failed(&self, failure: Failure) -> RunFailure {
        RunFailure { seed: self.seed, step: self.step, failure }
    }

    fn run_steps(&mut self, steps: u64) -> Checked {
        while self.step < steps {
            self.random_step()?;
            if self.crash_is_due() {
                self.crash()?;
            }
            if self.random.one_in(self.profile.rest_every) {
                self.rest()?;
                if self.random.one_in(3) {
                    self.idle(Duration::from_secs(10))?;
                }
            }
        }
        Ok(())
    }

    fn random_step(&mut self) -> Checked {
        self.step += 1;
        self.pass_time();
        if self.random.below(100) < 22 {
            return self.client_acts();
        }
        if self.random.one_in(self.profile.disk_fails_one_in) {
            let shard = self.random.below(self.loops.len() as u64) as usize;
            self.loops[shard].log.set_failing(true);
        }
        let threads = self.loops.len() + usize::from(self.coordinator.is_some());
        let thread = self.random.below(threads as u64) as usize;
        if self.profile.laggard == Some(thread) && !self.random.one_in(3) {
            return Ok(());
        }
        self.step_thread(thread)
    }

    pub(super) fn pass_time(&mut self) {
        let micros = match self.random.below(2_000) {
            0 => self.random.below(60_000_000),
            1..=4 => self.random.below(3_000_000),
            _ => self.random.below(2_000),
        };
        self.now += Duration::from_micros(micros);
        if micros > 10_000_000 {
            // Nothing has moved for longer than a stalled write may take.
            self.links.iter_mut().for_each(|link| link.stalled = true);
        }
    }

    /// One step of one thread of the broker, the coordinator's being the last; then all that must hold at every step.
    pub(super) fn step_thread(&mut self, thread: usize) -> Checked {
        let Some(shard) = self.loops.get_mut(thread) else {
            let coordinator = self.coordinator.as_mut().expect("the scheduler counts it");
            if coordinator.is_runnable() {
                coordinator.step();
            }
            return Ok(());
        };
        if !shard.is_runnable(self.now, self.calm, &self.network) {
            return Ok(());
        }
        let log_before = shard.seat.shard.newest_lsn().0;
        shard.step(&mut Surroundings {
            now: self.now,
            step: self.step,
            network: &mut self.network,
            random: &mut self.random,
            calm: self.calm,
        });
        if self.loops[thread].log.has_failed() {
            self.note_disk_failure();
        }
        self.note_arrivals(log_before);
        self.observe(thread)?;
        self.check_tick(thread)
    }

    /// Every thread until none has anything to do. Whether one had.
    pub(super) fn run_threads(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        for thread in 0..self.loops.len() + usize::from(self.coordinator.is_some()) {
            let runnable = match self.loops.get(thread) {
                Some(shard) => shard.is_runnable(self.now, self.calm, &self.network),
                None => self.coordinator.as_ref().is_some_and(CoordinatorLoop::is_runnable),
            };
            if runnable {
                any = true;
                self.step += 1;
                self.step_thread(thread)?;
            }
        }
        Ok(any)
    }
}
