//! The rounds: traffic, cut, start, check.

use super::arguments::Arguments;
use super::cast::cast;
use super::limits::{CUT_AGAIN_MS_MAX, CUT_AGAIN_ONE_IN, PATIENCE, RETRY, START_AGAIN, TURN_MS};
use super::process::{Broker, Cut, begin, run as run_command};
use super::verdict::Fault;
use super::world::{Actor, Stage, World};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// The ledger at work.
pub struct Rounds {
    /// What was found.
    pub world: World,
    actors: Vec<Actor>,
    broker: Broker,
    target: SocketAddr,
    cut: Cut,
    revive: Option<String>,
    traffic_ms: (u64, u64),
    stop_one_in: u64,
    stall: Duration,
    quiet: bool,
    is_serving: bool,
    /// From the start to the first CONNACK, over all starts.
    pub downtime: Duration,
    /// Starts that failed at once and were tried again.
    pub failed_starts: u32,
}

impl Rounds {
    /// Lays out the clients; nothing runs yet.
    pub fn new(arguments: &Arguments) -> io::Result<Rounds> {
        let mut world = World::new(arguments.seed);
        let actors = cast(&mut world, &format!("k{}", std::process::id()), arguments.extensions);
        let log = OpenOptions::new().create(true).append(true).open(&arguments.broker_log)?;
        Ok(Rounds {
            world,
            actors,
            broker: Broker::new(arguments.command.clone(), log),
            target: (Ipv4Addr::LOCALHOST, arguments.port).into(),
            cut: arguments.cut.clone().map_or(Cut::Kill, Cut::Command),
            revive: arguments.revive.clone(),
            traffic_ms: (
                arguments.traffic_ms_min,
                arguments.traffic_ms_max.max(arguments.traffic_ms_min + 1),
            ),
            stop_one_in: arguments.stop_one_in,
            stall: arguments.stall,
            quiet: arguments.quiet,
            is_serving: false,
            downtime: Duration::ZERO,
            failed_starts: 0,
        })
    }

    /// Runs all rounds and the last check.
    pub fn run(&mut self, rounds: u32) -> io::Result<()> {
        self.start()?;
        self.check()?;
        for round in 1..=rounds {
            self.world.round = round;
            self.world.verdict.begin_round(round);
            self.world.is_final = round == rounds;
            let (least, most) = self.traffic_ms;
            let span = Duration::from_millis(least + self.world.random.below(most - least));
            self.enter(Stage::Traffic);
            self.turn_for(span)?;
            self.end_broker()?;
            self.start()?;
            while !self.world.is_final && self.world.random.one_in(CUT_AGAIN_ONE_IN) {
                let span = Duration::from_millis(self.world.random.below(CUT_AGAIN_MS_MAX));
                self.enter(Stage::Settle);
                self.turn_for(span)?;
                self.kill()?;
                self.start()?;
            }
            self.check()?;
            if !self.quiet && round % 100 == 0 {
                eprintln!(
                    "round {round}: {} acknowledged; {}",
                    self.world.book.acknowledged, self.world.verdict
                );
            }
        }
        self.stop()
    }

