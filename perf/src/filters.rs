//! The `filters` scenario: very many filters on one client, in time and in the broker's memory.

use crate::broker::Process;
use crate::cli::Shared;
use crate::dial::{Dialer, prepare_process};
use crate::error::BenchError;
use crate::handshake::Client;
use crate::idle::touch;
use crate::limits::{FILTERS_PER_SUBSCRIBE, TOUCH_MIB};
use serde::Serialize;
use std::fmt;
use std::time::Instant;

/// What `filters` found.
#[derive(Debug, Serialize)]
pub struct FiltersReport {
    /// `filters`.
    pub scenario: &'static str,
    /// Protocol version.
    pub mqtt: String,
    /// Filters subscribed to, all different.
    pub filters: u32,
    /// Whether they end in `/#`.
    pub wildcards: bool,
    /// Filters in one SUBSCRIBE; the next one waits for the SUBACK.
    pub per_subscribe: usize,
    /// Seconds from the first SUBSCRIBE to the last SUBACK.
    pub seconds: f64,
    /// Bytes by which the broker's resident memory grew, if its process id was given.
    pub rss_bytes: Option<u64>,
}

impl fmt::Display for FiltersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.wildcards { "ending in /#" } else { "without wildcards" };
        write!(f, "filters: MQTT {}, {} {kind} on one client, ", self.mqtt, self.filters)?;
        write!(f, "{} in each SUBSCRIBE, {:.3} s", self.per_subscribe, self.seconds)?;
        if let Some(bytes) = self.rss_bytes {
            let each = bytes as f64 / f64::from(self.filters);
            write!(f, "\n  broker      {:.1} MB, {each:.0} bytes each", bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}

/// Runs the scenario and reports.
pub fn run(shared: &Shared, filters: u32, wildcards: bool) -> Result<FiltersReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    prepare_process(1, shared.cpu)?;
    let mut dialer = Dialer::new(shared.target()?, shared.ifaddr.clone());
    touch(shared, &mut dialer, TOUCH_MIB)?;
    let tail = if wildcards { "/#" } else { "" };
    let names: Vec<_> = (0..filters).map(|n| format!("{}/site/{n}/temp{tail}", shared.prefix)).collect();
    let name = format!("b{:x}filters", std::process::id());
    let mut client = Client::connect(&mut dialer, name, shared.version, shared.stall)?;
    let baseline = broker.as_ref().map(Process::resident_bytes).transpose()?;
    let began = Instant::now();
    client.subscribe(&names, shared.qos)?;
    let seconds = began.elapsed().as_secs_f64();
    let held = broker.as_ref().map(Process::resident_bytes).transpose()?;
    client.disconnect()?;
    Ok(FiltersReport {
        scenario: "filters",
        mqtt: shared.version.to_string(),
        filters,
        wildcards,
        per_subscribe: FILTERS_PER_SUBSCRIBE,
        seconds,
        rss_bytes: held.zip(baseline).map(|(held, baseline)| held.saturating_sub(baseline)),
    })
}
