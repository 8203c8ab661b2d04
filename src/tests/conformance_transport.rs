//! Section 4.2 of both specifications, network connections: a statement about sockets, tested over sockets.

use crate::broker::{Driver, Setup};
use crate::client::Client;
use shardmq_shards::wire::{QoS, Version};

/// TCP carries both directions without loss and in order: a megabyte each way in pieces of every size, larger than any buffer on the way.
fn tcp_carries_both_directions_in_order(version: Version) {
    for driver in [Driver::Epoll, Driver::Glommio] {
        let broker = Setup::new(driver).shards(2).start();
        let mut subscriber = Client::connect(broker.address(), version, "subscriber");
        subscriber.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = Client::connect(broker.address(), version, "publisher");
        let payload = |number: u32| -> Vec<u8> {
            let bytes = (number * number * 7) % 20_000;
            (0..bytes).map(|at| (at * 31 + number) as u8).collect()
        };
        let count = 120;
        for number in 0..count {
            publisher.publish("t", &payload(number), QoS::AtLeastOnce);
        }
        for number in 0..count {
            let received = subscriber.receive();
            assert_eq!(received.topic, "t");
            assert!(
                received.payload == payload(number),
                "message {number} arrived as it was sent, {version}"
            );
        }
        subscriber.ping();
        publisher.ping();
    }
}

mod v5 {
    use shardmq_shards::wire::Version;

    /// [MQTT-4.2-1] Clients connect over TCP, which is ordered and lossless in both directions.
    #[test]
    fn mqtt_4_2_1_tcp_carries_both_directions_in_order() {
        super::tcp_carries_both_directions_in_order(Version::V5);
    }
}

mod v311 {
    use shardmq_shards::wire::Version;

    /// [MQTT-4.2.0-1] Clients connect over TCP, which is ordered and lossless in both directions.
    #[test]
    fn mqtt_4_2_0_1_tcp_carries_both_directions_in_order() {
        super::tcp_carries_both_directions_in_order(Version::V311);
    }
}
