//! The 64 bits that a completion carries back: which operation it answers, on which tenant of which slot.
//!
//! | bits 63-60 | 59-32 | 31-0 |
//! |---|---|---|
//! | operation | slot: of the connection, of the listener, or of the log's write | generation of the slot |

/// What was asked of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Multishot accept of a listener.
    Accept,
    /// Multishot or single receive of a connection.
    Receive,
    /// Send of a connection.
    Send,
    /// Cancel of a receive or of everything on a connection's descriptor; answers only when it failed.
    Cancel,
    /// Close of a descriptor; answers only when it failed.
    Close,
    /// Multishot poll of the shard's bell.
    Bell,
    /// Write of the shard's log.
    Log,
}

const OPERATIONS: [Operation; 7] = [
    Operation::Accept,
    Operation::Receive,
    Operation::Send,
    Operation::Cancel,
    Operation::Close,
    Operation::Bell,
    Operation::Log,
];

/// Slots that a tag can name: more connections than one process can hold descriptors.
pub const SLOTS_MAX: usize = 1 << 28;

/// An operation on one tenant of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What was asked.
    pub operation: Operation,
    /// The connection's, listener's or write's index.
    pub slot: u32,
    /// The slot's generation when it was asked.
    pub generation: u32,
}

impl Tag {
    /// A tag; the slot is within [`SLOTS_MAX`], which the table of links asserts as it grows.
    pub fn new(operation: Operation, slot: usize, generation: u32) -> Tag {
        debug_assert!(slot < SLOTS_MAX);
        Tag { operation, slot: slot as u32, generation }
    }

    /// As user_data.
    pub fn to_bits(self) -> u64 {
        (self.operation as u64) << 60 | u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    /// From the user_data of a completion.
    pub fn from_bits(bits: u64) -> Tag {
        Tag {
            operation: *OPERATIONS
                .get((bits >> 60) as usize)
                .expect("the kernel returns user_data as it was submitted"),
            slot: (bits >> 32) as u32 & (SLOTS_MAX as u32 - 1),
            generation: bits as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_kernel() {
        for (number, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, number, "the table lists the operations in their order");
            for (slot, generation) in [(0, 0), (7, 1), (SLOTS_MAX - 1, u32::MAX)] {
                let tag = Tag::new(operation, slot, generation);
                assert_eq!(Tag::from_bits(tag.to_bits()), tag);
            }
        }
    }
}
