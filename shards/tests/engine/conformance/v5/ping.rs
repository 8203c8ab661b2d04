//! MQTT 5 section 3.12 and 3.13, PINGREQ and PINGRESP.

use crate::conformance::bytes::sent;
use crate::verbs::*;
use crate::world::World;
use shardmq_shards::wire::{Packet, Version};

/// What [MQTT-3.12.4-1] says in every version.
pub fn each_pingreq_is_answered(version: Version) {
    let mut w = World::new(1);
    let ann = w.join(0, version, "ann");
    for _ in 0..3 {
        w.send(ann, Packet::Pingreq);
    }
    let seen = sent(&mut w, ann);
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|packet| (packet.first, packet.body.len()) == (0xd0, 0)));
    // Also when nothing else may be sent: what is in flight fills the window.
    w.subscribe(ann, "a", Q1);
    let bob = w.join(0, version, "bob");
    for number in 1..=100 {
        w.publish(bob, message_1(number, "a", ""));
        w.run();
    }
    assert_eq!(w.read(ann).len(), 64);
    w.ping(ann);
}

/// [MQTT-3.12.4-1] Each PINGREQ is answered with a PINGRESP, also while messages may not be sent.
#[test]
fn mqtt_3_12_4_1_each_pingreq_is_answered() {
    each_pingreq_is_answered(V5);
}
