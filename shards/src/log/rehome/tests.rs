//! What there was is there, on as many shards as asked for, against a model that matches filter by filter.

use super::*;
use crate::base::kept::CopyNumber;
use crate::base::random::Random;
use crate::base::shard_set::ShardId;
use crate::log::image::SubscriptionImage;
use crate::log::record::{CopyEntry, CopyState, Destination, Origin};
use crate::mesh::Epoch;
use crate::topics::{TopicFilter, TopicName};
use crate::wire::{Message, MessageParts, PacketId, QoS, SubscriptionOptions};
use std::borrow::Cow;
use std::num::NonZeroU32;

const TOPICS: [&str; 4] = ["a", "a/b", "b", "c/d/e"];
const FILTERS: [&str; 5] = ["a", "a/#", "+", "#", "c/+/e"];
const GROUP: &str = "$share/g/#";

/// A copy, as far as a client could tell.
type Seen = (Vec<u8>, QoS, Vec<u32>);

struct World {
    random: Random,
    next: u64,
    images: Vec<ShardImage>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::from_seed(seed);
        let shards = 1 + random.below(4) as usize;
        let mut world = World { random, next: 0, images: vec![ShardImage::default(); shards] };
        for shard in 0..shards {
            for _ in 0..world.random.below(5) {
                let (number, session) = (SessionNumber(world.number()), world.session());
                world.images[shard].sessions.insert(number, session);
            }
        }
        for shard in 0..shards {
            for _ in 0..world.random.below(8) {
                world.message(shard);
            }
        }
        world
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn session(&mut self) -> SessionImage {
        let mut subscriptions = BTreeMap::new();
        for filter in FILTERS.into_iter().chain([GROUP]) {
            if !self.random.one_in(3) {
                continue;
            }
            let qos = QoS::from_bits(self.random.below(3) as u8).unwrap();
            let options = SubscriptionOptions { qos, ..Default::default() };
            let identifier = NonZeroU32::new(self.random.below(9) as u32);
            subscriptions.insert(filter.into(), SubscriptionImage { options, identifier, exclusive: false });
        }
        SessionImage {
            client_id: format!("client {}", self.next).into(),
            user: None,
            epoch: Epoch(1),
            expiry_seconds: 9,
            offline_since: None,
            will: None,
            subscriptions,
            received: vec![PacketId::MIN],
            copies: Default::default(),
            next_copy: CopyNumber(0),
            written: Default::default(),
            head: Default::default(),
            again: Default::default(),
            away: Default::default(),
        }
    }

