//! The seam of the write-ahead log: outputs that must wait until a record is on disk.
//!
//! The log itself is in memory today: every record is committed when it is numbered, or, in the simulator, some turns later. What waits
//! for a number and what is released by it does not change when records reach a disk.

mod gate;

pub use gate::Gate;