    fn start(&mut self) -> io::Result<()> {
        self.world.starts += 1;
        self.world.is_stopping = false;
        self.broker.start()?;
        let begun = Instant::now();
        self.enter(Stage::Look);
        while !self.actors.iter().any(|actor| actor.client.is_up()) {
            self.turn()?;
            if let Some(status) = self.broker.has_ended()? {
                if begun.elapsed() > START_AGAIN {
                    return Err(io::Error::other(format!("the broker did not start: {status}")));
                }
                self.failed_starts += 1;
                self.broker.start()?;
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("the broker accepts nobody"));
            }
        }
        self.downtime += begun.elapsed();
        self.is_serving = true;
        Ok(())
    }

    /// What must hold after a crash: first without anybody sending again, then to the end.
    fn check(&mut self) -> io::Result<()> {
        for stage in [Stage::Look, Stage::Settle] {
            self.enter(stage);
            let mut progress = Instant::now();
            while !self.actors.iter().all(|actor| actor.role.is_settled(&actor.client, &self.world)) {
                if self.turn()? {
                    progress = self.world.now;
                }
                if let Some(status) = self.broker.has_ended()? {
                    return Err(io::Error::other(format!("the broker ended by itself: {status}")));
                }
                let patience = if self.world.is_final { 2 * self.stall } else { self.stall };
                if self.world.now > progress + patience {
                    for actor in &mut self.actors {
                        actor.role.give_up(&actor.client, &mut self.world);
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// The end of a round's broker: the cut, or once in a while an orderly stop, after which the same must hold.
    fn end_broker(&mut self) -> io::Result<()> {
        if self.stop_one_in > 0 && self.world.random.one_in(self.stop_one_in) {
            return self.stop();
        }
        match self.cut.clone() {
            Cut::Kill => self.kill(),
            Cut::Command(command) => self.take_disk(&command),
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        self.is_serving = false;
        self.broker.kill()?;
        self.drain()
    }

    fn stop(&mut self) -> io::Result<()> {
        self.world.is_stopping = true;
        self.broker.terminate()?;
        match self.wait_for_end()? {
            Some(status) if status.success() => {}
            other => self.world.verdict.fault(Fault::Exit, || format!("stopped with {other:?}")),
        }
        self.kill()
    }

    /// Runs the command that takes the disk away while traffic goes on; the broker has to notice.
    fn take_disk(&mut self, command: &str) -> io::Result<()> {
        self.world.is_stopping = true;
        let mut hook = begin(command)?;
        let status = self.wait_for_end()?;
        if !hook.wait()?.success() {
            return Err(io::Error::other(format!("{command} failed")));
        }
        if status.and_then(|status| status.code()) != Some(1) {
            self.world
                .verdict
                .fault(Fault::Exit, || format!("without its disk: {status:?} instead of exit code 1"));
        }
        self.kill()?;
        self.revive.as_deref().map_or(Ok(()), run_command)
    }

    /// Goes on until the broker has ended by itself; `None` when it does not.
    fn wait_for_end(&mut self) -> io::Result<Option<ExitStatus>> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.turn()?;
            if let Some(status) = self.broker.has_ended()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Reads what the broker had sent before its end: an acknowledgement counts from when it was sent.
    fn drain(&mut self) -> io::Result<()> {
        self.enter(Stage::Down);
        let begun = Instant::now();
        while self.actors.iter().any(|actor| actor.client.has_link()) {
            self.turn()?;
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("connections outlive the broker"));
            }
        }
        Ok(())
    }

    fn enter(&mut self, stage: Stage) {
        self.world.now = Instant::now();
        self.world.stage = stage;
        for actor in &mut self.actors {
            actor.role.enter_stage(&mut actor.client, &mut self.world);
        }
    }

    fn turn_for(&mut self, span: Duration) -> io::Result<()> {
        let end = Instant::now() + span;
        while self.world.now < end {
            self.turn()?;
        }
        if let Some(status) = self.broker.has_ended()? {
            return Err(io::Error::other(format!("the broker ended by itself: {status}")));
        }
        Ok(())
    }

    /// One turn of everybody; whether anything arrived.
    fn turn(&mut self) -> io::Result<bool> {
        self.wait()?;
        let before = std::mem::replace(&mut self.world.now, Instant::now());
        if self.is_serving {
            self.world.served += self.world.now - before;
        }
        let mut any = false;
        for actor in &mut self.actors {
            any |= actor.receive(&mut self.world);
            if actor.client.is_up() {
                actor.role.turn(&mut actor.client, &mut self.world);
                actor.client.flush();
            }
            let world = &mut self.world;
            let may_connect = world.stage != Stage::Down && !actor.client.has_link();
            if may_connect && world.now >= actor.rests_until && actor.role.wants_link(world) {
                actor.connect(self.target, world);
            }
        }
        Ok(any)
    }

    fn wait(&self) -> io::Result<()> {
        let descriptors = self.actors.iter().filter_map(|actor| actor.client.descriptor());
        let mut set: Vec<_> =
            descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: TURN_MS * 1_000_000 };
        match poll(&mut set, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Actor {
    fn connect(&mut self, target: SocketAddr, world: &mut World) {
        self.rests_until = world.now + RETRY;
        let (will, clean) = self.role.greeting(world);
        self.client.connect(target, will.as_ref(), clean);
    }
}
