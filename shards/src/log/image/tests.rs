//! What each kind of record does to an image; `repeated`: what is written again, and what fits nothing;
//! `again`: images to records and back.

mod again;
mod repeated;

use super::*;
use crate::log::record::{
    BodyRecord, Cause, CopiesRecord, CopyState, MessageRecord, OfflineRecord, ParkedRecord, Record,
    SessionRecord, StartRecord, SubscribedRecord, WillRecord,
};
use crate::wire::QoS;
use std::borrow::Cow;

const ANNA: SessionNumber = SessionNumber(7);
const BERT: SessionNumber = SessionNumber(9);

/// An image, and the number of the last record that it was told.
#[derive(Default)]
struct Told {
    image: ShardImage,
    lsn: Lsn,
}

impl Told {
    fn with(sessions: &[SessionNumber]) -> Told {
        let mut told = Told::default();
        for session in sessions {
            told.tell(Record::Session(head(*session, true)));
        }
        told
    }

    fn tell(&mut self, record: Record<'_>) -> Lsn {
        self.lsn = self.lsn.next();
        self.image.apply(self.lsn, &record);
        self.lsn
    }

    fn anna(&self) -> &SessionImage {
        &self.image.sessions[&ANNA]
    }

    fn oddities(&self) -> (u64, u64, u64) {
        let Oddities { unknown_sessions, unknown_copies, bodiless, .. } = self.image.oddities;
        (unknown_sessions, unknown_copies, bodiless)
    }

    fn bodies(&self) -> Vec<Lsn> {
        self.image.bodies.keys().map(|body| body.0).collect()
    }
}

fn head(session: SessionNumber, fresh: bool) -> SessionRecord<'static> {
    SessionRecord {
        session,
        fresh,
        client_id: "c".into(),
        user: Some("u".into()),
        epoch: Epoch(session.0),
        expiry_seconds: 60,
        offline_since: None,
        will: None,
        received: Cow::Borrowed(&[]),
        next_copy: CopyNumber(0),
    }
}

fn body(topic: &'static str, payload: &'static [u8]) -> BodyRecord<'static> {
    BodyRecord {
        topic: topic.into(),
        properties: Cow::Borrowed(&[]),
        payload: Cow::Borrowed(payload),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
        publisher: None,
    }
}

fn copy(session: SessionNumber, number: u64) -> CopyEntry {
    CopyEntry::queued(session, CopyNumber(number), QoS::ExactlyOnce)
}

fn message(copies: &[CopyEntry]) -> MessageRecord<'_> {
    MessageRecord {
        origin: Origin::Own,
        cause: Cause::None,
        body: body("t", b"x"),
        destinations: Cow::Borrowed(&[]),
        copies: Cow::Borrowed(copies),
        retained: false,
        open: false,
        groups: Cow::Borrowed(&[]),
    }
}

