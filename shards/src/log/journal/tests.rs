//! A journal over a disk in memory: what is written when, where, and what happens when it cannot be.

use super::memory_disk::{MemoryDisk, SEGMENT_BYTES, log};
use super::*;
use crate::base::limits::LOG_SPARE_SEGMENTS;
use crate::log::codec::scribe::Scribe;
use crate::log::disk::BLOCK_BYTES;
use crate::log::format::BATCH_HEADER_BYTES;
use crate::log::{BodyId, BodyRecord, Origin};
use crate::wire::{Message, MessageParts, QoS};

/// A record of so many bytes, and little more.
fn large(bytes: usize) -> Record<'static> {
    let topic = "x".repeat(bytes);
    Record::RetainedCleared { topic: topic.into() }
}

#[test]
fn one_write_is_under_way_and_the_next_has_what_came_meanwhile() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    disk.settle(&mut log);
    assert!(log.is_quiet() && log.keeps());
    let first = log.append(&large(10));
    disk.take_requests(&mut log);
    let second = log.append(&large(100));
    let third = log.append(&large(200));
    disk.take_requests(&mut log);
    assert_eq!(disk.asked.len(), 1, "the second batch waits for the first");
    let done = disk.carry_out(0);
    assert_eq!(log.handle_disk(done), Ok(Some(first)));
    disk.take_requests(&mut log);
    let done = disk.carry_out(0);
    assert_eq!(log.handle_disk(done), Ok(Some(third)));
    assert!(second < third && log.is_quiet() && log.poll_disk().is_none());
    assert_eq!(disk.records().len(), 3);
}

/// Records of all kinds and sizes, the disk answering late and in any order: all are there, in order, and where the log said.
#[test]
fn everything_is_where_the_log_says_it_is() {
    for seed in 0..8 {
        let mut scribe = Scribe::new(seed);
        let (mut log, mut disk) = (log(), MemoryDisk::default());
        let mut expected = Vec::new();
        let mut committed = Lsn::NONE;
        for step in 0..800 {
            let record = if step % 40 == 39 { large(scribe.below(9_000) as usize) } else { scribe.record() };
            if matches!(record, Record::Stopped) {
                continue;
            }
            let lsn = log.append(&record);
            expected.push((lsn, format!("{record:?}"), log.place_of_newest().expect("on disk")));
            if scribe.below(3) == 0 {
                disk.take_requests(&mut log);
                if !disk.asked.is_empty() {
                    let index = scribe.below(disk.asked.len() as u64) as usize;
                    let done = disk.carry_out(index);
                    let now = log.handle_disk(done).expect("the disk is fine");
                    assert!(now.is_none_or(|now| now > committed && now <= lsn));
                    committed = now.unwrap_or(committed);
                }
            }
        }
        assert_eq!(disk.settle(&mut log).max(committed), log.newest());
        let found = disk.records();
        assert_eq!(found.len(), expected.len());
        for ((lsn, text, place), found) in expected.iter().zip(&found) {
            assert_eq!((lsn, text), (&found.0, &found.1));
            assert_eq!(*text, disk.record_at(*place, *lsn));
        }
        let (segments, bytes) = log.journal().expect("on disk").used();
        assert!(segments > 3 && bytes <= segments as u64 * SEGMENT_BYTES);
        assert_eq!(disk.segments.len(), segments + spare_segments(segments - 1));
    }
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    log.append(&large(10));
    disk.take_requests(&mut log);
    // One spare segment is there, one is on its way: neither is large enough.
    for _ in 0..2 {
        let prepare = disk.asked.iter().position(|asked| matches!(asked, DiskRequest::Prepare { .. }));
        let done = disk.carry_out(prepare.expect("one at a time"));
        assert_eq!(log.handle_disk(done), Ok(None));
        disk.take_requests(&mut log);
    }
    let huge = log.append(&large(3 * SEGMENT_BYTES as usize));
    let last = log.append(&large(10));
    assert_eq!(disk.settle(&mut log), last);
    let records = disk.records();
    assert_eq!(records.iter().map(|(lsn, _)| *lsn).collect::<Vec<_>>().len(), 3);
    assert!(records[1].0 == huge && records[1].1.len() > 3 * SEGMENT_BYTES as usize);
    let sizes: Vec<usize> =
        disk.segments.values().map(|bytes| bytes.len() / SEGMENT_BYTES as usize).collect();
    assert_eq!(sizes, [1, 3, 1, 1, 1], "the spare ones that were too small are given back");
}

