//! The write-ahead log: what a shard must have again after any end of the process.
//!
//! `writer` is the shard's end; `bodies` are the messages that it still needs; `record` says what is written, `image` what all of it means;
//! `resolve` makes the images of all shards agree, `rehome` makes them those of another number of shards; `disk` is what the drivers do for it;
//! `gate` holds outputs until their record is committed. `codec` makes records bytes, `format` is the frame around them, `journal` gathers them into
//! batches and those into segments; `on_disk` is what the driver sees of all that, `scan` reads it again, and `read_back` single messages. Sans-IO like everything below the drivers.

mod bodies;
mod codec;
mod disk;
mod format;
mod gate;
mod image;
mod journal;
mod on_disk;
mod read_back;
mod record;
mod rehome;
mod resolve;
mod scan;
mod spoiled;
mod writer;

pub use bodies::{Bodies, Body, body_bytes};
pub use codec::RecordError;
pub use disk::{BLOCK_BYTES, Block, Disk, DiskDone, DiskError, DiskRequest, SegmentId};
pub use format::{FORMAT_VERSION, LogIdentity, Place};
pub use gate::Gate;
pub use image::{
    BodyImage, Oddities, ParkedImage, SessionImage, ShardImage, SubscriptionImage, WillImage, records_of,
};
pub use journal::{Journal, JournalConfig, LogFailure, LogStep, Room, spare_segments};
pub use record::{
    BodyId, BodyRecord, Cause, CopiesRecord, CopyEntry, CopyState, Destination, MessageRecord, Occasion,
    OfflineRecord, Origin, ParkedRecord, Record, SessionRecord, StartRecord, SubscribedRecord, WillRecord,
};
pub use rehome::rehome;
pub use resolve::resolve;
pub use scan::{Damage, Damaged, ReadSegment, ScanError, ScanReport, Torn, scan};
pub use writer::Log;
