//! Two brokers, damaged manifests, permissions.

use super::*;
use crate::base::lsn::Incarnation;
use crate::log::SegmentId;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("shardmq-data-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("the name is our own");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn manifest() -> Manifest {
    Manifest {
        generation: 3,
        incarnation: Incarnation(17),
        hash_seed: 0x1234_5678_9abc_def0,
        salt: 7,
        first_segments: vec![SegmentId(4), SegmentId(1_000_000_007)],
    }
}

#[test]
fn a_manifest_is_read_as_it_was_written() {
    let text = manifest().to_string();
    assert_eq!(text.parse(), Ok(manifest()));
    assert_eq!(text.lines().count(), 9, "{text}");
}

#[test]
fn no_flipped_bit_of_a_manifest_goes_unseen() {
    let text = manifest().to_string();
    for bit in 0..text.len() * 8 {
        let mut bytes = text.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let damaged = String::from_utf8(bytes).unwrap_or_default();
        assert_eq!(damaged.parse::<Manifest>(), Err(ManifestError::Damaged), "bit {bit}");
    }
    for end in 0..text.len() {
        assert_eq!(text[..end].parse::<Manifest>(), Err(ManifestError::Damaged), "cut at {end}");
    }
}

#[test]
fn another_version_is_said_to_be_one() {
    let body = manifest().to_string().replace("version 1", "version 2");
    let (body, _) = body.split_once("checksum").expect("it has one");
    let text = format!("{body}checksum {:08x}\n", crc32c::crc32c(body.as_bytes()));
    assert_eq!(text.parse::<Manifest>(), Err(ManifestError::Version("shardmq data, version 2".to_owned())));
}

#[test]
fn a_directory_is_made_private_and_is_one_brokers() {
    let scratch = Scratch::new("private");
    let path = scratch.0.join("a/b/data");
    let first = DataDirectory::open(&path).expect("it can be made");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(first.manifest().expect("readable"), None);
    // A lock belongs to the open file: the same process cannot have it twice.
    let said = DataDirectory::open(&path).expect_err("it is taken").to_string();
    assert!(
        said.contains(&format!("process {}", std::process::id())) && said.contains("--data-dir"),
        "{said}"
    );
    assert!(matches!(DataDirectory::existing(&path), Err(DataError::Missing(_))), "nothing is in it yet");
    first.replace_manifest(&manifest()).expect("there is room");
    for name in ["lock", "manifest", "manifest.copy"] {
        let mode = std::fs::metadata(path.join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(matches!(DataDirectory::existing(&path), Err(DataError::InUse(..))));
    drop(first);
    let second = DataDirectory::existing(&path).expect("it is free");
    assert_eq!(second.manifest().expect("readable"), Some(manifest()));
}

#[test]
fn one_good_copy_of_the_manifest_is_enough() {
    let scratch = Scratch::new("copies");
    let data = DataDirectory::open(&scratch.0.join("data")).expect("it can be made");
    data.replace_manifest(&manifest()).expect("there is room");
    let files = ["manifest", "manifest.copy"].map(|name| data.path().join(name));
    for file in &files {
        std::fs::write(file, b"\xff\xfe").expect("it is ours");
        assert_eq!(data.manifest().expect("the other is good"), Some(manifest()));
        std::fs::remove_file(file).expect("it is ours");
        assert_eq!(data.manifest().expect("the other is good"), Some(manifest()));
        data.replace_manifest(&manifest()).expect("there is room");
    }
    // The end came between the two: the newer one counts.
    let newer = Manifest { incarnation: Incarnation(18), ..manifest() };
    std::fs::write(&files[0], newer.to_string()).expect("it is ours");
    assert_eq!(data.manifest().expect("readable"), Some(newer));
    files.iter().for_each(|file| std::fs::write(file, b"x").expect("it is ours"));
    assert!(matches!(data.manifest(), Err(DataError::Manifest(_, ManifestError::Damaged))));
}

#[test]
fn only_other_generations_are_removed() {
    let scratch = Scratch::new("generations");
    let data = DataDirectory::open(&scratch.0.join("data")).expect("it can be made");
    for name in ["1", "2", "3", "quarantine", "mine"] {
        std::fs::create_dir(data.path().join(name)).expect("there is room");
        std::fs::write(data.path().join(name).join("x"), b"x").expect("there is room");
    }
    data.remove_other_generations(2).expect("they are ours");
    let there = |name: &str| data.path().join(name).exists();
    assert_eq!(
        ["1", "2", "3", "quarantine", "mine", "lock"].map(there),
        [false, true, false, true, true, true]
    );
}
