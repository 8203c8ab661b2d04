//! Every limit of the load generator, each with its unit and its reason.

/// Connections of one run: four times what the descriptors of a tuned machine carry.
pub const CONNECTIONS_MAX: u32 = 4_000_000;
/// Bytes of a payload: below this the stamp (run, publisher, sequence, time) does not fit.
pub const PAYLOAD_BYTES_MIN: u32 = 24;
/// Bytes of a payload: the broker's own default packet limit is 1 MiB, the rest is for the header.
pub const PAYLOAD_BYTES_MAX: u32 = 1_000_000;
/// Messages that one publisher may have in flight: packet ids are 16 bits, half of them keeps old and new apart.
pub const IN_FLIGHT_MAX: u32 = 32_768;
/// Messages outstanding over all publishers of a closed window.
pub const OUTSTANDING_MAX: u32 = 1_000_000;
/// Messages of a run that ends with a count: ten times the million that is usual.
pub const COUNT_MAX: u64 = 10_000_000;
/// Readiness events that a load takes before the pair beside it has its turn again: some 20 µs, which that pair's latencies see.
pub const EVENTS_BESIDE: usize = 16;
/// Bytes of the control pair's messages, whatever the load's are: those of PEERS.md's columns.
pub const CONTROL_PAYLOAD_BYTES: u32 = 64;
/// Bytes that a load publishes before the pair beside it has its turn again: some 20 µs.
pub const POUR_BYTES: usize = 64 * 1024;
/// Bytes that a load reads before the pair beside it has its turn again: some hundred small messages, some 20 µs.
pub const TAKE_BYTES: usize = 8 * 1024;
/// MiB poured towards a stalled subscriber in one round.
pub const POUR_MIB_MAX: u32 = 100_000;
/// Bytes of a stalled subscriber's receive buffer: small, so that its window closes at once on every machine.
pub const STALLED_RECEIVE_BYTES: usize = 16 * 1024;
/// Nanoseconds between two looks at the broker's memory while a load lasts: a look costs some 20 µs.
pub const SAMPLE_NS: u64 = 20_000_000;
/// MiB published to nobody before a memory baseline, so that the broker's receive buffers are in it.
pub const TOUCH_MIB: u32 = 64;
/// Retained messages of one run: five digits for each of a hundred sites.
pub const RETAINED_MAX: u32 = 10_000_000;
/// Bytes of one file of a bare log: what the broker's segments have.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Files that a bare log uses in turn: with two the next one is never the one that was just flushed.
pub const SEGMENTS_PER_LOG: u32 = 2;
/// Bytes that O_DIRECT writes are multiples of and begin at: the physical block of most disks, the page of most machines.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes handed over and not yet durable: a file of a bare log must hold more than one batch.
pub const WRITTEN_AHEAD_MAX: u64 = SEGMENT_BYTES / 4;
/// Bare logs at a time, each with a thread of its own: as many as a large disk has queues.
pub const LOGS_MAX: u32 = 64;
/// Bytes of a bare log's record; at least what tells it from others.
pub const RECORD_BYTES_MAX: u32 = 65_536;
/// Seconds that a broker may take from its start to its first CONNACK: a recovery that takes longer is no figure to publish.
pub const START_LIMIT_SECS: u64 = 120;
/// Milliseconds between two attempts to connect to a broker that starts: so exact is the time to its first CONNACK.
pub const KNOCK_MS: u64 = 2;
/// Rounds of a scenario that alternates calm and load.
pub const ROUNDS_MAX: u32 = 1_000;
/// Messages that a burst publishes in a row: they lie unsent until the broker reads them.
pub const BURST_MESSAGES_MAX: u32 = 10_000;
/// Nanoseconds after which a CONNECT without answer, or a connection that was taken over and is still open, counts as wedged.
pub const TAKEOVER_LIMIT_NS: u64 = 1_000_000_000;
/// Reads of all connections in one sweep: with two clients news runs out after three.
pub const SWEEP_PASSES_MAX: u32 = 16;
/// One in so many connections to a contested session is given up unread: what was in flight then shows only if it comes again.
pub const ABANDON_EVERY: u64 = 8;
/// Session expiry in seconds of the session that is fought for: longer than any run.
pub const CONTESTED_EXPIRY_SECS: u32 = 7_200;
/// Seconds that a run may measure: one hour, then it is a soak test, which needs another report.
pub const SECONDS_MAX: f64 = 3_600.0;
/// Seconds that idle connections are watched: their keep-alive is 300 s and nothing may be due meanwhile.
pub const IDLE_SECONDS_MAX: f64 = 200.0;
/// Keep-alive of every connection in seconds (PEERS.md).
pub const KEEP_ALIVE_SECS: u16 = 300;
/// Nanoseconds between two PINGREQ of a connection: a third of the keep-alive.
pub const PING_INTERVAL_NS: u64 = 100_000_000_000;
/// Filters in one SUBSCRIBE: a few KiB, well under every broker's packet limit.
pub const FILTERS_PER_SUBSCRIBE: usize = 100;
/// Filters of one run over all subscribers.
pub const FILTERS_MAX: u32 = 10_000_000;
/// Descriptors kept for everything that is not a connection (epoll, /proc files, standard streams).
pub const DESCRIPTORS_SPARE: u64 = 32;
/// Readiness events taken per wait: one turn stays well under a millisecond.
pub const EVENTS_PER_WAIT: usize = 1_024;
/// Bytes read from one connection per event: enough for a window of ordinary messages, little enough to stay in the cache.
pub const READ_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a partial packet's buffer that a connection keeps for the next one; larger ones are given back.
pub const PARTIAL_BYTES_KEPT: usize = 512;
/// Bytes that one connection may have unsent: a broker that reads this slowly is at fault.
pub const UNSENT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of one packet from the broker.
pub const PACKET_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Nanoseconds that a finished run listens on for a late duplicate.
pub const LINGER_NS: u64 = 50_000_000;
/// Nanoseconds that one wait lasts at most, so that stalls and phases are noticed.
pub const WAIT_NS_MAX: u64 = 20_000_000;
/// Violations described in full; the others are only counted.
pub const EXAMPLES_MAX: usize = 5;
/// Longest latency that the histogram tells apart, in nanoseconds: one minute.
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Bytes of a message that touches the broker's receive buffers before the idle baseline.
pub const TOUCH_PAYLOAD_BYTES: usize = 16 * 1024;
/// Slack of the kernel's timers in nanoseconds: the default of 50 µs would bunch paced messages.
pub const TIMER_SLACK_NS: u64 = 1_000;
