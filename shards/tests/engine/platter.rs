//! A disk that does at once what it is asked, for logs in segments.

use crate::world::{Place, World};
use shardmq_shards::base::lsn::{Incarnation, Lsn};
use shardmq_shards::base::planted::Planted;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::base::time::Time;
use shardmq_shards::log::{
    BLOCK_BYTES, DiskDone, DiskError, DiskRequest, Journal, JournalConfig, Log, LogIdentity,
    Place as RecordPlace, Record, ScanReport, SegmentId, ShardImage, resolve, scan,
};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

/// The segments of one log.
#[derive(Default)]
pub struct Platter {
    segments: BTreeMap<SegmentId, Vec<u8>>,
    /// What is retired stays, as what is kept to be used again.
    pub keeps_retired: bool,
    /// Files that were given up, and are open under their old names.
    recycled: BTreeMap<SegmentId, Vec<u8>>,
    /// Who reads these bytes is told that it cannot be done.
    pub unreadable: Option<Vec<u8>>,
    /// It has room for so many segments.
    pub space: Option<usize>,
    /// Nothing but writes is done.
    pub late: bool,
    /// What it was asked and has not done.
    asked: VecDeque<DiskRequest>,
}

fn identity(shard: usize) -> LogIdentity {
    LogIdentity { generation: 1, shard: ShardId::new(shard), salt: 5 }
}

impl Platter {
    /// A log that goes on behind what is there, with all that it says from here on on a tape, too.
    pub fn log(&self, shard: usize, incarnation: Incarnation, segment_bytes: u64, planted: Planted) -> Log {
        let (report, _) = self.read(shard, SegmentId(0));
        Log::taped_over(Journal::new(JournalConfig {
            identity: identity(shard),
            incarnation,
            segment_bytes,
            first: SegmentId(1),
            held: report.held,
            durable: true,
            planted,
        }))
    }

    /// What the segments from `first` on say.
    pub fn read(&self, shard: usize, first: SegmentId) -> (ScanReport, ShardImage) {
        let mut image = ShardImage::default();
        let report = self.scan(shard, first, &mut |lsn, record, place| {
            image.at = Some(place);
            image.apply(lsn, &record);
        });
        (report, image)
    }

