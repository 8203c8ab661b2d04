//! The end of a log: nothing is kept that nobody needs, nothing is promised that is not there.

use super::ShardImage;
use crate::log::record::{BodyId, CopyEntry, CopyState};

impl ShardImage {
    /// Drops messages that nothing refers to, and what refers to a message that is nowhere (counted in [`ShardImage::oddities`]).
    pub fn settle(&mut self) {
        let used = self.bodies_in_use();
        // Both are sorted: one walk finds what nobody uses, and what is used and missing.
        let mut missing = Vec::new();
        let mut rest = used.iter().copied().peekable();
        self.bodies.retain(|body, _| {
            while let Some(earlier) = rest.next_if(|used| used < body) {
                missing.push(earlier);
            }
            rest.next_if_eq(body).is_some()
        });
        missing.extend(rest);
        if !missing.is_empty() {
            self.give_up(&missing);
        }
    }

    /// Sorted, each once.
    fn bodies_in_use(&self) -> Vec<BodyId> {
        let copies = self.sessions.values().flat_map(|session| session.copies.values());
        let mut used: Vec<BodyId> =
            copies.filter(|(_, copy)| needs_body(copy)).map(|(body, _)| *body).collect();
        used.extend(self.outbox.values().map(|(body, _)| *body));
        used.extend(self.parked.values().map(|parked| parked.body));
        used.extend(self.open.keys());
        used.sort_unstable();
        used.dedup();
        used
    }

    fn give_up(&mut self, missing: &[BodyId]) {
        let is_there = |body: &BodyId| missing.binary_search(body).is_err();
        let before = self.referring();
        for session in self.sessions.values_mut() {
            session.copies.retain(|_, (body, copy)| !needs_body(copy) || is_there(body));
        }
        self.outbox.retain(|_, (body, _)| is_there(body));
        self.parked.retain(|_, parked| is_there(&parked.body));
        self.open.retain(|body, _| is_there(body));
        self.oddities.bodiless += (before - self.referring()) as u64;
    }

    fn referring(&self) -> usize {
        let copies: usize = self.sessions.values().map(|session| session.copies.len()).sum();
        copies + self.outbox.len() + self.parked.len() + self.open.len()
    }
}

/// A client that has the message already only has its packet id to give back.
fn needs_body(copy: &CopyEntry) -> bool {
    !matches!(copy.state, CopyState::Arrived(_))
}
