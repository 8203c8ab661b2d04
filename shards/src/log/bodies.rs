//! The messages whose body this shard's log has and somebody still needs: each once, however many copies refer to it.

use super::{BodyId, Origin};
use crate::base::kept::{BodyKey, Written};
use crate::base::slab::{Key, Slab};
use crate::topics::retained::PublisherMark;
use crate::wire::Message;
use std::num::NonZeroU64;

/// One message.
pub struct Body {
    /// The number of the record that brought it; 0 while that is being made.
    pub id: BodyId,
    /// Where it came from: it may turn out never to have happened.
    pub origin: Origin,
    /// What it says.
    pub message: Message,
    /// Who published it, where that is kept.
    pub publisher: Option<PublisherMark>,
    /// Where its last record lies.
    pub written: Written,
    /// Copies, and what else needs it.
    references: u32,
}

/// See the module's documentation. Lives in its shard.
#[derive(Default)]
pub struct Bodies {
    slab: Slab<Body>,
    /// Bytes of their records.
    bytes: u64,
    references: u64,
}

/// Bytes of a record with this message in it: its header, its fields, and what fills it up.
pub fn body_bytes(message: &Message) -> u64 {
    const AROUND: usize = 48;
    (AROUND + message.topic().len() + message.properties().len() + message.payload().len()) as u64
}

fn slot(key: BodyKey) -> Key<Body> {
    Key::from_bits(key.0.get() - 1)
}

impl Bodies {
    /// A body whose record is being made. The caller holds it, until [`Bodies::release`].
    pub fn open(&mut self, message: Message, origin: Origin) -> BodyKey {
        self.bytes += body_bytes(&message);
        self.references += 1;
        let (id, publisher, written) = Default::default();
        let key = self.slab.insert(Body { id, origin, message, publisher, written, references: 1 });
        // The generation stands in the upper half: it would have to be used up for this to be 0.
        BodyKey(NonZeroU64::new(key.to_bits().wrapping_add(1)).expect("slots are not reused 2^32 times"))
    }

    /// Its record has this number, and lies there.
    pub fn name(&mut self, key: BodyKey, id: BodyId, publisher: Option<PublisherMark>, written: Written) {
        let body = self.slab.get_mut(slot(key)).expect("who names a body holds it");
        (body.id, body.publisher, body.written) = (id, publisher, written);
    }

    /// The first one at or behind place `from` of the table and before `end`, with the place behind it.
    pub fn next(&mut self, from: usize, end: usize) -> Option<(usize, &mut Body)> {
        let key = self.slab.next_key_before(from, end)?;
        self.slab.get_mut(key).map(|body| (key.index() + 1, body))
    }

    /// Places of the table, those included that are free.
    pub fn places(&self) -> usize {
        self.slab.slots()
    }

    /// Bytes of the records that have them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies, and what else needs one.
    pub fn references(&self) -> u64 {
        self.references
    }

    /// One more needs it.
    pub fn hold(&mut self, key: BodyKey) {
        self.slab.get_mut(slot(key)).expect("who passes a body on holds it").references += 1;
        self.references += 1;
    }

    /// One less needs it; the last one lets it go.
    pub fn release(&mut self, key: BodyKey) {
        let body = self.slab.get_mut(slot(key)).expect("who releases a body has held it");
        body.references -= 1;
        self.references -= 1;
        if body.references == 0 {
            let body = self.slab.remove(slot(key)).expect("looked at just now");
            self.bytes -= body_bytes(&body.message);
        }
    }

    /// The body.
    pub fn get(&self, key: BodyKey) -> &Body {
        self.slab.get(slot(key)).expect("who asks for a body holds it")
    }

    /// Bodies.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether nobody needs any.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lsn::Lsn;
    use crate::wire::{MessageParts, QoS};

    #[test]
    fn a_body_stays_as_long_as_somebody_holds_it() {
        let parts = MessageParts {
            topic: "t",
            properties: &[],
            payload: b"x",
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
        };
        let mut bodies = Bodies::default();
        let first = bodies.open(Message::from_parts(parts), Origin::Own);
        bodies.name(first, BodyId(Lsn(7)), None, Written(3));
        assert!(bodies.bytes() > 2 && bodies.references() == 1);
        bodies.hold(first);
        bodies.release(first);
        assert_eq!((bodies.get(first).id, bodies.len()), (BodyId(Lsn(7)), 1));
        bodies.release(first);
        assert!(bodies.is_empty() && bodies.bytes() == 0 && bodies.references() == 0);
        let second = bodies.open(Message::from_parts(parts), Origin::Own);
        assert_ne!(first, second, "a slot that is used again has another key");
    }
}
