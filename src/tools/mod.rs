//! What is done with a data directory while no broker uses it: look at it, and carry what it has elsewhere.

mod describe;
mod lines;
mod message_line;
#[cfg(test)]
mod tests;

use describe::{Described, Number};
use lines::{Importer, Line, lines_of};
use shardmq_shards::log::{ScanReport, ShardImage};
use shardmq_shards::server::stored::{StoredData, create};
use std::fmt;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

/// What `log verify` says with its exit code besides 0: something that was committed cannot be read.
const DAMAGED: u8 = 1;
/// It could not be looked at.
const FAILED: u8 = 2;

fn failed(error: &dyn fmt::Display) -> ExitCode {
    eprintln!("shardmq: {error}");
    ExitCode::from(FAILED)
}

/// `shardmq log verify`: how each log stands, and what they have together.
pub fn verify(directory: &Path) -> ExitCode {
    let read = StoredData::open(directory).and_then(|data| data.read());
    let (images, reports) = match read {
        Ok(read) => read,
        Err(error) => return failed(&error),
    };
    let mut damaged = false;
    for (shard, (image, report)) in images.iter().zip(&reports).enumerate() {
        damaged |= tell(shard, image, report);
    }
    let sum = |count: fn(&ShardImage) -> usize| images.iter().map(count).sum::<usize>();
    println!(
        "{} sessions, {} messages queued for them, {} retained messages, {} waiting, {} on their way between shards",
        sum(|image| image.sessions.len()),
        sum(|image| image.sessions.values().map(|session| session.copies.len()).sum()),
        sum(|image| image.retained.len()),
        sum(|image| image.parked.len() + image.open.len()),
        sum(|image| image.outbox.len()),
    );
    println!("{}", if damaged { "damaged" } else { "clean" });
    if damaged { ExitCode::from(DAMAGED) } else { ExitCode::SUCCESS }
}

/// Says how a log stands; returns whether something of it is lost.
fn tell(shard: usize, image: &ShardImage, report: &ScanReport) -> bool {
    let end = if report.stopped { ", stopped in order" } else { "" };
    println!(
        "shard {shard}: {} records, {} bytes, in {} segments{end}",
        report.records,
        report.record_bytes,
        report.held.len()
    );
    if let Some(torn) = report.torn {
        println!("shard {shard}: {torn}");
    }
    for damage in &report.damage {
        println!("shard {shard}: damage: {damage}");
    }
    for (first, last) in &report.missing {
        println!("shard {shard}: damage: records {} to {} are missing", Number(*first), Number(*last));
    }
    let lost = image.oddities;
    if lost.bodiless > 0 {
        println!("shard {shard}: damage: {} copies whose message is nowhere", lost.bodiless);
    }
    if lost.superseded > 0 {
        println!("shard {shard}: damage: {} sessions whose client has a later one", lost.superseded);
    }
    !report.is_clean() || lost.bodiless > 0 || lost.superseded > 0
}

/// `shardmq log dump`: a line for each record.
pub fn dump(directory: &Path) -> ExitCode {
    let data = match StoredData::open(directory) {
        Ok(data) => data,
        Err(error) => return failed(&error),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    for shard in data.shards() {
        let scanned = data.scan(shard, &mut |lsn, record| {
            if written.is_ok() {
                written = writeln!(out, "{shard} {} {}", Number(lsn), Described(&record));
            }
        });
        if let Err(error) = scanned {
            return failed(&error);
        }
    }
    end_of_output(written.and_then(|()| out.flush()))
}

/// Whoever reads may stop before the end (`| head`): that is no failure.
fn end_of_output(written: io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// `shardmq export`: sessions, retained and waiting messages as lines of JSON.
pub fn export(directory: &Path) -> ExitCode {
    let read = StoredData::open(directory).and_then(|data| data.read_as_one());
    let (image, reports) = match read {
        Ok(read) => read,
        Err(error) => return failed(&error),
    };
    if reports.iter().any(|report| !report.is_clean()) {
        eprintln!("shardmq: there is damage (see `shardmq log verify`); what is whole is exported");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut lines = lines_of(&image).map(|line| {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")
    });
    let written = lines.try_for_each(|line| line);
    drop(lines);
    end_of_output(written.and_then(|()| out.flush()))
}

/// `shardmq import`: a new data directory of what `export` wrote, from the standard input.
pub fn import(directory: &Path) -> ExitCode {
    let image = match read_lines(io::stdin().lock()) {
        Ok(image) => image,
        Err(error) => return failed(&error),
    };
    let random = || getrandom::u64().map_err(|error| failed(&format!("no random bytes: {error}")));
    let random = match (random(), random()) {
        (Ok(hash_seed), Ok(salt)) => [hash_seed, salt],
        (Err(code), _) | (_, Err(code)) => return code,
    };
    match create(directory, &image, random) {
        Ok(()) => {
            let (sessions, retained) = (image.sessions.len(), image.retained.len());
            println!("{}: {sessions} sessions, {retained} retained messages", directory.display());
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn read_lines(input: impl BufRead) -> Result<ShardImage, String> {
    let mut importer = None;
    for (index, line) in input.lines().enumerate() {
        let wrong = |error: &dyn fmt::Display| format!("line {}: {error}", index + 1);
        let line = line.map_err(|error| wrong(&error))?;
        let line: Line = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
        match (&mut importer, &line) {
            (None, Line::ShardmqExport(lines::VERSION)) => importer = Some(Importer::default()),
            (None, _) => return Err(wrong(&"this is no export of a version that this program reads")),
            (Some(importer), line) => importer.take(line).map_err(|error| wrong(&error))?,
        }
    }
    importer.map(Importer::finish).ok_or_else(|| "the input is empty".to_owned())
}
