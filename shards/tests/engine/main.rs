//! Scenarios of the sans-IO core in virtual time: shards in their seats with real lanes, clients as byte streams, one thread.
//!
//! Every test ends with the checks of `accounting`: each copy is accounted for, quiet shards sleep, nothing is left behind, and what logs say is what
//! the shards have. With `ENGINE_LOGS=1` all shards have logs, else only those of tests about crashes.

mod accounting;
mod acknowledging;
mod aliasing;
mod authenticating;
mod auto_subscribing;
mod cleaning;
mod cleaning_turns;
mod conformance;
mod connecting;
mod crash;
mod crashing;
mod damaged;
mod deadlines;
mod delayed;
mod exclusive;
mod full_disk;
mod full_disk_others;
mod hostile;
mod keeping;
mod lanes;
mod live_bytes;
mod malformed;
mod network;
mod paging;
mod paging_cleaning;
mod passing_on;
mod permission;
mod platter;
mod publishing;
mod queueing;
mod restarting;
mod retained;
mod retained_copies;
mod retained_room;
mod rewriting;
mod sharing;
mod spoken;
mod stopping;
mod subscribing;
mod takeover;
mod telling;
mod terms;
mod toy;
mod unsubscribing;
mod verbs;
mod version_3_1;
mod violations;
mod web_socket;
mod wills;
mod world;
