//! Messages read back from the log that keeps them.

use super::disk::DiskRequest;
use super::format::Place;
use super::{BodyId, BodyRecord, Log};
use crate::wire::Message;

impl Log {
    /// Asks the disk for the bytes of `span`, which are committed. The answer comes as `DiskDone::Read` with `tag`, and not through
    /// [`Log::handle_disk`].
    pub fn read(&mut self, span: Place, tag: u64) {
        self.reads.push_back(DiskRequest::Read {
            segment: span.segment,
            offset: u64::from(span.offset),
            bytes: span.bytes as usize,
            tag,
        });
    }

    /// The message `body`, whose record lies at `place`, out of the bytes that were read from `span`; `None`: it is not there.
    pub fn message_in(&self, bytes: &[u8], span: Place, place: Place, body: BodyId) -> Option<Message> {
        let Some(journal) = &self.journal else {
            // What is on tape nobody has to read.
            let at = self.tape().binary_search_by_key(&body.0, |(lsn, _)| *lsn).ok()?;
            return self.tape()[at].1.content_of(body.0, body).map(BodyRecord::to_message);
        };
        debug_assert!(place.segment == span.segment && place.offset >= span.offset);
        let start = (place.offset - span.offset) as usize;
        journal.message_in(bytes.get(start..start + place.bytes as usize)?, place.segment, body)
    }
}
