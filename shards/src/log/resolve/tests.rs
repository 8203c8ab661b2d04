//! Shards that publish, deliver and crash, against a model that only knows which messages their own shard's log has kept.

use super::*;
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::base::random::Random;
use crate::log::record::{
    BodyRecord, Cause, CopyEntry, Destination, MessageRecord, Record, SessionRecord, StartRecord,
};
use crate::mesh::Epoch;
use crate::wire::QoS;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// What a message is for: its number, and the shard that it is sent on to by another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Label {
    id: u32,
    sent_on_to: Option<u8>,
}

impl Label {
    fn payload(self) -> Vec<u8> {
        let mut payload = self.id.to_le_bytes().to_vec();
        payload.extend(self.sent_on_to);
        payload
    }

    fn of(payload: &[u8]) -> Label {
        let id = u32::from_le_bytes(payload[..4].try_into().unwrap());
        Label { id, sent_on_to: payload.get(4).copied() }
    }
}

/// A message as the model knows it.
struct Published {
    source: usize,
    /// Where in the source's log it stands.
    at: usize,
    receivers: Vec<usize>,
}

/// What is on its way: the number in the source's log, the message, and what the destination is to do.
type Lane = VecDeque<(Lsn, Label, Destination<'static>)>;

/// Shards with one session each. What lives is what the log says: the images are kept up to date with every record.
struct World {
    random: Random,
    incarnation: u32,
    logs: Vec<Vec<(Lsn, Record<'static>)>>,
    images: Vec<ShardImage>,
    /// Of each log what is known to be on disk: never lost again.
    committed: Vec<usize>,
    lanes: BTreeMap<(usize, usize), Lane>,
    published: BTreeMap<u32, Published>,
    /// Copies that are done, by shard and message, with the place of the record that says so.
    done: Vec<(usize, u32, usize)>,
    next_id: u32,
    taken_back: usize,
    sent_again: usize,
}

fn session_of(shard: usize) -> SessionNumber {
    SessionNumber(100 + shard as u64)
}

fn to(shard: usize, fan_out: bool, shared: bool) -> Destination<'static> {
    let groups = if shared { vec![("$share/g/t".into(), 1)] } else { Vec::new() };
    Destination { shard: ShardId::new(shard), fan_out, store: false, groups: Cow::Owned(groups) }
}

impl World {
    fn new(seed: u64, shards: usize) -> World {
        let mut world = World {
            random: Random::from_seed(seed),
            incarnation: 0,
            logs: vec![Vec::new(); shards],
            images: vec![ShardImage::default(); shards],
            committed: vec![0; shards],
            lanes: BTreeMap::new(),
            published: BTreeMap::new(),
            done: Vec::new(),
            next_id: 0,
            taken_back: 0,
            sent_again: 0,
        };
        world.start();
        for shard in 0..shards {
            let head = SessionRecord {
                session: session_of(shard),
                fresh: true,
                client_id: format!("client {shard}").into(),
                user: None,
                epoch: Epoch(1),
                expiry_seconds: 1,
                offline_since: None,
                will: None,
                received: Cow::Borrowed(&[]),
                next_copy: CopyNumber(0),
            };
            world.append(shard, Record::Session(head));
            world.committed[shard] = world.logs[shard].len();
        }
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn append(&mut self, shard: usize, record: Record<'static>) -> Lsn {
        let newest = self.logs[shard].last().map_or(Lsn::NONE, |(lsn, _)| *lsn);
        let lsn = newest.max(Lsn::before(Incarnation(self.incarnation))).next();
        self.images[shard].apply(lsn, &record);
        self.logs[shard].push((lsn, record));
        lsn
    }

    /// A new incarnation: each log begins with what it knows of those before, and what outboxes still have is on its way again.
    fn start(&mut self) {
        self.incarnation += 1;
        for shard in 0..self.logs.len() {
            let ended = Cow::Owned(self.images[shard].ended.clone());
            self.append(shard, Record::Start(StartRecord { ended }));
            for (lsn, (body, destinations)) in &self.images[shard].outbox {
                let label = Label::of(self.images[shard].bodies[body].message.payload());
                for to in destinations {
                    let lane = self.lanes.entry((shard, to.shard.index())).or_default();
                    lane.push_back((*lsn, label, to.clone()));
                    self.sent_again += 1;
                }
            }
        }
    }

    fn message(&self, shard: usize, label: Label, is_copied: bool) -> MessageRecord<'static> {
        let session = session_of(shard);
        let number = self.images[shard].sessions[&session].next_copy;
        let copy = CopyEntry::queued(session, number, QoS::ExactlyOnce);
        let body = BodyRecord {
            topic: "t".into(),
            properties: Cow::Borrowed(&[]),
            payload: Cow::Owned(label.payload()),
            qos: QoS::ExactlyOnce,
            retain: false,
            expires_at: None,
            publisher: None,
        };
        MessageRecord {
            origin: Origin::Own,
            cause: Cause::None,
            body,
            destinations: Cow::Borrowed(&[]),
            copies: if is_copied { Cow::Owned(vec![copy]) } else { Cow::Borrowed(&[]) },
            retained: false,
            open: false,
            groups: Cow::Borrowed(&[]),
        }
    }

    fn send(&mut self, shard: usize, label: Label, record: MessageRecord<'static>) {
        let destinations = record.destinations.clone();
        let lsn = self.append(shard, Record::Message(record));
        for to in destinations.iter() {
            let lane = self.lanes.entry((shard, to.shard.index())).or_default();
            lane.push_back((lsn, label, to.clone()));
        }
    }

    fn publish(&mut self) {
        let shards = self.logs.len();
        let source = self.below(shards);
        let (mut receivers, mut destinations) = (Vec::new(), Vec::new());
        let sent_on_by = self.random.one_in(3).then(|| (source + 1 + self.below(shards - 1)) % shards);
        let sent_on_to = sent_on_by.map(|by| (by + 1 + self.below(shards - 1)) % shards);
        for shard in 0..shards {
            let (fan_out, shared) = (self.random.one_in(2), sent_on_by == Some(shard));
            if fan_out {
                receivers.push(shard);
            }
            if shard != source && (fan_out || shared) {
                destinations.push(to(shard, fan_out, shared));
            }
        }
        let is_copied = receivers.contains(&source);
        receivers.extend(sent_on_to);
        let label = Label { id: self.next_id, sent_on_to: sent_on_to.map(|to| to as u8) };
        self.next_id += 1;
        self.published.insert(label.id, Published { source, at: self.logs[source].len(), receivers });
        let destinations = Cow::Owned(destinations);
        self.send(source, label, MessageRecord { destinations, ..self.message(source, label, is_copied) });
    }

    /// The first of some lane arrives; returns whether there was one.
    fn deliver(&mut self) -> bool {
        let busy: Vec<_> =
            self.lanes.iter().filter(|(_, lane)| !lane.is_empty()).map(|(at, _)| *at).collect();
        if busy.is_empty() {
            return false;
        }
        let (from, shard) = *self.random.pick(&busy);
        let (lsn, label, to) = self.lanes.get_mut(&(from, shard)).unwrap().pop_front().unwrap();
        let source = ShardId::new(from);
        assert!(self.images[shard].marks.get(&source).is_none_or(|mark| *mark < lsn), "sent again in vain");
        let groups = to.groups.iter().map(|(group, _)| group.clone()).collect();
        let origin = Origin::Peer { source, lsn };
        let record = MessageRecord { origin, groups, ..self.message(shard, label, to.fan_out) };
        self.append(shard, Record::Message(record));
        true
    }

    /// What waits for a group goes to the other shard that has a member; returns whether there was any.
    fn send_on(&mut self, shard: usize) -> bool {
        let Some((number, parked)) = self.images[shard].parked.first_key_value() else { return false };
        let (cause, body) = (Cause::Parked(*number), parked.body);
        let label = Label::of(self.images[shard].bodies[&body].message.payload());
        let target = usize::from(label.sent_on_to.unwrap());
        // It may have been published where it is sent on to.
        let destinations = if target == shard { Vec::new() } else { vec![to(target, true, false)] };
        let record = self.message(shard, label, target == shard);
        self.send(shard, label, MessageRecord { cause, destinations: Cow::Owned(destinations), ..record });
        true
    }

    /// A client has a QoS 2 message only when that is on disk which it came from.
    fn commit(&mut self, mut origin: Origin) {
        while let Origin::Peer { source, lsn } = origin {
            let log = &self.logs[source.index()];
            let at =
                log.binary_search_by_key(&lsn, |(lsn, _)| *lsn).expect("what came is there until it is lost");
            self.committed[source.index()] = self.committed[source.index()].max(at + 1);
            let body = self.images[source.index()].bodies.get(&BodyId(lsn));
            origin = body.map_or(Origin::Own, |body| body.origin);
        }
    }

    fn acknowledge(&mut self) {
        let shard = self.below(self.logs.len());
        let session = &self.images[shard].sessions[&session_of(shard)];
        let Some((number, (body, _))) = session.copies.first_key_value() else { return };
        let BodyImage { message, origin, .. } = &self.images[shard].bodies[body];
        let (number, id, origin) = (*number, Label::of(message.payload()).id, *origin);
        self.commit(origin);
        self.done.push((shard, id, self.logs[shard].len()));
        let copies = Cow::Owned(vec![number]);
        self.append(shard, Record::Finished { session: session_of(shard), copies });
    }

    /// Each log loses some of what is not known to be on disk.
    fn crash(&mut self) {
        for shard in 0..self.logs.len() {
            let (kept, len) = (self.committed[shard], self.logs[shard].len());
            let kept = kept + self.below(len - kept + 1);
            self.logs[shard].truncate(kept);
            self.committed[shard] = kept;
        }
        let logs = &self.logs;
        self.published.retain(|_, message| message.at < logs[message.source].len());
        self.done.retain(|(shard, _, at)| *at < logs[*shard].len());
        let recover = || -> Vec<ShardImage> {
            let image = |log: &Vec<(Lsn, Record<'_>)>| {
                let mut image = ShardImage::default();
                log.iter().for_each(|(lsn, record)| image.apply(*lsn, record));
                image
            };
            logs.iter().map(image).collect()
        };
        let mut images = recover();
        let copies = |images: &[ShardImage]| -> usize {
            images.iter().flat_map(|image| image.sessions.values()).map(|session| session.copies.len()).sum()
        };
        let before = copies(&images);
        resolve(&mut images);
        self.taken_back += before - copies(&images);
        // Interrupted and made again, on the way or at its end: the same.
        let mut again = recover();
        resolve(&mut again);
        assert_eq!(images, again);
        resolve(&mut again);
        assert_eq!(images, again);
        for (source, mark) in images.iter().flat_map(|image| &image.marks) {
            let is_there = logs[source.index()].binary_search_by_key(mark, |(lsn, _)| *lsn).is_ok();
            assert!(is_there || *mark == Lsn::before(mark.incarnation()), "a mark names what happened");
        }
        self.images = images;
        self.lanes.clear();
        self.start();
    }

    fn check(&self) {
        for (shard, image) in self.images.iter().enumerate() {
            let mut wanted: Vec<u32> = Vec::new();
            for (id, message) in &self.published {
                let times = message.receivers.iter().filter(|receiver| **receiver == shard).count();
                let done = self.done.iter().filter(|(at, done, _)| *at == shard && done == id).count();
                wanted.extend(std::iter::repeat_n(*id, times - done.min(times)));
            }
            let copies = image.sessions[&session_of(shard)].copies.values();
            let id = |body: &BodyId| Label::of(image.bodies[body].message.payload()).id;
            let mut there: Vec<u32> = copies.map(|(body, _)| id(body)).collect();
            there.sort_unstable();
            assert_eq!(there, wanted, "shard {shard}");
            assert_eq!(image.oddities, Default::default());
        }
    }
}

#[test]
fn whatever_crashes_what_its_own_log_has_arrives_once_and_nothing_else() {
    let (mut taken_back, mut sent_again) = (0, 0);
    for seed in 0..1_000 {
        let mut world = World::new(seed, 2 + seed as usize % 3);
        for _ in 0..120 {
            match world.below(24) {
                0..8 => world.publish(),
                8..17 => {
                    world.deliver();
                }
                17..20 => {
                    let shard = world.below(world.logs.len());
                    world.send_on(shard);
                }
                20..23 => world.acknowledge(),
                _ => world.crash(),
            }
        }
        world.crash();
        while world.deliver() || (0..world.logs.len()).any(|shard| world.send_on(shard)) {}
        world.check();
        taken_back += world.taken_back;
        sent_again += world.sent_again;
    }
    assert!(taken_back > 1_000 && sent_again > 1_000, "{taken_back} taken back, {sent_again} sent again");
}
