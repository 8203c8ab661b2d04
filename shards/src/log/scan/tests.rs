//! Logs cut, torn, hit and gone on with: what was kept is there, what was not is said.

use super::*;
use crate::base::lsn::Incarnation;
use crate::log::codec::scribe::Scribe;
use crate::log::disk::BLOCK_BYTES;
use crate::log::format::{FORMAT_VERSION, put_segment_header};
use crate::log::journal::memory_disk::{IDENTITY, MemoryDisk, config};
use crate::log::record::StartRecord;
use crate::log::{Journal, JournalConfig, Log, spare_segments};
use std::convert::Infallible;

/// A record as text, with its number and where it lies.
type Told = (Lsn, String, Place);

fn read_all(segments: &BTreeMap<SegmentId, Vec<u8>>) -> (Vec<Told>, ScanReport) {
    let sizes: Vec<_> = segments.iter().map(|(segment, bytes)| (*segment, bytes.len() as u64)).collect();
    let mut found: Vec<Told> = Vec::new();
    let mut read = |segment: SegmentId, offset: u64, bytes: usize, into: &mut Vec<u8>| {
        let file = &segments[&segment];
        let end = file.len().min(offset as usize + bytes);
        into.extend_from_slice(&file[(offset as usize).min(end)..end]);
        Ok::<_, Infallible>(())
    };
    let report = scan(IDENTITY, &sizes, &mut read, &mut |lsn, record, place| {
        found.push((lsn, format!("{record:?}"), place))
    })
    .expect("every segment can be read");
    assert_eq!(report.records, found.len() as u64);
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "in order, none twice");
    (found, report)
}

/// A log of an incarnation, what is on its disk, and what should be.
struct Run {
    log: Log,
    disk: MemoryDisk,
    told: Vec<Told>,
}

impl Run {
    fn new() -> Run {
        Run { log: Log::over(Journal::new(config())), disk: MemoryDisk::default(), told: Vec::new() }
    }

    fn append(&mut self, record: &Record<'_>) {
        let lsn = self.log.append(record);
        self.told.push((lsn, format!("{record:?}"), self.log.place_of_newest().expect("on disk")));
    }

    /// Appends records of all kinds, and writes after every few of them.
    fn fill(&mut self, scribe: &mut Scribe, records: u64) {
        for _ in 0..records {
            let record = scribe.record();
            if !matches!(record, Record::Stopped | Record::Start(_)) {
                self.append(&record);
            }
            if scribe.below(6) == 0 {
                self.disk.settle(&mut self.log);
            }
        }
        self.disk.settle(&mut self.log);
    }

    fn stop(&mut self) {
        self.append(&Record::Stopped);
        self.disk.settle(&mut self.log);
    }

    /// A new incarnation over what is on the disk; what the scan says of that.
    fn go_on(&mut self) -> ScanReport {
        let (found, report) = read_all(&self.disk.segments);
        self.told.retain(|told| found.contains(told));
        assert_eq!(self.told, found);
        let incarnation = Incarnation(self.log.newest().incarnation().0 + 1);
        let journal =
            JournalConfig { incarnation, first: report.goes_on_at(), held: report.held.clone(), ..config() };
        report.unused.iter().for_each(|unused| drop(self.disk.segments.remove(unused)));
        self.disk.asked.clear();
        self.log = Log::over(Journal::new(journal));
        let mut ended: BTreeMap<Incarnation, Lsn> = BTreeMap::new();
        ended.extend(found.iter().map(|(lsn, ..)| (lsn.incarnation(), *lsn)));
        let ended: Vec<_> = ended.into_iter().collect();
        self.append(&Record::Start(StartRecord { ended: ended.into() }));
        self.disk.settle(&mut self.log);
        report
    }
}

/// A record that is small.
fn small(number: u64) -> Record<'static> {
    Record::RetainedCleared { topic: format!("topic/{number}").into() }
}

#[test]
fn what_was_written_is_read_over_segments_and_incarnations() {
    let mut scribe = Scribe::new(1);
    let mut run = Run::new();
    for round in 0..4 {
        run.fill(&mut scribe, 200);
        if round % 2 == 0 {
            run.stop();
        }
        let report = run.go_on();
        assert!(report.is_clean() && report.torn.is_none() && report.unreal == 0, "{report:?}");
        assert_eq!(report.stopped, round % 2 == 0);
        assert_eq!(report.unused.len(), spare_segments(report.held.len() - 1));
    }
    let (found, report) = read_all(&run.disk.segments);
    assert!(found == run.told && report.is_clean() && report.newest == run.log.newest());
    assert!(report.held.len() > 8);
}

#[test]
fn nothing_is_an_empty_log() {
    let (found, report) = read_all(&BTreeMap::new());
    assert!(found.is_empty() && report.is_clean() && report.goes_on_at() == SegmentId(1));
}

