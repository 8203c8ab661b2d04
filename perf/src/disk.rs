//! The `disk` scenario: bare logs, each of one thread that writes and flushes batch after batch. What a group commit could reach here, and
//! how many logs, which calls and which files serve it best.

use crate::cli::{FileApi, Segments, Shared, outstanding, rounds};
use crate::control::median;
use crate::dial::prepare_process;
use crate::error::BenchError;
use crate::limits::{LOGS_MAX, RECORD_BYTES_MAX, SEGMENT_BYTES, WRITTEN_AHEAD_MAX};
use crate::segment::{BareLog, Batches, MARK_BYTES, Written, bytes_per_record, paths};
use clap::Args;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

/// What the scenario's own flags say; lists are combined each with each.
#[derive(Args, Clone, Debug)]
pub struct DiskPlan {
    /// Where the files go; those of the run are removed at its end
    #[arg(long = "dir")]
    pub directory: PathBuf,
    /// Logs at a time, each with a thread and files of its own
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u32).range(1..=LOGS_MAX as i64))]
    pub logs: Vec<u32>,
    /// Records handed over and not yet durable, over all logs: a batch is its log's share of them
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000", value_parser = outstanding())]
    pub outstanding: Vec<u32>,
    /// Bytes of a record
    #[arg(long = "record", value_delimiter = ',', default_value = "256", value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=RECORD_BYTES_MAX as i64))]
    pub record_bytes: Vec<u32>,
    /// How a batch is made durable
    #[arg(long = "api", value_delimiter = ',', default_value = "dsync,direct,buffered")]
    pub apis: Vec<FileApi>,
    /// What the files hold before
    #[arg(long, value_delimiter = ',', default_value = "recycled,fresh")]
    pub segments: Vec<Segments>,
    /// Turns of each combination, one after the other
    #[arg(long, default_value_t = 3, value_parser = rounds())]
    pub rounds: u32,
    /// The files stay
    #[arg(long)]
    pub keep: bool,
}

/// One combination.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Variant {
    /// How batches are written.
    pub api: FileApi,
    /// What the files hold before.
    pub segments: Segments,
    /// Bytes of a record.
    pub record_bytes: u32,
    /// Logs, each with a thread and files of its own.
    pub logs: u32,
    /// Records handed over and not yet durable, over all logs.
    pub outstanding: u32,
}

/// One turn of a variant.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Turn {
    /// Records made durable.
    pub records: u64,
    /// The same, per second.
    pub records_per_second: f64,
    /// Flushes per second, over all logs.
    pub flushes_per_second: f64,
    /// Median time of a flush in microseconds, the write included.
    pub flush_p50_us: f64,
    /// 99 of 100 flushes took at most this.
    pub flush_p99_us: f64,
    /// CPU time of this process for a flush in microseconds; the kernel's own threads are not in it.
    pub cpu_us_per_flush: f64,
}

/// What was found of one variant: medians over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DiskCell {
    /// Which one.
    #[serde(flatten)]
    pub variant: Variant,
    /// Bytes on disk for each record, padding included.
    pub bytes_per_record: f64,
    /// Medians, but for the records, which are those of the last round.
    #[serde(flatten)]
    pub turn: Turn,
}

/// What `disk` found.
#[derive(Debug, Serialize)]
pub struct DiskReport {
    /// `disk`.
    pub scenario: &'static str,
    /// Device and type of the file system.
    pub file_system: String,
    /// Seconds of each turn.
    pub seconds: f64,
    /// Turns of each variant.
    pub rounds: u32,
    /// Each variant.
    pub cells: Vec<DiskCell>,
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, plan: &DiskPlan) -> Result<DiskReport, BenchError> {
    prepare_process(0, shared.cpu)?; // the logs' threads inherit the CPU
    let variants = variants(plan)?;
    let system = |error| BenchError::system(format!("creating {}", plan.directory.display()), error);
    fs::create_dir_all(&plan.directory).map_err(system)?;
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); variants.len()];
    for _ in 0..plan.rounds {
        for (variant, turns) in variants.iter().zip(&mut turns) {
            turns.push(turn(&plan.directory, *variant, shared.seconds)?);
        }
    }
    let file_system = file_system(&plan.directory);
    if !plan.keep {
        remove_files(&plan.directory, &variants);
    }
    Ok(DiskReport {
        scenario: "disk",
        file_system,
        seconds: shared.seconds.as_secs_f64(),
        rounds: plan.rounds,
        cells: variants
            .into_iter()
            .zip(&turns)
            .map(|(variant, turns)| DiskCell::of(variant, turns))
            .collect(),
    })
}

/// Every combination; those that differ only in the number of logs stand next to each other.
fn variants(plan: &DiskPlan) -> Result<Vec<Variant>, BenchError> {
    let mut variants = Vec::new();
    for &record_bytes in &plan.record_bytes {
        for &outstanding in &plan.outstanding {
            if u64::from(record_bytes) * u64::from(outstanding) > WRITTEN_AHEAD_MAX {
                let text = format!(
                    "{outstanding} records of {record_bytes} bytes are no batch for a file of {SEGMENT_BYTES}"
                );
                return Err(BenchError::Usage(text));
            }
            for &segments in &plan.segments {
                for &api in &plan.apis {
                    let of = |&logs| Variant { api, segments, record_bytes, logs, outstanding };
                    variants.extend(plan.logs.iter().map(of));
                }
            }
        }
    }
    debug_assert!(variants.iter().all(|variant| variant.record_bytes as usize >= MARK_BYTES));
    Ok(variants)
}

