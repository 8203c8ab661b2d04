//! Records that come again, come before what they speak of, or speak of what nobody has.

use super::*;
use crate::base::lsn::Incarnation;
use crate::log::SegmentId;
use crate::log::format::Place;

fn queue<'a>(from: u64, through: u64, copies: &[(Lsn, u64)]) -> Record<'a> {
    let copies = copies.iter().map(|(body, number)| (BodyId(*body), copy(ANNA, *number))).collect();
    let (from, through) = (CopyNumber(from), CopyNumber(through));
    Record::Queue { session: ANNA, from, through, copies: Cow::Owned(copies) }
}

fn repeat_body(lsn: Lsn) -> Record<'static> {
    Record::Body { body: BodyId(lsn), origin: Origin::Own, content: body("t", b"x") }
}

#[test]
fn a_queue_that_is_written_again_replaces_its_range_and_nothing_else() {
    let mut told = Told::with(&[ANNA]);
    let copies: Vec<_> = (0..6).map(|number| copy(ANNA, number)).collect();
    let lsn = told.tell(Record::Message(message(&copies)));
    told.tell(queue(1, 4, &[(lsn, 2), (lsn, 3)]));
    assert_eq!(numbers(told.anna()), [0, 2, 3, 5]);
    assert_eq!(told.anna().next_copy, CopyNumber(6));
}

/// Recovery begins behind the session's first record: what cleaning writes of it comes later than changes to it.
#[test]
fn a_session_that_is_written_again_further_on_is_whole_from_there() {
    let mut told = Told::default();
    let lsn = told.tell(Record::Message(message(&[copy(ANNA, 3)])));
    told.tell(Record::Finished { session: ANNA, copies: Cow::Owned(vec![CopyNumber(1)]) });
    told.tell(Record::Received { session: ANNA, packet_id: id(1) });
    assert_eq!(told.oddities(), (3, 0, 0));
    let received = Cow::Owned(vec![id(1)]);
    told.tell(Record::Session(SessionRecord { received, next_copy: CopyNumber(4), ..head(ANNA, false) }));
    told.tell(Record::Started { session: ANNA, copy: CopyNumber(3), packet_id: id(1) });
    assert_eq!(told.oddities(), (3, 1, 0));
    let old = Lsn(900);
    told.tell(queue(0, 3, &[(old, 2), (lsn, 3)]));
    told.tell(repeat_body(old));
    told.tell(repeat_body(lsn));
    told.image.settle();
    assert_eq!((numbers(told.anna()), told.anna().received.len()), (vec![2, 3], 1));
    assert_eq!((told.bodies(), told.oddities()), (vec![lsn, old], (3, 1, 0)));
}

/// Cleaning writes a queue in parts, and the session's client may come in between.
#[test]
fn a_session_is_whole_from_the_head_behind_which_its_queue_ends() {
    let mut told = Told::default();
    let at = |told: &mut Told, segment| {
        told.image.at = Some(Place { segment: SegmentId(segment), offset: 4_096, bytes: 40 });
    };
    at(&mut told, 1);
    told.tell(Record::Session(head(ANNA, true)));
    let lsn = told.tell(Record::Message(message(&[copy(ANNA, 0), copy(ANNA, 1), copy(ANNA, 2)])));
    let again = SessionRecord { next_copy: CopyNumber(3), ..head(ANNA, false) };
    at(&mut told, 2);
    told.tell(Record::Session(again.clone()));
    at(&mut told, 3);
    told.tell(queue(2, 3, &[(lsn, 2)]));
    at(&mut told, 4);
    told.tell(Record::Session(again));
    told.tell(queue(1, 1, &[(lsn, 1)]));
    assert_eq!(told.anna().written.0, 1, "its beginning is there in its first record only");
    told.tell(queue(0, 0, &[(lsn, 0)]));
    assert_eq!((told.anna().written.0, numbers(told.anna())), (2, vec![0, 1, 2]));
}

#[test]
fn what_refers_to_a_message_that_is_nowhere_is_given_up_and_counted() {
    let mut told = Told::with(&[ANNA]);
    let lsn = told.tell(Record::Message(message(&[copy(ANNA, 5)])));
    let arrived = CopyEntry { state: CopyState::Arrived(id(1)), ..copy(ANNA, 0) };
    let copies =
        [(BodyId(Lsn(77)), arrived), (BodyId(Lsn(78)), copy(ANNA, 1)), (BodyId(Lsn(90)), copy(ANNA, 2))];
    told.tell(Record::Queue {
        session: ANNA,
        from: CopyNumber(0),
        through: CopyNumber(4),
        copies: Cow::Borrowed(&copies),
    });
    told.image.settle();
    let settled = told.image.clone();
    assert_eq!((numbers(told.anna()), told.bodies()), (vec![0, 5], vec![lsn]));
    assert_eq!(told.oddities(), (0, 0, 2));
    told.image.settle();
    assert_eq!(told.image, settled, "settled once is settled");
}

#[test]
fn records_of_nobody_are_counted_and_change_nothing() {
    let mut told = Told::with(&[BERT]);
    let before = told.image.sessions.clone();
    let (session, packet_id, number) = (ANNA, id(1), CopyNumber(0));
    let copies = [copy(ANNA, 0)];
    let records = [
        Record::SessionEnded { session },
        Record::Unsubscribed { session, filter: "a".into() },
        Record::Started { session, copy: number, packet_id },
        Record::Arrived { session, copy: number, packet_id },
        Record::Finished { session, copies: Cow::Owned(vec![number]) },
        Record::Released { session, packet_id },
        queue(0, 1, &[]),
        Record::Message(message(&copies)),
    ];
    let count = records.len() as u64;
    for record in records {
        told.tell(record);
    }
    told.tell(Record::Arrived { session: BERT, copy: number, packet_id });
    told.tell(Record::Unparked { parked: ParkedId::alone(Lsn(55)) });
    assert_eq!(told.image.sessions, before);
    assert_eq!((told.image.oddities.unknown_sessions, told.image.oddities.unknown_copies), (count, 1));
}

#[test]
fn an_incarnation_ends_with_its_last_record_unless_the_next_says_otherwise() {
    let mut told = Told::default();
    let start = |ended: Vec<(Incarnation, Lsn)>| Record::Start(StartRecord { ended: Cow::Owned(ended) });
    let of = |incarnation, sequence| Lsn(Lsn::before(Incarnation(incarnation)).0 + sequence);
    told.lsn = Lsn::before(Incarnation(2));
    told.tell(start(vec![(Incarnation(1), of(1, 30))]));
    told.tell(Record::Stopped);
    assert!(told.image.stopped);
    told.lsn = Lsn::before(Incarnation(4));
    // Its Start is damaged.
    told.tell(Record::Unparked { parked: ParkedId::alone(Lsn(55)) });
    let known = [(Incarnation(1), of(1, 30)), (Incarnation(2), of(2, 2))];
    assert_eq!((told.image.ended.as_slice(), told.image.stopped), (&known[..], false));
    assert_eq!(told.image.newest, of(4, 1));
    told.lsn = Lsn::before(Incarnation(5));
    told.tell(start(vec![(Incarnation(2), of(2, 1)), (Incarnation(4), of(4, 1))]));
    let known = [(Incarnation(1), of(1, 30)), (Incarnation(2), of(2, 1)), (Incarnation(4), of(4, 1))];
    assert_eq!(told.image.ended, known);
}
