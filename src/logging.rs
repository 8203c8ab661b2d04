//! The operator's log: lines on standard error, filtered by RUST_LOG or else by the configured level.

use crate::config::LogLevel;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. A RUST_LOG that cannot be read is reported and the configured level used.
pub fn start(level: LogLevel) {
    let configured = || EnvFilter::new(level.directive());
    let (filter, unreadable) = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => match EnvFilter::try_new(&directives) {
            Ok(filter) => (filter, None),
            Err(error) => (configured(), Some(error)),
        },
        _ => (configured(), None),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    if let Some(error) = unreadable {
        tracing::warn!("RUST_LOG is not understood and ignored: {error}");
    }
}
