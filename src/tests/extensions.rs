//! What goes beyond the protocol's own rules, over sockets: delayed messages, topic rewriting, automatic and exclusive subscriptions.

use crate::broker::{Driver, Setup};
use crate::client::Client;
use shardmq_shards::wire::{QoS, Version};
use std::time::{Duration, Instant};

crate::on_both_drivers![
    a_delayed_message_arrives_after_its_time,
    rewritten_topics_meet,
    every_client_is_subscribed_at_connect,
    one_client_at_a_time_has_an_exclusive_subscription,
    what_is_switched_off_is_a_topic_as_any_other
];

fn a_delayed_message_arrives_after_its_time(driver: Driver) {
    let broker = Setup::new(driver).start();
    let mut subscriber = Client::connect(broker.address(), Version::V311, "subscriber");
    subscriber.subscribe("a/b", QoS::AtLeastOnce);
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    let start = Instant::now();
    publisher.publish("$delayed/1/a/b", b"later", QoS::AtLeastOnce);
    publisher.disconnect();
    let message = subscriber.receive();
    assert_eq!((&*message.topic, &*message.payload), ("a/b", &b"later"[..]));
    let after = start.elapsed();
    assert!(after >= Duration::from_secs(1) && after < Duration::from_secs(4), "after {after:?}");
}

fn rewritten_topics_meet(driver: Driver) {
    let rules = r##"rewrite: [
        (action: all, filter: "old/#", pattern: "^old/(.*)$", to: "new/$1"),
        (action: subscribe, filter: "mine", pattern: "mine", to: "clients/%c"),
    ]"##;
    let broker = Setup::new(driver).with(rules).start();
    let mut ann = Client::connect(broker.address(), Version::V5, "ann");
    ann.subscribe("old/+", QoS::AtLeastOnce);
    ann.subscribe("mine", QoS::AtLeastOnce);
    let mut bob = Client::connect(broker.address(), Version::V311, "bob");
    bob.publish("old/x", b"1", QoS::AtLeastOnce);
    bob.publish("clients/ann", b"2", QoS::AtLeastOnce);
    assert_eq!(ann.receive().topic, "new/x");
    assert_eq!(ann.receive().topic, "clients/ann");
    ann.unsubscribe("mine");
    bob.publish("clients/ann", b"3", QoS::AtLeastOnce);
    assert_eq!(ann.receive_within(Duration::from_millis(100)), None);
}

fn every_client_is_subscribed_at_connect(driver: Driver) {
    let auto = "auto_subscribe: [(filter: \"clients/%c/in\", qos: 1), (filter: \"news\")]";
    let broker = Setup::new(driver).shards(3).with(auto).start();
    let mut bob = Client::connect(broker.address(), Version::V5, "bob");
    bob.publish_retained("news", b"old", QoS::AtLeastOnce, true);
    assert_eq!(bob.receive().payload, b"old");
    let mut ann = Client::connect(broker.address(), Version::V311, "ann");
    bob.publish("clients/ann/in", b"1", QoS::AtLeastOnce);
    let mut seen = [ann.receive().topic, ann.receive().topic];
    seen.sort();
    assert_eq!(seen, ["clients/ann/in", "news"]);
    ann.unsubscribe("clients/ann/in");
    bob.publish("clients/ann/in", b"2", QoS::AtLeastOnce);
    assert_eq!(ann.receive_within(Duration::from_millis(100)), None);
}

fn one_client_at_a_time_has_an_exclusive_subscription(driver: Driver) {
    let broker = Setup::new(driver).shards(3).start();
    let mut clients: Vec<Client> =
        (0..6).map(|n| Client::connect(broker.address(), Version::V5, &format!("client-{n}"))).collect();
    let codes: Vec<u8> = clients.iter_mut().map(|client| client.subscribe_for("$exclusive/a")).collect();
    assert_eq!(codes, [1, 0x97, 0x97, 0x97, 0x97, 0x97]);
    clients[1].publish("a", b"1", QoS::AtLeastOnce);
    assert_eq!(clients[0].receive().topic, "a");
    clients.remove(0).disconnect();
    let deadline = Instant::now() + Duration::from_secs(5);
    while clients[4].subscribe_for("$exclusive/a") != 1 {
        assert!(Instant::now() < deadline, "it is free again soon after its holder left");
    }
    assert_eq!(clients[0].subscribe_for("$exclusive/a"), 0x97);
}

fn what_is_switched_off_is_a_topic_as_any_other(driver: Driver) {
    let broker = Setup::new(driver).with("delayed: (enabled: false)").start();
    let mut ann = Client::connect(broker.address(), Version::V5, "ann");
    ann.subscribe("$delayed/+/a", QoS::AtLeastOnce);
    ann.publish("$delayed/1/a", b"now", QoS::AtLeastOnce);
    assert_eq!(ann.receive().topic, "$delayed/1/a");
}
