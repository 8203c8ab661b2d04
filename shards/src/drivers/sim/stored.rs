//! What a start of the broker finds: the tapes of its logs, cut anywhere behind what they said to be committed, or their disks, read as the server does.

use super::disk::SimDisk;
use super::driver::Loop;
use super::failure::{Checked, Failure, ensure};
use super::profile::Profile;
use super::world::World;
use crate::base::lsn::{Incarnation, Lsn};
use crate::base::planted::Planted;
use crate::base::random::Random;
use crate::base::shard_set::ShardId;
use crate::log::{
    Disk, Journal, JournalConfig, Log, LogIdentity, Record, ScanReport, ShardImage, records_of, rehome,
    resolve, scan,
};
use std::convert::Infallible;

/// Salt of all logs.
const SALT: u64 = 5;

/// The logs of a start, and what they say, by shard.
pub struct Found {
    /// What they say.
    pub images: Vec<ShardImage>,
    /// The logs, each with its disk, if it is on one.
    pub logs: Vec<(Log, Option<SimDisk>)>,
}

/// A log's disk, and what it says.
struct Read {
    disk: SimDisk,
    report: ScanReport,
    image: ShardImage,
}

/// Whose log it is, by generation and shard.
type Whose = (u64, usize);

fn identity((generation, shard): Whose) -> LogIdentity {
    LogIdentity { generation, shard: ShardId::new(shard), salt: SALT }
}

fn read(whose: Whose, disk: SimDisk) -> Read {
    let mut image = ShardImage::default();
    let mut read = |segment, offset: u64, bytes: usize, into: &mut Vec<u8>| {
        disk.read(segment, offset, bytes, into);
        Ok::<_, Infallible>(())
    };
    let report = scan(identity(whose), &disk.segments(), &mut read, &mut |lsn, record, place| {
        image.at = Some(place);
        image.apply(lsn, &record);
    });
    let report = report.expect("a simulated disk can be read");
    Read { disk, report, image }
}

/// The log goes on in segments of its own; those that were made ready for the last one and never written are anybody's.
fn open(
    whose: Whose,
    read: Read,
    profile: &Profile,
    start: (Incarnation, Planted),
) -> (Log, Option<SimDisk>) {
    let Read { mut disk, report, .. } = read;
    report.unused.iter().for_each(|unused| disk.retire(*unused));
    (Log::over(journal(whose, profile, start, report)), Some(disk))
}

fn journal(
    whose: Whose,
    profile: &Profile,
    (incarnation, planted): (Incarnation, Planted),
    report: ScanReport,
) -> Journal {
    Journal::new(JournalConfig {
        identity: identity(whose),
        incarnation,
        segment_bytes: profile.segment_bytes.expect("only a log in segments has a disk"),
        first: report.goes_on_at(),
        held: report.held,
        durable: true,
        planted,
    })
}

fn new_disk(profile: &Profile, planted: Planted, random: &mut Random) -> SimDisk {
    // One is fast while another is slow.
    let latency = profile.disk_latency / *random.pick(&[1, 10, 100]);
    SimDisk::new(Random::from_seed(random.next_u64()), latency, planted)
}

/// Writes a log that says `image`, whole and on disk.
fn write(image: &ShardImage, journal: Journal, disk: &mut SimDisk) {
    let mut log = Log::over(journal);
    for record in records_of(image) {
        log.append(&record);
    }
    log.stop();
    loop {
        while let Some(request) = log.poll_disk() {
            disk.submit(request);
        }
        let Some(due) = disk.next_due() else { return };
        disk.turn(due);
        while let Some(done) = disk.poll() {
            log.handle_disk(done).expect("the disk is new");
        }
    }
}

