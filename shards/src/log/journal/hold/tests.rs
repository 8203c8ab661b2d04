//! A log on a disk that takes its time, and clients that send again when they are answered, or whenever they please; in virtual time.

use crate::base::limits::{LOG_BATCH_BYTES_MAX, LOG_HOLD_MAX, LOG_HOLDS_PASSED_MAX};
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::log::disk::{DiskDone, DiskRequest};
use crate::log::journal::memory_disk::log;
use crate::log::{Log, Record};
use std::collections::BTreeMap;
use std::time::Duration;

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A log whose writes take `flush`.
struct Rig {
    log: Log,
    now: Time,
    flush: Duration,
    /// The write under way, and when it is done.
    writing: Option<(Time, DiskRequest)>,
    /// Records of each write, and when it began.
    writes: Vec<(Time, usize)>,
    /// Since when the disk has nothing to do.
    idle: Time,
    /// How long the disk had nothing to do before a write although there was something to write.
    held: Vec<Duration>,
    /// Appended and not committed: when, by number.
    waiting: BTreeMap<Lsn, Time>,
}

impl Rig {
    fn new(flush: Duration) -> Rig {
        let now = Time::from_micros(1_000_000);
        let mut rig = Rig {
            log: log(),
            now,
            flush,
            writing: None,
            writes: vec![],
            idle: now,
            held: vec![],
            waiting: BTreeMap::new(),
        };
        rig.turn(0);
        rig
    }

    /// A turn at this time, with so many records. Says how long those that are committed now have waited.
    fn turn(&mut self, records: usize) -> Vec<Duration> {
        let mut answered = Vec::new();
        self.log.turn(self.now);
        if self.writing.as_ref().is_some_and(|(done, _)| *done <= self.now) {
            self.idle = self.now;
            let (_, request) = self.writing.take().expect("looked at above");
            let DiskRequest::Write { segment, offset, block, .. } = request else { unreachable!() };
            let done = DiskDone::Written { segment, offset, block, result: Ok(()) };
            let committed = self.log.handle_disk(done).expect("the disk is fine").expect("further");
            let behind = self.waiting.split_off(&committed.next());
            answered = self.waiting.values().map(|since| self.now.since(*since)).collect();
            self.waiting = behind;
        }
        for _ in 0..records {
            let lsn = self.log.append(&Record::RetainedCleared { topic: "t".into() });
            self.waiting.insert(lsn, self.now);
        }
        while let Some(request) = self.log.poll_disk() {
            match request {
                DiskRequest::Prepare { segment, .. } => {
                    let done = DiskDone::Prepared { segment, result: Ok(()) };
                    self.log.handle_disk(done).expect("the disk is fine");
                }
                write @ DiskRequest::Write { .. } => {
                    let first = self.waiting.values().next().expect("nobody writes nothing");
                    let held = self.now.since((*first).max(self.idle));
                    self.held.extend((!held.is_zero()).then_some(held));
                    self.writes.push((self.now, self.waiting.len()));
                    self.writing = Some((self.now + self.flush, write));
                }
                DiskRequest::Retire { segment } => {
                    self.log.handle_disk(DiskDone::Retired { segment }).expect("the disk is fine");
                }
                DiskRequest::Read { .. } => unreachable!("a journal does not read"),
            }
        }
        answered
    }
}

impl Rig {
    /// When the log does something by itself.
    fn next(&self) -> Option<Time> {
        [self.writing.as_ref().map(|(done, _)| *done), self.log.held_until()].into_iter().flatten().min()
    }

    /// Lets `span` pass without records, turning when the log wants it. Says how long what was committed has waited.
    fn pass(&mut self, span: Duration) -> Vec<Duration> {
        let (until, mut answered) = (self.now + span, Vec::new());
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.now = at;
            answered.extend(self.turn(0));
        }
        self.now = until;
        answered
    }

    /// Whoever is answered sends again so long after it, until so many writes have begun. `sends` is when.
    fn closed_loop(&mut self, sends: &mut Vec<Time>, answer: Duration, writes: usize) {
        while self.writes.len() < writes {
            sends.sort();
            self.now =
                sends.first().copied().into_iter().chain(self.next()).min().expect("all are somewhere");
            let due = sends.iter().filter(|at| **at <= self.now).count();
            sends.drain(..due);
            let answered = self.turn(due).len();
            sends.extend(vec![self.now + answer; answered]);
        }
    }

    /// Records of the writes from number `first` on.
    fn batches(&self, first: usize) -> Vec<usize> {
        self.writes[first..].iter().map(|(_, records)| *records).collect()
    }
}

/// What one write takes, and what clients take to answer where they answer sooner than that.
const WRITE: Duration = micros(100);
const ANSWER: Duration = micros(60);

