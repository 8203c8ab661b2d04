//! The command line: one subcommand per scenario, the flags that all of them share.

use crate::cleaning::CleaningPlan;
use crate::disk::DiskPlan;
use crate::error::BenchError;
use crate::limits::{
    BURST_MESSAGES_MAX, CONNECTIONS_MAX, COUNT_MAX, FILTERS_MAX, IDLE_SECONDS_MAX, IN_FLIGHT_MAX,
    OUTSTANDING_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, POUR_MIB_MAX, RETAINED_MAX, ROUNDS_MAX,
    SECONDS_MAX, TOUCH_MIB,
};
use crate::recover::RecoverPlan;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use shardmq_shards::wire::{QoS, Version};
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Load generator for MQTT brokers: measures what a message costs the broker and checks every one of them for loss,
/// duplication and order. Exit code 1: the broker failed the check, 2: the run could not be made.
#[derive(Parser, Debug)]
#[command(name = "shardmq-bench", disable_version_flag = true)]
pub struct Arguments {
    /// What all scenarios share.
    #[command(flatten)]
    pub shared: Shared,
    /// What to run.
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// Flags of every scenario; they may stand before or after its name.
#[derive(Args, Debug, Clone)]
pub struct Shared {
    /// Broker's host; anything off loopback needs --allow-remote
    #[arg(long, default_value = "127.0.0.1", global = true)]
    pub host: String,
    /// Broker's port
    #[arg(short, long, default_value_t = 1883, global = true)]
    pub port: u16,
    /// Load a broker on another machine
    #[arg(long, global = true)]
    pub allow_remote: bool,
    /// Source addresses, used in turn; each carries some 28,000 connections
    #[arg(long, value_delimiter = ',', global = true)]
    pub ifaddr: Vec<IpAddr>,
    /// MQTT version: 3 (3.1), 4 (3.1.1) or 5
    #[arg(short = 'V', long = "mqtt-version", default_value = "4", value_parser = parse_version, global = true)]
    pub version: Version,
    /// QoS of publishers and subscribers
    #[arg(short, long, default_value = "0", value_parser = parse_qos, global = true)]
    pub qos: QoS,
    /// Payload bytes
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(PAYLOAD_BYTES_MIN as i64..=PAYLOAD_BYTES_MAX as i64), global = true)]
    pub size: u32,
    /// Messages that one publisher may have in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX as i64), global = true)]
    pub in_flight: u32,
    /// Seconds of traffic before the measurement
    #[arg(long, default_value = "0.7", value_parser = parse_seconds, global = true)]
    pub warmup: Duration,
    /// Seconds measured
    #[arg(long, default_value = "3", value_parser = parse_seconds, global = true)]
    pub seconds: Duration,
    /// Seconds without any delivery after which what is outstanding counts as lost; also the limit of each reply
    #[arg(long, default_value = "5", value_parser = parse_seconds, global = true)]
    pub stall: Duration,
    /// First level of every topic, so that two generators can share a broker
    #[arg(long, default_value = "bench", global = true)]
    pub prefix: String,
    /// Pin the generator to this CPU
    #[arg(long, global = true)]
    pub cpu: Option<usize>,
    /// Never sleep: keeps the generator's own wake-ups out of the latencies, and out of the broker's CPU time (waking a
    /// halted CPU is charged to who writes). Wants a CPU of its own; conn and idle do not use it
    #[arg(long, global = true)]
    pub spin: bool,
    /// Process id of the broker: reports its CPU time and memory
    #[arg(long, global = true)]
    pub broker_pid: Option<u32>,
    /// One line of JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// The scenarios behind PEERS.md's columns, and those that look at one promise each.
