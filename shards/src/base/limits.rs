//! Every limit in one place, each with its unit and its reason.
//!
//! Constants are properties of the protocol or of the design; the fields of [`Limits`] are an operator's to set.

use std::time::Duration;

/// Bytes of a topic name or filter (DESIGN.md section 8). The protocol's own bound is 65,535; longer ones are only ever attacks.
pub const TOPIC_BYTES_MAX: usize = 4096;
/// Levels of a topic name or filter: bounds the work and the stack of one match.
pub const TOPIC_LEVELS_MAX: usize = 128;
/// Seconds that a message may be delayed: EMQX's bound, 49 days.
pub const DELAY_SECONDS_MAX: u32 = 4_294_967;
/// Exclusive subscriptions that one SUBSCRIBE may ask for: one batch to the coordinator.
pub const EXCLUSIVE_PER_SUBSCRIBE_MAX: usize = CLAIM_BATCH_MAX;
/// Subscriptions that every client gets at CONNECT: a CONNECT's work is bounded by it.
pub const AUTO_SUBSCRIPTIONS_MAX: usize = 64;
/// Topic rewriting rules: each is looked at for every topic, filter by filter, until one covers it.
pub const REWRITE_RULES_MAX: usize = 256;
/// Bytes of the compiled pattern of one rewriting rule, and of its scratch memory on each shard.
pub const REWRITE_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Bytes of user properties in one packet: they are carried for the client, not used by the broker.
pub const USER_PROPERTIES_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a client identifier. The protocol allows 65,535; the directory keeps every one of them in memory.
pub const CLIENT_ID_BYTES_MAX: usize = 1024;
/// Bytes of a packet that the protocol can express: remaining length 268,435,455 and its five-byte header.
pub const PACKET_BYTES_PROTOCOL_MAX: usize = 268_435_460;
/// Bytes of its file system that the log leaves to others, unless a tenth of it is less or the operator says otherwise (DESIGN.md section 8).
pub const DISK_WATERMARK_BYTES_MAX: u64 = 1 << 30;
/// One part in so many of a file system that the log leaves to others, where that is less.
pub const DISK_WATERMARK_SHARE: u64 = 10;
/// Span between two questions to a disk that had no room: the least that an operator notices.
pub const DISK_RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a log may take to be on disk at an orderly stop: a disk that hangs must not hold the process.
pub const LOG_STOP_MAX: Duration = Duration::from_secs(3);
/// Segments of a log that are made below the watermark too: the one that is written, and those ahead for records that free space.
pub const RESERVE_SEGMENTS: usize = 1 + LOG_SPARE_SEGMENTS;
/// Segments that a log keeps to use again: a round of cleaning frees one at a time, unless the log is large. More go back to the file system, but for
/// what a start makes ready at once.
pub const RETIRED_SEGMENTS_KEPT: usize = 1;
/// The largest variable byte integer (MQTT 5 section 1.5.5): four bytes of seven bits.
pub const VARIABLE_INTEGER_MAX: u32 = 268_435_455;
/// Bytes of a variable byte integer (MQTT 5 section 1.5.5).
pub const VARIABLE_INTEGER_BYTES_MAX: usize = 4;
/// Wildcard shapes that one PUBLISH may have to probe; interest past it is widened to a shorter prefix with `#` (DESIGN.md section 5).
pub const WILDCARD_SHAPES_MAX: usize = 64;
/// Literal levels that a filter keeps when nothing narrower than a prefix and `#` can stand for it. The shapes for it (one more, for none) are
/// reserved within [`WILDCARD_SHAPES_MAX`].
pub const WIDENED_PREFIX_LEVELS_MAX: usize = 3;
/// New wildcard shapes that a shard may always have under way to its peers, however many shards there are: what the shards do not see of each other,
/// and so may exceed [`WILDCARD_SHAPES_MAX`] by, is this or `WILDCARD_SHAPES_MAX / shards` for each.
pub const WILDCARD_SHAPES_IN_FLIGHT_MIN: usize = 4;
/// Parts of a table that grow independently: one part of a million entries rehashes in well under a millisecond, the whole takes 20-45 ms.
pub const TABLE_PARTS: usize = 256;
/// Topics that the match cache of a shard remembers: 64 Ki entries are a few MiB, and a longer tail is not hot.
pub const MATCH_CACHE_TOPICS_MAX: usize = 64 * 1024;
/// Bytes of the match cache of a shard over all entries, receivers included.
pub const MATCH_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Entries that one insertion into the full match cache looks at for one to drop: past it the topic stays out.
pub const MATCH_CACHE_SWEEP_MAX: usize = 64;
/// Matching subscriptions for which a shard keeps its buffer between matches: 64 Ki are 1 MiB, a rare wider fan-out allocates.
pub const MATCH_SCRATCH_MAX: usize = 64 * 1024;
/// Interest transitions in one batch: a batch is applied within one turn.
pub const INTEREST_BATCH_MAX: usize = 512;
/// Share names of one filter: each gets a copy of every message, chosen at once, so that this bounds the choosing of one PUBLISH.
pub const SHARE_NAMES_PER_FILTER_MAX: usize = 256;
/// Members of one standing that a message of a shared group asks before it goes on to the next standing, for what no list can know: its size.
pub const SHARE_MEMBERS_ASKED_MAX: usize = 32;
/// Copies taken back from members of shared groups that are dispatched again per turn.
pub const REDISPATCHED_PER_TURN: usize = 1024;
/// Copies taken back that wait to be dispatched again: many full queues of the default size. More are dropped and counted.
pub const REDISPATCH_WAITING_MAX: usize = 64 * 1024;
/// Copies taken from one member without connection at a time: the members who get them may fill up on the way.
pub const RELIEF_COPIES_MAX: usize = 64;
/// Payload bytes from which a copy shares the message instead of copying it: below, a memcpy is cheaper than the reference and the scattered send.
pub const SHARED_PAYLOAD_BYTES_MIN: usize = 4 * 1024;
/// Bytes that may wait in a connection's write buffer before messages stay in the session's queue: one socket buffer's worth.
pub const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the topics that have an alias towards one client: 32 long ones.
pub const TOPIC_ALIAS_TOPIC_BYTES_MAX: usize = 8 * 1024;
/// Bytes of replies (acknowledgements, pings) that a client may leave unread before it is closed: it is not reading at all. As many may wait for the
/// log before the client's input does.
pub const REPLY_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// Connections of one shard that have not sent their CONNECT; more stay in the kernel's backlog, so that half-open sockets cost no memory.
pub const HALF_OPEN_MAX: usize = 4096;
/// Bytes of the head of a WebSocket's HTTP request: what browsers with large cookies send, and no more for every half-open socket.
pub const WEB_SOCKET_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Bytes of authentication data in one packet: what SCRAM sends is a tenth of it, and strangers may send it.
pub const AUTH_DATA_BYTES_MAX: usize = 8 * 1024;
/// Packets with authentication data that a client may send in one exchange: SASL's longest take four.
pub const AUTH_STEPS_MAX: u32 = 8;
/// Input bytes held for a parked connection before its reader is paused: one read.
pub const HELD_INPUT_BYTES_MAX: usize = 16 * 1024;
/// Copies that one turn of a shard makes before publishers wait for the next: about a millisecond of work.
pub const COPIES_PER_TURN: u32 = 4096;
/// Filters that one SUBSCRIBE may name, even if a client may hold fewer; those behind are refused. A packet of a mebibyte has room for the same
/// filter 250,000 times, which would be a tenth of a second of work in one turn.
pub const SUBSCRIBE_FILTERS_MIN: usize = 4096;
/// Live topics that a retained replay remembers, so as not to send an older retained copy behind them.
pub const REPLAY_LIVE_TOPICS_MAX: usize = 64 * 1024;
/// Messages waiting behind the open fan-out cursors of a shard: past it the publisher is parked, the lane left undrained.
pub const CURSOR_MESSAGES_MAX: usize = 1024;
/// Slots of a data lane between two shards: deep enough to ride out a turn of the receiver, small enough to bound memory.
pub const DATA_LANE_SLOTS: usize = 1024;
/// Slots of a control lane: the sum of the credits below, asserted where lanes are made.
pub const CONTROL_LANE_SLOTS: usize = 1024;
/// Batches that a shard may have unanswered at the coordinator, and slots of the lanes between the two.
pub const CLAIM_BATCH_CREDITS: usize = 4;
/// Claims and releases in one batch, so that the coordinator's turn is bounded by the number of shards.
pub const CLAIM_BATCH_MAX: usize = 256;
/// Connections that a shard may have on their way to one other shard.
pub const HANDOFF_CREDITS: usize = 64;
/// Interest batches unapplied at any one peer.
pub const INTEREST_CREDITS: usize = 4;
/// Retained queries open between two shards, each with one batch under way.
pub const RETAINED_QUERY_CREDITS: usize = 64;
/// Retained messages in one batch of a query: bounds the turn of both sides.
pub const RETAINED_BATCH_MAX: usize = 64;
/// Retained topics looked at for one page, matching or not: bounds the turn of a lookup that matches little.
pub const RETAINED_STEPS_MAX: usize = 1024;
/// Retained topics looked at in one turn, over all pages: about a millisecond, however many lookups run.
pub const RETAINED_STEPS_PER_TURN: usize = 4096;
/// The part of a retained partition (one in this many) that is kept for messages accepted before their publisher's shard knew that it is full.
pub const RETAINED_RESERVE_FRACTION: usize = 16;
/// Publishers of one shard that may at once ask one retained partition that is full whether it has room for their topic.
pub const RETAINED_ROOM_CREDITS: usize = 64;
/// Expired retained messages removed per turn.
pub const RETAINED_EXPIRED_PER_TURN: usize = 256;
/// Shortest time between two sweeps of expired retained messages, which are not sent anyway: an idle shard wakes at most once a second.
pub const RETAINED_SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Messages drained from one inbound lane per turn, so that no source starves another.
pub const LANE_DRAIN_PER_TURN: usize = 256;
/// Timers expired per turn, so that a burst of deadlines does not stall traffic.
pub const DEADLINES_PER_TURN: usize = 256;
/// Packets handled for one connection per read: the rest waits its turn as unread input.
pub const PACKETS_PER_INPUT_MAX: usize = 16 * 1024;
/// Packet ids that may lie between the oldest and the newest unacknowledged outbound message, as a multiple of the in-flight window:
/// a client that never acknowledges one of them stalls itself instead of growing the table.
pub const IN_FLIGHT_SPAN_FACTOR: usize = 8;
/// Copies of one session whose messages are only on disk: each takes up some 128 bytes of memory all the same, eight mebibytes in all.
pub const PAGED_COPIES_MAX: usize = 65_536;
/// Bytes of a log that are read at once to get such messages back, unless one alone is more: what a client takes in a millisecond.
pub const PAGE_READ_BYTES_MAX: u32 = 256 * 1024;
/// Such reads of one shard that are under way: with the bytes of one it bounds the memory that they take.
pub const PAGE_READS_MAX: usize = 8;
/// Bytes of such messages that are being read to be written again when a log is cleaned, beside one read: enough for a turn's share of it.
pub const CLEAN_READ_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a segment of a log: large enough that making one ready is rare, small enough that a few spare ones per shard cost little.
pub const LOG_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Segments that are made ready ahead. All but one are the reserve of a disk without room, the last is what publishers fill while the next is made. Two
/// are enough to write the oldest segment again before it is given up, with the queues of sessions that begin in it.
pub const LOG_SPARE_SEGMENTS: usize = 3;
/// One more for so many segments of the log. While it is gone through once, what others append stays, and so does what each round takes for itself.
pub const LOG_SPARE_PART: usize = 8;
/// At most so many more: a round's own part of a segment is small unless segments are.
pub const LOG_SPARE_MORE_MAX: usize = 4;
/// What publishers leave of a log that has not filled its first segment, in quarters of a segment: it has nothing to write again, and clients of a new
/// broker need not wait for its disk.
pub const LOG_FOR_PUBLISHERS_AT_FIRST_QUARTERS: usize = 2;
/// What may be taken of the reserve, in quarters of a segment, by what was accepted and is published on the broker's own account: wills, delayed
/// messages, retained messages of QoS 0. The rest is for what only frees space, and cleaning.
pub const LOG_FOR_ACCEPTED_QUARTERS: usize = 1;
/// What cleaning leaves of it: 16 MiB are four thousand acknowledgements with a write of their own each, by the time cleaning has freed a segment.
pub const LOG_FOR_CLEANING_QUARTERS: usize = 1;
/// Bytes that a buffer for records has to begin with: a turn's records of a busy shard.
pub const LOG_BLOCK_BYTES: usize = 64 * 1024;
/// Bytes up to which a buffer for records is kept for the next batch; there are two.
pub const LOG_BLOCK_KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one write to a log, unless one record alone is more: a write that takes longer than some milliseconds delays what comes behind it, and larger
/// ones are not faster.
pub const LOG_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a segment that recovery reads at a time: what it has read in vain of a segment that ended early.
pub const LOG_SCAN_BYTES: usize = 1024 * 1024;
/// Bytes of a log that wait to be written before publishers do: two of the largest writes, so that the disk never waits.
pub const LOG_BACKLOG_BYTES_MAX: usize = 2 * LOG_BATCH_BYTES_MAX;
/// How long a batch is held back at most for what the clients that were just answered send: not longer than a write takes either, since whoever
/// takes longer is better written for by itself.
pub const LOG_HOLD_MAX: Duration = Duration::from_micros(200);
/// Writes that follow each other at once, at most, after a batch was held back in vain: what is tried in vain again and again costs a hundredth.
pub const LOG_HOLDS_PASSED_MAX: u32 = 64;
/// How long the last output of a connection that is being closed may take: a broker that stops is gone within 5 s, all of it included.
pub const CLOSE_FLUSH_MAX: Duration = Duration::from_secs(4);
/// How long a connection whose last output is sent waits for its peer to close, reading what would otherwise reset it.
pub const CLOSE_LINGER_MAX: Duration = Duration::from_secs(1);
/// Pause of a listener that found the process out of descriptors or memory: long enough not to spin, short enough not to be noticed.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Earlier starts of the broker of which a log says where they ended, the newest: 64 KiB in the first record of each start. Only those matter that some
/// log still has records of.
pub const ENDED_INCARNATIONS_MAX: usize = 4_096;

