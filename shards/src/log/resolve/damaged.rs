//! Logs of which a part is lost: as little as can be is lost with it.

use super::*;
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::log::image::SessionImage;
use crate::log::record::CopyEntry;
use crate::mesh::Epoch;
use crate::wire::{Message, MessageParts, QoS};

fn at(incarnation: u32, sequence: u64) -> Lsn {
    Lsn(Lsn::before(Incarnation(incarnation)).0 + sequence)
}

fn image(oldest: Lsn, newest: Lsn, ended: &[(u32, u64)]) -> ShardImage {
    let ended = ended.iter().map(|(of, last)| (Incarnation(*of), at(*of, *last))).collect();
    ShardImage { oldest, newest, ended, ..ShardImage::default() }
}

fn session(client_id: &str, epoch: u64) -> SessionImage {
    SessionImage {
        client_id: client_id.into(),
        user: None,
        epoch: Epoch(epoch),
        expiry_seconds: 1,
        offline_since: None,
        will: None,
        subscriptions: Default::default(),
        received: Vec::new(),
        copies: Default::default(),
        next_copy: CopyNumber(0),
        written: Default::default(),
        head: Default::default(),
        again: Default::default(),
        away: Default::default(),
    }
}

/// A session with a copy of a message for each of these numbers of shard 0's log.
fn with_arrivals(mut image: ShardImage, arrivals: &[Lsn]) -> ShardImage {
    let number = SessionNumber(1);
    let mut session = session("c", 1);
    for (index, lsn) in arrivals.iter().enumerate() {
        let (body, copy_number) = (BodyId(Lsn(index as u64 + 1)), CopyNumber(index as u64));
        let copy = CopyEntry::queued(number, copy_number, QoS::AtLeastOnce);
        session.copies.insert(copy_number, (body, copy));
        let message = Message::from_parts(MessageParts {
            topic: "t",
            properties: &[],
            payload: &[],
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
        });
        let origin = Origin::Peer { source: ShardId::new(0), lsn: *lsn };
        image.bodies.insert(body, BodyImage { message, publisher: None, origin, place: None });
    }
    image.sessions.insert(number, session);
    image
}

/// Which of the arrivals are left.
fn left(mut images: Vec<ShardImage>) -> Vec<u64> {
    resolve(&mut images);
    images[1].sessions[&SessionNumber(1)].copies.keys().map(|number| number.0).collect()
}

#[test]
fn what_is_behind_the_end_of_an_incarnation_never_happened() {
    let arrivals = [at(1, 5), at(1, 6), at(2, 1), at(3, 9), at(3, 10)];
    let receiver = with_arrivals(image(at(1, 1), at(3, 20), &[]), &arrivals);
    // Of the second nothing is there, and the third has ended just now.
    assert_eq!(left(vec![image(at(1, 1), at(3, 9), &[(1, 5), (2, 0)]), receiver.clone()]), [0, 3]);
    // A log that has nothing yet has sent nothing.
    assert_eq!(left(vec![ShardImage::default(), receiver]), []);
}

#[test]
fn a_log_whose_beginning_is_lost_takes_nothing_else_along() {
    let arrivals = [at(1, 5), at(2, 1), at(3, 9), at(3, 10)];
    let receiver = with_arrivals(image(at(1, 1), at(3, 20), &[]), &arrivals);
    assert_eq!(left(vec![image(at(3, 4), at(3, 9), &[]), receiver]), [0, 1, 2]);
}

#[test]
fn ends_that_nobody_asks_for_any_more_are_forgotten() {
    let (old, new) =
        (image(at(3, 1), at(7, 4), &[(1, 8), (2, 9), (3, 5), (4, 0)]), image(at(5, 1), at(6, 2), &[]));
    let mut images = [old, new];
    resolve(&mut images);
    let ends = |of: &[(u32, u64)]| -> Vec<_> {
        of.iter().map(|(of, last)| (Incarnation(*of), at(*of, *last))).collect()
    };
    assert_eq!(images[0].ended, ends(&[(3, 5), (4, 0), (5, 0), (6, 0), (7, 4)]));
    assert_eq!(images[1].ended, ends(&[(6, 2), (7, 0)]));

    let mut many = [image(at(1, 1), at(10_000, 4), &[])];
    resolve(&mut many);
    assert_eq!(many[0].ended, ends(&[(10_000, 4)]));
    let mut many = [image(at(1, 1), at(10_000, 4), &[(1, 1)])];
    resolve(&mut many);
    assert_eq!(many[0].ended.len(), ENDED_INCARNATIONS_MAX);
    assert_eq!(many[0].ended.last(), ends(&[(10_000, 4)]).last());
}

#[test]
fn a_client_id_is_one_sessions_that_of_the_highest_claim() {
    let mut images = vec![ShardImage::default(); 3];
    for (shard, number, client_id, epoch) in [(0, 1, "a", 1), (1, 2, "a", 9), (2, 3, "a", 4), (2, 4, "b", 4)]
    {
        images[shard].sessions.insert(SessionNumber(number), session(client_id, epoch));
    }
    resolve(&mut images);
    let left: Vec<u64> =
        images.iter().flat_map(|image| image.sessions.keys()).map(|number| number.0).collect();
    assert_eq!(left, [2, 4]);
    let superseded: Vec<u64> = images.iter().map(|image| image.oddities.superseded).collect();
    assert_eq!(superseded, [1, 0, 1]);
}
