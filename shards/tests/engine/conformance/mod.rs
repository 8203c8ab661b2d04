//! The normative statements of MQTT 5 and 3.1.1, a test for each that binds a server. The table over all of them is CONFORMANCE.md.
//!
//! A test is found by its documentation, which starts with the statement's id in brackets and then says what ShardMQ does:
//!
//! ```text
//! /// [MQTT-3.1.2-4] A CONNECT with Clean Start 1 discards the session that was there.
//! #[test]
//! fn mqtt_3_1_2_4_clean_start_discards_the_session() { … }
//! ```
//!
//! After a change, and after every merge: `CONFORMANCE=write cargo test -p shardmq-shards --test engine conformance::table`.

pub mod bytes;
mod table;
mod v311;
mod v5;
