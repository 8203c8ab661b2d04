use super::*;
use crate::base::kept::{BodyKey, KeptCopy};
use crate::session::Identifiers;
use crate::wire::{Message, Publish};
use std::num::NonZeroU64;

fn copy(qos: QoS) -> PendingCopy {
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t",
        packet_id: None,
        properties: Default::default(),
        payload: b"x",
    };
    PendingCopy {
        message: Message::from_publish(&publish, "t", None),
        identifiers: Identifiers::None,
        qos,
        retain: false,
        group: None,
        kept: None,
    }
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).expect("not zero")
}

#[test]
fn packet_ids_wrap_without_zero_and_the_window_closes() {
    let mut flight = InFlight::default();
    for n in 0..70_000u32 {
        assert!(flight.is_open(2));
        let (packet_id, _) = flight.start(copy(QoS::AtLeastOnce));
        assert_eq!(u32::from(packet_id.get()), n % 65_535 + 1);
        assert!(flight.puback(packet_id).is_some());
        assert!(flight.puback(packet_id).is_none(), "a second PUBACK finds nothing");
    }
    flight.start(copy(QoS::AtLeastOnce));
    flight.start(copy(QoS::AtLeastOnce));
    assert!(!flight.is_open(2));
}

#[test]
fn one_unacknowledged_message_bounds_the_span() {
    let mut flight = InFlight::default();
    flight.start(copy(QoS::AtLeastOnce));
    let mut more = 0;
    while flight.is_open(4) {
        let (packet_id, _) = flight.start(copy(QoS::AtLeastOnce));
        flight.puback(packet_id);
        more += 1;
    }
    assert_eq!(more, 4 * IN_FLIGHT_SPAN_FACTOR - 1);
    assert!(flight.puback(id(1)).is_some());
    assert!(flight.is_open(4) && flight.is_empty());
}

#[test]
fn qos_2_walks_its_states() {
    let mut flight = InFlight::default();
    let (packet_id, _) = flight.start(copy(QoS::ExactlyOnce));
    assert!(flight.puback(packet_id).is_none(), "PUBACK does not end a QoS 2 exchange");
    assert!(flight.pubcomp(packet_id).is_none(), "PUBCOMP before PUBREC ends nothing");
    assert!(flight.pubrec(packet_id).is_ok_and(|copy| copy.is_some()));
    assert!(flight.pubrec(packet_id).is_ok_and(|copy| copy.is_none()));
    assert_eq!((flight.len(), flight.undelivered()), (1, 0));
    assert_eq!(flight.pubcomp(packet_id), Some(None));
    assert_eq!(flight.pubrec(packet_id).unwrap_err(), UnknownPacketId);
    let (refused, _) = flight.start(copy(QoS::ExactlyOnce));
    assert!(flight.pubrec_refused(refused).is_some() && flight.is_empty());
}

#[test]
fn resume_sends_again_in_order_within_the_new_window() {
    let mut flight = InFlight::default();
    let (first, _) = flight.start(copy(QoS::AtLeastOnce));
    let (second, _) = flight.start(copy(QoS::ExactlyOnce));
    let (third, _) = flight.start(copy(QoS::AtLeastOnce));
    flight.pubrec(second).expect("in flight");
    flight.restart();
    assert!(!flight.is_open(10), "nothing new overtakes what is sent again");
    assert!(
        matches!(flight.resend(2), Some(Resend::Publish { packet_id, dup: true, .. }) if packet_id == first)
    );
    assert!(matches!(flight.resend(2), Some(Resend::Pubrel(packet_id)) if packet_id == second));
    assert!(flight.resend(2).is_none(), "the window of 2 is used up");
    assert!(flight.puback(first).is_some());
    assert!(matches!(flight.resend(2), Some(Resend::Publish { packet_id, .. }) if packet_id == third));
    assert!(flight.resend(2).is_none() && flight.is_resent());
}

#[test]
fn what_waits_for_the_log_goes_out_in_its_place_and_without_dup() {
    let kept = KeptCopy { number: CopyNumber(1), body: BodyKey(NonZeroU64::MIN) };
    let logged = || PendingCopy { kept: Some(kept), ..copy(QoS::ExactlyOnce) };
    let mut flight = InFlight::default();
    let ((first, sent), (second, behind)) = (flight.start(logged()), flight.start(copy(QoS::AtLeastOnce)));
    assert!(!sent && !behind && flight.resend(9).is_none(), "the order of sending is that of the packet ids");
    assert!(flight.is_open(3) && !flight.is_open(2), "what waits uses the window too");
    assert!(
        flight.pubrec(first).is_err() && flight.pubrec_refused(first).is_none(),
        "the client cannot have it"
    );
    flight.restart();
    assert!(flight.resend(9).is_none() && flight.is_open(3), "a new connection changes nothing");
    assert!(flight.release(first) && !flight.release(first));
    let mut sent = Vec::new();
    while let Some(Resend::Publish { packet_id, dup, .. }) = flight.resend(9) {
        sent.push((packet_id, dup));
    }
    assert_eq!(sent, [(first, false), (second, false)]);
    assert!(flight.is_resent() && flight.start(copy(QoS::AtLeastOnce)).1);
    flight.pubrec(first).expect("it has been sent");
    assert_eq!(flight.pubcomp(first), Some(Some(CopyNumber(1))));
}
