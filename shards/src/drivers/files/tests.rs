//! Segments made, written, read, retired and used again, in real files.

use super::*;
use crate::base::limits::{RESERVE_SEGMENTS, RETIRED_SEGMENTS_KEPT};
use crate::drivers::eventfd::EventFd;
use crate::log::{BLOCK_BYTES, Block, Disk, DiskDone, DiskRequest, SegmentId};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const BYTES: u64 = 1 << 20;
/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("it is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII")).collect();
    names.sort();
    names
}

fn folder(scratch: &Scratch, watermark: Watermark) -> Folder {
    Folder::open(&scratch.0.join("shard-00"), watermark).expect("it can be made")
}

#[test]
fn a_segment_is_full_of_zeros_and_private() {
    let scratch = Scratch::new();
    let mut folder = folder(&scratch, Watermark::Bytes(0));
    folder.prepare(SegmentId(3), BYTES).expect("there is room");
    let path = folder.path_of(SegmentId(3));
    assert!(std::fs::read(&path).expect("it is ours").iter().all(|byte| *byte == 0));
    let told = std::fs::metadata(&path).expect("it is there");
    assert_eq!((told.len(), told.permissions().mode() & 0o777), (BYTES, 0o600));
    // Written, not only promised: 512-byte units.
    assert!(told.blocks() * 512 >= BYTES, "{} blocks", told.blocks());
    let mode = std::fs::metadata(folder.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(names(folder.path()), [segment_name(SegmentId(3))]);
}

#[test]
fn files_are_kept_in_other_ways_where_that_is_asked_for() {
    let scratch = Scratch::new();
    let usual = folder(&scratch, Watermark::Bytes(0)).prepare(SegmentId(1), BYTES).expect("there is room");
    assert!(usual.is_direct(), "the scratch folder's file system can");
    let mut other = folder(&scratch, Watermark::Bytes(0)).with_ways(Ways { direct: false, recycle: false });
    let file = other.prepare(SegmentId(2), BYTES).expect("there is room");
    assert!(!file.is_direct());
    other.retire(SegmentId(2));
    assert_eq!(names(other.path()), [segment_name(SegmentId(1))], "not kept to be used again");
}

#[test]
fn what_is_retired_is_used_again_under_the_new_name() {
    let scratch = Scratch::new();
    let mut folder = folder(&scratch, Watermark::Bytes(0));
    for id in 1..=5 {
        folder.prepare(SegmentId(id), BYTES).expect("there is room");
    }
    let inode = std::fs::metadata(folder.path_of(SegmentId(5))).expect("it is there").ino();
    for id in 1..=5 {
        folder.retire(SegmentId(id));
        let kept = id.saturating_sub(RETIRED_SEGMENTS_KEPT as u64) + 1;
        assert_eq!(
            names(folder.path()),
            (kept..=5).map(|id| segment_name(SegmentId(id))).collect::<Vec<_>>(),
            "the oldest goes back to the file system: no gap"
        );
    }
    folder.prepare(SegmentId(6), BYTES).expect("there is room");
    assert_eq!(std::fs::metadata(folder.path_of(SegmentId(6))).expect("it is there").ino(), inode);
    // Another size is another file.
    folder.retire(SegmentId(6));
    folder.prepare(SegmentId(7), 2 * BYTES).expect("there is room");
    assert_eq!(names(folder.path()), [6, 7].map(|id| segment_name(SegmentId(id))));
    let stored = Folder::stored(folder.path()).expect("readable");
    let expected = [(6, BYTES), (7, 2 * BYTES)];
    assert_eq!(stored, expected.map(|(id, bytes)| StoredSegment { segment: SegmentId(id), bytes }));
}

#[test]
fn what_a_start_makes_ready_at_once_is_kept_for_it() {
    let scratch = Scratch::new();
    let mut before = folder(&scratch, Watermark::Bytes(0));
    for id in 1..=5 {
        before.prepare(SegmentId(id), BYTES).expect("there is room");
    }
    let mut folder = folder(&scratch, Watermark::Bytes(0));
    (1..=5).for_each(|id| folder.retire(SegmentId(id)));
    assert_eq!(names(folder.path()), [2, 3, 4, 5].map(|id| segment_name(SegmentId(id))));
    (6..10).for_each(|id| drop(folder.prepare(SegmentId(id), BYTES).expect("there is room")));
    assert_eq!(names(folder.path()), [6, 7, 8, 9].map(|id| segment_name(SegmentId(id))));
}

#[test]
fn what_a_crash_left_unfinished_is_removed_and_foreign_files_are_left() {
    let scratch = Scratch::new();
    let path = scratch.0.join("shard-00");
    drop(Folder::open(&path, Watermark::Bytes(0)).expect("it can be made"));
    for name in ["unfinished", "note.txt", "12.log", "000000000000001x.log"] {
        std::fs::write(path.join(name), b"x").expect("there is room");
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let folder = Folder::open(&path, Watermark::Bytes(0)).expect("it is there");
    assert_eq!(names(folder.path()), ["000000000000001x.log", "12.log", "note.txt"]);
    assert!(Folder::stored(&path).expect("readable").is_empty());
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn below_the_watermark_only_the_reserve_is_made() {
    let scratch = Scratch::new();
    let mut folder = folder(&scratch, Watermark::Bytes(u64::MAX));
    for id in 0..RESERVE_SEGMENTS as u64 {
        folder.prepare(SegmentId(id), BYTES).expect("the reserve");
    }
    assert_eq!(folder.prepare(SegmentId(9), BYTES).expect_err("no more"), DiskError::Full);
    // What is retired takes the place of what was refused, whatever else is free.
    folder.retire(SegmentId(0));
    folder.prepare(SegmentId(9), BYTES).expect("it is there already");
    assert_eq!(names(folder.path()), [1, 2, 3, 9].map(|id| segment_name(SegmentId(id))));
    // Nothing is wanted: it goes back to the file system, which needs it more.
    folder.retire(SegmentId(1));
    assert_eq!(names(folder.path()), [2, 3, 9].map(|id| segment_name(SegmentId(id))));
    // What is of another size makes way.
    assert_eq!(folder.prepare(SegmentId(10), BYTES).expect_err("no more"), DiskError::Full);
    folder.retire(SegmentId(2));
    assert_eq!(folder.prepare(SegmentId(10), 2 * BYTES).expect_err("no more"), DiskError::Full);
    assert_eq!(names(folder.path()), [3, 9].map(|id| segment_name(SegmentId(id))));
}

/// The answers, in order of arrival.
fn wait_for(disk: &mut impl Disk, bell: &EventFd, count: usize) -> Vec<DiskDone> {
    let (start, mut done) = (Instant::now(), Vec::new());
    let mut rung = false;
    while done.len() < count {
        assert!(start.elapsed() < PATIENCE, "{done:?}");
        rung |= bell.drain();
        match disk.poll() {
            Some(answer) => done.push(answer),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    // The answer is there before the bell is rung.
    while !rung {
        assert!(start.elapsed() < PATIENCE, "nobody rang");
        rung = bell.drain();
    }
    done
}

/// The disk of a log whose files are in `scratch`. The kernel writes those that are direct by itself, a thread the others.
fn disk_in(scratch: &Scratch, direct: bool, bell: &EventFd) -> FileDisk {
    let folder = folder(scratch, Watermark::Bytes(0)).with_ways(Ways { direct, ..Ways::default() });
    let logs = vec![(folder, bell.clone())];
    let port = Keeper::start(logs).expect("threads are available").remove(0);
    FileDisk::start("test-flusher", port, bell.clone()).expect("threads are available")
}

fn block(fill: u8) -> Block {
    let mut block = Block::with_capacity(2 * BLOCK_BYTES);
    block.set_len(2 * BLOCK_BYTES);
    block.bytes_mut().fill(fill);
    block
}

#[test]
fn a_disk_of_files_does_what_a_log_asks() {
    serves(true);
}

#[test]
fn so_does_one_whose_writes_the_kernel_would_wait_for() {
    serves(false);
}

fn serves(direct: bool) {
    let scratch = Scratch::new();
    let bell = EventFd::new().expect("descriptors are available");
    let mut disk = disk_in(&scratch, direct, &bell);
    let segment = SegmentId(1);
    disk.submit(DiskRequest::Prepare { segment, bytes: BYTES });
    let done = wait_for(&mut disk, &bell, 1);
    assert!(matches!(done[..], [DiskDone::Prepared { segment: SegmentId(1), result: Ok(()) }]), "{done:?}");
    for (number, durable) in [(0, true), (1, false)] {
        let offset = number * 2 * BLOCK_BYTES as u64;
        disk.submit(DiskRequest::Write { segment, offset, block: block(7 + number as u8), durable });
        let done = wait_for(&mut disk, &bell, 1);
        let [DiskDone::Written { offset: at, block, result: Ok(()), .. }] = &done[..] else {
            panic!("{done:?}")
        };
        assert_eq!((*at, block.bytes().len()), (offset, 2 * BLOCK_BYTES));
    }
    disk.submit(DiskRequest::Read { segment, offset: 2 * BLOCK_BYTES as u64 - 2, bytes: 4, tag: 77 });
    let done = wait_for(&mut disk, &bell, 1);
    assert!(matches!(&done[..], [DiskDone::Read { tag: 77, result: Ok(bytes) }] if *bytes == [7, 7, 8, 8]));
    disk.submit(DiskRequest::Read { segment, offset: BYTES - 1, bytes: 2, tag: 78 });
    let done = wait_for(&mut disk, &bell, 1);
    assert!(matches!(done[..], [DiskDone::Read { tag: 78, result: Err(DiskError::Failed(_)) }]), "{done:?}");
    disk.submit(DiskRequest::Retire { segment });
    let done = wait_for(&mut disk, &bell, 1);
    assert!(matches!(done[..], [DiskDone::Retired { segment: SegmentId(1) }]), "{done:?}");
}

/// Runs in a process of its own: the limit is the process's.
#[test]
#[ignore = "lowers a limit of its whole process; run by the next test"]
fn a_refused_write_in_a_process_of_its_own() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let scratch = Scratch::new();
    let bell = EventFd::new().expect("descriptors are available");
    let mut disk = disk_in(&scratch, true, &bell);
    let segment = SegmentId(1);
    disk.submit(DiskRequest::Prepare { segment, bytes: BYTES });
    wait_for(&mut disk, &bell, 1);
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum: None }).expect("lowering is allowed");
    disk.submit(DiskRequest::Write { segment, offset: 0, block: block(1), durable: true });
    disk.submit(DiskRequest::Prepare { segment: SegmentId(2), bytes: BYTES });
    for done in wait_for(&mut disk, &bell, 2) {
        match done {
            DiskDone::Written { result, block, .. } => {
                assert_eq!((result, block.bytes()[0]), (Err(DiskError::Failed(libc::EFBIG)), 1));
            }
            DiskDone::Prepared { result, .. } => assert_eq!(result, Err(DiskError::Failed(libc::EFBIG))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names(&scratch.0.join("shard-00")), [segment_name(segment)], "nothing unfinished is left");
}

#[test]
fn a_refused_write_is_told_with_its_errno() {
    crate::drivers::own_process::run_test("drivers::files::tests::a_refused_write_in_a_process_of_its_own");
}

#[test]
fn a_direct_write_goes_on_where_a_block_begins() {
    assert_eq!(advance(0, 100, 8192), 0);
    assert_eq!(advance(0, 5000, 8192), 4096);
    assert_eq!(advance(4096, 4096, 8192), 8192);
    assert_eq!(advance(0, 100, 100), 100);
}
