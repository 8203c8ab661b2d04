//! What is exported is imported.

use super::lines::{Importer, Line, lines_of};
use shardmq_shards::base::kept::{CopyNumber, ParkedId, SessionNumber};
use shardmq_shards::base::lsn::Lsn;
use shardmq_shards::base::time::Time;
use shardmq_shards::log::{
    BodyId, BodyImage, CopyEntry, CopyState, Occasion, Origin, ParkedImage, SessionImage, ShardImage,
    SubscriptionImage, WillImage,
};
use shardmq_shards::mesh::Epoch;
use shardmq_shards::wire::{Message, MessageParts, PacketId, QoS, RetainHandling, SubscriptionOptions};
use std::num::NonZeroU32;

fn message(payload: &[u8]) -> Message {
    Message::from_parts(MessageParts {
        topic: "a/b",
        properties: &[0x01, 0],
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
    })
}

fn copy(session: u64, number: u64, state: CopyState) -> CopyEntry {
    let (session, number, qos) = (SessionNumber(session), CopyNumber(number), QoS::ExactlyOnce);
    CopyEntry {
        session,
        number,
        qos,
        retain: true,
        group: (number.0 == 1).then(|| "$share/g/a".into()),
        state,
        identifiers: [7].into_iter().collect(),
    }
}

/// One broker's state, numbered as an import numbers it.
fn image() -> ShardImage {
    let mut image = ShardImage::default();
    let body = |image: &mut ShardImage, payload: &[u8]| {
        let id = BodyId(Lsn(image.bodies.len() as u64 + 1));
        image.bodies.insert(
            id,
            BodyImage { message: message(payload), publisher: None, origin: Origin::Own, place: None },
        );
        id
    };
    let id = PacketId::new(9).unwrap();
    let states = [CopyState::Arrived(id), CopyState::Started(id), CopyState::Queued];
    let copies = states.into_iter().enumerate().map(|(number, state)| {
        let body = if number == 0 { BodyId::default() } else { body(&mut image, &[number as u8]) };
        (CopyNumber(number as u64), (body, copy(1, number as u64, state)))
    });
    let copies = copies.collect();
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let subscription = SubscriptionImage { options, identifier: NonZeroU32::new(7), exclusive: true };
    let will = WillImage {
        message: message(b"will"),
        delay_seconds: 5,
        expiry_seconds: Some(6),
        user_name: Some("u".into()),
        peer: "10.1.2.3:4".parse().unwrap(),
    };
    let session = SessionImage {
        client_id: "client \"1\"".into(),
        user: Some("u".into()),
        epoch: Epoch(1),
        expiry_seconds: 60,
        offline_since: Some(Time::from_micros(5)),
        will: Some(will),
        subscriptions: [("a/+".into(), subscription)].into_iter().collect(),
        received: vec![id],
        copies,
        next_copy: CopyNumber(3),
        written: Default::default(),
        head: Default::default(),
        again: Default::default(),
        away: Default::default(),
    };
    image.sessions.insert(SessionNumber(1), session);
    image.retained.insert("a/b".into(), (message(b"kept").with_retain(true), None, Default::default()));
    let occasions = [
        Occasion::At(Time::from_micros(8)),
        Occasion::Slot,
        Occasion::Member { group: "$share/g/a".into(), sent_on: false },
    ];
    for occasion in occasions {
        let body = body(&mut image, b"parked");
        image.parked.insert(ParkedId::alone(body.0), ParkedImage { occasion, body });
    }
    image
}

#[test]
fn what_is_exported_is_imported() {
    let image = image();
    let lines: Vec<String> = lines_of(&image).map(|line| serde_json::to_string(&line).unwrap()).collect();
    assert_eq!(lines.len(), 1 + 1 + 1 + 3);
    assert_eq!(lines[0], r#"{"shardmq_export":1}"#);
    let mut importer = Importer::default();
    for line in &lines[1..] {
        importer.take(&serde_json::from_str::<Line>(line).unwrap()).unwrap();
    }
    assert_eq!(importer.finish(), image, "{lines:#?}");
}

#[test]
fn lines_that_make_no_sense_are_refused() {
    let subscription = |filter: &str, qos: u8| {
        format!(
            r#"{{"filter":"{filter}","qos":{qos},"no_local":false,"retain_as_published":false,"retain_handling":0}}"#
        )
    };
    let session = |subscriptions: &str, queue: &str| {
        format!(
            r#"{{"session":{{"client_id":"c","expiry_seconds":1,"subscriptions":[{subscriptions}],"queue":[{queue}]}}}}"#
        )
    };
    let take = |line: &str, importer: &mut Importer| {
        let line: Line = serde_json::from_str(line).expect("it reads well");
        importer.take(&line)
    };
    let mut importer = Importer::default();
    take(&session(&subscription("a/+", 1), ""), &mut importer).expect("nothing is wrong with it");
    for wrong in [
        session("", ""),
        r#"{"shardmq_export":1}"#.to_owned(),
        r#"{"waiting":{"waits_for":{"member":"a"},"message":{"topic":"a","payload":"","qos":1}}}"#.to_owned(),
    ] {
        assert!(take(&wrong, &mut importer).is_err(), "{wrong}");
    }
    for wrong in [
        session(&subscription("a/#/b", 1), ""),
        session(&subscription("a", 3), ""),
        session("", r#"{"qos":1,"state":"queued"}"#),
        session("", r#"{"qos":0,"state":{"arrived":1}}"#),
        session("", r#"{"qos":2,"state":{"arrived":0}}"#),
    ] {
        assert!(take(&wrong, &mut Importer::default()).is_err(), "{wrong}");
    }
}