#[test]
fn clients_that_answer_are_waited_for_and_all_go_with_each_write() {
    let mut rig = Rig::new(WRITE);
    // They begin in two halves, which would find each other's write under way for ever.
    rig.turn(5);
    rig.pass(micros(50));
    rig.turn(5);
    let mut sends = Vec::new();
    rig.closed_loop(&mut sends, ANSWER, 3);
    assert_eq!(rig.batches(0), [5, 10, 10]);
    rig.closed_loop(&mut sends, ANSWER, 103);
    assert!(rig.batches(3).iter().all(|records| *records == 10));
    // A round is a write and an answer.
    assert_eq!(rig.writes[102].0.since(rig.writes[2].0), 100 * (WRITE + ANSWER));
}

#[test]
fn one_client_alone_is_never_held() {
    let mut rig = Rig::new(WRITE);
    rig.turn(1);
    let mut sends = Vec::new();
    rig.closed_loop(&mut sends, ANSWER, 50);
    assert_eq!(rig.writes[49].0.since(rig.writes[0].0), 49 * (WRITE + ANSWER));
}

#[test]
fn those_who_are_further_away_than_a_write_are_soon_waited_for_no_more() {
    for answer in [110, 250, 290, 500] {
        let mut rig = Rig::new(WRITE);
        let begun = rig.now;
        let mut sends = (0..10).map(|client| begun + micros(37 * client)).collect();
        rig.closed_loop(&mut sends, micros(answer), 2_000);
        let (held, all) = (rig.held.iter().sum::<Duration>(), rig.now.since(begun));
        assert!(
            !held.is_zero() && held < all / 50,
            "{answer}: {held:?} of {all:?}, {} times",
            rig.held.len()
        );
    }
}

#[test]
fn who_sends_as_it_pleases_is_hardly_ever_held() {
    for (every, flush) in [(200, 100), (150, 140), (20, 100), (40, 30), (7, 1_000)] {
        let mut rig = Rig::new(micros(flush));
        let mut waited = Vec::new();
        for _ in 0..20_000 {
            waited.extend(rig.turn(1));
            waited.extend(rig.pass(micros(every)));
        }
        let held = rig.held.iter().sum::<Duration>();
        let all = micros(20_000 * every);
        assert!(held < all / 50, "{every} {flush}: {held:?} of {all:?}, {} times", rig.held.len());
    }
}

#[test]
fn nothing_is_held_longer_than_a_write_takes_or_the_limit() {
    for (flush, limit) in [(WRITE, WRITE), (LOG_HOLD_MAX * 10, LOG_HOLD_MAX)] {
        let mut rig = Rig::new(flush);
        rig.turn(2);
        rig.pass(flush);
        let done = rig.now;
        rig.pass(micros(10));
        rig.turn(1);
        assert_eq!((rig.writes.len(), rig.log.held_until()), (1, Some(done + limit)));
        rig.pass(limit);
        assert_eq!(rig.writes[1..], [(done + limit, 1)]);
        assert_eq!(rig.log.held_until(), None);
        // What comes later than that finds nobody who holds it.
        rig.pass(2 * flush + LOG_HOLD_MAX);
        rig.turn(1);
        assert_eq!(rig.writes.len(), 3);
    }
}

/// Two are answered, and the first is there again; the second, if it `comes`. Whether the first was held.
fn opportunity(rig: &mut Rig, comes: bool) -> bool {
    rig.turn(2);
    rig.pass(WRITE);
    rig.turn(1);
    let held = rig.log.held_until().is_some();
    rig.pass(WRITE / 2);
    rig.turn(usize::from(comes));
    rig.pass(5 * WRITE);
    held
}

#[test]
fn one_that_was_met_is_followed_by_others_and_each_in_vain_by_fewer() {
    let mut rig = Rig::new(WRITE);
    let tries = |rig: &mut Rig, comes, count| (0..count).filter(|_| opportunity(rig, comes)).count();
    assert_eq!(tries(&mut rig, true, 64), 64);
    let in_vain = tries(&mut rig, false, 64);
    assert!((3..=7).contains(&in_vain), "{in_vain}");
    // However many are to pass, they end; from then on all are taken again.
    tries(&mut rig, true, LOG_HOLDS_PASSED_MAX as usize);
    assert_eq!(tries(&mut rig, true, 64), 64);
}

#[test]
fn the_last_of_a_run_and_what_is_full_wait_for_nobody() {
    let held = || {
        let mut rig = Rig::new(WRITE);
        rig.turn(2);
        rig.pass(WRITE);
        rig.turn(1);
        assert!(rig.log.held_until().is_some() && rig.writing.is_none());
        rig
    };
    let mut rig = held();
    rig.log.stop();
    rig.turn(0);
    assert!(rig.writing.is_some());
    let mut rig = held();
    let topic = "x".repeat(LOG_BATCH_BYTES_MAX);
    rig.log.append(&Record::RetainedCleared { topic: topic.into() });
    rig.turn(0);
    assert!(rig.writing.is_some());
}