    /// A message that has reached some, with the rest of its way before it.
    fn message(&mut self, shard: usize) {
        let number = Lsn(self.number());
        let body = BodyId(number);
        let topic = *self.random.pick(&TOPICS);
        let payload = number.0.to_le_bytes();
        let message = Message::from_parts(MessageParts {
            topic,
            properties: &[],
            payload: &payload,
            qos: if self.random.one_in(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
            retain: true,
            expires_at: None,
        });
        let mut done = Vec::new();
        for (session, image) in &mut self.images[shard].sessions {
            if self.random.one_in(3) {
                continue;
            }
            let states =
                [CopyState::Queued, CopyState::Started(PacketId::MIN), CopyState::Arrived(PacketId::MIN)];
            let copy = CopyEntry {
                session: *session,
                number: image.next_copy,
                qos: QoS::ExactlyOnce,
                retain: false,
                group: None,
                state: *self.random.pick(&states),
                identifiers: Default::default(),
            };
            image.add_copy(body, &copy);
            done.push(*session);
        }
        let destinations: Vec<_> =
            (0..self.images.len()).filter(|to| *to != shard && self.random.one_in(2)).collect();
        let to = |to: usize| Destination {
            shard: ShardId::new(to),
            fan_out: true,
            store: to % 2 == 1,
            groups: Cow::Owned(if to == 2 { vec![(GROUP.into(), 1)] } else { Vec::new() }),
        };
        let image = &mut self.images[shard];
        if !destinations.is_empty() {
            image.outbox.insert(number, (body, destinations.into_iter().map(to).collect()));
        }
        if self.random.one_in(3) {
            image.open.insert(body, done);
        }
        if self.random.one_in(3) {
            image.retained.insert(topic.into(), (message.clone(), None, Default::default()));
        }
        if self.random.one_in(4) {
            let occasion = Occasion::Member { group: GROUP.into(), sent_on: true };
            image.parked.insert(ParkedId::alone(number), ParkedImage { occasion, body });
        }
        image.bodies.insert(body, BodyImage { message, publisher: None, origin: Origin::Own, place: None });
        image.settle();
    }
}

fn payload_of(image: &ShardImage, body: BodyId) -> Vec<u8> {
    image.bodies.get(&body).map(|body| body.message.payload().to_vec()).unwrap_or_default()
}

fn seen(images: &[ShardImage]) -> BTreeMap<SessionNumber, Vec<Seen>> {
    let mut all = BTreeMap::new();
    for image in images {
        for (number, session) in &image.sessions {
            let see = |(body, copy): &(BodyId, CopyEntry)| match copy.state {
                // Whether its message is still there is nobody's business.
                CopyState::Arrived(_) => (Vec::new(), copy.qos, Vec::new()),
                _ => (payload_of(image, *body), copy.qos, copy.identifiers.to_vec()),
            };
            all.insert(*number, session.copies.values().map(see).collect());
        }
    }
    all
}

/// What a session gets of a message: of all that match the highest QoS and all identifiers, smallest first.
fn copy_for(session: &SessionImage, message: &Message) -> Option<Seen> {
    let topic = TopicName::new(message.topic()).unwrap();
    let plain = session.subscriptions.iter().filter(|(filter, _)| &***filter != GROUP);
    let matching = plain.filter(|(filter, _)| TopicFilter::new(filter).unwrap().matches(topic));
    let matching: Vec<_> = matching.map(|(_, subscription)| *subscription).collect();
    let granted = matching.iter().map(|subscription| subscription.options.qos).max()?;
    let qos = granted.min(message.qos());
    if qos == QoS::AtMostOnce {
        return None;
    }
    let mut identifiers: Vec<u32> =
        matching.iter().filter_map(|s| s.identifier).map(NonZeroU32::get).collect();
    identifiers.sort_unstable();
    Some((message.payload().to_vec(), qos, identifiers))
}

/// Copies that messages on their way bring, but for those of groups.
fn expected(images: &[ShardImage]) -> BTreeMap<SessionNumber, Vec<Seen>> {
    let mut all = seen(images);
    let mut give = |image: &ShardImage, message: &Message, done: &[SessionNumber]| {
        for (number, session) in image.sessions.iter().filter(|(number, _)| !done.contains(number)) {
            all.get_mut(number).unwrap().extend(copy_for(session, message));
        }
    };
    for image in images {
        for (body, done) in &image.open {
            give(image, &image.bodies[body].message, done);
        }
    }
    for image in images {
        for (body, destinations) in image.outbox.values() {
            for to in destinations {
                give(&images[to.shard.index()], &image.bodies[body].message, &[]);
            }
        }
    }
    all
}

/// Copies of groups, taken out, as the payloads of messages.
fn take_shared(images: &mut [ShardImage]) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    for image in images {
        let ShardImage { sessions, bodies, parked, .. } = image;
        for session in sessions.values_mut() {
            session.copies.retain(|_, (body, copy)| {
                if copy.group.as_deref() == Some(GROUP) {
                    assert!(session.subscriptions[GROUP].options.qos > QoS::AtMostOnce);
                    taken.push(bodies[body].message.payload().to_vec());
                }
                copy.group.is_none()
            });
        }
        for parked in parked.values() {
            assert_eq!(parked.occasion, Occasion::Member { group: GROUP.into(), sent_on: false });
            taken.push(bodies[&parked.body].message.payload().to_vec());
        }
    }
    taken.sort();
    taken
}