/// One turn of `variant` under `directory`: its logs start together and each runs for `limit`.
pub fn turn(directory: &Path, variant: Variant, limit: Duration) -> Result<Turn, BenchError> {
    let Variant { api, segments, record_bytes, logs, outstanding } = variant;
    let open = |log| {
        // What does not divide goes to the first logs; with fewer records than logs the last ones have nothing to do.
        let records = outstanding / logs + u32::from(log < outstanding % logs);
        let batches = Batches { records, record_bytes, api, segments };
        (records > 0).then(|| BareLog::open(directory, log, batches))
    };
    let open = (0..logs).filter_map(open).collect::<Result<Vec<BareLog>, BenchError>>()?;
    let (began, cpu) = (Instant::now(), cpu_ns());
    let written = thread::scope(|scope| {
        let running: Vec<_> = open.into_iter().map(|log| scope.spawn(move || log.run(limit))).collect();
        let join = |log: thread::ScopedJoinHandle<'_, Result<Written, BenchError>>| {
            log.join().expect("a log has no reason to panic")
        };
        running.into_iter().map(join).collect::<Result<Vec<Written>, BenchError>>()
    })?;
    let (seconds, cpu_ns) = (began.elapsed().as_secs_f64(), cpu_ns() - cpu);
    let mut flush = Histogram::<u64>::new(3).expect("three digits are allowed");
    written.iter().for_each(|log| flush.add(&log.flush).expect("a histogram that grows takes all"));
    let records: u64 = written.iter().map(|log| log.records).sum();
    let micros = |quantile| flush.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Turn {
        records,
        records_per_second: records as f64 / seconds,
        flushes_per_second: flush.len() as f64 / seconds,
        flush_p50_us: micros(0.5),
        flush_p99_us: micros(0.99),
        cpu_us_per_flush: cpu_ns as f64 / 1e3 / flush.len().max(1) as f64,
    })
}

impl DiskCell {
    fn of(variant: Variant, turns: &[Turn]) -> DiskCell {
        let median = |value: fn(&Turn) -> f64| median(turns.iter().map(value).collect());
        let Variant { api, segments, record_bytes, logs, outstanding } = variant;
        let batch = Batches { records: (outstanding / logs).max(1), record_bytes, api, segments };
        DiskCell {
            variant,
            bytes_per_record: bytes_per_record(batch),
            turn: Turn {
                records: turns.last().map_or(0, |turn| turn.records),
                records_per_second: median(|turn| turn.records_per_second),
                flushes_per_second: median(|turn| turn.flushes_per_second),
                flush_p50_us: median(|turn| turn.flush_p50_us),
                flush_p99_us: median(|turn| turn.flush_p99_us),
                cpu_us_per_flush: median(|turn| turn.cpu_us_per_flush),
            },
        }
    }
}

/// CPU time of this process so far, in nanoseconds.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Removes what the run has written; the directory stays, it may have been there before.
pub fn remove_files(directory: &Path, variants: &[Variant]) {
    for variant in variants {
        for path in (0..variant.logs).flat_map(|log| paths(directory, log, variant.segments)) {
            let _ = fs::remove_file(path); // variants share files: another one may have had it
        }
    }
}

/// Device and type of the file system that holds `directory`.
fn file_system(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut fields = mounts.lines().map(|line| line.split(' ').take(3).collect::<Vec<_>>());
    let deepest = fields.by_ref().filter(|mount| mount.len() == 3 && directory.starts_with(mount[1]));
    let deepest = deepest.max_by_key(|mount| mount[1].len());
    deepest.map_or("unknown".into(), |mount| format!("{} ({})", mount[0], mount[2]))
}

impl fmt::Display for DiskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DiskReport { file_system, seconds, rounds, cells, .. } = self;
        writeln!(f, "disk: {file_system}, medians of {rounds} rounds of {seconds:.2} s")?;
        write!(f, "api       segments  record  logs  in flight   records/s  flushes/s   p50 µs   p99 µs")?;
        write!(f, "  CPU µs  bytes/record")?;
        for cell in cells {
            let Variant { api, segments, record_bytes, logs, outstanding } = cell.variant;
            write!(f, "\n{api:<9} {segments:<9} {record_bytes:>6} {logs:>5} {outstanding:>10}")?;
            let turn = &cell.turn;
            write!(f, " {:>11.0} {:>10.0}", turn.records_per_second, turn.flushes_per_second)?;
            write!(f, " {:>8.0} {:>8.0}", turn.flush_p50_us, turn.flush_p99_us)?;
            write!(f, " {:>7.1} {:>13.0}", turn.cpu_us_per_flush, cell.bytes_per_record)?;
        }
        Ok(())
    }
}
