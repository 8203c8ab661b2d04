//! The messages whose body this shard's log has and somebody still needs: each once, however many copies refer to it. One that only copies on disk
//! need is not in memory.

use super::{BodyId, Origin, Place};
use crate::base::kept::{BodyKey, Written};
use crate::base::limits::BODY_RECORD_BYTES;
use crate::base::lsn::Lsn;
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
    /// Who published it, where that is kept.
    pub publisher: Option<PublisherMark>,
    /// Where its last record lies, or will, if that is known.
    pub place: Option<Place>,
    /// The number of that record: there is nothing to be read before it is committed.
    pub record: Lsn,
    /// What it says; `None`: nobody needs it in memory, and its place says where it is to be read.
    pub message: Option<Message>,
    /// Its record could not be read, and is gone: who needs it later does without it.
    pub lost: bool,
    /// Bytes of its record.
    bytes: u32,
    /// Copies, and what else needs it.
    references: u32,
    /// Those of them that need it later, and not in memory.
    paged: u32,
}

impl Body {
    /// Where its last record lies.
    pub fn written(&self) -> Written {
        self.place.map(|place| place.written()).unwrap_or_default()
    }

    /// Forgets what nobody needs in memory, if it can be read back.
    fn trim(&mut self) {
        debug_assert!(self.paged <= self.references, "who needs it later needs it");
        if self.paged == self.references && self.place.is_some() {
            self.message = None;
        }
    }
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
    let content = message.topic().len() + message.properties().len() + message.payload().len();
    BODY_RECORD_BYTES + content as u64
}

fn slot(key: BodyKey) -> Key<Body> {
    Key::from_bits(key.0.get() - 1)
}

fn named(key: Key<Body>) -> BodyKey {
    // The generation stands in the upper half: it would have to be used up for this to be 0.
    BodyKey(NonZeroU64::new(key.to_bits().wrapping_add(1)).expect("slots are not reused 2^32 times"))
}

impl Bodies {
    /// A body whose record is being made. The caller holds it, until [`Bodies::release`].
    pub fn open(&mut self, message: Message, origin: Origin) -> BodyKey {
        let bytes = body_bytes(&message);
        self.bytes += bytes;
        self.references += 1;
        named(self.slab.insert(Body {
            id: BodyId::default(),
            origin,
            publisher: None,
            place: None,
            record: Lsn::NONE,
            message: Some(message),
            lost: false,
            bytes: u32::try_from(bytes).expect("a packet and little more"),
            references: 1,
            paged: 0,
        }))
    }

    /// Its record has this number, and lies there.
    pub fn name(&mut self, key: BodyKey, id: BodyId, publisher: Option<PublisherMark>, place: Option<Place>) {
        let body = self.slab.get_mut(slot(key)).expect("who names a body holds it");
        (body.id, body.record, body.publisher, body.place) = (id, id.0, publisher, place);
    }

    /// The record `lsn`, at `place`, has it again.
    pub fn written_again(&mut self, key: BodyKey, lsn: Lsn, place: Option<Place>) {
        let body = self.slab.get_mut(slot(key)).expect("it is looked at");
        (body.record, body.place) = (lsn, place);
    }

    /// What it says is gone: its record cannot be read, and nobody has it in memory.
    pub fn lose(&mut self, key: BodyKey) {
        let body = self.slab.get_mut(slot(key)).expect("it is looked at");
        debug_assert!(body.message.is_none(), "what is in memory is not lost");
        body.lost = true;
    }

    /// The first one at or behind place `from` of the table and before `end`, with the place behind it.
    pub fn next(&self, from: usize, end: usize) -> Option<(usize, BodyKey)> {
        let key = self.slab.next_key_before(from, end)?;
        Some((key.index() + 1, named(key)))
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

    /// One of those that hold it needs it later, and not in memory.
    pub fn page_out(&mut self, key: BodyKey) {
        let body = self.slab.get_mut(slot(key)).expect("who needs a body later holds it");
        body.paged += 1;
        body.trim();
    }

    /// One of those needs it now, and has it.
    pub fn page_in(&mut self, key: BodyKey, message: &Message) {
        let body = self.slab.get_mut(slot(key)).expect("who needs a body later holds it");
        debug_assert!(!body.lost, "what is lost does not come back");
        body.paged -= 1;
        body.message.get_or_insert_with(|| message.clone());
    }

    /// One of those does not need it any more.
    pub fn release_paged(&mut self, key: BodyKey) {
        let body = self.slab.get_mut(slot(key)).expect("who needs a body later holds it");
        body.paged -= 1;
        self.release(key);
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
        if body.references > 0 {
            return body.trim();
        }
        let body = self.slab.remove(slot(key)).expect("looked at just now");
        self.bytes -= u64::from(body.bytes);
    }

    /// The body.
    pub fn get(&self, key: BodyKey) -> &Body {
        self.find(key).expect("who asks for a body holds it")
    }

    /// The body, for one who does not hold it.
    pub fn find(&self, key: BodyKey) -> Option<&Body> {
        self.slab.get(slot(key))
    }

    /// The message, for one that needs it in memory.
    pub fn message(&self, key: BodyKey) -> &Message {
        self.get(key).message.as_ref().expect("what is needed in memory is there")
    }

    /// Bodies.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Bodies whose message is in memory: a full scan.
    pub fn in_memory(&self) -> usize {
        self.slab.iter().filter(|(_, body)| body.message.is_some()).count()
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
        bodies.name(first, BodyId(Lsn(7)), None, None);
        assert!(bodies.bytes() > 2 && bodies.references() == 1);
        bodies.hold(first);
        bodies.release(first);
        assert_eq!((bodies.get(first).id, bodies.len()), (BodyId(Lsn(7)), 1));
        bodies.release(first);
        assert!(bodies.is_empty() && bodies.bytes() == 0 && bodies.references() == 0);
        let second = bodies.open(Message::from_parts(parts), Origin::Own);
        assert_ne!(first, second, "a slot that is used again has another key");
    }

    #[test]
    fn what_is_only_needed_later_is_not_in_memory() {
        let (topic, payload, qos) = ("t", &b"x"[..], QoS::AtLeastOnce);
        let message = Message::from_parts(MessageParts {
            topic,
            properties: &[],
            payload,
            qos,
            retain: false,
            expires_at: None,
        });
        let mut bodies = Bodies::default();
        let key = bodies.open(message.clone(), Origin::Own);
        for _ in 0..2 {
            bodies.hold(key);
            bodies.page_out(key);
        }
        let place = Place { segment: crate::log::SegmentId(1), offset: 4_096, bytes: 40 };
        bodies.name(key, BodyId(Lsn(7)), None, Some(place));
        let bytes = bodies.bytes();
        assert!(bodies.get(key).message.is_some(), "its record is being made");
        bodies.release(key);
        assert!(bodies.get(key).message.is_none() && bodies.len() == 1);
        assert!(bytes > 0 && bodies.bytes() == bytes, "on disk it takes up as much");
        bodies.page_in(key, &message);
        assert_eq!(bodies.message(key).payload(), payload);
        bodies.release(key);
        assert!(bodies.get(key).message.is_none(), "the other one needs it later");
        bodies.release_paged(key);
        assert!(bodies.is_empty());

        let key = bodies.open(message, Origin::Own);
        bodies.name(key, BodyId(Lsn(8)), None, None);
        bodies.page_out(key);
        assert!(bodies.get(key).message.is_some(), "nobody knows where else it is");
    }
}
