//! Shared subscriptions over sockets: every message to one member, on whichever shards and with whichever version.

use crate::broker::{Driver, Setup};
use crate::client::Client;
use shardmq_shards::wire::{QoS, Version};
use std::collections::BTreeSet;
use std::time::Duration;

crate::on_both_drivers![every_message_goes_to_one_member_in_equal_shares, a_leaving_member_loses_nothing];

fn every_message_goes_to_one_member_in_equal_shares(driver: Driver) {
    let broker = Setup::new(driver).shards(3).start();
    let mut members: Vec<Client> = (0..5)
        .map(|n| {
            let mut client = Client::connect(broker.address(), Version::ALL[n % 3], &format!("member-{n}"));
            client.subscribe("$share/jobs/work/#", QoS::AtLeastOnce);
            client
        })
        .collect();
    let mut publishers: Vec<Client> =
        (0..200).map(|n| Client::connect(broker.address(), Version::V5, &format!("pub-{n}"))).collect();
    for n in 0..10_u8 {
        for (from, publisher) in publishers.iter_mut().enumerate() {
            publisher.publish(&format!("work/{from}"), &[from as u8, n], QoS::AtLeastOnce);
        }
    }
    let mut seen = BTreeSet::new();
    for member in &mut members {
        let mut count = 0;
        while let Some(message) = member.receive_within(Duration::from_millis(300)) {
            assert!(seen.insert(message.payload.clone()), "{:?} came twice", message.payload);
            count += 1;
        }
        println!("{count} of 2,000 messages");
        assert!((360..=440).contains(&count), "400 each, within 10 %: {count}");
    }
    assert_eq!(seen.len(), 2_000);
}

fn a_leaving_member_loses_nothing(driver: Driver) {
    let settings = "shared_subscriptions: (strategy: sticky), limits: (in_flight_max: 1)";
    let broker = Setup::new(driver).shards(2).with(settings).start();
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    let mut first = Client::connect(broker.address(), Version::V311, "first");
    first.subscribe("$share/g/a", QoS::AtLeastOnce);
    for n in 0..100_u8 {
        publisher.publish("a", &[n], QoS::AtLeastOnce);
    }
    let mut second = Client::connect(broker.address(), Version::V5, "second");
    second.subscribe("$share/g/a", QoS::AtLeastOnce);
    // It has been sent one, which it has not acknowledged: that one goes on, too.
    drop(first);
    let got: Vec<u8> = (0..100).map(|_| second.receive().payload[0]).collect();
    assert_eq!(got, (0..100).collect::<Vec<u8>>());
    assert_eq!(second.receive_within(Duration::from_millis(100)), None);
}