#[derive(Subcommand, Debug, Clone)]
pub enum Scenario {
    /// Publishers, each to one subscriber of its own topic
    Pair {
        /// Publishers, and as many subscribers
        #[arg(long, default_value_t = 100, value_parser = connections())]
        pairs: u32,
        /// Messages published and not yet received, over all pairs
        #[arg(long, default_value_t = 800, value_parser = outstanding())]
        outstanding: u32,
        /// Messages per second over all pairs, whatever the broker does, instead of the closed window
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000), conflicts_with = "outstanding")]
        rate: Option<u32>,
        /// Messages over all pairs, instead of --warmup and --seconds
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX), conflicts_with = "rate")]
        count: Option<u64>,
    },
    /// One publisher, many subscribers of one topic
    Fanout {
        /// Subscribers
        #[arg(long, default_value_t = 500, value_parser = connections())]
        subscribers: u32,
        /// Messages published and not yet received by all
        #[arg(long, default_value_t = 20, value_parser = outstanding())]
        outstanding: u32,
    },
    /// Many publishers, one subscriber of all
    Fanin {
        /// Publishers
        #[arg(long, default_value_t = 200, value_parser = connections())]
        publishers: u32,
        /// Messages published and not yet received
        #[arg(long, default_value_t = 800, value_parser = outstanding())]
        outstanding: u32,
    },
    /// Pairs through one wildcard filter each, among many others that do not match
    Wildcard {
        /// Publishers, and as many subscribers
        #[arg(long, default_value_t = 100, value_parser = connections())]
        pairs: u32,
        /// Further filters, spread over the subscribers
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(0..=FILTERS_MAX as i64))]
        filters: u32,
        /// Messages published and not yet received, over all pairs
        #[arg(long, default_value_t = 800, value_parser = outstanding())]
        outstanding: u32,
    },
    /// CONNECT, CONNACK, DISCONNECT, closed; again and again
    Conn {
        /// Connections at a time
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        parallel: u32,
    },
    /// Connections that do nothing: memory of each, CPU over --seconds
    Idle {
        /// Connections
        #[arg(long, default_value_t = 10_000, value_parser = connections())]
        connections: u32,
        /// Each subscribes to one exact filter of its own
        #[arg(long)]
        own_filter: bool,
        /// Seconds between the last connection and the measurement
        #[arg(long, default_value = "1", value_parser = parse_seconds)]
        settle: Duration,
        /// MiB published to nobody before the baseline, so that the broker's receive buffers are in it
        #[arg(long, default_value_t = TOUCH_MIB, value_parser = clap::value_parser!(u32).range(0..=4_096))]
        touch_mib: u32,
    },
    /// Two clients take one session from each other as fast as they can, for --seconds, while QoS 1 is published to it
    Takeover {
        /// Each connects again as soon as it is connected, without waiting to lose its place: two CONNECTs at any time
        #[arg(long)]
        race: bool,
    },
    /// A subscriber that stops reading, and what a paced pair beside it sees of that
    Stall {
        /// MiB published to it in each round
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=POUR_MIB_MAX as i64))]
        mib: u32,
        /// MiB per second; without it as fast as the broker reads
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=POUR_MIB_MAX as i64))]
        mib_per_second: Option<u32>,
        /// The subscriber reads after all: what the same load does without a stall
        #[arg(long)]
        reading: bool,
        /// Rounds of --seconds without and then the load
        #[arg(long, default_value_t = 5, value_parser = rounds())]
        rounds: u32,
        /// Messages per second of the pair beside it
        #[arg(long, default_value_t = 2_000, value_parser = control_rate())]
        control_rate: u32,
    },
    /// Messages to very many subscribers at once, and what a paced pair beside them sees of that
    Burst {
        /// Subscribers
        #[arg(long, default_value_t = 15_000, value_parser = connections())]
        subscribers: u32,
        /// Messages in a row
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=BURST_MESSAGES_MAX as i64))]
        messages: u32,
        /// Rounds of --seconds without and then the burst
        #[arg(long, default_value_t = 5, value_parser = rounds())]
        rounds: u32,
        /// Messages per second of the pair beside it
        #[arg(long, default_value_t = 2_000, value_parser = control_rate())]
        control_rate: u32,
    },
    /// Very many filters on one client: how long its SUBSCRIBEs take, what they cost the broker in memory
    Filters {
        /// Filters
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=FILTERS_MAX as i64))]
        filters: u32,
        /// Each ends in `/#`
        #[arg(long)]
        wildcards: bool,
    },
    /// Very many retained messages: their memory, how soon a subscriber of all has them, and what a paced pair sees of that
    Retained {
        /// Retained messages, each on a topic of its own
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=RETAINED_MAX as i64))]
        messages: u32,
        /// Rounds of --seconds without and then the subscriber
        #[arg(long, default_value_t = 5, value_parser = rounds())]
        rounds: u32,
        /// Messages per second of the pair beside it
        #[arg(long, default_value_t = 2_000, value_parser = control_rate())]
        control_rate: u32,
    },
    /// Publishers to durable sessions that are offline: acknowledged messages per second, and whether all of them were kept. QoS 1, or -q 2
    Durable {
        /// Publishers, each to a session of its own
        #[arg(long, default_value_t = 10, value_parser = connections())]
        publishers: u32,
        /// Messages published and not yet acknowledged, over all publishers
        #[arg(long, default_value_t = 1_000, value_parser = outstanding())]
        outstanding: u32,
    },
    /// Starts a broker, fills it with durable sessions and messages, kills it, starts it again: how soon it answers, whether all is there
    Recover(RecoverPlan),
    /// Durable sessions that keep what they have, and traffic through others as fast as it goes: what a paced pair beside them sees of the broker's log
    Cleaning(CleaningPlan),
    /// Bare logs without a broker: batches written and flushed one after the other, for --seconds each. Lists are combined
    Disk(DiskPlan),
}

