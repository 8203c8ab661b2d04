//! Messages reach their subscribers: every version, every QoS, across shards, large, retained, wills.

use crate::broker::{Driver, Setup};
use crate::client::Client;
use crate::statistics::wait_for_statistics;
use shardmq_shards::wire::{Connect, QoS, Version, Will, WillProperties};
use std::time::Duration;

crate::on_both_drivers![
    every_version_and_qos_crosses_shards,
    large_messages_arrive_whole,
    a_slow_reader_gets_everything_in_order,
    retained_messages_greet_new_subscribers,
    a_full_retained_store_says_so_and_keeps_what_it_has,
    wills_speak_for_the_dead_only,
    unsubscribed_is_silent,
];

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
/// How long nothing must come for it to count as nothing.
const SILENCE: Duration = Duration::from_millis(200);

fn every_version_and_qos_crosses_shards(driver: Driver) {
    let broker = Setup::new(driver).shards(4).with("stats_interval: \"100 ms\"").start();
    for qos in ALL_QOS {
        let mut subscribers: Vec<Client> = (0..9)
            .map(|n| {
                let version = Version::ALL[n % 3];
                let mut client =
                    Client::connect(broker.address(), version, &format!("sub-{}-{n}", qos as u8));
                client.subscribe(&format!("news/{}/+/#", qos as u8), qos);
                client
            })
            .collect();
        let mut publishers: Vec<Client> = (0..6)
            .map(|n| {
                Client::connect(broker.address(), Version::ALL[n % 3], &format!("pub-{}-{n}", qos as u8))
            })
            .collect();
        for round in 0..5_u8 {
            for (n, publisher) in publishers.iter_mut().enumerate() {
                publisher.publish(&format!("news/{}/{n}/x", qos as u8), &[round], qos);
            }
        }
        for subscriber in &mut subscribers {
            let mut next = [0_u8; 6];
            for _ in 0..30 {
                let message = subscriber.receive();
                let n: usize =
                    message.topic.split('/').nth(2).expect("our topic").parse().expect("our topic");
                assert_eq!(message.payload, [next[n]], "in the order of publisher {n}");
                assert_eq!((message.qos, message.retain), (qos, false));
                next[n] += 1;
            }
            assert_eq!(subscriber.receive_within(Duration::from_millis(10)), None, "each exactly once");
        }
    }
    let across = |line: &crate::statistics::Line| line.number("across_shards") > 0.0;
    wait_for_statistics(&broker, "messages across shards", across);
}

fn large_messages_arrive_whole(driver: Driver) {
    let broker = Setup::new(driver).start();
    let mut subscribers: Vec<Client> = (0..4)
        .map(|n| {
            let mut client = Client::connect(broker.address(), Version::ALL[n % 3], &format!("large-{n}"));
            client.subscribe("large", QoS::AtLeastOnce);
            client
        })
        .collect();
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    for size in [4_095, 4_096, 65_535, 65_536, 1_000_000] {
        let payload: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
        publisher.publish("large", &payload, QoS::AtLeastOnce);
        for subscriber in &mut subscribers {
            assert!(subscriber.receive().payload == payload, "{size} bytes arrive as they were sent");
        }
    }
}

fn a_slow_reader_gets_everything_in_order(driver: Driver) {
    // More than the kernel's buffers take: the rest waits in the session, and goes on as the reader does.
    let limits = "limits: (queue_messages_max: 10_000, queue_bytes_max: \"64 MiB\", in_flight_max: 1_000)";
    let broker = Setup::new(driver).with(limits).start();
    let mut slow = Client::connect(broker.address(), Version::V311, "slow");
    slow.subscribe("bulk", QoS::AtLeastOnce);
    let mut publisher = Client::connect(broker.address(), Version::V311, "fast");
    let mut other = Client::connect(broker.address(), Version::V5, "other");
    for n in 0..400_u32 {
        let mut payload = vec![0; 40_000];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        publisher.publish("bulk", &payload, QoS::AtLeastOnce);
    }
    other.ping();
    for n in 0..400_u32 {
        let message = slow.receive();
        assert_eq!(message.payload.len(), 40_000);
        assert_eq!(message.payload[..4], n.to_be_bytes());
        assert!(!message.dup);
    }
}

