//! What a data directory has: lines of text, with a checksum over them.

use crate::base::lsn::Incarnation;
use crate::base::shard_set::SHARDS_MAX;
use crate::log::SegmentId;
use std::fmt::{self, Write};
use std::str::FromStr;

/// What the first line says.
const TITLE: &str = "shardmq data, version 1";

/// What lies in a data directory, and what its numbers go on from.
///
/// Written before the first record of an incarnation, and whenever other segments are the first that recovery needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Which folder the logs are in. Another number of shards is another generation.
    pub generation: u64,
    /// The newest start of the broker.
    pub incarnation: Incarnation,
    /// Seed of the broker's hash key: retained messages are spread over the shards by it.
    pub hash_seed: u64,
    /// What the checksums of the logs are salted with, so that no payload can pass for a record.
    pub salt: u64,
    /// Of each shard's log, the first segment that recovery needs.
    pub first_segments: Vec<SegmentId>,
}

/// Why a text is no manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestError {
    /// It is one of another version of the program.
    Version(String),
    /// Its checksum does not fit, or it has none.
    Damaged,
    /// There are logs, and no manifest.
    Missing,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::Version(title) => {
                write!(f, "it is of another version (\"{title}\", this program reads \"{TITLE}\")")
            }
            ManifestError::Damaged => f.write_str("it is damaged"),
            ManifestError::Missing => f.write_str("both are missing, and there are logs"),
        }
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Of a new data directory: no start yet.
    pub fn new(shards: usize, hash_seed: u64, salt: u64) -> Manifest {
        let first_segments = vec![SegmentId(1); shards];
        Manifest { generation: 1, incarnation: Incarnation(0), hash_seed, salt, first_segments }
    }

    /// How many logs there are.
    pub fn shards(&self) -> usize {
        self.first_segments.len()
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        writeln!(text, "{TITLE}")?;
        writeln!(text, "generation {}", self.generation)?;
        writeln!(text, "incarnation {}", self.incarnation.0)?;
        writeln!(text, "hash_seed {:016x}", self.hash_seed)?;
        writeln!(text, "salt {:016x}", self.salt)?;
        writeln!(text, "shards {}", self.shards())?;
        for (shard, segment) in self.first_segments.iter().enumerate() {
            writeln!(text, "first_segment {shard} {}", segment.0)?;
        }
        let sum = crc32c::crc32c(text.as_bytes());
        writeln!(f, "{text}checksum {sum:08x}")
    }
}

impl FromStr for Manifest {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Manifest, ManifestError> {
        let (body, sum) = text.rsplit_once("checksum ").ok_or(ManifestError::Damaged)?;
        if sum != format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return Err(ManifestError::Damaged);
        }
        let mut lines = body.lines();
        match lines.next() {
            Some(TITLE) => {}
            title => return Err(ManifestError::Version(title.unwrap_or_default().to_owned())),
        }
        parse(&mut lines).ok_or(ManifestError::Damaged)
    }
}

/// What stands behind `name` in the next line.
fn field<'a>(lines: &mut impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    lines.next()?.strip_prefix(name)?.strip_prefix(' ')
}

fn parse<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<Manifest> {
    let generation = field(lines, "generation")?.parse().ok()?;
    let incarnation = Incarnation(field(lines, "incarnation")?.parse().ok()?);
    let hash_seed = u64::from_str_radix(field(lines, "hash_seed")?, 16).ok()?;
    let salt = u64::from_str_radix(field(lines, "salt")?, 16).ok()?;
    let shards: usize =
        field(lines, "shards")?.parse().ok().filter(|shards| (1..=SHARDS_MAX).contains(shards))?;
    let segment = |lines: &mut _, shard: usize| -> Option<SegmentId> {
        let (number, segment) = field(lines, "first_segment")?.split_once(' ')?;
        (number.parse() == Ok(shard)).then(|| segment.parse().ok().map(SegmentId)).flatten()
    };
    let first_segments = (0..shards).map(|shard| segment(lines, shard)).collect::<Option<_>>()?;
    lines.next().is_none().then_some(Manifest { generation, incarnation, hash_seed, salt, first_segments })
}
