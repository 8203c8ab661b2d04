//! MQTT 5 section 4.8, subscriptions: the shared ones.

use crate::conformance::bytes::sent;
use crate::verbs::*;
use crate::world::{Client, World};
use shardmq_shards::wire::{Ack, Connect, Packet, QoS, ReasonCode};

fn codes(filters: &[&str]) -> Vec<u8> {
    let mut w = World::new(2);
    let ann = w.join(0, V5, "ann");
    let code = |filter: &&str| {
        w.subscribe_all(ann, &[(filter, Q1)]);
        sent(&mut w, ann)[0].body.last().copied().expect("a code")
    };
    filters.iter().map(code).collect()
}

/// [MQTT-4.8.2-1] `$share/` and a share name of at least one character make a shared subscription; without the name the filter is refused with 0x8F, without the `$share/` it is none.
#[test]
fn mqtt_4_8_2_1_a_shared_filter_has_a_share_name() {
    assert_eq!(codes(&["$share//a", "$share/", "$share//", "$share//#"]), [0x8f; 4]);
    assert_eq!(codes(&["$share/g/a", "$share/é/#", "$share/ /a"]), [1; 3]);
    let mut w = World::new(2);
    let (ann, bob) = (w.join(0, V5, "ann"), w.join(1, V5, "bob"));
    for filter in ["share/g/a", "$Share/g/a", "$shared/g/a", "$share"] {
        for client in [ann, bob] {
            w.subscribe(client, filter, Q0);
        }
        let cid = w.join(0, V5, "cid");
        w.publish(cid, message(filter, "x"));
        assert_eq!((w.read(ann).len(), w.read(bob).len()), (1, 1), "{filter} is an ordinary filter");
        w.publish(cid, message("a", "x"));
        assert_eq!((w.read(ann).len(), w.read(bob).len()), (0, 0));
    }
}