#[test]
fn a_full_disk_makes_room_low_until_there_is_space() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    disk.settle(&mut log);
    assert_eq!(log.room(), Room::Ample);
    let filled = log.append(&large(SEGMENT_BYTES as usize - 3 * BLOCK_BYTES));
    log.append(&large(2 * BLOCK_BYTES));
    disk.take_requests(&mut log);
    let done = disk.carry_out(0);
    assert_eq!(log.handle_disk(done), Ok(Some(filled)));
    disk.take_requests(&mut log);
    let prepare = disk.asked.iter().position(|asked| matches!(asked, DiskRequest::Prepare { .. }));
    let done = disk.refuse(prepare.expect("a spare segment is wanted"), DiskError::Full);
    assert_eq!(log.handle_disk(done), Ok(None));
    assert_eq!(log.room(), Room::Low);
    // What frees space still goes to the segment that is there.
    let freeing = log.append(&large(10));
    assert_eq!(disk.settle(&mut log), freeing);
    assert!(log.is_quiet() && log.room() == Room::Low, "nobody asks before it is time");
    log.retry_room();
    disk.take_requests(&mut log);
    let done = disk.refuse(0, DiskError::Full);
    assert_eq!((log.handle_disk(done), log.room()), (Ok(None), Room::Low));
    log.retry_room();
    disk.settle(&mut log);
    assert_eq!(log.room(), Room::Ample);
}

/// However much is appended while there is room, and however late the disk answers: two segments are left.
#[test]
fn publishers_leave_the_reserve_while_the_disk_has_not_answered() {
    for payload in [100, 5_000, 20_000] {
        let (mut log, mut disk) = (log(), MemoryDisk::default());
        assert_eq!(log.room(), Room::Awaited, "nothing is ready yet");
        disk.settle(&mut log);
        assert_eq!(log.room(), Room::Ample);
        while log.room() == Room::Ample {
            log.append(&large(payload));
            // Writes are done, and nothing else.
            disk.take_requests(&mut log);
            let write = disk.asked.iter().position(|asked| matches!(asked, DiskRequest::Write { .. }));
            if let Some(write) = write {
                let done = disk.carry_out(write);
                log.handle_disk(done).expect("the disk is fine");
            }
        }
        assert_eq!(log.room(), Room::Awaited);
        let journal = log.journal().expect("on disk");
        assert!(journal.used().1 > SEGMENT_BYTES, "the first segment is theirs");
        let ready = (1 + LOG_SPARE_SEGMENTS) as u64 * SEGMENT_BYTES - journal.used().1;
        let reserve = SEGMENT_BYTES * (LOG_SPARE_SEGMENTS as u64 - 1);
        let last = batch_bytes(payload) as u64;
        // The last of them, and what it left of a segment that was too small for it.
        assert!(ready <= reserve && ready + 2 * last >= reserve, "{payload}: {ready} of {reserve}");
        assert!(!log.has_room_to_clean() && journal.ready_to_clean() > SEGMENT_BYTES);
        disk.settle(&mut log);
        assert_eq!(log.room(), Room::Ample);
    }
}

/// What is further on would take the place of what is needed first.
#[test]
fn segments_are_made_ready_in_their_order() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    log.append(&large(10));
    for number in 1..=4 {
        disk.take_requests(&mut log);
        let prepares = |asked: &&DiskRequest| matches!(asked, DiskRequest::Prepare { .. });
        assert_eq!(disk.asked.iter().filter(prepares).count(), 1, "{number}");
        let prepare = disk.asked.iter().position(|asked| prepares(&asked)).expect("counted");
        let DiskRequest::Prepare { segment, .. } = disk.asked[prepare] else { unreachable!("looked for") };
        assert_eq!(segment, SegmentId(number));
        let refused = disk.refuse(prepare, DiskError::Full);
        assert_eq!(log.handle_disk(refused), Ok(None));
        disk.take_requests(&mut log);
        assert!(!disk.asked.iter().any(|asked| prepares(&asked)), "none behind the one that was refused");
        log.retry_room();
        disk.take_requests(&mut log);
        let again = disk.asked.iter().position(|asked| prepares(&asked)).expect("it is asked for again");
        let done = disk.carry_out(again);
        log.handle_disk(done).expect("the disk is fine");
    }
    assert_eq!(log.room(), Room::Ample);
}

