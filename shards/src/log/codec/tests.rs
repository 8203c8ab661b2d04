//! What is written is read back, and no bytes are too bad.

use super::scribe::Scribe;
use super::*;

#[test]
fn what_is_written_is_read_back() {
    let mut scribe = Scribe::new(1);
    let mut bytes = Vec::new();
    for round in 0..20_000 {
        let kind = (round % u32::from(KIND_MAX)) as u8 + 1;
        let record = scribe.record_of(kind);
        bytes.clear();
        assert_eq!(encode(&record, &mut bytes), kind, "{record:?}");
        assert!(reads_as(kind, &bytes, &record), "{record:?}");
    }
}

/// Whether the bytes are those of `record`.
fn reads_as(kind: u8, bytes: &[u8], record: &Record<'_>) -> bool {
    // By their text: the two have lifetimes of their own, which a record does not shorten.
    decode(kind, bytes).is_ok_and(|read| format!("{read:?}") == format!("{record:?}"))
}

#[test]
fn strings_and_payloads_are_borrowed() {
    let mut scribe = Scribe::new(2);
    for _ in 0..100 {
        let mut bytes = Vec::new();
        let kind = encode(&scribe.record_of(MESSAGE), &mut bytes);
        let Ok(Record::Message(message)) = decode(kind, &bytes) else { panic!("a message was written") };
        assert!(matches!(message.body.topic, Cow::Borrowed(_)));
        assert!(matches!(message.body.payload, Cow::Borrowed(_)));
    }
}

/// What is cut short, longer, or changed is an error or another record; nothing panics, and no count makes memory.
#[test]
fn no_bytes_are_too_bad() {
    let mut scribe = Scribe::new(3);
    let mut bytes = Vec::new();
    for round in 0..4_000 {
        let record = scribe.record_of((round % u32::from(KIND_MAX)) as u8 + 1);
        bytes.clear();
        let kind = encode(&record, &mut bytes);
        if bytes.len() < 500 {
            for end in 0..bytes.len() {
                assert!(decode(kind, &bytes[..end]).is_err(), "{end} bytes of {record:?}");
            }
        }
        bytes.push(0);
        assert!(decode(kind, &bytes).is_err(), "a byte too many after {record:?}");
        bytes.pop();
        for _ in 0..20.min(bytes.len()) {
            let hit = scribe.below(bytes.len() as u64) as usize;
            bytes[hit] = scribe.below(256) as u8;
            let _ = decode(kind, &bytes);
        }
    }
    for _ in 0..200_000 {
        let noise = scribe.list(40, |scribe| scribe.below(256) as u8);
        let kind = scribe.below(256) as u8;
        let read = decode(kind, &noise);
        assert!((1..=KIND_MAX).contains(&kind) || read == Err(RecordError::Kind(kind)));
    }
}

/// The numbers in files that exist. A kind that is added gets the next number, and a line here.
#[test]
fn kinds_keep_their_numbers() {
    let mut scribe = Scribe::new(4);
    for kind in 1..=KIND_MAX {
        let number = match scribe.record_of(kind) {
            Record::Start(_) => 1,
            Record::Stopped => 2,
            Record::Session(_) => 3,
            Record::Offline(_) => 4,
            Record::SessionEnded { .. } => 5,
            Record::Subscribed(_) => 6,
            Record::Unsubscribed { .. } => 7,
            Record::Message(_) => 8,
            Record::Copies(_) => 9,
            Record::Started { .. } => 10,
            Record::Arrived { .. } => 11,
            Record::Finished { .. } => 12,
            Record::Received { .. } => 13,
            Record::Released { .. } => 14,
            Record::Mark { .. } => 15,
            Record::Parked(_) => 16,
            Record::Unparked { .. } => 17,
            Record::Retained(_) => 18,
            Record::RetainedCleared { .. } => 19,
            Record::Body { .. } => 20,
            Record::Outbox { .. } => 21,
            Record::Queue { .. } => 22,
        };
        assert_eq!(number, kind);
    }
}
