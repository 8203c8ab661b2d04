//! Bytes on their way to one socket: small packets copied, large payloads by reference.

use crate::wire::Message;

/// A payload that is sent from the message itself.
#[derive(Debug)]
pub struct Splice {
    /// Position in the copied bytes before which the payload goes out.
    at: usize,
    message: Message,
}

/// What one connection is to send, in order. Belongs to the shard while it is filled and to the driver while it is sent.
#[derive(Default, Debug)]
pub struct WriteBuffer {
    copied: Vec<u8>,
    splices: Vec<Splice>,
    spliced_bytes: usize,
}

impl WriteBuffer {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.splices.clear();
        self.spliced_bytes = 0;
    }

    /// Bytes that it holds memory for.
    pub fn capacity(&self) -> usize {
        self.copied.capacity()
    }

    /// Bytes to send, spliced payloads included.
    pub fn len(&self) -> usize {
        self.copied.len() + self.spliced_bytes
    }

    /// Bytes copied into it: what it takes of memory, without payloads that others share.
    pub fn copied_bytes(&self) -> usize {
        self.copied.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`WriteBuffer::as_bytes`] is everything: nothing is spliced.
    pub fn is_contiguous(&self) -> bool {
        self.splices.is_empty()
    }

    /// The copied bytes; everything when the buffer is contiguous.
    pub fn as_bytes(&self) -> &[u8] {
        &self.copied
    }

    /// The end of the copied bytes, for encoders to append to.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Appends the payload of `message` by reference.
    pub fn splice(&mut self, message: Message) {
        self.spliced_bytes += message.payload().len();
        self.splices.push(Splice { at: self.copied.len(), message });
    }

    /// Puts `lead` before everything.
    pub fn precede_with(&mut self, lead: &[u8]) {
        self.copied.splice(..0, lead.iter().copied());
        for splice in &mut self.splices {
            splice.at += lead.len();
        }
    }

    /// The pieces behind the first `skip` bytes, in order, for one gathering write.
    pub fn slices<'a>(&'a self, skip: usize, pieces: &mut impl Extend<&'a [u8]>) {
        let mut skip = skip;
        let mut from = 0;
        let mut push = |piece: &'a [u8]| {
            let cut = skip.min(piece.len());
            skip -= cut;
            if cut < piece.len() {
                pieces.extend(std::iter::once(&piece[cut..]));
            }
        };
        for splice in &self.splices {
            push(&self.copied[from..splice.at]);
            push(splice.message.payload());
            from = splice.at;
        }
        push(&self.copied[from..]);
    }
}