/// Copies in one record of a queue that is written again: some ten kilobytes, so that it fits any batch.
pub const QUEUE_RECORD_COPIES: usize = 256;

/// Parts of its live bytes that a log may have on disk, in eighths, with a segment more, before its shard asks for its turn to clean it.
pub const CLEAN_FROM_EIGHTHS: u64 = 11;
/// Parts of its live bytes that a log may have on disk, in eighths, with one segment and a half more, before its shard cleans it without waiting for
/// its turn, and in larger slices: above what a log has that is cleaned as it grows, below twice the live bytes and two segments.
pub const CLEAN_LATE_EIGHTHS: u64 = 14;
/// One part in so many of a log that a round of cleaning frees, unless a single segment is more: less would look at everything too often, more would
/// need too much room before it gives any back.
pub const CLEAN_ROUND_PART: u64 = 16;
/// One part in so many of its live bytes that a log on a full disk may have more before it is cleaned: what is freed is what publishers wait for.
pub const CLEAN_LOW_PART: u64 = 8;
/// One part in so many of what a round frees that it has to gain: else the next one waits, until one part in so many of what it wrote is appended.
pub const CLEAN_GAIN_PART: u64 = 8;
/// The same for a log that is late: the bound counts more.
pub const CLEAN_LATE_REST_PART: u64 = 64;
/// What is left of the bound would be enough for so many times through all that lives: one would be over just before it is met, and late by then.
pub const CLEAN_AHEAD_PARTS: u64 = 2;
/// Work of cleaning: as many places looked at as take as long as a record that is written again, without its bytes.
pub const CLEAN_RECORD_WORK: u64 = 24;
/// Bytes of a record that take as long as looking at a place.
pub const CLEAN_WORK_BYTES: u64 = 64;
/// The same for a copy in a queue: its bytes are few, but its message has to be found, which lies anywhere.
pub const CLEAN_COPY_WORK: u64 = 24;
/// The same for a message that is looked at and lies in no segment that goes: a place that is free is one of its neighbours.
pub const CLEAN_VISIT_WORK: u64 = 4;
/// Work of cleaning in a turn in which others append nothing, and the least that a turn begins: some ten microseconds. What it writes goes to disk with a
/// block of its own where nobody else writes.
pub const CLEAN_TURN_WORK_IDLE: u64 = 8 * 1024;
/// Work that a turn owes in which they do, at least: some microseconds.
pub const CLEAN_TURN_WORK_MIN: u64 = 512;
/// Work of cleaning in a turn, at most, and in one in which others append nothing while the log is late: one or two hundred microseconds, a part of
/// what the others' work in it takes.
pub const CLEAN_TURN_WORK_MAX: u64 = 32 * 1024;
/// What a turn of a log that is late may do, and what may be owed: less than a millisecond, since the bound counts more.
pub const CLEAN_LATE_TURN_WORK_MAX: u64 = 128 * 1024;
/// Bytes that wait to be written when cleaning waits for the disk: what others append is not behind more.
pub const CLEAN_AHEAD_BYTES_MAX: usize = 1024 * 1024;
/// The same for a log that is late.
pub const CLEAN_LATE_AHEAD_BYTES_MAX: usize = LOG_BATCH_BYTES_MAX;
/// Bytes of a copy in the record of a queue.
pub const COPY_RECORD_BYTES: u64 = 14;
/// Bytes of the record of a body around topic, properties and payload.
pub const BODY_RECORD_BYTES: u64 = 38;
/// Bytes of the record of a retained message around topic, properties and payload.
pub const RETAINED_RECORD_BYTES: u64 = 32;
/// Times that the head with which a session begins is written: damage to one does not take along what other records say of the session.
pub const HEAD_RECORDS: usize = 2;
/// Bytes of the head of a session around client id, user and will.
pub const HEAD_RECORD_BYTES: u64 = 40;
/// Bytes of a will around topic, properties and payload.
pub const WILL_RECORD_BYTES: u64 = 24;
/// Bytes of the record of a subscription around its filter.
pub const FILTER_RECORD_BYTES: u64 = 26;

