//! A log by itself, through one crash after the other: what it said to be committed is there, what it cut stays cut, and no number stands for two records.

use shardmq_shards::base::lsn::{Incarnation, Lsn};
use shardmq_shards::base::planted::{Bug, Planted};
use shardmq_shards::base::random::Random;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::base::time::Time;
use shardmq_shards::drivers::sim::SimDisk;
use shardmq_shards::log::{
    BLOCK_BYTES, Disk, DiskRequest, Journal, JournalConfig, Log, LogIdentity, Record, ScanReport, SegmentId,
    StartRecord, scan,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

const IDENTITY: LogIdentity = LogIdentity { generation: 1, shard: ShardId::new(0), salt: 5 };
const SEGMENT_BYTES: u64 = 8 * BLOCK_BYTES as u64;

/// Where a run ends: a crash at this log write, or whenever the seed says.
type CrashAt = Option<u64>;

/// A log, its disk, and what both should say.
struct Run {
    random: Random,
    planted: Planted,
    disk: SimDisk,
    log: Log,
    now: Time,
    incarnation: Incarnation,
    /// Appended in this incarnation, by number.
    appended: BTreeMap<Lsn, String>,
    /// Found by the last start.
    recovered: BTreeMap<Lsn, String>,
    committed: Lsn,
    records: u64,
    /// Turns at the end of which a batch was held back.
    holds: u64,
}

impl Run {
    fn new(seed: u64, planted: Planted) -> Run {
        let mut random = Random::from_seed(seed);
        let latency = Duration::from_micros(1 + random.below(3_000));
        let disk = SimDisk::new(Random::from_seed(seed ^ 0xD15C), latency, planted);
        let mut run = Run {
            random,
            planted,
            disk,
            log: Log::in_memory(),
            now: Time::ZERO,
            incarnation: Incarnation(0),
            appended: BTreeMap::new(),
            recovered: BTreeMap::new(),
            committed: Lsn::NONE,
            records: 0,
            holds: 0,
        };
        run.open(ScanReport::default());
        run
    }

    fn open(&mut self, report: ScanReport) {
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        report.unused.iter().for_each(|unused| self.disk.retire(*unused));
        self.log = Log::over(Journal::new(JournalConfig {
            identity: IDENTITY,
            incarnation: self.incarnation,
            segment_bytes: SEGMENT_BYTES,
            first: report.goes_on_at(),
            held: report.held,
            durable: true,
            planted: self.planted,
        }));
        let mut ended: BTreeMap<Incarnation, Lsn> = BTreeMap::new();
        ended.extend(self.recovered.keys().map(|lsn| (lsn.incarnation(), *lsn)));
        let ended: Vec<_> = ended.into_iter().collect();
        self.committed = Lsn::NONE;
        self.append(&Record::Start(StartRecord { ended: ended.into() }));
    }

    fn append(&mut self, record: &Record<'_>) {
        let lsn = self.log.append(record);
        self.appended.insert(lsn, format!("{record:?}"));
    }

    /// A turn of the shard: records, then the disk. Says whether the log was written to for the `crash_at`th time.
    fn turn(&mut self, crash_at: CrashAt) -> Result<bool, String> {
        for _ in 0..self.random.below(4) {
            self.records += 1;
            let long = if self.random.one_in(40) { 12_000 } else { 200 };
            // No two are alike: a sector that was not written must not pass for written because the same bytes were there before.
            let number = format!("{:016x}", self.records.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let topic = number.repeat(1 + self.random.below(long) as usize / number.len());
            self.append(&Record::RetainedCleared { topic: topic.into() });
        }
        self.now += Duration::from_micros(self.random.below(1_000));
        self.disk.turn(self.now);
        self.log.turn(self.now);
        while let Some(done) = self.disk.poll() {
            let committed = self.log.handle_disk(done).map_err(|failure| failure.to_string())?;
            self.committed = committed.unwrap_or(self.committed);
        }
        let mut is_due = false;
        while let Some(request) = self.log.poll_disk() {
            let is_write = matches!(request, DiskRequest::Write { .. });
            self.disk.submit(request);
            is_due |= is_write && crash_at == Some(self.disk.writes());
        }
        self.holds += u64::from(self.log.held_until().is_some());
        Ok(is_due)
    }

    /// Everything in memory is gone; the disk is read, and has to say what it must.
    fn crash(&mut self) -> Result<(), String> {
        self.disk.crash();
        let (found, report) = self.read();
        for (lsn, text) in self.appended.range(..=self.committed) {
            if found.get(lsn) != Some(text) {
                return Err(format!("{lsn:?} was committed and is not there"));
            }
        }
        for (lsn, text) in &self.recovered {
            if found.get(lsn) != Some(text) {
                return Err(format!("{lsn:?} was there at the last start and is not"));
            }
        }
        let fresh = found.iter().filter(|(lsn, _)| !self.recovered.contains_key(lsn));
        let mut expected = self.appended.iter();
        for (lsn, text) in fresh {
            if expected.next() != Some((lsn, text)) {
                let fresh: Vec<_> = found.keys().filter(|lsn| !self.recovered.contains_key(lsn)).collect();
                let all: Vec<_> = self.appended.keys().collect();
                return Err(format!(
                    "{lsn:?} is there without what came before it: {fresh:?} of {all:?}, {report:?}"
                ));
            }
        }
        if !report.is_clean() {
            return Err(format!("nobody damaged anything: {report:?}"));
        }
        self.recovered = found;
        self.appended.clear();
        self.open(report);
        Ok(())
    }

    fn read(&self) -> (BTreeMap<Lsn, String>, ScanReport) {
        let mut found = BTreeMap::new();
        let mut read = |segment: SegmentId, offset: u64, bytes: usize, into: &mut Vec<u8>| {
            self.disk.read(segment, offset, bytes, into);
            Ok::<_, Infallible>(())
        };
        let mut take = |lsn, record: Record<'_>, _| {
            found.insert(lsn, format!("{record:?}"));
        };
        let report = scan(IDENTITY, &self.disk.segments(), &mut read, &mut take).expect("it can be read");
        (found, report)
    }

    /// Gives up the oldest segments now and then, as cleaning does.
    fn give_up(&mut self) {
        let (_, report) = self.read();
        let Some((first, _)) = report.held.get(report.held.len() / 2).copied() else { return };
        for (segment, _) in report.held.iter().filter(|(segment, _)| *segment < first) {
            self.disk.remove(*segment);
        }
        let (found, report) = self.read();
        self.recovered = found;
        self.appended.clear();
        self.open(report);
    }
}

/// Five starts of one log; the writes that the first run made, and the turns in which some were held back.
fn run(seed: u64, planted: Planted, crash_at: CrashAt) -> Result<(u64, u64), String> {
    let mut run = Run::new(seed, planted);
    for start in 0..5 {
        let turns = run.random.below(120);
        for _ in 0..turns {
            if run.turn(crash_at)? {
                break;
            }
        }
        run.crash()?;
        if start == 2 {
            run.crash()?;
            run.give_up();
        }
    }
    Ok((run.disk.writes(), run.holds))
}

#[test]
fn nothing_committed_is_lost_by_crashes_at_any_time() {
    let mut held = 0;
    for seed in 0..400 {
        let done = run(seed, Planted::default(), None);
        held += done.unwrap_or_else(|what| panic!("seed {seed}: {what}")).1;
    }
    assert!(held > 400, "{held} turns with a batch held back");
}

#[test]
fn nothing_committed_is_lost_by_a_crash_at_any_write() {
    for seed in 0..8 {
        let (writes, _) = run(seed, Planted::default(), None).expect("the same as above");
        assert!(writes > 20, "seed {seed} writes {writes} times");
        for write in 1..=writes {
            run(seed, Planted::default(), Some(write))
                .unwrap_or_else(|what| panic!("seed {seed}, write {write}: {what}"));
        }
    }
}

#[test]
fn a_disk_that_fails_commits_nothing_more() {
    let mut run = Run::new(7, Planted::default());
    while run.committed == Lsn::NONE {
        run.turn(None).expect("the disk is fine");
    }
    run.disk.set_failing(true);
    let failure = (0..10_000).find_map(|_| run.turn(None).err()).expect("a write fails");
    assert!(failure.contains("cannot be written: Input/output error"), "{failure}");
    assert!(run.log.poll_disk().is_none());
    run.disk.set_failing(false);
    run.crash().expect("what was committed is there");
}

/// A checker that never failed is not a checker.
#[test]
fn planted_bugs_are_seen() {
    for (bug, what) in [
        (Bug::CommitBeforeWrite, "was committed and is not there"),
        (Bug::LsnReused, "was"),
        (Bug::RecordSkipped, "not there"),
        (Bug::DirectoryNotSynced, "was committed and is not there"),
    ] {
        let seen = (0..200).find_map(|seed| run(seed, Planted::bug(bug), None).err());
        assert!(seen.as_ref().is_some_and(|seen| seen.contains(what)), "{bug:?}: {seen:?}");
    }
}