fn parked(occasion: Occasion<'static>) -> ParkedRecord<'static> {
    let body = body("t", b"x");
    ParkedRecord { origin: Origin::Own, occasion, cause: Cause::None, taken_from: None, body, parked: None }
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn numbers(session: &SessionImage) -> Vec<u64> {
    session.copies.keys().map(|number| number.0).collect()
}

#[test]
fn a_session_begins_changes_and_ends() {
    let mut told = Told::with(&[ANNA]);
    let options = SubscriptionOptions::default();
    let filter = Cow::Borrowed("a/+");
    let identifier = NonZeroU32::new(3);
    told.tell(Record::Subscribed(SubscribedRecord {
        session: ANNA,
        filter,
        options,
        identifier,
        exclusive: true,
    }));
    told.tell(Record::Message(message(&[copy(ANNA, 0)])));
    told.tell(Record::Received { session: ANNA, packet_id: id(5) });
    let peer = "10.0.0.1:99".parse().unwrap();
    let will = WillRecord {
        body: body("will", b"w"),
        delay_seconds: 4,
        expiry_seconds: None,
        user_name: Some("u".into()),
        peer,
    };
    let changed =
        SessionRecord { epoch: Epoch(8), will: Some(will), next_copy: CopyNumber(1), ..head(ANNA, false) };
    told.tell(Record::Session(changed.clone()));
    let anna = told.anna();
    assert_eq!((anna.epoch, anna.subscriptions.len(), anna.received.as_slice()), (Epoch(8), 1, &[id(5)][..]));
    assert_eq!(anna.subscriptions["a/+"], SubscriptionImage { options, identifier, exclusive: true });
    assert_eq!(anna.will.as_ref().map(|will| (will.message.topic(), will.peer)), Some(("will", peer)));
    assert_eq!(numbers(anna), [0]);

    let offline = OfflineRecord {
        session: ANNA,
        since: Time::from_micros(9),
        will_forgotten: false,
        expiry_seconds: 30,
    };
    told.tell(Record::Offline(offline));
    assert_eq!((told.anna().offline_since, told.anna().expiry_seconds), (Some(Time::from_micros(9)), 30));
    assert!(told.anna().will.is_some());
    told.tell(Record::Offline(OfflineRecord { will_forgotten: true, ..offline }));
    assert!(told.anna().will.is_none());

    told.tell(Record::Unsubscribed { session: ANNA, filter: "a/+".into() });
    assert!(told.anna().subscriptions.is_empty());
    told.tell(Record::Session(SessionRecord { fresh: true, ..changed }));
    assert!(told.anna().copies.is_empty() && told.anna().received.is_empty());
    told.tell(Record::SessionEnded { session: ANNA });
    told.image.settle();
    assert!(told.image.sessions.is_empty() && told.image.bodies.is_empty());
    assert_eq!(told.oddities(), (0, 0, 0));
}

#[test]
fn packet_ids_from_the_client_are_known_from_publish_to_pubrel() {
    let mut told = Told::with(&[ANNA]);
    told.tell(Record::Message(MessageRecord { cause: Cause::Received(ANNA, id(9)), ..message(&[]) }));
    told.tell(Record::Received { session: ANNA, packet_id: id(2) });
    told.tell(Record::Received { session: ANNA, packet_id: id(9) });
    assert_eq!(told.anna().received, [id(2), id(9)]);
    told.tell(Record::Released { session: ANNA, packet_id: id(2) });
    assert_eq!(told.anna().received, [id(9)]);
    let cleaned = SessionRecord { received: Cow::Owned(vec![id(9), id(4)]), ..head(ANNA, false) };
    told.tell(Record::Session(cleaned));
    assert_eq!(told.anna().received, [id(4), id(9)]);
}

#[test]
fn a_copy_goes_through_its_states_and_its_body_goes_with_the_last_that_needs_it() {
    let mut told = Told::with(&[ANNA, BERT]);
    let lsn = told.tell(Record::Message(message(&[copy(ANNA, 0), copy(BERT, 0)])));
    told.tell(Record::Finished { session: BERT, copies: Cow::Owned(vec![CopyNumber(0)]) });
    told.image.settle();
    assert_eq!(told.bodies(), [lsn]);
    told.tell(Record::Started { session: ANNA, copy: CopyNumber(0), packet_id: id(1) });
    assert_eq!(told.anna().copies[&CopyNumber(0)].1.state, CopyState::Started(id(1)));
    told.tell(Record::Arrived { session: ANNA, copy: CopyNumber(0), packet_id: id(1) });
    told.image.settle();
    assert_eq!(told.anna().copies[&CopyNumber(0)].1.state, CopyState::Arrived(id(1)));
    assert!(told.bodies().is_empty(), "the client has it, only the packet id is left");
    told.tell(Record::Finished { session: ANNA, copies: Cow::Owned(vec![CopyNumber(0)]) });
    assert!(told.anna().copies.is_empty() && told.anna().next_copy == CopyNumber(1));
    assert_eq!(told.oddities(), (0, 0, 0));
}

#[test]
fn an_open_fan_out_stays_until_its_last_copies() {
    let mut told = Told::with(&[ANNA, BERT]);
    let lsn = told.tell(Record::Message(MessageRecord { open: true, ..message(&[copy(ANNA, 0)]) }));
    let more = |copies, last| CopiesRecord { body: BodyId(lsn), parked: None, copies, last };
    told.tell(Record::Copies(more(Cow::Owned(vec![copy(BERT, 0)]), false)));
    let open = BTreeMap::from([(BodyId(lsn), vec![ANNA, BERT])]);
    assert_eq!((&told.image.open, told.image.parked.len()), (&open, 0));
    let occasion = Occasion::FanOut { done: Cow::Owned(vec![ANNA, BERT]), body: BodyId(lsn) };
    told.tell(Record::Parked(ParkedRecord { parked: Some(ParkedId::alone(lsn)), ..parked(occasion) }));
    told.image.settle();
    assert_eq!((&told.image.open, told.image.parked.len()), (&open, 0), "written again");
    assert_eq!(told.bodies(), [lsn]);
    told.tell(Record::Copies(more(Cow::Borrowed(&[]), true)));
    assert!(told.image.open.is_empty() && told.anna().copies.len() == 1);
}

#[test]
fn a_message_may_wait_for_its_groups_beside_its_open_fan_out() {
    let mut told = Told::with(&[ANNA]);
    let groups = Cow::Owned(vec!["$share/g/t".into(), "$share/h/t".into()]);
    let record = told.tell(Record::Message(MessageRecord { open: true, groups, ..message(&[]) }));
    let body = BodyId(record);
    let copies = Cow::Owned(vec![copy(ANNA, 0)]);
    let first = Some(ParkedId { record, nth: 0 });
    told.tell(Record::Copies(CopiesRecord { body, parked: first, copies, last: true }));
    let occasion = Occasion::Member { group: "$share/h/t".into(), sent_on: true };
    let left = BTreeMap::from([(ParkedId { record, nth: 1 }, ParkedImage { occasion, body })]);
    assert_eq!((&told.image.parked, told.image.open.len()), (&left, 1));
}

#[test]
fn what_is_parked_stays_until_it_is_published_dispatched_or_gone() {
    let mut told = Told::with(&[ANNA, BERT]);
    let at = Occasion::At(Time::from_micros(5));
    let delayed =
        told.tell(Record::Parked(ParkedRecord { cause: Cause::Received(ANNA, id(3)), ..parked(at.clone()) }));
    assert_eq!(told.anna().received, [id(3)]);
    assert_eq!(
        told.image.parked[&ParkedId::alone(delayed)],
        ParkedImage { occasion: at.clone(), body: BodyId(delayed) }
    );
    let published = told.tell(Record::Message(MessageRecord {
        cause: Cause::Parked(ParkedId::alone(delayed)),
        ..message(&[copy(ANNA, 0)])
    }));
    assert!(told.image.parked.is_empty());

    let member = Occasion::Member { group: "$share/g/t".into(), sent_on: false };
    let taken_from = Some((ANNA, CopyNumber(0)));
    let taken = told.tell(Record::Parked(ParkedRecord { taken_from, ..parked(member) }));
    assert!(told.anna().copies.is_empty());
    told.tell(Record::Copies(CopiesRecord {
        body: BodyId(taken),
        parked: Some(ParkedId::alone(taken)),
        copies: Cow::Owned(vec![copy(BERT, 0)]),
        last: true,
    }));
    let gone = told.tell(Record::Parked(parked(at)));
    told.tell(Record::Unparked { parked: ParkedId::alone(gone) });
    told.image.settle();
    assert!(told.image.parked.is_empty());
    assert_eq!((told.bodies(), published < taken), (vec![taken], true));
}

#[test]
fn a_will_that_is_published_is_the_sessions_no_more() {
    let mut told = Told::default();
    let peer = "10.0.0.1:99".parse().unwrap();
    let will =
        WillRecord { body: body("w", b"w"), delay_seconds: 0, expiry_seconds: None, user_name: None, peer };
    told.tell(Record::Session(SessionRecord { will: Some(will), ..head(ANNA, true) }));
    told.tell(Record::Parked(ParkedRecord { cause: Cause::Will(ANNA), ..parked(Occasion::Slot) }));
    assert!(told.anna().will.is_none() && told.image.parked.len() == 1);
}

#[test]
fn the_last_retained_message_of_a_topic_counts() {
    let mut told = Told::default();
    told.tell(Record::Message(MessageRecord { retained: true, ..message(&[]) }));
    assert_eq!(told.image.retained["t"].0.payload(), b"x");
    assert!(told.image.bodies.is_empty(), "no copy, no destination: the store alone has it");
    told.tell(Record::Retained(body("t", b"y")));
    told.tell(Record::Retained(body("u", b"z")));
    assert_eq!(told.image.retained["t"].0.payload(), b"y");
    told.tell(Record::Retained(body("t", b"")));
    told.tell(Record::RetainedCleared { topic: "u".into() });
    assert!(told.image.retained.is_empty());
}

#[test]
fn marks_rise_with_what_arrives_and_never_fall() {
    let mut told = Told::with(&[ANNA]);
    let (source, other) = (ShardId::new(2), ShardId::new(3));
    let origin = Origin::Peer { source, lsn: Lsn(40) };
    told.tell(Record::Message(MessageRecord { origin, ..message(&[copy(ANNA, 0)]) }));
    told.tell(Record::Mark { source, lsn: Lsn(30) });
    let member = Occasion::Member { group: "$share/g/t".into(), sent_on: false };
    let origin = Origin::Peer { source: other, lsn: Lsn(6) };
    let arrived = told.tell(Record::Parked(ParkedRecord { origin, ..parked(member) }));
    assert_eq!(told.image.marks, BTreeMap::from([(source, Lsn(40)), (other, Lsn(6))]));
    // Where it came from stays known when it is sent on.
    let cause = Cause::Parked(ParkedId::alone(arrived));
    let sent_on = told.tell(Record::Message(MessageRecord { cause, ..message(&[copy(ANNA, 1)]) }));
    assert_eq!(told.image.bodies[&BodyId(sent_on)].origin, origin);
}

#[test]
fn an_outbox_entry_may_be_written_again_with_fewer_destinations() {
    let mut told = Told::default();
    let to = |index| {
        let (shard, groups) = (ShardId::new(index), Cow::Owned(vec![("$share/g/t".into(), 5)]));
        Destination { shard, fan_out: true, store: false, groups }
    };
    let both = [to(1), to(2)];
    let lsn =
        told.tell(Record::Message(MessageRecord { destinations: Cow::Owned(both.to_vec()), ..message(&[]) }));
    assert_eq!(told.image.outbox[&lsn], (BodyId(lsn), both.to_vec()));
    told.tell(Record::Outbox { lsn, content: body("t", b"x"), destinations: Cow::Owned(vec![to(2)]) });
    told.image.settle();
    assert_eq!(told.image.outbox, BTreeMap::from([(lsn, (BodyId(lsn), vec![to(2)]))]));
    assert_eq!(told.bodies(), [lsn]);
}