const _: () = assert!(
    CLEAN_FROM_EIGHTHS < CLEAN_LATE_EIGHTHS && CLEAN_LATE_EIGHTHS < 16,
    "cleaning begins before the log has twice its live bytes"
);
const _: () = assert!(
    LOG_FOR_CLEANING_QUARTERS + 4 + LOG_FOR_ACCEPTED_QUARTERS < 4 * (LOG_SPARE_SEGMENTS - 1),
    "a segment can be written again"
);

/// Limits that the operator sets. The defaults are those of DESIGN.md section 8.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections over all shards: what the default profile's file descriptors and memory carry.
    pub connections_max: u32,
    /// From accept to a whole CONNECT; half-open sockets are the cheapest attack.
    pub connect_deadline: Duration,
    /// Bytes of one packet from a client.
    pub packet_bytes_max: u32,
    /// Filters per client.
    pub filters_per_client_max: u32,
    /// QoS > 0 PUBLISH packets that a v5 client may have unacknowledged towards us (its Receive Maximum).
    pub receive_maximum: u16,
    /// QoS > 0 messages in flight towards one client, if the client itself does not ask for fewer.
    pub in_flight_max: u16,
    /// Messages that wait for one client.
    pub queue_messages_max: u32,
    /// Bytes of memory of the messages that wait for one client.
    pub queue_bytes_max: u32,
    /// Bytes of messages (as in memory) that wait for one durable client on disk, behind those in memory.
    pub queue_disk_bytes_max: u64,
    /// Topic aliases that a v5 client may use towards us.
    pub topic_alias_max: u16,
    /// Topic aliases used towards one v5 client, if the client itself does not take fewer: each is looked for in every copy sent.
    pub topic_alias_to_client_max: u16,
    /// Longest keep-alive that a client may ask for; v5 clients are told (Server Keep Alive).
    pub keep_alive_max: Duration,
    /// A peer that takes no byte of what is to be sent for this long is closed.
    pub write_stall: Duration,
    /// How long a session of a v3 client with clean_session=0 outlives its connection.
    pub session_expiry_v3: Duration,
    /// Longest session expiry that a v5 client may ask for; it is told in CONNACK.
    pub session_expiry_max: Duration,
    /// Receivers of one message served per turn; the rest becomes a cursor over later turns.
    pub fan_out_batch: u32,
    /// Retained messages over all shards.
    pub retained_messages_max: usize,
    /// Bytes of memory of the retained messages over all shards.
    pub retained_bytes_max: usize,
    /// Delayed messages of one shard: they may wait for weeks, so they are few beside those that flow.
    pub delayed_messages_max: usize,
    /// Bytes of memory of the delayed messages of one shard.
    pub delayed_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            connect_deadline: Duration::from_secs(10),
            packet_bytes_max: 1024 * 1024,
            filters_per_client_max: 1_000,
            receive_maximum: 64,
            in_flight_max: 64,
            queue_messages_max: 1_000,
            queue_bytes_max: 1024 * 1024,
            queue_disk_bytes_max: 256 * 1024 * 1024,
            topic_alias_max: 32,
            topic_alias_to_client_max: 32,
            keep_alive_max: Duration::from_secs(3_600),
            write_stall: Duration::from_secs(15),
            session_expiry_v3: Duration::from_secs(3_600),
            session_expiry_max: Duration::from_secs(u32::MAX as u64),
            fan_out_batch: 100,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 512 * 1024 * 1024,
            delayed_messages_max: 100_000,
            delayed_bytes_max: 64 * 1024 * 1024,
        }
    }
}
