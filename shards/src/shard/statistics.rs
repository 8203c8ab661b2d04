//! What a shard counts. Every copy of a message is accounted for (promise 6):
//! `copies = delivered + queued + in flight + expired + dropped by reason + moved`.

use super::Shard;
use crate::session::DropReason;

macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// The fields' names, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field),)*];

            /// The fields, in order.
            pub fn to_array(self) -> [u64; $name::NAMES.len()] {
                [$(self.$field,)*]
            }

            /// The inverse of `to_array`.
            pub fn from_array(numbers: [u64; $name::NAMES.len()]) -> $name {
                let [$($field,)*] = numbers;
                $name { $($field,)* }
            }
        }
    };
}

numbers! {
    /// Counts since the shard's start.
    Counters {
        /// Bytes read from sockets.
        bytes_in,
        /// Bytes that sockets took.
        bytes_out,
        /// PUBLISH packets accepted from clients, wills included; a repeated QoS 2 PUBLISH is not counted again.
        messages_in,
        /// PUBLISH packets written to clients, repeated ones included.
        messages_out,
        /// Copies made for sessions of this shard: one per matching session, retained copies included.
        copies,
        /// Copies that arrived: QoS 0 when written, QoS 1 at PUBACK, QoS 2 at PUBREC.
        delivered,
        /// Copies whose expiry passed.
        expired,
        /// Copies of shared groups taken back from one member and dispatched again, here or elsewhere, where they are counted as copies anew.
        moved,
        /// Messages published here that no shard has interest in.
        unmatched,
        /// Messages from other shards' publishers.
        remote_in,
        /// Messages for other shards' subscribers, one per shard.
        remote_out,
        /// Connections established (CONNACK with success).
        connected,
        /// CONNECTs refused.
        refused,
        /// Clients that did not authenticate, in CONNECT or again later.
        not_authenticated,
        /// Connections closed because their session went to a newer one.
        taken_over,
        /// Connections that arrived with an epoch below the highest seen.
        stale_claims,
        /// Connections handed to other shards.
        handed_off,
        /// Connections closed for a breach of the protocol.
        violations,
        /// Connections closed by a deadline: CONNECT, keep-alive, stalled write.
        timed_out,
        /// Times that a connection was parked for a lane slot.
        parked_for_lane,
        /// Times that a connection was parked for a fan-out cursor.
        parked_for_cursor,
        /// Times that a connection was parked because what it publishes had to be logged and the log was behind.
        parked_for_backlog,
        /// PUBLISH packets refused because the log has no room on disk to keep them.
        disk_refused,
        /// Times that a connection was parked for the answer of a retained partition that is full.
        parked_for_retained,
        /// Times that a connection was parked because its replies waited for the log.
        parked_for_log,
        /// Times that a connection had used up its share of a turn.
        yielded,
        /// Fan-outs cut into slices.
        cursors,
        /// SUBACKs and CONNACKs that waited for interest.
        interest_waits,
        /// SUBACKs among them that waited for a transition that another client's subscription had caused.
        foreign_interest_waits,
        /// PUBLISH packets and wills that their client may not publish.
        publish_denied,
        /// Filters that their client may not subscribe to.
        subscribe_denied,
        /// PUBLISH packets and wills whose topic is none after rewriting, or names no delay.
        topic_refused,
        /// Messages accepted to be published later. They are counted among `messages_in` when they are.
        delayed_accepted,
        /// Messages to be published later that were refused: no room.
        delayed_refused,
        /// Delayed messages that expired before they were due.
        delayed_expired,
        /// Events that did not fit the queue.
        events_lost,
        /// Messages that were not retained because the store is full: refused, or only delivered when nobody could be told.
        retained_refused,
        /// Retained messages removed because their expiry passed.
        retained_expired,
        /// Retained copies left out because a newer message of their topic went first.
        retained_suppressed,
        /// Replays and retained queries that waited for lanes to catch up.
        retained_waits,
    }
}

numbers! {
    /// What there is now.
    Gauges {
        /// Connection records.
        connections,
        /// Sessions, connected or not.
        sessions,
        /// Sessions without connection.
        offline_sessions,
        /// Retained messages in this shard's partition.
        retained,
        /// Their memory in bytes.
        retained_bytes,
        /// Delayed messages that wait for their time.
        delayed,
        /// Exclusive subscriptions of this shard's sessions.
        exclusive,
        /// Match cache hits since the start.
        cache_hits,
        /// Match cache misses since the start.
        cache_misses,
    }
}

/// Copies dropped since the start, by [`DropReason`].
pub type Dropped = [u64; DropReason::ALL.len()];

/// A reading of everything.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Counts since the start.
    pub counters: Counters,
    /// Copies dropped, by reason.
    pub dropped: Dropped,
    /// What there is now.
    pub gauges: Gauges,
}

impl Statistics {
    /// Copies dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

impl Shard {
    pub(super) fn drop_copies(&mut self, reason: DropReason, copies: u64) {
        self.dropped[reason as usize] += copies;
    }

    /// A reading of all counters and gauges; costs no scan.
    pub fn statistics(&self) -> Statistics {
        let cache = self.topics.cache_stats();
        Statistics {
            counters: self.counters,
            dropped: self.dropped,
            gauges: Gauges {
                connections: self.connections.len() as u64,
                sessions: self.sessions.len() as u64,
                offline_sessions: self.offline_sessions,
                retained: self.retained.store.len() as u64,
                retained_bytes: self.retained.store.bytes() as u64,
                delayed: self.delayed.len() as u64,
                exclusive: self.exclusive.len() as u64,
                cache_hits: cache.hits,
                cache_misses: cache.misses,
            },
        }
    }

    /// Copies that wait in queues, and copies in flight: a full scan, for checkers and on demand.
    pub fn copies_waiting(&self) -> (u64, u64) {
        let between_members = self.redispatch.len() as u64;
        self.sessions.iter().fold((between_members, 0), |(queued, in_flight), (_, session)| {
            (queued + session.outbound.queued() as u64, in_flight + session.outbound.in_flight() as u64)
        })
    }
}
