//! The command line: names and flags that operators' scripts rely on.

use crate::auth::HashPassword;
use crate::config::{Durability, Io, Listener, LogLevel, Settings, ShardCount};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// An MQTT broker for large Linux servers: every core owns a shard.
#[derive(Parser, Debug)]
#[command(name = "shardmq", disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunFlags,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the broker (also without saying `run`)
    Run(RunFlags),
    /// Check a configuration file and say what is wrong with it
    CheckConfig {
        /// The RON file
        file: PathBuf,
    },
    /// Print a user for the configuration file, with the keys of the password that the standard input has in its first line
    HashPassword(HashPassword),
    /// Print the built-in configuration with a comment on every field
    DefaultConfig,
    /// Look at the logs of a data directory that no broker uses
    #[command(subcommand)]
    Log(LogCommand),
    /// Print the sessions, retained and waiting messages of a data directory that no broker uses, as lines of JSON
    Export {
        /// The data directory
        directory: PathBuf,
    },
    /// Make a new data directory of the lines of JSON that the standard input has; payloads are in base64
    Import {
        /// The data directory; it has no data yet
        directory: PathBuf,
    },
    /// Print the version
    Version,
}

/// What to do with the logs.
#[derive(Subcommand, Debug)]
pub enum LogCommand {
    /// Read everything, and say what there is and what is damaged. Exit code 0: clean, 1: damaged, 2: it cannot be read
    Verify {
        /// The data directory
        directory: PathBuf,
    },
    /// Print a line for each record: shard, number, kind, and what it says, payloads by their length
    Dump {
        /// The data directory
        directory: PathBuf,
    },
}

/// What the command line says about a run; it overrides the file.
#[derive(Args, Debug)]
pub struct RunFlags {
    /// Configuration file (RON); without one the built-in defaults apply
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen here instead of on the configured listeners; may be repeated, port 0 takes any free port
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// Shards, one thread each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    shards: Option<u64>,
    /// What the shards wait with
    #[arg(long, value_enum)]
    io: Option<Io>,
    /// Where durable state is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What an acknowledgement promises
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// What is logged; RUST_LOG overrides it
    #[arg(long, value_enum, value_name = "L")]
    log_level: Option<LogLevel>,
}

impl Cli {
    /// What to do; `run` unless something else is said.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

impl RunFlags {
    /// `settings` with what the command line says instead.
    pub fn over(self, mut settings: Settings) -> Settings {
        if !self.listen.is_empty() {
            settings.listeners = self.listen.into_iter().map(Listener::tcp).collect();
        }
        if let Some(shards) = self.shards {
            settings.shards = Some(ShardCount::new(shards));
        }
        settings.io = self.io.unwrap_or(settings.io);
        settings.durability = self.durability.unwrap_or(settings.durability);
        settings.data_dir = self.data_dir.unwrap_or(settings.data_dir);
        settings.log_level = self.log_level.unwrap_or(settings.log_level);
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run_flags(arguments: &[&str]) -> RunFlags {
        let cli = Cli::try_parse_from([&["shardmq"], arguments].concat()).expect("right arguments");
        match cli.into_command() {
            Command::Run(flags) => flags,
            other => panic!("run was meant, got {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_and_its_flags_work_without_naming_it() {
        let flags = ["--listen", "127.0.0.1:0", "--listen", "[::1]:1884", "--shards", "2", "--io", "epoll"];
        let named = run_flags(&[&["run"], &flags[..]].concat()).over(Settings::default());
        assert_eq!(run_flags(&flags).over(Settings::default()), named);
        assert_eq!(named.listeners.len(), 2);
        assert_eq!(named.io, Io::Epoll);
        assert_eq!(run_flags(&[]).over(Settings::default()), Settings::default());
    }

    #[test]
    fn durability_is_what_the_command_line_says() {
        let settings =
            run_flags(&["--durability", "os", "--data-dir", "/elsewhere"]).over(Settings::default());
        assert_eq!((settings.durability, settings.data_dir), (Durability::Os, PathBuf::from("/elsewhere")));
        assert!(Cli::try_parse_from(["shardmq", "--durability", "some"]).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for wrong in [["--shards", "0"], ["--shards", "65"], ["--io", "kqueue"], ["--listen", "1883"]] {
            assert!(Cli::try_parse_from([&["shardmq"], &wrong[..]].concat()).is_err(), "{wrong:?}");
        }
    }
}
