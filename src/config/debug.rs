//! Switches for tests of the broker itself.

use serde::Deserialize;

/// Ways that differ from those a broker should take; every one is safe.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugSettings {
    /// Whether the log is written past the page cache where the file system can.
    pub log_direct: bool,
    /// Whether segments that nobody needs are used again.
    pub log_recycle: bool,
    /// Whether the log is cleaned while the broker runs; without, it grows.
    pub log_clean: bool,
}

impl Default for DebugSettings {
    fn default() -> DebugSettings {
        DebugSettings { log_direct: true, log_recycle: true, log_clean: true }
    }
}
