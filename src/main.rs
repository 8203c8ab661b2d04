//! The ShardMQ broker.

mod auth;
mod cli;
mod config;
mod logging;
mod run;
mod signals;
mod tools;

use clap::Parser;
use cli::{Cli, Command, LogCommand};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Run(flags) => run::run(flags),
        Command::CheckConfig { file } => check_config(&file),
        Command::HashPassword(asked) => hash_password(&asked),
        Command::DefaultConfig => {
            print!("{}", config::DEFAULT);
            ExitCode::SUCCESS
        }
        Command::Log(LogCommand::Verify { directory }) => tools::verify(&directory),
        Command::Log(LogCommand::Dump { directory }) => tools::dump(&directory),
        Command::Export { directory } => tools::export(&directory),
        Command::Import { directory } => tools::import(&directory),
        Command::Version => {
            println!("shardmq {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn hash_password(asked: &auth::HashPassword) -> ExitCode {
    match auth::hash_password(asked, std::io::stdin().lock()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("shardmq: {error}");
            ExitCode::FAILURE
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