/// The end of a log is missing from any byte on: records whose batch was whole before it are there, and never more than a beginning.
#[test]
fn a_log_cut_at_every_byte_keeps_its_beginning() {
    let mut run = Run::new();
    for number in 0..15 {
        run.append(&small(number));
        if number % 6 == 5 {
            run.disk.settle(&mut run.log);
        }
    }
    run.disk.settle(&mut run.log);
    let whole = run.disk.segments[&SegmentId(1)].clone();
    let end = run.told.last().map(|(.., place)| place.offset + place.bytes).expect("15 records") as usize;
    for cut in 0..end {
        // What was there before: not zeros, and not of this log.
        run.disk.segments.get_mut(&SegmentId(1)).expect("written")[cut..].fill(0xA5);
        let (found, report) = read_all(&run.disk.segments);
        assert_eq!(found, run.told[..found.len()], "cut at {cut}");
        let sure =
            run.told.iter().filter(|(.., place)| (place.offset as usize) < cut / BLOCK_BYTES * BLOCK_BYTES);
        assert!(found.len() >= sure.count(), "cut at {cut}");
        assert!(report.missing.is_empty());
        run.disk.segments.insert(SegmentId(1), whole.clone());
    }
}

/// Any of the sectors of the last write are lost: its records up to the first that is hit are there, and all before it; nothing is damaged, and
/// what the next incarnation makes of it stays so.
#[test]
fn a_torn_write_is_cut_and_stays_cut() {
    let mut scribe = Scribe::new(2);
    for round in 0..200 {
        let mut run = Run::new();
        run.fill(&mut scribe, 20);
        let before: BTreeMap<_, _> = run.disk.segments.clone();
        let kept = run.told.len();
        for number in 0..60 {
            let record = if number % 9 == 8 { scribe.record_of(8) } else { small(number) };
            run.append(&record);
        }
        run.disk.settle(&mut run.log);
        let unit = if round % 2 == 0 { BLOCK_BYTES } else { 512 };
        let mut torn = None;
        let after = run.disk.segments.clone();
        for (segment, bytes) in &after {
            let old = before.get(segment).cloned().unwrap_or_else(|| vec![0xA5; bytes.len()]);
            for at in (0..bytes.len()).step_by(unit) {
                let lost = old[at..at + unit] != bytes[at..at + unit] && scribe.below(3) == 0;
                if lost {
                    let file = run.disk.segments.get_mut(segment).expect("written");
                    file[at..at + unit].copy_from_slice(&old[at..at + unit]);
                    torn = torn.or(Some((*segment, at)));
                }
            }
        }
        let (found, report) = read_all(&run.disk.segments);
        assert_eq!(found, run.told[..found.len()]);
        assert!(found.len() >= kept, "round {round}");
        assert!(report.damage.is_empty() && report.missing.is_empty(), "round {round}: {report:?}");
        let cut = found.len() < run.told.len();
        assert!(torn.is_some() || !cut);
        // Recovered again and again, also with more behind it, it is the same.
        for _ in 0..3 {
            assert!(run.go_on().is_clean(), "round {round}");
            run.fill(&mut scribe, 3);
        }
        let (again, report) = read_all(&run.disk.segments);
        assert_eq!(again[..found.len()], found);
        assert!(again == run.told && report.is_clean() && report.torn.is_none(), "round {round}: {report:?}");
    }
}

/// The first batch of a segment was torn, and all before that segment is given up since: what was cut once is not damaged.
#[test]
fn what_was_cut_stays_cut_when_nothing_is_left_before_it() {
    let mut run = Run::new();
    while run.told.last().is_none_or(|(.., place)| place.segment == SegmentId(1)) {
        run.append(&Record::RetainedCleared { topic: "x".repeat(1_000).into() });
        run.append(&small(1));
        run.disk.settle(&mut run.log);
    }
    let torn = run.disk.segments.get_mut(&SegmentId(2)).expect("written");
    torn[BLOCK_BYTES + 512..][..512].fill(0xA5);
    assert!(run.go_on().torn.is_some());
    run.disk.segments.remove(&SegmentId(1)).expect("written");
    let (found, report) = read_all(&run.disk.segments);
    assert_eq!(found, run.told[run.told.len() - 1..], "the next run's Start");
    assert!(report.is_clean(), "{report:?}");
}

/// Flips one bit and returns what is left of the log.
fn with_flip(run: &mut Run, segment: SegmentId, bit: usize) -> (Vec<Told>, ScanReport) {
    let flip = |run: &mut Run| run.disk.segments.get_mut(&segment).expect("there")[bit / 8] ^= 1 << (bit % 8);
    flip(run);
    let read = read_all(&run.disk.segments);
    flip(run);
    read
}

/// The records of which the byte `at` of `segment` is none.
fn not_hit(told: &[Told], segment: SegmentId, at: usize) -> Vec<Told> {
    let hit = |place: &Place| {
        place.segment == segment && (place.offset..place.offset + place.bytes).contains(&(at as u32))
    };
    told.iter().filter(|(.., place)| !hit(place)).cloned().collect()
}

