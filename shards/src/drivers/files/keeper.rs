//! The threads that make, retire and read segments, for the logs of all shards.

use super::Folder;
use super::segment::{SegmentFile, read};
use crate::drivers::eventfd::EventFd;
use crate::log::{DiskDone, DiskError, DiskRequest, SegmentId};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{Builder, sleep};
use std::time::Duration;

/// Between two attempts to open a segment while descriptors or memory are short.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);

/// What came of a request, and the file to write to if it was for one.
#[derive(Debug)]
pub struct Kept {
    /// The answer for the log.
    pub done: DiskDone,
    /// The segment that was made ready.
    pub file: Option<SegmentFile>,
}

/// Something for the thread that changes folders.
enum Chore {
    Prepare { segment: SegmentId, bytes: u64 },
    Retire { segment: SegmentId },
}

/// A read, with where its answer goes: reads do not wait behind a segment that is being filled with zeros.
struct Reading {
    path: PathBuf,
    offset: u64,
    bytes: usize,
    tag: u64,
    answer: Answer,
}

/// Where a shard's answers go.
#[derive(Clone)]
struct Answer {
    kept: Sender<Kept>,
    bell: EventFd,
}

impl Answer {
    fn give(&self, done: DiskDone, file: Option<SegmentFile>) {
        // A shard that has stopped needs no answer.
        if self.kept.send(Kept { done, file }).is_ok() {
            self.bell.ring();
        }
    }
}

/// A shard's line to the keeper. Lives on the shard's thread. Its queues hold what a log may have unanswered: two segments ahead, the
/// segments that one cleaning frees, and the reads of the clients that drain.
pub struct KeeperPort {
    log: usize,
    folder: PathBuf,
    chores: Sender<(usize, Chore)>,
    readings: Sender<Reading>,
    answer: Answer,
    kept: Receiver<Kept>,
}

/// The keeper's threads; they end when the last port is gone.
pub struct Keeper;

impl Keeper {
    /// Starts the keeper of these logs, with the bell of each one's shard; a port for each.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn start(logs: Vec<(Folder, EventFd)>) -> io::Result<Vec<KeeperPort>> {
        let (chores, chores_in) = unbounded::<(usize, Chore)>();
        let (readings, readings_in) = unbounded::<Reading>();
        let mut folders = Vec::new();
        let mut ports = Vec::new();
        for (log, (folder, bell)) in logs.into_iter().enumerate() {
            let (sender, kept) = unbounded();
            let answer = Answer { kept: sender, bell };
            ports.push(KeeperPort {
                log,
                folder: folder.path().to_owned(),
                chores: chores.clone(),
                readings: readings.clone(),
                answer: answer.clone(),
                kept,
            });
            folders.push((folder, answer));
        }
        // Each log in turn: at the start every one asks for several segments, and needs only the first to begin.
        Builder::new().name("shardmq-keeper".to_owned()).spawn(move || {
            let mut waiting: Vec<VecDeque<Chore>> = folders.iter().map(|_| VecDeque::new()).collect();
            for (log, chore) in chores_in.iter() {
                put_behind(&mut waiting[log], chore);
                while waiting.iter().any(|chores| !chores.is_empty()) {
                    for (chores, (folder, answer)) in waiting.iter_mut().zip(&mut folders) {
                        chores.pop_front().into_iter().for_each(|chore| carry_out(folder, answer, chore));
                    }
                    chores_in.try_iter().for_each(|(log, chore)| put_behind(&mut waiting[log], chore));
                }
            }
        })?;
        Builder::new().name("shardmq-reader".to_owned()).spawn(move || {
            for Reading { path, offset, bytes, tag, answer } in readings_in {
                let result = patient_read(&path, offset, bytes)
                    .map_err(|errno| DiskError::Failed(errno.raw_os_error()));
                answer.give(DiskDone::Read { tag, result }, None);
            }
        })?;
        Ok(ports)
    }
}

/// What gives a segment up goes before what makes one ready: that may use it then, and needs not be written full.
fn put_behind(chores: &mut VecDeque<Chore>, chore: Chore) {
    match chore {
        Chore::Retire { .. } => chores.push_front(chore),
        Chore::Prepare { .. } => chores.push_back(chore),
    }
}

/// A read that failed is the end of messages: what is short for a moment, and no fault of the disk, is waited for.
fn patient_read(path: &Path, offset: u64, bytes: usize) -> Result<Vec<u8>, Errno> {
    loop {
        match read(path, offset, bytes) {
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => sleep(SHORTAGE_PAUSE),
            result => return result,
        }
    }
}

fn carry_out(folder: &mut Folder, answer: &Answer, chore: Chore) {
    match chore {
        Chore::Prepare { segment, bytes } => {
            let (result, file) = match folder.prepare(segment, bytes) {
                Ok(file) => (Ok(()), Some(file)),
                Err(error) => (Err(error), None),
            };
            answer.give(DiskDone::Prepared { segment, result }, file);
        }
        Chore::Retire { segment } => {
            folder.retire(segment);
            answer.give(DiskDone::Retired { segment }, None);
        }
    }
}

impl KeeperPort {
    /// Has everything done that is not a write, which comes back.
    ///
    /// # Errors
    /// A write: the caller's own.
    pub fn ask(&self, request: DiskRequest) -> Result<(), DiskRequest> {
        let chore = match request {
            DiskRequest::Prepare { segment, bytes } => Chore::Prepare { segment, bytes },
            DiskRequest::Retire { segment } => Chore::Retire { segment },
            DiskRequest::Read { segment, offset, bytes, tag } => {
                let path = self.folder.join(super::segment_name(segment));
                let reading = Reading { path, offset, bytes, tag, answer: self.answer.clone() };
                self.readings.send(reading).expect("the reader runs as long as a port is open");
                return Ok(());
            }
            write @ DiskRequest::Write { .. } => return Err(write),
        };
        self.chores.send((self.log, chore)).expect("the keeper runs as long as a port is open");
        Ok(())
    }

    /// What is done.
    pub fn poll(&self) -> Option<Kept> {
        self.kept.try_recv().ok()
    }
}
