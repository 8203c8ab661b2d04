//! The command line.

use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Starts a broker, keeps a ledger of what it acknowledges, kills it at a random moment, starts it again and checks that it has kept
/// its word; again and again. Exit code 1: the broker broke a promise, 2: the run could not be made.
#[derive(Parser, Debug)]
#[command(name = "shardmq-ledger", disable_version_flag = true)]
pub struct Arguments {
    /// Rounds of traffic, cut, start and check
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rounds: u32,
    /// Port at which the broker listens on the loopback address
    #[arg(short, long)]
    pub port: u16,
    /// Seed of all that is random, the moments of the cuts included
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Milliseconds of traffic in a round, at least
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub traffic_ms_min: u64,
    /// Milliseconds of traffic in a round, at most
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub traffic_ms_max: u64,
    /// One round in so many ends with SIGTERM, which has to be answered with exit code 0; 0: none
    #[arg(long, default_value_t = 10)]
    pub stop_one_in: u64,
    /// Instead of SIGKILL: this shell command takes the broker's disk away while traffic goes on, and the broker has to exit with code 1
    #[arg(long, requires = "revive")]
    pub cut: Option<String>,
    /// This shell command brings the disk back
    #[arg(long, requires = "cut")]
    pub revive: Option<String>,
    /// Seconds without anything arriving after which what is due counts as lost
    #[arg(long, default_value = "3", value_parser = parse_seconds)]
    pub stall: Duration,
    /// Also try what ShardMQ has beyond the specification (delayed messages)
    #[arg(long)]
    pub extensions: bool,
    /// File to which the broker's output is appended
    #[arg(long, default_value = "/dev/null")]
    pub broker_log: PathBuf,
    /// One line of JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// No line for every 100 rounds
    #[arg(long)]
    pub quiet: bool,
    /// The broker's command
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
