//! What is made is read, whole or damaged.

use super::*;
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::drivers::files::segment_name;
use crate::log::{BodyId, BodyImage, CopyEntry, Origin, SegmentId, SessionImage};
use crate::mesh::Epoch;
use crate::wire::{Message, MessageParts, QoS};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("shardmq-stored-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("the name is our own");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const COPIES: u64 = 1_000;

fn message(number: u64) -> Message {
    Message::from_parts(MessageParts {
        topic: "t",
        properties: &[],
        payload: &number.to_le_bytes(),
        qos: QoS::AtLeastOnce,
        retain: true,
        expires_at: None,
    })
}

/// One session with a long queue, as it is after a re-homing to one shard.
fn image() -> ShardImage {
    let mut image = ShardImage::default();
    let number = SessionNumber(3);
    let mut session = SessionImage {
        client_id: "c".into(),
        user: None,
        epoch: Epoch(3),
        expiry_seconds: 9,
        offline_since: None,
        will: None,
        subscriptions: Default::default(),
        received: Vec::new(),
        copies: Default::default(),
        next_copy: CopyNumber(COPIES),
        written: Default::default(),
        head: Default::default(),
        again: Default::default(),
        away: Default::default(),
    };
    for copy in 0..COPIES {
        let (body, copy_number) = (BodyId(Lsn(copy + 1)), CopyNumber(copy));
        let entry = CopyEntry::queued(number, copy_number, QoS::AtLeastOnce);
        session.copies.insert(copy_number, (body, entry));
        image.bodies.insert(
            body,
            BodyImage { message: message(copy), publisher: None, origin: Origin::Own, place: None },
        );
    }
    image.sessions.insert(number, session);
    image.retained.insert("t".into(), (message(0), None, Default::default()));
    image
}

fn content(image: ShardImage) -> ShardImage {
    let (oldest, newest, stopped, ended, oddities) = Default::default();
    ShardImage { oldest, newest, stopped, ended, oddities, ..image }
}

#[test]
fn a_data_directory_made_of_an_image_says_the_same_again() {
    let scratch = Scratch::new("same");
    let path = scratch.0.join("data");
    create(&path, &image(), [1, 2]).expect("it can be made");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("2/shard-00"))), (0o700, 0o700));
    assert_eq!(mode(&path.join("2/shard-00").join(segment_name(SegmentId(1)))), 0o600);
    let said = create(&path, &image(), [1, 2]).expect_err("there is data").to_string();
    assert!(said.contains("has data"), "{said}");

    let stored = StoredData::open(&path).expect("it is one");
    let (one, reports) = stored.read_as_one().expect("it can be read");
    assert_eq!(content(one), image());
    assert!(reports.iter().all(|report| report.is_clean() && report.stopped));
    assert!(matches!(StoredData::open(&path), Err(DataError::InUse(..))));
    assert!(matches!(StoredData::open(&scratch.0), Err(DataError::Missing(_))));
}

#[test]
fn damage_is_said_and_the_rest_is_read() {
    let scratch = Scratch::new("damage");
    let path = scratch.0.join("data");
    create(&path, &image(), [1, 2]).expect("it can be made");
    let segment = path.join("2/shard-00").join(segment_name(SegmentId(1)));
    let file = std::fs::File::options().write(true).open(segment).expect("it is there");
    file.write_all_at(&[0xff; 8], 20_000).expect("it can be written");
    let stored = StoredData::open(&path).expect("it is one");
    let (images, reports) = stored.read().expect("it can be read");
    let left = images[0].sessions[&SessionNumber(3)].copies.len() as u64;
    assert!((COPIES - 20..COPIES).contains(&left), "{left} copies are left");
    assert!(!reports[0].is_clean(), "{reports:?}");
    assert!(images[0].oddities.bodiless > 0 && images[0].retained.len() == 1);
}