/// How a bare log makes a batch durable.
#[derive(clap::ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum FileApi {
    /// O_DIRECT and O_DSYNC: the write returns when it is durable
    Dsync,
    /// O_DIRECT, then fdatasync
    Direct,
    /// Through the page cache, then fdatasync
    Buffered,
    /// The same without padding: a batch begins where the last one ended
    Packed,
}

/// What a bare log's files hold before it writes.
#[derive(clap::ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Segments {
    /// Written before
    Recycled,
    /// Allocated, not written; allocated anew when the turn comes to them again
    Fresh,
}

impl fmt::Display for FileApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FileApi::Dsync => "dsync",
            FileApi::Direct => "direct",
            FileApi::Buffered => "buffered",
            FileApi::Packed => "packed",
        })
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Segments::Recycled => "recycled",
            Segments::Fresh => "fresh",
        })
    }
}

/// The values that such an option may have.
pub fn rounds() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=ROUNDS_MAX as i64)
}

/// The values that such an option may have.
pub fn control_rate() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(100..=100_000)
}

/// The values that such an option may have.
pub fn connections() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64)
}

/// The values that such an option may have.
pub fn outstanding() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=OUTSTANDING_MAX as i64)
}

fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "3" => Ok(Version::V31),
        "4" => Ok(Version::V311),
        "5" => Ok(Version::V5),
        _ => Err("3 (MQTT 3.1), 4 (3.1.1) or 5".into()),
    }
}

fn parse_qos(text: &str) -> Result<QoS, String> {
    text.parse::<u8>().ok().and_then(QoS::from_bits).ok_or_else(|| "0, 1 or 2".into())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds".to_string())?;
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err(format!("0 to {SECONDS_MAX} seconds"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

impl Shared {
    /// The broker's address, refused when it is not loopback and nobody said so.
    pub fn target(&self) -> Result<SocketAddr, BenchError> {
        let mut resolved = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| BenchError::system(format!("resolving {}", self.host), error))?;
        let target =
            resolved.next().ok_or_else(|| BenchError::Usage(format!("{} has no address", self.host)))?;
        if !target.ip().is_loopback() && !self.allow_remote {
            return Err(BenchError::NotLoopback(target));
        }
        if let Some(source) = self.ifaddr.iter().find(|source| source.is_ipv4() != target.is_ipv4()) {
            return Err(BenchError::Usage(format!("--ifaddr {source} cannot reach {target}")));
        }
        Ok(target)
    }

    /// Refuses an idle watch that would run into its keep-alive.
    pub fn check_idle(&self) -> Result<(), BenchError> {
        if self.seconds.as_secs_f64() > IDLE_SECONDS_MAX {
            let text =
                format!("idle watches at most {IDLE_SECONDS_MAX} s: later the first keep-alive is due");
            return Err(BenchError::Usage(text));
        }
        Ok(())
    }
}
