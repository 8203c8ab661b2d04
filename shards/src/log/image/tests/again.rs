//! Images become records, and those the same images.

use super::*;
use crate::base::hash::HashKey;
use crate::base::lsn::Incarnation;
use crate::base::random::Random;
use crate::log::records_of;

const SESSIONS: u64 = 5;
const GROUPS: [&str; 2] = ["$share/g/t", "$share/h/t"];

/// Records at random, most of which fit what was told before.
struct Teller {
    random: Random,
    told: Told,
}

impl Teller {
    fn session(&mut self) -> SessionNumber {
        SessionNumber(1 + self.random.below(SESSIONS))
    }

    fn copies(&mut self) -> Vec<CopyEntry> {
        let mut copies = Vec::new();
        for number in 1..=SESSIONS {
            let session = SessionNumber(number);
            let Some(image) = self.told.image.sessions.get(&session) else { continue };
            if self.random.one_in(2) {
                let identifiers = (0..self.random.below(3) as u32).collect();
                copies.push(CopyEntry { session, number: image.next_copy, identifiers, ..copy(session, 0) });
            }
        }
        copies
    }

    fn body(&mut self) -> BodyRecord<'static> {
        let topic = ["t", "a/b", "c"][self.random.below(3) as usize];
        let payload: Vec<u8> = (0..self.random.below(4)).map(|_| self.random.next_u64() as u8).collect();
        let key = HashKey::from_seed(1);
        let publisher = self.random.one_in(2).then(|| PublisherMark::new("p", &key));
        let expires_at = self.random.one_in(2).then(|| Time::from_micros(self.random.below(99)));
        BodyRecord { payload: Cow::Owned(payload), publisher, expires_at, ..body(topic, b"") }
    }

    fn origin(&mut self) -> Origin {
        let (source, lsn) = (ShardId::new(self.random.below(3) as usize), Lsn(1 + self.random.below(500)));
        if self.random.one_in(2) { Origin::Own } else { Origin::Peer { source, lsn } }
    }

    fn message(&mut self) -> MessageRecord<'static> {
        let groups = Cow::Owned(vec![(GROUPS[0].into(), self.random.next_u64())]);
        let shard = ShardId::new(self.random.below(4) as usize);
        let to = Destination { shard, fan_out: true, store: self.random.one_in(2), groups };
        let parked = self.told.image.parked.first_key_value().map(|(number, _)| *number);
        let groups = self.random.below(8).saturating_sub(5) as usize;
        MessageRecord {
            origin: self.origin(),
            cause: parked.filter(|_| self.random.one_in(3)).map_or(Cause::None, Cause::Parked),
            body: self.body(),
            destinations: Cow::Owned(if self.random.one_in(3) { vec![to] } else { Vec::new() }),
            copies: Cow::Owned(self.copies()),
            retained: self.random.one_in(3),
            open: self.random.one_in(4),
            groups: GROUPS[..groups].iter().map(|group| Cow::Borrowed(*group)).collect(),
        }
    }

    fn head(&mut self) -> SessionRecord<'static> {
        let session = self.session();
        let will = WillRecord {
            body: BodyRecord { publisher: None, ..self.body() },
            delay_seconds: 1,
            expiry_seconds: Some(2),
            user_name: Some("u".into()),
            peer: "[::1]:9".parse().unwrap(),
        };
        let known = self.told.image.sessions.get(&session);
        let next_copy = known.map(|known| known.next_copy).unwrap_or_default();
        let will = self.random.one_in(2).then_some(will);
        SessionRecord { will, next_copy, ..head(session, known.is_none()) }
    }

    fn subscribed(&mut self) -> Record<'static> {
        let filter = ["a/+", "t", "$share/g/t"][self.random.below(3) as usize].into();
        let options = SubscriptionOptions { qos: QoS::ExactlyOnce, no_local: true, ..Default::default() };
        let identifier = NonZeroU32::new(self.random.below(9) as u32);
        let exclusive = self.random.one_in(2);
        let session = self.session();
        Record::Subscribed(SubscribedRecord { session, filter, options, identifier, exclusive })
    }

    fn of_a_copy(&mut self) -> Option<Record<'static>> {
        let session = self.session();
        let copies = &self.told.image.sessions.get(&session)?.copies;
        let copy = *copies.keys().nth(self.random.below(4) as usize)?;
        let packet_id = id(1 + self.random.below(9) as u16);
        Some(match self.random.below(3) {
            0 => Record::Started { session, copy, packet_id },
            1 => Record::Arrived { session, copy, packet_id },
            _ => Record::Finished { session, copies: Cow::Owned(vec![copy]) },
        })
    }

    fn record(&mut self) -> Option<Record<'static>> {
        Some(match self.random.below(20) {
            0..3 => Record::Session(self.head()),
            3 => Record::Received { session: self.session(), packet_id: id(1 + self.random.below(9) as u16) },
            4..6 => self.subscribed(),
            6..11 => Record::Message(self.message()),
            11..15 => return self.of_a_copy(),
            15 => Record::Retained(self.body()),
            16 => {
                let record = parked(Occasion::At(Time::from_micros(7)));
                let (origin, body) = (self.origin(), self.body());
                Record::Parked(ParkedRecord { origin, body, ..record })
            }
            17 => {
                let open = self.told.image.open.first_key_value();
                let (body, last) = (*open?.0, self.random.one_in(2));
                Record::Copies(CopiesRecord { body, parked: None, copies: self.copies().into(), last })
            }
            18 if self.random.one_in(5) => Record::SessionEnded { session: self.session() },
            _ => Record::Offline(OfflineRecord {
                session: self.session(),
                since: Time::from_micros(3),
                will_forgotten: self.random.one_in(4),
                expiry_seconds: 5,
            }),
        })
    }
}