/// [MQTT-4.8.2-2] A share name with a wildcard, or without a topic filter behind it, is refused with 0x8F; everything behind its `/` is the filter.
#[test]
fn mqtt_4_8_2_2_a_share_name_has_no_wildcard_and_a_filter_behind_it() {
    let bad = ["$share/+/a", "$share/#/a", "$share/g+/a", "$share/#", "$share/g", "$share/g/", "$share/g/a#"];
    assert_eq!(codes(&bad), [0x8f; 7]);
    for (filter, topic) in [
        ("$share/g//", "/"),
        ("$share/g//a", "/a"),
        ("$share/g/h/i", "h/i"),
        ("$share/g/$x/+", "$x/y"),
        ("$share/g/#", "g"),
    ] {
        let mut w = World::new(2);
        let ann = w.join(0, V5, "ann");
        w.subscribe(ann, filter, Q0);
        let bob = w.join(1, V5, "bob");
        w.publish(bob, message(topic, "x"));
        assert_eq!(w.read(ann), [format!(r#"{topic} "x""#)], "{filter}");
    }
}

/// [MQTT-4.8.2-3] Each member gets its messages at the QoS that it was granted at most, also where others were granted more.
#[test]
fn mqtt_4_8_2_3_a_member_gets_its_granted_qos() {
    let mut w = World::new(2);
    let members: Vec<(Client, QoS)> = QoS::ALL
        .iter()
        .flat_map(|qos| [0, 1].map(|shard| (shard, *qos)))
        .map(|(shard, qos)| {
            let client = w.join(shard, V5, &format!("m{}.{shard}", qos as u8));
            w.subscribe(client, "$share/g/a", qos);
            (client, qos)
        })
        .collect();
    let bob = w.join(0, V5, "bob");
    let mut counts = [0; 6];
    for number in 1..=60u16 {
        w.publish(bob, message_2(number, "a", "x"));
        w.pubrel(bob, number);
        w.run();
        for (index, (client, granted)) in members.iter().enumerate() {
            for publish in sent(&mut w, *client).iter().filter(|sent| sent.packet_type() == 3) {
                assert_eq!(publish.first >> 1 & 3, *granted as u8, "no more and no less");
                counts[index] += 1;
                let number = u16::from_be_bytes([publish.body[3], publish.body[4]]);
                match granted {
                    Q0 => {}
                    Q1 => w.puback(*client, number),
                    Q2 => {
                        w.pubrec(*client, number);
                        w.pubcomp(*client, number);
                    }
                }
            }
        }
    }
    assert_eq!(counts.iter().sum::<u16>(), 60);
    assert!(counts.iter().all(|count| *count > 0), "each has its share: {counts:?}");
}

/// Two members on two shards, both with sessions that last; which of them has been sent the QoS 2 message of `bob`, first.
fn two_members() -> (World, [(Client, &'static str); 2]) {
    let mut w = World::new(2);
    let mut members = [(0, "ann"), (1, "cid")].map(|(shard, name)| {
        let client = w.connect(shard, durable(V5, name));
        w.subscribe(client, "$share/g/a", Q2);
        (client, name)
    });
    let bob = w.join(0, V5, "bob");
    w.publish(bob, message_2(1, "a", "x"));
    w.run();
    if w.wires[members[0].0.0].from_broker.is_empty() {
        members.reverse();
    }
    assert_eq!(w.read(members[0].0), [r#"a "x" q2 #1"#]);
    assert!(w.read(members[1].0).is_empty());
    (w, members)
}

/// [MQTT-4.8.2-4] A QoS 2 message that was started with a member that loses its connection waits for that member, and is finished when it comes back.
#[test]
fn mqtt_4_8_2_4_qos_2_waits_for_its_member() {
    for received in [false, true] {
        let (mut w, [(member, name), (other, _)]) = two_members();
        if received {
            w.pubrec(member, 1);
            assert_eq!(w.read(member), ["PUBREL #1"]);
        }
        w.vanish(member);
        w.pass_secs(500);
        assert!(w.read(other).is_empty(), "it is ready, and does not get it");
        let (member, seen) = w.connect_and_read(0, durable(V5, name));
        let again = if received { "PUBREL #1" } else { r#"a "x" q2 #1 dup"# };
        assert_eq!(seen, ["CONNACK 00 present", again]);
        if !received {
            w.pubrec(member, 1);
            assert_eq!(w.read(member), ["PUBREL #1"]);
        }
        w.pubcomp(member, 1);
        w.run();
        assert_eq!(w.count("delivered"), 1);
    }
}

/// [MQTT-4.8.2-5] A QoS 2 message whose member's session ends goes to no other member.
#[test]
fn mqtt_4_8_2_5_qos_2_ends_with_its_members_session() {
    let ends: [fn(&mut World, &str); 2] = [
        |w, _| w.pass_secs(1_002),
        |w, name| {
            w.join(0, V5, name);
        },
    ];
    for end in ends {
        let (mut w, [(member, name), (other, _)]) = two_members();
        w.vanish(member);
        end(&mut w, name);
        assert!(w.read(other).is_empty());
        assert_eq!(w.dropped(), [("session_ended", 1)]);
        let bob = w.join(1, V5, "bob again");
        w.publish(bob, message_1(1, "a", "next"));
        assert_eq!(w.read(other), [r#"a "next" q1 #1"#], "it is still there for others");
    }
}

/// [MQTT-4.8.2-6] A message that a member answers with PUBACK or PUBREC of 0x80 or above is dropped, and goes to no other member.
#[test]
fn mqtt_4_8_2_6_what_a_member_refuses_goes_to_nobody() {
    let codes = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99].map(ReasonCode::try_from);
    for reason in codes.map(|code| code.expect("of tables 3-4 and 3-5")) {
        let (mut w, [(member, name), (other, _)]) = two_members();
        w.send(member, Packet::Pubrec(Ack::with_reason(id(1), reason)));
        w.run();
        let bob = w.join(1, V5, "bob again");
        for number in 1..=2 {
            w.publish(bob, message_1(number, "a", "y"));
        }
        let of_member = w.read(member);
        assert_eq!(of_member.len() + w.read(other).len(), 2, "two new messages and no other");
        for line in of_member {
            let number = line.split('#').nth(1).expect("a packet id").parse().expect("a number");
            w.send(member, Packet::Puback(Ack::with_reason(id(number), reason)));
        }
        w.run();
        w.vanish(member);
        assert!(w.read(other).is_empty());
        w.connect(0, Connect { clean_start: true, ..durable(V5, name) });
        assert!(w.read(other).is_empty(), "{reason:?}");
    }
}