#[test]
fn what_is_retired_is_asked_for_again() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    for _ in 0..40 {
        log.append(&large(2 * BLOCK_BYTES));
        disk.settle(&mut log);
    }
    let journal = log.journal().expect("on disk");
    let (segments, filling) = (journal.used().0, journal.filling());
    assert!(segments > 5 && journal.oldest() == SegmentId(1));
    log.retire_before(filling);
    disk.take_requests(&mut log);
    let asked: Vec<_> =
        disk.asked.iter().filter(|asked| matches!(asked, DiskRequest::Retire { .. })).collect();
    assert!(
        matches!(asked[..], [DiskRequest::Retire { segment: SegmentId(1) }]),
        "the oldest, alone: {asked:?}"
    );
    disk.settle(&mut log);
    let journal = log.journal().expect("on disk");
    assert!(journal.used().0 == 1 && journal.oldest() == filling);
    assert_eq!(disk.segments.keys().next(), Some(&filling));
    log.retire_before(SegmentId(filling.0 + 1));
    assert!(log.poll_disk().is_none(), "what is being filled stays");
}

#[test]
fn a_failed_write_ends_the_log() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    disk.settle(&mut log);
    log.append(&large(10));
    disk.take_requests(&mut log);
    log.append(&large(10));
    let done = disk.refuse(0, DiskError::Failed(5));
    let failure = log.handle_disk(done).expect_err("the write failed");
    assert_eq!(
        failure.to_string(),
        "segment 1 of the log cannot be written: Input/output error (os error 5)"
    );
    assert!(log.poll_disk().is_none() && log.failure() == Some(failure) && !log.is_quiet());
}

#[test]
fn too_much_that_waits_is_a_backlog_until_it_is_written() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    disk.settle(&mut log);
    while !log.is_backlogged() {
        log.append(&large(1024 * 1024));
    }
    assert!(disk.settle(&mut log) == log.newest() && !log.is_backlogged());
}

#[test]
fn a_run_that_ends_in_order_says_so_last() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    log.append(&large(10));
    let stopped = log.stop();
    let place = log.place_of_newest().expect("on disk");
    assert_eq!(place.offset as usize, 2 * BLOCK_BYTES + BATCH_HEADER_BYTES, "in a batch of its own");
    assert!(!log.is_quiet());
    assert_eq!(disk.settle(&mut log), stopped);
    assert!(log.is_quiet());
    assert_eq!(disk.records().last(), Some(&(stopped, "Stopped".to_owned())));
}

#[test]
fn a_message_is_read_back_and_nothing_else_passes_for_it() {
    let (mut log, mut disk) = (log(), MemoryDisk::default());
    let mut kept = Vec::new();
    for number in 0..40_u8 {
        let payload = vec![number; 100 * usize::from(number)];
        let message = Message::from_parts(MessageParts {
            topic: "t",
            properties: &[],
            payload: &payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
        });
        let (body, origin) = (BodyId(Lsn(7 + u64::from(number))), Origin::Own);
        log.append(&Record::Body { body, origin, content: BodyRecord::of(&message, None) });
        kept.push((body, log.place_of_newest().expect("on disk"), payload));
        disk.settle(&mut log);
    }
    for (index, (body, place, payload)) in kept.iter().enumerate() {
        log.read(*place, 5);
        disk.take_requests(&mut log);
        let DiskDone::Read { tag: 5, result: Ok(mut bytes) } = disk.carry_out(0) else {
            panic!("it was asked")
        };
        let message = log.message_in(&bytes, *place, *place, *body).expect("it is there");
        assert_eq!(message.payload(), payload);
        let other = kept[(index + 1) % kept.len()].0;
        assert!(log.message_in(&bytes, *place, *place, other).is_none(), "it is another");
        *bytes.last_mut().expect("a record") ^= 1;
        assert!(log.message_in(&bytes, *place, *place, *body).is_none(), "it is damaged");
        bytes.truncate(10);
        assert!(log.message_in(&bytes, *place, *place, *body).is_none(), "it is cut off");
    }
}