fn random_image(seed: u64) -> ShardImage {
    let mut teller = Teller { random: Random::from_seed(seed), told: Told::default() };
    teller.told.tell(Record::Start(StartRecord { ended: Cow::Owned(vec![(Incarnation(1), Lsn(44))]) }));
    for _ in 0..teller.random.below(200) {
        if let Some(record) = teller.record() {
            teller.told.tell(record);
        }
    }
    teller.told.image.settle();
    teller.told.image
}

/// Without what an image says of its log.
fn content(image: ShardImage) -> ShardImage {
    let (oldest, newest, stopped, oddities) = Default::default();
    ShardImage { oldest, newest, stopped, oddities, ..image }
}

#[test]
fn records_of_an_image_make_it_again() {
    let mut all = [0; 6];
    for seed in 0..500 {
        let image = random_image(seed);
        let mut told = Told { lsn: Lsn::before(Incarnation(9)), ..Told::default() };
        for record in records_of(&image) {
            told.tell(record);
        }
        told.image.settle();
        assert_eq!(told.oddities(), (0, 0, 0), "seed {seed}");
        let counts = [
            image.sessions.values().map(|session| session.copies.len()).sum(),
            image.outbox.len(),
            image.open.len(),
            image.parked.len(),
            image.retained.len(),
            image.marks.len(),
        ];
        all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        assert_eq!(content(told.image), content(image), "seed {seed}");
    }
    assert!(all.iter().all(|count| *count > 500), "{all:?}");
}

#[test]
fn a_long_queue_is_several_records() {
    let mut told = Told::with(&[ANNA]);
    for number in 0..1_000 {
        told.tell(Record::Message(message(&[copy(ANNA, number)])));
    }
    let queue = |record: &Record<'_>| matches!(record, Record::Queue { .. });
    assert_eq!(records_of(&told.image).filter(queue).count(), 4);
    let mut again = Told::default();
    records_of(&told.image).for_each(|record| _ = again.tell(record));
    assert_eq!(again.image.sessions, told.image.sessions);
}
