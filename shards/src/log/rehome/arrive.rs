//! What is on its way between shards arrives, what is being fanned out is fanned out: as the shards would have done, had they gone on.

use super::interested::Interested;
use crate::base::hash::HashKey;
use crate::base::kept::{ParkedId, SessionNumber};
use crate::base::lsn::Lsn;
use crate::log::image::{BodyImage, ParkedImage, ShardImage};
use crate::log::record::{BodyId, CopyEntry, Destination, Occasion};
use crate::topics::retained::PublisherMark;
use std::borrow::Cow;

/// Empties outboxes and open fan-outs.
pub(super) fn finish_deliveries(images: &mut [ShardImage], key: &HashKey) {
    if images.iter().all(|image| image.open.is_empty() && image.outbox.is_empty()) {
        return;
    }
    let mut shards: Vec<Interested> = images.iter().map(|image| Interested::of(image, key)).collect();
    for (image, interested) in images.iter_mut().zip(&shards) {
        for (body, done) in std::mem::take(&mut image.open) {
            let message = image.bodies[&body].clone();
            let copies = interested.copies(&message.message, |session, options| {
                let left_out = options.no_local && image.is_publisher(session, &message, key);
                !left_out && !done.contains(&session)
            });
            image.give(body, copies);
        }
    }
    for source in 0..images.len() {
        for (body, destinations) in std::mem::take(&mut images[source].outbox).into_values() {
            let message = images[source].bodies[&body].clone();
            for to in &destinations {
                arrive(images, &mut shards, &message, to);
            }
        }
    }
}

/// Ends where `to` says. The publisher's session is never there: it is where the message was published.
fn arrive(images: &mut [ShardImage], shards: &mut [Interested], message: &BodyImage, to: &Destination<'_>) {
    let there = to.shard.index();
    if to.store {
        images[there].retain(&message.message, message.publisher);
    }
    if to.fan_out {
        let copies = shards[there].copies(&message.message, |_, _| true);
        images[there].give_anew(message, copies);
    }
    for (group, _) in to.groups.iter() {
        // The members may have left since: then one elsewhere gets it.
        let taken = std::iter::once(there).chain((0..shards.len()).filter(|shard| *shard != there));
        let copy = taken.filter_map(|shard| Some((shard, shards[shard].member(group, &message.message)?)));
        match { copy }.next() {
            Some((shard, copy)) => images[shard].give_anew(message, vec![copy]),
            None => images[there].park_for(group, message),
        }
    }
}

impl ShardImage {
    fn is_publisher(&self, session: SessionNumber, message: &BodyImage, key: &HashKey) -> bool {
        let client_id = self.sessions.get(&session).map(|session| &*session.client_id);
        message.publisher.is_some() && message.publisher == client_id.map(|id| PublisherMark::new(id, key))
    }

    /// A name for a message that nothing here has: parked messages share theirs with their body.
    fn new_name(&self) -> BodyId {
        BodyId(self.bodies.last_key_value().map_or(Lsn::NONE, |(newest, _)| newest.0).plus(1))
    }

    fn give_anew(&mut self, message: &BodyImage, copies: Vec<CopyEntry>) {
        let name = self.new_name();
        if !copies.is_empty() {
            self.bodies.insert(name, message.clone());
            self.give(name, copies);
        }
    }

    /// The copies' numbers are yet to be given.
    fn give(&mut self, body: BodyId, copies: Vec<CopyEntry>) {
        for mut copy in copies {
            let session = self.sessions.get_mut(&copy.session).expect("who is interested is there");
            copy.number = session.next_copy;
            session.add_copy(body, &copy);
        }
    }

    fn park_for(&mut self, group: &str, message: &BodyImage) {
        let body = self.new_name();
        self.bodies.insert(body, message.clone());
        let group = Cow::Owned(group.to_string());
        let occasion = Occasion::Member { group, sent_on: false };
        self.parked.insert(ParkedId::alone(body.0), ParkedImage { occasion, body });
    }
}
