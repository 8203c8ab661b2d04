//! Images of one number of shards made those of another: nothing is lost, everybody has a new home.
//!
//! First every message that is on its way, or whose fan-out is open, gets to where it was going; then nothing depends on a shard's number any more.

mod arrive;
mod interested;
#[cfg(test)]
mod tests;

use super::image::{BodyImage, ParkedImage, SessionImage, ShardImage};
use super::record::{BodyId, Occasion};
use crate::base::hash::HashKey;
use crate::base::kept::{ParkedId, SessionNumber};
use crate::base::lsn::Lsn;
use crate::base::rising_map::RisingMap;
use crate::topics::retained::{PublisherMark, partition};
use std::collections::BTreeMap;

/// The images of `shards` shards that have together what `images`, resolved, have. `key` is the broker's, by which retained messages are
/// partitioned. Of their logs they say nothing: a generation begins with them. The numbers of messages and parked messages are new, of
/// incarnation 0, so that no record of the new generation has one of them.
pub fn rehome(mut images: Vec<ShardImage>, shards: usize, key: &HashKey) -> Vec<ShardImage> {
    assert!(shards > 0, "a broker has a shard");
    arrive::finish_deliveries(&mut images, key);
    let mut homes: Vec<Home> = (0..shards).map(|_| Home::default()).collect();
    let sessions = images.iter().flat_map(|image| image.sessions.values()).enumerate();
    let publishers: BTreeMap<PublisherMark, usize> =
        sessions.map(|(at, session)| (PublisherMark::new(&session.client_id, key), at % shards)).collect();
    let (mut sessions_homed, mut parked_homed) = (0, 0);
    for image in images {
        let ShardImage { sessions, bodies, retained, parked, .. } = image;
        for (number, session) in sessions {
            homes[sessions_homed % shards].take_session(number, session, &bodies);
            sessions_homed += 1;
        }
        for parked in parked.into_values() {
            let body = &bodies[&parked.body];
            // No Local asks whose it is, where its publisher's session is.
            let home = body.publisher.and_then(|publisher| publishers.get(&publisher).copied());
            homes[home.unwrap_or(parked_homed % shards)].park(parked.occasion, body);
            parked_homed += 1;
        }
        for (topic, message) in retained {
            let home = partition(&topic, key, shards);
            homes[home.index()].image.retained.insert(topic, message);
        }
        homes.iter_mut().for_each(|home| home.names.clear());
    }
    let mut images: Vec<ShardImage> = homes.into_iter().map(|home| home.image).collect();
    images.iter_mut().for_each(ShardImage::settle);
    images
}

/// One shard of the new topology.
#[derive(Default)]
struct Home {
    image: ShardImage,
    /// What the messages of the old shard that is being taken apart are called here.
    names: BTreeMap<BodyId, BodyId>,
    newest: Lsn,
}

impl Home {
    fn name(&mut self) -> BodyId {
        self.newest = self.newest.next();
        BodyId(self.newest)
    }

    fn take_session(
        &mut self,
        number: SessionNumber,
        mut session: SessionImage,
        bodies: &RisingMap<BodyId, BodyImage>,
    ) {
        for (body, _) in session.copies.values_mut() {
            *body = self.rename(*body, bodies);
        }
        let there = self.image.sessions.insert(number, session);
        assert!(there.is_none(), "a session's number is its own over all shards");
    }

    /// A message that has arrived may be there no more: its name then says only that.
    fn rename(&mut self, old: BodyId, bodies: &RisingMap<BodyId, BodyImage>) -> BodyId {
        if let Some(name) = self.names.get(&old) {
            return *name;
        }
        let name = self.name();
        self.names.insert(old, name);
        if let Some(body) = bodies.get(&old) {
            self.image.bodies.insert(name, body.clone());
        }
        name
    }

    /// Its number is that of its message, so it does not share the message with copies.
    fn park(&mut self, occasion: Occasion<'static>, body: &BodyImage) {
        let occasion = match occasion {
            // Who was elsewhere may be here now.
            Occasion::Member { group, .. } => Occasion::Member { group, sent_on: false },
            occasion => occasion,
        };
        let name = self.name();
        self.image.bodies.insert(name, body.clone());
        self.image.parked.insert(ParkedId::alone(name.0), ParkedImage { occasion, body: name });
    }
}
