//! What it costs a shard to append to its log.

use allocation_counter::measure;
use shardmq_shards::base::kept::{CopyNumber, SessionNumber};
use shardmq_shards::base::lsn::Incarnation;
use shardmq_shards::base::planted::Planted;
use shardmq_shards::base::shard_set::ShardId;
use shardmq_shards::log::{
    BodyRecord, Cause, CopyEntry, DiskDone, DiskRequest, Journal, JournalConfig, Log, LogIdentity,
    MessageRecord, Origin, Record, SegmentId,
};
use shardmq_shards::wire::QoS;
use std::borrow::Cow;
use std::time::{Duration, Instant};

fn log() -> Log {
    Log::over(Journal::new(JournalConfig {
        identity: LogIdentity { generation: 1, shard: ShardId::new(0), salt: 1 },
        incarnation: Incarnation(1),
        segment_bytes: 64 * 1024 * 1024,
        first: SegmentId(1),
        held: Vec::new(),
        durable: true,
        planted: Planted::default(),
    }))
}

/// Answers everything that the log asks for at once.
fn settle(log: &mut Log) {
    while let Some(request) = log.poll_disk() {
        let done = match request {
            DiskRequest::Prepare { segment, .. } => DiskDone::Prepared { segment, result: Ok(()) },
            DiskRequest::Write { segment, offset, block, .. } => {
                DiskDone::Written { segment, offset, block, result: Ok(()) }
            }
            DiskRequest::Retire { segment } => DiskDone::Retired { segment },
            DiskRequest::Read { .. } => unreachable!("a log that is appended to reads nothing"),
        };
        log.handle_disk(done).expect("the disk is fine");
    }
}

/// 64 bytes for one durable session, the commonest record.
fn append_message(log: &mut Log, number: u64) {
    let copy = CopyEntry::queued(SessionNumber(1_000), CopyNumber(number), QoS::AtLeastOnce);
    log.append(&Record::Message(MessageRecord {
        origin: Origin::Own,
        cause: Cause::None,
        body: BodyRecord {
            topic: Cow::Borrowed("plant/7/line/3/temperature"),
            properties: Cow::Borrowed(&[]),
            payload: Cow::Borrowed(&[7; 64]),
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
            publisher: None,
        },
        destinations: Cow::Borrowed(&[]),
        copies: Cow::Borrowed(std::slice::from_ref(&copy)),
        retained: false,
        open: false,
        groups: Cow::Borrowed(&[]),
    }));
}

fn append_batches(log: &mut Log, batches: u64) {
    for number in 0..batches * 1_000 {
        append_message(log, number);
        if number % 1_000 == 999 {
            settle(log);
        }
    }
}

#[test]
fn appending_allocates_nothing_once_the_buffers_are_there() {
    let mut log = log();
    append_batches(&mut log, 4);
    let counted = measure(|| append_batches(&mut log, 100));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// Nanoseconds per record, checksum and batch included, the disk left out.
#[test]
#[ignore = "a measurement: cargo test -p shardmq-shards --release --test log_append -- --ignored --nocapture"]
fn a_small_record_costs_a_hundred_nanoseconds() {
    let mut log = log();
    append_batches(&mut log, 10);
    let rounds = (0..20).map(|_| {
        let began = Instant::now();
        append_batches(&mut log, 100);
        began.elapsed() / 100_000
    });
    let best = rounds.min().expect("20 rounds");
    println!("{} ns for a record of 64 bytes", best.as_nanos());
    assert!(best < Duration::from_micros(1));
}
