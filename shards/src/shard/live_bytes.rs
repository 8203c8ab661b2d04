//! What the log would take if it had nothing but what is needed: estimated from lengths, right within a third.

use super::Shard;
use super::session::{Session, SessionKey};
use crate::base::kept::Written;
use crate::base::limits::{
    COPY_RECORD_BYTES, FILTER_RECORD_BYTES, HEAD_RECORD_BYTES, HEAD_RECORDS, RETAINED_RECORD_BYTES,
    WILL_RECORD_BYTES,
};

impl Shard {
    /// Bytes that the log would have if it had nothing but what is needed.
    pub fn live_log_bytes(&self) -> u64 {
        let retained = &self.retained.store;
        self.bodies.bytes()
            + self.bodies.references() * COPY_RECORD_BYTES
            + retained.content_bytes() as u64
            + retained.len() as u64 * RETAINED_RECORD_BYTES
            + self.delayed.bytes() as u64
            + self.cleaning.session_bytes
    }

    /// The log has the session's head: its bytes count from here on.
    pub(super) fn weigh_head(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        let will = session.will.as_ref().map_or(0, |will| {
            let message = will.message();
            let content = message.topic().len() + message.properties().len() + message.payload().len();
            WILL_RECORD_BYTES + content as u64
        });
        let user = session.user.as_ref().map_or(0, |user| user.len());
        let bytes =
            HEAD_RECORDS as u64 * (HEAD_RECORD_BYTES + will + (session.client_id.len() + user) as u64);
        add_bytes(session, bytes, &mut self.cleaning.session_bytes);
    }

    /// The log has a subscription of the session.
    pub(super) fn weigh_filter(&mut self, key: SessionKey, filter: &str) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        if session.is_durable() {
            let bytes = FILTER_RECORD_BYTES + filter.len() as u64;
            add_bytes(session, bytes, &mut self.cleaning.session_bytes);
        }
    }

    /// The session's records are all written anew, from here on.
    pub(super) fn weigh_anew(&mut self, key: SessionKey, written: Written) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        self.cleaning.session_bytes -= u64::from(std::mem::take(&mut session.record_bytes));
        session.written = written;
        self.weigh_head(key);
    }
}

fn add_bytes(session: &mut Session, bytes: u64, all: &mut u64) {
    session.record_bytes = session.record_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    *all += bytes;
}
