//! The disk of a simulated shard's log: late, out of order, torn by a crash, full or failing when it is told to.
//!
//! What it has answered survives everything. What it has not answered when the broker ends is there in part: each sector by itself, in no order.

use crate::base::limits::RETIRED_SEGMENTS_KEPT;
use crate::base::planted::{Bug, Planted};
use crate::base::random::Random;
use crate::base::time::Time;
use crate::log::{Disk, DiskDone, DiskError, DiskRequest, SegmentId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// errno of an input or output error.
const EIO: i32 = 5;
/// errno of a file that is not there.
const ENOENT: i32 = 2;
/// Retired segments whose bytes the next ones have at first.
const RECYCLED_MAX: usize = 4;

/// The disk under one log. It outlives the broker's ends: [`SimDisk::crash`] makes of it what the next start finds.
#[derive(Debug)]
pub struct SimDisk {
    random: Random,
    planted: Planted,
    segments: BTreeMap<SegmentId, Vec<u8>>,
    recycled: Vec<Vec<u8>>,
    /// Of the segments those that nobody needs: they are there until their files are used again, the longest retired first.
    retired: VecDeque<SegmentId>,
    /// Whose names are not on disk, with [`Bug::DirectoryNotSynced`] only.
    nameless: BTreeSet<SegmentId>,
    now: Time,
    asked: Vec<(Time, DiskRequest)>,
    /// Longest time that anything takes.
    latency: Duration,
    writes: u64,
    retirements: u64,
    reads: u64,
    /// Retired segments that stay until their files are used again.
    retired_max: usize,
    /// Segments that fit; `None` for as many as are asked for.
    segments_max: Option<usize>,
    failing: bool,
}

impl SimDisk {
    /// An empty disk, whose behaviour comes from `random`.
    pub fn new(random: Random, latency: Duration, planted: Planted) -> SimDisk {
        SimDisk {
            random,
            planted,
            segments: BTreeMap::new(),
            recycled: Vec::new(),
            retired: VecDeque::new(),
            nameless: BTreeSet::new(),
            now: Time::ZERO,
            asked: Vec::new(),
            latency,
            writes: 0,
            retirements: 0,
            reads: 0,
            retired_max: RETIRED_SEGMENTS_KEPT,
            segments_max: None,
            failing: false,
        }
    }

    /// It is `now`: what is due may be polled for.
    pub fn turn(&mut self, now: Time) {
        self.now = now;
    }

    /// When the next request is done.
    pub fn next_due(&self) -> Option<Time> {
        self.asked.iter().map(|(due, _)| *due).min()
    }

    /// Log writes that were asked for since it was made: a crash can be placed at each.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Segments that it was asked to give up since the last crash, and has.
    pub fn retirements(&self) -> u64 {
        self.retirements
    }

    /// Reads that it was asked for since the last crash.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// No more than so many segments fit from here on.
    pub fn limit_segments(&mut self, segments_max: Option<usize>) {
        self.segments_max = segments_max;
    }

    /// What is retired goes at once, as from a real folder on a disk that is nearly full.
    pub fn keep_no_retired(&mut self) {
        self.retired_max = 0;
    }

    /// Whether every write fails from here on, after some of it is there.
    pub fn set_failing(&mut self, failing: bool) {
        self.failing = failing;
    }

    /// The segments that are there, and their bytes, oldest first.
    pub fn segments(&self) -> Vec<(SegmentId, u64)> {
        self.segments.iter().map(|(segment, bytes)| (*segment, bytes.len() as u64)).collect()
    }

    /// Appends `bytes` of a segment from `offset` on to `into`, fewer at its end: what [`scan`](crate::log::scan) reads through.
    pub fn read(&self, segment: SegmentId, offset: u64, bytes: usize, into: &mut Vec<u8>) {
        let file = &self.segments[&segment];
        let start = file.len().min(offset as usize);
        into.extend_from_slice(&file[start..file.len().min(start + bytes)]);
    }

    /// Nobody needs the segment any more, nor any that is older. As in a real folder it stays until its file is used again, or enough of them are
    /// there.
    pub fn retire(&mut self, segment: SegmentId) {
        self.retired.retain(|known| *known != segment);
        self.retired.push_back(segment);
        let kept = if self.segments_max.is_some() { 0 } else { self.retired_max };
        while self.retired.len() > kept {
            let oldest = self.retired.pop_front().expect("there are more than are kept");
            self.remove(oldest);
        }
    }

    /// Removes a segment that the next start does not need.
    pub fn remove(&mut self, segment: SegmentId) {
        self.retired.retain(|retired| *retired != segment);
        self.nameless.remove(&segment);
        if let Some(bytes) = self.segments.remove(&segment) {
            self.recycle(bytes);
        }
    }

    /// Flips one bit somewhere, and says where; `None` on an empty disk.
    pub fn flip(&mut self) -> Option<(SegmentId, u64)> {
        let all: Vec<SegmentId> = self.segments.keys().copied().collect();
        let segment = *all.get(self.random.below(all.len().max(1) as u64) as usize)?;
        let file = self.segments.get_mut(&segment).expect("one of those that are there");
        let bit = self.random.below(file.len() as u64 * 8) as usize;
        file[bit / 8] ^= 1 << (bit % 8);
        Some((segment, bit as u64 / 8))
    }

    /// The broker ends, or the power goes: of what was asked and not answered any part is there.
    pub fn crash(&mut self) {
        for (_, request) in std::mem::take(&mut self.asked) {
            match request {
                DiskRequest::Write { segment, offset, block, .. } => {
                    self.write_in_part(segment, offset as usize, block.bytes());
                }
                DiskRequest::Prepare { segment, bytes } => {
                    if self.random.one_in(2) {
                        let there = self.random.below(bytes + 1);
                        self.prepare(segment, there as usize);
                    }
                }
                DiskRequest::Retire { segment } => {
                    if self.random.one_in(2) {
                        self.retire(segment);
                    }
                }
                DiskRequest::Read { .. } => {}
            }
        }
        self.retired.clear();
        (self.retirements, self.reads) = (0, 0);
        for segment in std::mem::take(&mut self.nameless) {
            self.segments.remove(&segment);
        }
    }

    /// Some sectors of a write, whichever.
    fn write_in_part(&mut self, segment: SegmentId, offset: usize, bytes: &[u8]) {
        // All, none, or any: the first two are as likely, since they are what happens most.
        let one_in = [1, u64::MAX, 2, 8][self.random.below(4) as usize];
        let kept: Vec<bool> = bytes.chunks(SECTOR_BYTES).map(|_| self.random.one_in(one_in)).collect();
        let Some(file) = self.segments.get_mut(&segment) else { return };
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate().filter(|(index, _)| kept[*index]) {
            file[offset + index * SECTOR_BYTES..][..sector.len()].copy_from_slice(sector);
        }
    }

    /// A segment with whatever was there before.
    fn prepare(&mut self, segment: SegmentId, bytes: usize) {
        let reused = self.reuses(bytes as u64).then(|| self.retired.pop_front()).flatten();
        let reused = reused.and_then(|oldest| self.segments.remove(&oldest));
        let mut file = reused.or_else(|| self.recycled.pop()).unwrap_or_default();
        file.resize(bytes, 0);
        self.segments.insert(segment, file);
        if self.planted.is(Bug::DirectoryNotSynced) {
            self.nameless.insert(segment);
        }
    }

    /// Whether a segment of `bytes` takes no new space.
    fn reuses(&self, bytes: u64) -> bool {
        self.retired.front().is_some_and(|oldest| self.segments[oldest].len() as u64 == bytes)
    }

    fn recycle(&mut self, bytes: Vec<u8>) {
        if self.recycled.len() < RECYCLED_MAX {
            self.recycled.push(bytes);
        }
    }

    fn carry_out(&mut self, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Prepare { segment, bytes } => {
                let fits =
                    self.segments_max.is_none_or(|max| self.segments.len() < max || self.reuses(bytes));
                if fits {
                    self.prepare(segment, bytes as usize);
                }
                DiskDone::Prepared { segment, result: fits.then_some(()).ok_or(DiskError::Full) }
            }
            DiskRequest::Write { segment, offset, block, .. } => {
                let at = offset as usize;
                if self.failing {
                    self.write_in_part(segment, at, block.bytes());
                    return DiskDone::Written { segment, offset, block, result: Err(DiskError::Failed(EIO)) };
                }
                let file = self.segments.get_mut(&segment).expect("a log writes to segments that are ready");
                file[at..at + block.bytes().len()].copy_from_slice(block.bytes());
                DiskDone::Written { segment, offset, block, result: Ok(()) }
            }
            DiskRequest::Read { segment, offset, bytes, tag } => {
                let mut read = Vec::new();
                let there = self.segments.contains_key(&segment);
                if there {
                    self.read(segment, offset, bytes, &mut read);
                }
                DiskDone::Read { tag, result: there.then_some(read).ok_or(DiskError::Failed(ENOENT)) }
            }
            DiskRequest::Retire { segment } => {
                self.retire(segment);
                self.retirements += 1;
                DiskDone::Retired { segment }
            }
        }
    }
}

impl Disk for SimDisk {
    fn submit(&mut self, request: DiskRequest) {
        self.writes += u64::from(matches!(request, DiskRequest::Write { .. }));
        self.reads += u64::from(matches!(request, DiskRequest::Read { .. }));
        let takes = self.random.below(1 + self.latency.as_micros() as u64);
        self.asked.push((self.now + Duration::from_micros(takes), request));
    }

    fn poll(&mut self) -> Option<DiskDone> {
        let due: Vec<usize> =
            (0..self.asked.len()).filter(|index| self.asked[*index].0 <= self.now).collect();
        let index = *due.get(self.random.below(due.len().max(1) as u64) as usize)?;
        let (_, request) = self.asked.swap_remove(index);
        Some(self.carry_out(request))
    }
}
