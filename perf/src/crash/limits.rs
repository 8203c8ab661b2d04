//! Every limit of the ledger, each with its unit and its reason.

use std::time::Duration;

/// Messages that one publisher has unacknowledged: below the Receive Maximum that every broker grants by default.
pub const WINDOW_MESSAGES: usize = 16;
/// Messages that a publisher sends in a row: a few fall into one flush, and a window takes several flushes.
pub const BURST_MESSAGES_MAX: u64 = 6;
/// Microseconds between two bursts of a publisher, at most: some thousand messages per second over all of them, so that a round is checked
/// in a fraction of the time that it ran.
pub const BURST_GAP_US_MAX: u64 = 8_000;
/// Bytes of an ordinary payload behind its name.
pub const FILLER_BYTES_MAX: u64 = 200;
/// Bytes of a long one: longer than two of the log's blocks, so that a record crosses them.
pub const FILLER_BYTES_LONG: u64 = 9_000;
/// One payload in so many is long.
pub const LONG_ONE_IN: u64 = 16;
/// Session expiry in seconds of sessions that no run outlives.
pub const EXPIRY_SECS: u32 = 7_200;
/// Keep-alive in seconds: longer than a connection lives here, so that nobody has to ping.
pub const KEEP_ALIVE_SECS: u16 = 300;
/// Bytes of one packet from the broker.
pub const PACKET_BYTES_MAX: usize = 1024 * 1024;
/// Bytes read from a connection at once.
pub const READ_BYTES: usize = 64 * 1024;
/// Milliseconds of a turn without anything to read.
pub const TURN_MS: i64 = 1;
/// Between two attempts to connect to a broker that is not there yet.
pub const RETRY: Duration = Duration::from_millis(2);
/// What a connection waits before it is opened again, at most: the clients do not come in the same order every time.
pub const PAUSE_US_MAX: u64 = 6_000;
/// A start that fails at once is tried again for so long, as a supervisor would: what a killed process had given to the kernel's rings, its
/// listening sockets included, may be freed some milliseconds after its end.
pub const START_AGAIN: Duration = Duration::from_secs(2);
/// From the broker's start to its first CONNACK, or from the cut to its end: later it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Seconds that a will waits which its client lets pass, and that a mayfly's session outlives its connection.
pub const SHORT_SECS: u32 = 1;
/// After so much time with a broker there, something that was due after [`SHORT_SECS`] counts as never coming: a restart must not begin the wait anew.
pub const OVERDUE: Duration = Duration::from_secs(6);
/// Seconds of a will delay that no client lets pass.
pub const LONG_DELAY_SECS: u32 = 120;
/// Faults described in full; the others are only counted.
pub const EXAMPLES_MAX: usize = 12;
/// Of the restarts, one in so many is cut short itself.
pub const CUT_AGAIN_ONE_IN: u64 = 5;
/// Milliseconds from the start of a broker to such a cut, at most.
pub const CUT_AGAIN_MS_MAX: u64 = 80;
/// Offline sessions are drained after one round in so many; their queues live through the others.
pub const DRAIN_ONE_IN: u64 = 3;
