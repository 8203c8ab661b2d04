//! The log on the ring: a write among everything else, its completion, its failure, and the wait that it ends.

use super::*;
use crate::drivers::files::{Folder, Keeper, Scratch, Watermark, segment_name};
use crate::log::{BLOCK_BYTES, Block, DiskError, SegmentId};

const SEGMENT: SegmentId = SegmentId(5);
const BYTES: u64 = 1 << 20;

/// A rig whose log has one segment ready.
fn logging(script: Script, scratch: &Scratch) -> Rig {
    let mut rig = Rig::new(script, &options(64));
    let folder = Folder::open(&scratch.0.join("shard-00"), Watermark::Bytes(0)).expect("it can be made");
    let ports = Keeper::start(vec![(folder, rig.bell.clone())]).expect("threads are available");
    rig.ring_loop.set_disk(ports.into_iter().next());
    rig.script().disk_requests.push_back(DiskRequest::Prepare { segment: SEGMENT, bytes: BYTES });
    rig.turn_until("a segment", |script| !script.disk_done.is_empty());
    let done = std::mem::take(&mut rig.script().disk_done);
    assert!(matches!(done[..], [DiskDone::Prepared { segment: SEGMENT, result: Ok(()) }]), "{done:?}");
    rig
}

fn write(offset: u64, bytes: &[u8], durable: bool) -> DiskRequest {
    let mut block = Block::with_capacity(bytes.len());
    block.set_len(bytes.len());
    block.bytes_mut().copy_from_slice(bytes);
    DiskRequest::Write { segment: SEGMENT, offset, block, durable }
}

#[test]
fn a_write_is_there_when_it_is_said_to_be() {
    let scratch = Scratch::new();
    let mut rig = logging(script(), &scratch);
    let path = scratch.0.join("shard-00").join(segment_name(SEGMENT));
    for (round, durable) in [(0, true), (1, false), (2, true)] {
        let (offset, bytes) = (round * 16 * BLOCK_BYTES, pattern(round + 1, 16 * BLOCK_BYTES));
        rig.script().disk_requests.push_back(write(offset as u64, &bytes, durable));
        rig.turn_until("the write", |script| !script.disk_done.is_empty());
        let done = rig.script().disk_done.remove(0);
        let DiskDone::Written { segment: SEGMENT, offset: at, block, result: Ok(()) } = done else {
            panic!("{done:?}")
        };
        assert!(at == offset as u64 && block.bytes() == bytes);
        assert!(std::fs::read(&path).expect("it is ours")[offset..][..bytes.len()] == bytes);
    }
    assert!(!rig.ring_loop.disk.as_ref().expect("it has one").is_writing());
    rig.script().disk_requests.push_back(DiskRequest::Read { segment: SEGMENT, offset: 3, bytes: 9, tag: 4 });
    rig.script().disk_requests.push_back(DiskRequest::Retire { segment: SEGMENT });
    rig.turn_until("both", |script| script.disk_done.len() == 2);
    for done in std::mem::take(&mut rig.script().disk_done) {
        match done {
            DiskDone::Read { tag: 4, result: Ok(bytes) } => assert_eq!(bytes, pattern(1, 16)[3..12]),
            DiskDone::Retired { segment: SEGMENT } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_write_ends_a_wait_without_a_deadline() {
    let scratch = Scratch::new();
    let mut rig = logging(Script { wait_most: None, ..script() }, &scratch);
    // Beside a send that nobody waits for: without the write the wait would go on.
    let (_client, key) = rig.connect();
    for round in 0..50 {
        rig.script().send(key, Pieces(vec![pattern(1, 100)]));
        rig.script().disk_requests.push_back(write(0, &pattern(round, BLOCK_BYTES), true));
        rig.turn_until("the write", |script| script.disk_done.len() > round);
    }
}

#[test]
fn a_refused_write_is_told_with_its_errno_and_gives_its_block_back() {
    let scratch = Scratch::new();
    let mut rig = logging(script(), &scratch);
    // No file system takes an offset that is not a multiple of anything past the page cache; where it is not past it, it is too far.
    rig.script().disk_requests.push_back(write((1 << 62) + 1, &pattern(3, BLOCK_BYTES), true));
    rig.turn_until("the answer", |script| !script.disk_done.is_empty());
    let done = rig.script().disk_done.remove(0);
    let DiskDone::Written { block, result: Err(DiskError::Failed(errno)), .. } = done else {
        panic!("{done:?}")
    };
    assert!(matches!(errno, libc::EINVAL | libc::EFBIG), "{errno}");
    assert_eq!(block.bytes(), pattern(3, BLOCK_BYTES));
}

#[test]
fn a_log_that_failed_ends_the_loop_with_its_reason() {
    let scratch = Scratch::new();
    let mut rig = logging(script(), &scratch);
    rig.script().log_failure = Some("the log cannot be written".to_owned());
    let error = rig.ring_loop.run().expect_err("nothing more may be acknowledged");
    assert_eq!(error.to_string(), "the log cannot be written");
}

#[test]
fn a_write_that_is_under_way_keeps_its_bytes_when_the_loop_ends() {
    let scratch = Scratch::new();
    let mut rig = logging(script(), &scratch);
    let bytes = pattern(9, 64 * BLOCK_BYTES);
    rig.script().disk_requests.push_back(write(0, &bytes, true));
    rig.ring_loop.turn();
    rig.ring_loop.ring.enter(super::super::ring::Wait::No, 0).expect("the ring can be entered");
    assert!(rig.ring_loop.disk.as_ref().expect("it has one").is_writing(), "its completion is not reaped");
    drop(rig);
    // Were the bytes given back to the allocator, this would be written instead.
    let others: Vec<Vec<u8>> = (0..64).map(|_| vec![0xee; 65 * BLOCK_BYTES]).collect();
    let path = scratch.0.join("shard-00").join(segment_name(SEGMENT));
    let start = Instant::now();
    while std::fs::read(&path).expect("it is ours")[..bytes.len()] != bytes {
        assert!(start.elapsed() < PATIENCE, "the write was cut");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(others);
}