#[test]
fn a_flipped_bit_costs_the_record_that_it_hits_and_no_other() {
    let mut scribe = Scribe::new(3);
    let mut run = Run::new();
    for _ in 0..3 {
        run.fill(&mut scribe, 150);
        run.go_on();
    }
    run.fill(&mut scribe, 150);
    run.stop();
    let (_, report) = read_all(&run.disk.segments);
    let mut hits = 0;
    for _ in 0..1_000 {
        let (segment, bytes) = report.held[scribe.below(report.held.len() as u64) as usize];
        let bit = scribe.below(bytes * 8) as usize;
        let (found, flipped) = with_flip(&mut run, segment, bit);
        let expected = not_hit(&run.told, segment, bit / 8);
        assert_eq!(found, expected, "bit {bit} of {segment:?}: {flipped:?}");
        if expected.len() < run.told.len() {
            hits += 1;
            let named = flipped.damage.iter().any(|damage| {
                let range = damage.offset..damage.offset + damage.bytes;
                damage.segment == segment && range.contains(&(bit as u64 / 8))
            });
            assert!(named, "bit {bit} of {segment:?}: {flipped:?}");
        }
    }
    assert!(hits > 100, "{hits} flips hit a record");
}

/// Every bit of the headers of segments, batches and records, also of the last batch.
#[test]
fn headers_are_needed_for_nothing_else() {
    let mut run = Run::new();
    for number in 0..30 {
        run.append(&small(number));
        if number % 6 == 5 {
            run.disk.settle(&mut run.log);
        }
    }
    let segment = SegmentId(1);
    for bit in 0..40 * 8 {
        let (found, report) = with_flip(&mut run, segment, bit);
        assert!(found == run.told && report.damage[0].what == Damaged::SegmentHeader);
    }
    let starts: Vec<usize> =
        run.told.iter().step_by(6).map(|(.., place)| place.offset as usize - 32).collect();
    assert!(starts.len() == 5 && starts.iter().all(|start| start.is_multiple_of(BLOCK_BYTES)));
    for bit in starts.iter().flat_map(|start| start * 8..(start + 32) * 8) {
        let (found, report) = with_flip(&mut run, segment, bit);
        assert_eq!(found, run.told, "bit {bit}: {report:?}");
        assert!(
            report.damage.iter().any(|damage| damage.what == Damaged::Batches) && report.missing.is_empty()
        );
    }
    let places: Vec<Place> = run.told.iter().map(|(.., place)| *place).collect();
    for bit in places.iter().flat_map(|place| place.offset as usize * 8..(place.offset as usize + 16) * 8) {
        let (found, report) = with_flip(&mut run, segment, bit);
        assert_eq!(found, not_hit(&run.told, segment, bit / 8), "bit {bit}: {report:?}");
        assert!(!report.is_clean());
    }
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let mut scribe = Scribe::new(5);
    let mut run = Run::new();
    run.fill(&mut scribe, 400);
    run.stop();
    let gone = SegmentId(3);
    run.disk.segments.remove(&gone).expect("one of many");
    let (found, report) = read_all(&run.disk.segments);
    let expected: Vec<_> = run.told.iter().filter(|(.., place)| place.segment != gone).cloned().collect();
    assert_eq!(found, expected);
    let lost: Vec<_> =
        run.told.iter().filter(|(.., place)| place.segment == gone).map(|(lsn, ..)| *lsn).collect();
    assert_eq!(report.missing, [(lost[0], lost[lost.len() - 1])]);
    // The oldest may be gone: it was given up.
    run.disk.segments.remove(&SegmentId(1)).expect("one of many");
    run.disk.segments.remove(&SegmentId(2)).expect("one of many");
    assert!(read_all(&run.disk.segments).1.is_clean());
}

#[test]
fn a_recycled_segment_has_nothing_to_say() {
    let mut scribe = Scribe::new(6);
    let mut run = Run::new();
    run.fill(&mut scribe, 300);
    let (found, report) = read_all(&run.disk.segments);
    let stale = run.disk.segments[&SegmentId(2)].clone();
    for unused in &report.unused {
        run.disk.segments.insert(*unused, stale.clone());
    }
    assert_eq!(read_all(&run.disk.segments), (found, report));
}

#[test]
fn a_later_format_is_not_read() {
    let mut run = Run::new();
    run.append(&small(1));
    run.disk.settle(&mut run.log);
    let file = run.disk.segments.get_mut(&SegmentId(1)).expect("written");
    put_segment_header(IDENTITY, SegmentId(1), FORMAT_VERSION + 1, &mut file[..BLOCK_BYTES]);
    let file = file.clone();
    let mut read = |_: SegmentId, _: u64, _: usize, into: &mut Vec<u8>| {
        into.extend_from_slice(&file);
        Ok::<_, Infallible>(())
    };
    let error = scan(IDENTITY, &[(SegmentId(1), file.len() as u64)], &mut read, &mut |_, _, _| {});
    assert_eq!(error, Err(ScanError::Version(SegmentId(1), FORMAT_VERSION + 1)));
}
