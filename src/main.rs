//! The ShardMQ broker.

mod cli;
mod config;
mod logging;
mod run;
mod signals;

use clap::Parser;
use cli::{Cli, Command};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Run(flags) => run::run(flags),
        Command::CheckConfig { file } => check_config(&file),
        Command::DefaultConfig => {
            print!("{}", config::DEFAULT);
            ExitCode::SUCCESS
        }
        Command::Version => {
            println!("shardmq {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn check_config(file: &Path) -> ExitCode {
    match config::load(file).and_then(|settings| config::check(&settings)) {
        Ok(()) => {
            println!("{}: right", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("shardmq: {error}");
            ExitCode::FAILURE
        }
    }
}