    fn scan(
        &self,
        shard: usize,
        first: SegmentId,
        found: &mut dyn FnMut(Lsn, Record<'_>, RecordPlace),
    ) -> ScanReport {
        let segments: Vec<_> =
            self.segments.range(first..).map(|(id, bytes)| (*id, bytes.len() as u64)).collect();
        let mut read = |segment, offset: u64, bytes: usize, into: &mut Vec<u8>| {
            let stored: &Vec<u8> = &self.segments[&segment];
            let from = (offset as usize).min(stored.len());
            into.extend_from_slice(&stored[from..(from + bytes).min(stored.len())]);
            Ok::<_, Infallible>(())
        };
        scan(identity(shard), &segments, &mut read, found).expect("memory can be read")
    }

    /// Flips a bit of the `nth` of the records that `are_these`, counted from 0, if there are so many.
    pub fn hit(&mut self, shard: usize, nth: usize, are_these: impl Fn(&Record<'_>) -> bool) -> bool {
        let mut places = Vec::new();
        self.scan(shard, SegmentId(0), &mut |_, record, place| {
            if are_these(&record) {
                places.push(place);
            }
        });
        let Some(place) = places.get(nth) else { return false };
        let segment = self.segments.get_mut(&place.segment).expect("it was read just now");
        segment[(place.offset + place.bytes / 2) as usize] ^= 4;
        true
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.len() as u64).sum()
    }

    /// The segments, oldest first.
    pub fn ids(&self) -> Vec<SegmentId> {
        self.segments.keys().copied().collect()
    }

    /// What a start does with the files: what was made ready and never written is nobody's, and on a disk that is short of space the end of the last run's
    /// segment is cut.
    pub fn tidy_up(&mut self, shard: usize) {
        self.asked.clear();
        let (report, _) = self.read(shard, SegmentId(0));
        report.unused.iter().for_each(|unused| drop(self.segments.remove(unused)));
        if let (Some((segment, end)), Some(_)) = (report.end, self.space) {
            let stored = self.segments.get_mut(&segment).expect("it was read");
            stored.truncate((end as usize).next_multiple_of(BLOCK_BYTES));
        }
    }

    /// Does what the log of `place` asks, but for reads, and for everything while it is late.
    pub fn serve(&mut self, now: Time, place: &mut Place) {
        loop {
            let aside = if self.late || place.log_held { None } else { self.asked.pop_front() };
            let stalled = if aside.is_some() || place.log_held { None } else { place.stalled.pop_front() };
            let Some(request) = aside.or(stalled).or_else(|| place.seat.poll_disk()) else { return };
            match request {
                read @ DiskRequest::Read { .. } => place.reads.push(read),
                late if place.log_held => place.stalled.push_back(late),
                late if self.late && !matches!(late, DiskRequest::Write { .. }) => self.asked.push_back(late),
                request => {
                    let done = self.carry_out(request);
                    place.seat.handle_disk(now, done);
                }
            }
        }
    }

    fn carry_out(&mut self, request: DiskRequest) -> DiskDone {
        match request {
            DiskRequest::Prepare { segment, bytes } => {
                let has_room = self.space.is_none_or(|space| self.bytes() + bytes <= space as u64 * bytes);
                if has_room {
                    self.segments.insert(segment, vec![0; bytes as usize]);
                }
                DiskDone::Prepared { segment, result: has_room.then_some(()).ok_or(DiskError::Full) }
            }
            DiskRequest::Write { segment, offset, block, .. } => {
                let stored = self.segments.get_mut(&segment).expect("prepared before");
                stored[offset as usize..][..block.bytes().len()].copy_from_slice(block.bytes());
                DiskDone::Written { segment, offset, block, result: Ok(()) }
            }
            DiskRequest::Retire { segment } => {
                if !self.keeps_retired {
                    let (oldest, _) = self.segments.pop_first().expect("prepared before");
                    assert_eq!(oldest, segment, "a gap");
                }
                DiskDone::Retired { segment }
            }
            DiskRequest::Read { .. } => unreachable!("answered by itself"),
        }
    }

    /// What a read finds. What is on tape needs no bytes.
    pub fn answer(&self, request: &DiskRequest, on_tape: bool) -> Result<Vec<u8>, DiskError> {
        let DiskRequest::Read { segment, offset, bytes, .. } = request else {
            unreachable!("only reads are answered so")
        };
        if on_tape {
            return Ok(Vec::new());
        }
        let stored =
            self.segments.get(segment).or_else(|| self.recycled.get(segment)).ok_or(DiskError::Failed(2))?;
        let found = &stored[*offset as usize..][..*bytes];
        let bad = self.unreadable.iter().any(|bad| found.windows(bad.len()).any(|bytes| bytes == bad));
        if bad { Err(DiskError::Failed(5)) } else { Ok(found.to_vec()) }
    }

    /// Who has the file of a segment open that was given up finds what it is used for since.
    pub fn recycle(&mut self, segment: SegmentId) {
        let newest = self.segments.values().next_back().expect("the one that is written").clone();
        self.recycled.insert(segment, newest);
    }

    /// Spoils `payload` wherever it lies, as a disk would.
    pub fn spoil(&mut self, payload: &[u8]) {
        for stored in self.segments.values_mut() {
            let places = stored.windows(payload.len()).enumerate().filter(|(_, bytes)| *bytes == payload);
            let places: Vec<usize> = places.map(|(at, _)| at).collect();
            places.into_iter().for_each(|at| stored[at] ^= 1);
        }
    }
}

impl World {
    /// What the segments of each shard's log say.
    pub fn images_of_segments(&self) -> Vec<ShardImage> {
        self.images_from(&vec![SegmentId(0); self.platters.len()])
    }

    /// What they say from these segments on.
    pub fn images_from(&self, firsts: &[SegmentId]) -> Vec<ShardImage> {
        let platters = self.platters.iter().zip(firsts).enumerate();
        let mut images: Vec<_> =
            platters.map(|(shard, (platter, first))| platter.read(shard, *first).1).collect();
        resolve(&mut images);
        images
    }
}