fn image(log: &[(Lsn, Record<'static>)]) -> ShardImage {
    let mut image = ShardImage::default();
    log.iter().for_each(|(lsn, record)| image.apply(*lsn, record));
    image
}

/// The logs of a first start; none where nothing is kept.
pub fn fresh(profile: &Profile, planted: Planted, random: &mut Random) -> Option<Found> {
    profile.keeps.then_some(())?;
    let incarnation = Incarnation(1);
    let logs = (0..profile.shards).map(|shard| match profile.segment_bytes {
        None => (Log::taped_in(incarnation), None),
        Some(_) => {
            let (whose, disk) = ((1, shard), new_disk(profile, planted, random));
            open(whose, read(whose, disk), profile, (incarnation, planted))
        }
    });
    Some(Found { logs: logs.collect(), images: vec![ShardImage::default(); profile.shards] })
}

impl World {
    /// What the next start finds, if anything is kept.
    ///
    /// # Errors
    /// A log is damaged, though nobody damaged it, or says what does not fit.
    pub(super) fn salvage(&mut self) -> Result<Option<Found>, Failure> {
        if !self.profile.keeps {
            return Ok(None);
        }
        let found = match self.profile.segment_bytes {
            None => self.cut_tapes(),
            Some(_) => self.read_disks()?,
        };
        Ok(Some(found))
    }

    /// Logs are cut independently of each other: each keeps what it said to be committed, and perhaps more.
    fn cut_tapes(&mut self) -> Found {
        self.records_before = self.log_points();
        self.kept.resize(self.loops.len(), Vec::new());
        for (shard, kept) in self.loops.iter().zip(&mut self.kept) {
            let tape = shard.seat.shard.log().tape();
            let committed = tape.partition_point(|(lsn, _)| *lsn <= shard.log.committed());
            let more = match self.random.below(3) {
                0 => 0,
                1 => tape.len() - committed,
                _ => self.random.below((tape.len() - committed) as u64 + 1) as usize,
            };
            if self.traced {
                let lost = &tape[committed + more..];
                println!("{} keeps {more} more than is committed, loses {lost:?}", shard.id());
            }
            kept.extend_from_slice(&tape[..committed + more]);
        }
        let mut images: Vec<ShardImage> = self.kept.iter().map(|log| image(log)).collect();
        resolve(&mut images);
        let logs = self.kept.iter().map(|_| (Log::taped_in(self.incarnation), None)).collect();
        Found { images, logs }
    }

    /// Of what was under way each disk keeps what it likes; then the logs are read.
    fn read_disks(&mut self) -> Result<Found, Failure> {
        let mut disks = Vec::new();
        for thread in &mut self.loops {
            let mut disk = thread.log.take_disk().expect("every log has its disk");
            disk.crash();
            disk.set_failing(false);
            disks.push(disk);
        }
        let (mut all, mut images) = self.read_generation(disks)?;
        if self.random.one_in(self.profile.rehomed_one_in) {
            self.records_before += all.iter().map(|read| read.disk.writes()).sum::<u64>();
            let shards = 1 + self.random.below(5) as usize;
            let disks = self.move_to(shards, images);
            (all, images) = self.read_generation(disks)?;
        }
        let start = (self.incarnation, self.planted);
        let logs = all.into_iter().enumerate();
        let logs = logs.map(|(shard, read)| open((self.generation, shard), read, &self.profile, start));
        Ok(Found { images, logs: logs.collect() })
    }

    fn read_generation(&mut self, disks: Vec<SimDisk>) -> Result<(Vec<Read>, Vec<ShardImage>), Failure> {
        let disks = disks.into_iter().enumerate();
        let mut all: Vec<Read> = disks.map(|(shard, disk)| read((self.generation, shard), disk)).collect();
        for (shard, Read { report, .. }) in all.iter().enumerate() {
            if report.torn.is_some() {
                self.coverage.reach("a write is torn");
            }
            if self.traced {
                println!("{shard} ends with {:?} {:?}", report.newest, report.torn);
            }
            ensure(report.is_clean(), "log", || {
                format!("shard {shard}: nobody damaged anything: {report:?}")
            })?;
        }
        let mut images: Vec<_> = all.iter_mut().map(|read| std::mem::take(&mut read.image)).collect();
        resolve(&mut images);
        self.check_images(&images)?;
        Ok((all, images))
    }

    /// All that a generation has for another number of shards is written as the next one, as the server does it.
    fn move_to(&mut self, shards: usize, images: Vec<ShardImage>) -> Vec<SimDisk> {
        self.coverage.reach("the broker starts with another number of shards");
        self.trace(|| format!("moves to {shards} shards"));
        self.generation += 1;
        self.profile.shards = shards;
        self.profile.coordinator_thread |= shards > 4;
        self.profile.laggard = self.profile.laggard.filter(|laggard| *laggard < shards);
        let images = rehome(images, shards, &self.key);
        let mut disks = Vec::new();
        for (shard, image) in images.iter().enumerate() {
            let mut disk = new_disk(&self.profile, self.planted, &mut self.random);
            let (whose, start) = ((self.generation, shard), (self.incarnation, Planted::default()));
            write(image, journal(whose, &self.profile, start, ScanReport::default()), &mut disk);
            disks.push(disk);
        }
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        disks
    }

    /// Every message is there, and no client id has two sessions.
    fn check_images(&self, images: &[ShardImage]) -> Checked {
        for (shard, image) in images.iter().enumerate() {
            let fits = image.oddities.bodiless == 0 && image.oddities.superseded == 0;
            ensure(fits, "log", || format!("shard {shard}: {:?}, {:?}", image.oddities, image.superseded))?;
        }
        Ok(())
    }

    /// Records appended to tapes since the run began, or log writes that disks were asked for.
    pub(super) fn log_points(&self) -> u64 {
        let of = |thread: &Loop| match thread.log.disk() {
            Some(disk) => disk.writes(),
            None => thread.seat.shard.log().tape().len() as u64,
        };
        self.records_before + self.loops.iter().map(of).sum::<u64>()
    }
}