fn retained_messages_greet_new_subscribers(driver: Driver) {
    let broker = Setup::new(driver).shards(3).start();
    let mut publisher = Client::connect(broker.address(), Version::V311, "publisher");
    for n in 0..20 {
        publisher.publish_retained(&format!("state/{n}"), format!("v{n}").as_bytes(), QoS::AtLeastOnce, true);
    }
    publisher.publish_retained("state/7", b"newer", QoS::AtLeastOnce, true);
    publisher.publish_retained("state/8", b"", QoS::AtLeastOnce, true);
    for version in Version::ALL {
        let mut subscriber = Client::connect(broker.address(), version, "subscriber");
        subscriber.subscribe("state/#", QoS::AtLeastOnce);
        let mut got: Vec<_> = (0..19).map(|_| subscriber.receive()).collect();
        got.sort_by_key(|message| message.topic.clone());
        assert!(got.iter().all(|message| message.retain && message.topic != "state/8"));
        let seven = got.iter().find(|message| message.topic == "state/7").expect("it is retained");
        assert_eq!(seven.payload, b"newer");
        assert_eq!(subscriber.receive_within(SILENCE), None);
        // To those who are subscribed already a retained message is one like any other.
        publisher.publish_retained("state/7", b"newer", QoS::AtLeastOnce, true);
        assert!(!subscriber.receive().retain);
        subscriber.disconnect();
    }
}

fn a_full_retained_store_says_so_and_keeps_what_it_has(driver: Driver) {
    let limits =
        "stats_interval: \"100 ms\", limits: (retained_messages_max: 30, retained_bytes_max: \"1 MiB\")";
    let broker = Setup::new(driver).shards(3).with(limits).start();
    let mut publisher = Client::connect(broker.address(), Version::V311, "publisher");
    for n in 0..200 {
        publisher.publish_retained(&format!("state/{n}"), b"x", QoS::AtLeastOnce, true);
    }
    let line = wait_for_statistics(&broker, "every message kept or refused", |line| {
        line.number("retained") + line.number("retained_refused") >= 200.0
    });
    assert_eq!((line.number("retained"), line.number("retained_refused")), (30.0, 170.0));
    assert!((1_000.0..30_000.0).contains(&line.number("retained_bytes")));
    broker.wait_for_log("why", |line| line.contains("the retained store is full").then_some(()));
    let mut large = Client::connect(broker.address(), Version::V311, "large");
    large.publish_retained("state/0", &vec![0; 400_000], QoS::AtMostOnce, true);
    large.ping(); // it has been published before anybody subscribes
    let mut subscriber = Client::connect(broker.address(), Version::V5, "subscriber");
    subscriber.subscribe("state/#", QoS::AtMostOnce);
    for _ in 0..30 {
        assert_eq!(subscriber.receive().payload, b"x", "400,000 bytes are more than a third of 1 MiB");
    }
    assert_eq!(subscriber.receive_within(SILENCE), None);
}

fn wills_speak_for_the_dead_only(driver: Driver) {
    let broker = Setup::new(driver).start();
    let mut mourner = Client::connect(broker.address(), Version::V5, "mourner");
    mourner.subscribe("wills/+", QoS::ExactlyOnce);
    for version in Version::ALL {
        let topic = format!("wills/{version}");
        let mut connect = Connect::new(version, "mortal", true);
        let properties = WillProperties::default();
        let will = Will { qos: QoS::AtLeastOnce, retain: false, topic: &topic, payload: b"gone", properties };
        connect.will = Some(will);
        let (client, _) = Client::connect_with(broker.address(), &connect);
        client.disconnect();
        assert_eq!(mourner.receive_within(SILENCE), None, "who says DISCONNECT has no will");
        let (client, _) = Client::connect_with(broker.address(), &connect);
        drop(client);
        let message = mourner.receive();
        assert_eq!((message.topic.as_str(), &message.payload[..]), (topic.as_str(), &b"gone"[..]));
    }
}

fn unsubscribed_is_silent(driver: Driver) {
    let broker = Setup::new(driver).shards(3).start();
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    for version in Version::ALL {
        let mut subscriber = Client::connect(broker.address(), version, "subscriber");
        subscriber.subscribe("a/b", QoS::AtMostOnce);
        publisher.publish("a/b", b"1", QoS::AtLeastOnce);
        assert_eq!(subscriber.receive().payload, b"1");
        subscriber.unsubscribe("a/b");
        publisher.publish("a/b", b"2", QoS::AtLeastOnce);
        assert_eq!(subscriber.receive_within(SILENCE), None);
    }
}
