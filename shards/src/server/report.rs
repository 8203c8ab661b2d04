//! The statistics line: what all shards have counted, when something changed.

use crate::drivers::board::StatisticsBoard;
use crate::session::DropReason;
use crate::shard::{Counters, Gauges, Statistics};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Reads the boards of all shards.
#[derive(Clone)]
pub(super) struct Reader {
    pub boards: Vec<Arc<StatisticsBoard>>,
    pub started: Instant,
    pub connections_max: u32,
}

impl Reader {
    /// The sum over all shards.
    pub fn read(&self) -> Statistics {
        self.boards.iter().map(|board| board.read()).fold(Statistics::default(), sum)
    }
}

/// Both, field by field.
fn sum(a: Statistics, b: Statistics) -> Statistics {
    fn each<const N: usize>(a: [u64; N], b: [u64; N]) -> [u64; N] {
        std::array::from_fn(|index| a[index] + b[index])
    }
    Statistics {
        counters: Counters::from_array(each(a.counters.to_array(), b.counters.to_array())),
        dropped: each(a.dropped, b.dropped),
        gauges: Gauges::from_array(each(a.gauges.to_array(), b.gauges.to_array())),
    }
}

/// The thread that logs the line. Dropping it ends it.
pub(super) struct Reporter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts it; none when `interval` is zero.
    pub fn spawn(reader: Reader, interval: Duration) -> io::Result<Option<Reporter>> {
        if interval.is_zero() {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let thread = Builder::new().name("shardmq-stats".to_owned()).spawn(move || {
            let mut before = Statistics::default();
            let mut read_at = reader.started;
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let (now, reading) = (Instant::now(), reader.read());
                if reading != before {
                    let line = Line {
                        reading: &reading,
                        before: &before,
                        since: now - read_at,
                        uptime: now - reader.started,
                        connections_max: reader.connections_max,
                    };
                    tracing::info!("statistics {line}");
                    before = reading;
                }
                read_at = now;
            }
        })?;
        Ok(Some(Reporter { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it only reads and logs");
        }
    }
}

/// One line: `name=value` pairs, for eyes and scripts.
struct Line<'a> {
    reading: &'a Statistics,
    before: &'a Statistics,
    since: Duration,
    uptime: Duration,
    connections_max: u32,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counters, gauges) = (&self.reading.counters, &self.reading.gauges);
        let earlier = &self.before.counters;
        let seconds = self.since.as_secs_f64().max(0.001);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        write!(
            f,
            "uptime_s={} connections={}/{} messages_in={} messages_in_per_s={:.1} messages_out={} \
             messages_out_per_s={:.1} bytes_in={} bytes_out={}",
            self.uptime.as_secs(),
            gauges.connections,
            self.connections_max,
            counters.messages_in,
            rate(counters.messages_in, earlier.messages_in),
            counters.messages_out,
            rate(counters.messages_out, earlier.messages_out),
            counters.bytes_in,
            counters.bytes_out,
        )?;
        let lookups = gauges.cache_hits + gauges.cache_misses;
        let hits = 100.0 * gauges.cache_hits as f64 / lookups.max(1) as f64;
        write!(
            f,
            " match_cache_hits={hits:.1}% offline_sessions={} retained={} retained_bytes={} retained_refused={} \
             across_shards={} dropped={}",
            gauges.offline_sessions,
            gauges.retained,
            gauges.retained_bytes,
            counters.retained_refused,
            counters.remote_in,
            self.reading.dropped_total(),
        )?;
        for reason in DropReason::ALL {
            let dropped = self.reading.dropped[reason as usize];
            if dropped > 0 {
                write!(f, " dropped_{}={dropped}", reason.name())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_rates_since_the_last_and_drops_by_reason() {
        let before = Statistics::default();
        let mut reading = before;
        reading.counters.messages_in = 50;
        reading.counters.messages_out = 5;
        reading.dropped[0] = 3;
        reading.gauges.connections = 7;
        reading.gauges.retained = 11;
        reading.gauges.retained_bytes = 1_300;
        reading.counters.retained_refused = 2;
        reading.gauges.cache_hits = 3;
        reading.gauges.cache_misses = 1;
        let line = Line {
            reading: &reading,
            before: &before,
            since: Duration::from_secs(2),
            uptime: Duration::from_millis(9_900),
            connections_max: 10,
        }
        .to_string();
        let reason = DropReason::ALL[0].name();
        for part in [
            "uptime_s=9 ",
            "connections=7/10 ",
            "messages_in=50 messages_in_per_s=25.0 ",
            "messages_out=5 messages_out_per_s=2.5 ",
            "match_cache_hits=75.0% ",
            "retained=11 retained_bytes=1300 retained_refused=2 ",
            &format!("dropped=3 dropped_{reason}=3"),
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