fn shared_before(images: &[ShardImage]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for image in images {
        all.extend(image.parked.values().map(|parked| payload_of(image, parked.body)));
        let destinations = |(body, to): &(BodyId, Vec<Destination<'_>>)| {
            let groups = to.iter().map(|to| to.groups.len()).sum();
            std::iter::repeat_n(payload_of(image, *body), groups)
        };
        all.extend(image.outbox.values().flat_map(destinations));
    }
    all.sort();
    all
}

#[test]
fn nothing_is_lost_and_the_sessions_are_spread() {
    let key = HashKey::from_seed(5);
    let (mut arrived, mut shared) = (0, 0);
    for seed in 0..1_000 {
        let World { images, mut random, .. } = World::new(seed);
        let (expected, shared_expected) = (expected(&images), shared_before(&images));
        let before: usize = seen(&images).values().map(Vec::len).sum();
        let mut topics: Vec<_> = images.iter().flat_map(|image| image.retained.keys().cloned()).collect();
        for (body, destinations) in images
            .iter()
            .flat_map(|image| image.outbox.values().map(|(body, to)| (&image.bodies[body].message, to)))
        {
            topics.extend(destinations.iter().filter(|to| to.store).map(|_| body.topic().into()));
        }
        topics.sort();
        topics.dedup();

        let shards = 1 + random.below(6) as usize;
        let mut homes = rehome(images, shards, &key);
        assert_eq!(homes.len(), shards);
        let sizes = homes.iter().map(|home| home.sessions.len());
        assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        let mut stored = Vec::new();
        for (index, home) in homes.iter().enumerate() {
            assert_eq!(home.oddities, Default::default(), "seed {seed}: every copy has its message");
            assert!(home.outbox.is_empty() && home.open.is_empty() && home.marks.is_empty());
            assert!(home.retained.keys().all(|topic| partition(topic, &key, shards).index() == index));
            stored.extend(home.retained.keys().cloned());
            assert!(home.sessions.values().all(|session| session.received == [PacketId::MIN]));
        }
        stored.sort();
        assert_eq!(stored, topics, "seed {seed}");
        let (back, content) = (rehome(homes.clone(), 2, &key), seen(&homes));
        assert_eq!(seen(&back), content, "seed {seed}: homes change, nothing else");

        assert_eq!(take_shared(&mut homes), shared_expected, "seed {seed}");
        assert_eq!(seen(&homes), expected, "seed {seed}");
        arrived += expected.values().map(Vec::len).sum::<usize>() - before;
        shared += shared_expected.len();
    }
    assert!(arrived > 1_000 && shared > 100, "{arrived} arrived, {shared} for groups");
}

/// A session is told from others' by No Local where its will, or what it has delayed, is published: there is its session.
#[test]
fn what_is_parked_goes_where_its_publisher_is() {
    let key = HashKey::from_seed(7);
    let mut world = World::new(1);
    world.images = vec![ShardImage::default(); 2];
    for number in 0..5 {
        let (number, session) = (SessionNumber(world.number()), (number, world.session()));
        world.images[session.0 % 2].sessions.insert(number, session.1);
    }
    let clients: Vec<_> =
        world.images[1].sessions.values().map(|session| session.client_id.clone()).collect();
    for client_id in &clients {
        let body = BodyId(Lsn(world.number()));
        let (topic, properties, payload) = (TOPICS[0], &[][..], client_id.as_bytes());
        let (qos, retain, expires_at) = (QoS::AtLeastOnce, false, None);
        let message =
            Message::from_parts(MessageParts { topic, properties, payload, qos, retain, expires_at });
        let publisher = Some(PublisherMark::new(client_id, &key));
        let image = &mut world.images[0];
        image.bodies.insert(body, BodyImage { message, publisher, origin: Origin::Own, place: None });
        image.parked.insert(ParkedId::alone(body.0), ParkedImage { occasion: Occasion::Slot, body });
    }
    for shards in 1..5 {
        let images = rehome(world.images.clone(), shards, &key);
        let mut parked = 0;
        for image in &images {
            for found in image.parked.values() {
                let whose = payload_of(image, found.body);
                assert!(image.sessions.values().any(|session| session.client_id.as_bytes() == whose));
                parked += 1;
            }
        }
        assert_eq!(parked, clients.len());
    }
}
