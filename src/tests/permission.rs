//! The permission hook over sockets. No setting sets it yet, so the broker runs in this process.

use crate::broker::{Driver, PATIENCE};
use crate::client::Client;
use shardmq_shards::base::limits::Limits;
use shardmq_shards::drivers::probe::IoChoice;
use shardmq_shards::server::placement::Placement;
use shardmq_shards::server::{Broker, BrokerConfig, Handle, ListenerConfig};
use shardmq_shards::session::{Authentication, Author};
use shardmq_shards::shard::{Doorway, Extensions, Permission, Terms};
use shardmq_shards::topics::ShareStrategies;
use shardmq_shards::wire::{QoS, Version};
use std::sync::Arc;
use std::time::{Duration, Instant};

crate::on_both_drivers![everybody_keeps_to_what_is_allowed];

/// Each client may publish below its own client id, and subscribe to everything else than secrets.
#[derive(Debug)]
struct Rules;

impl Permission for Rules {
    fn may_publish(&self, author: Author<'_>, topic: &str) -> bool {
        author.peer.ip().is_loopback() && topic.split('/').next() == Some(author.client_id)
    }

    fn may_subscribe(&self, _: Author<'_>, filter: &str) -> bool {
        !filter.starts_with("secret")
    }
}

fn ruled(driver: Driver) -> Handle {
    let config = BrokerConfig {
        listeners: vec![ListenerConfig {
            address: ([127, 0, 0, 1], 0).into(),
            doorway: Doorway::tcp(&Version::ALL),
        }],
        shards: Some(2),
        io: match driver {
            Driver::Epoll => IoChoice::Epoll,
            Driver::Glommio => IoChoice::Glommio,
        },
        placement: Placement::None,
        ring_entries: 64,
        connection_warm_up: 0,
        limits: Limits { connections_max: 100, ..Limits::default() },
        authentication: Authentication::default(),
        share_strategies: ShareStrategies::default(),
        extensions: Extensions { permission: Some(Arc::new(Rules)), ..Extensions::default() },
        terms: Terms::default(),
        storage: None,
        stats_interval: Duration::ZERO,
    };
    Broker::start(config).expect("the broker starts")
}

fn everybody_keeps_to_what_is_allowed(driver: Driver) {
    let broker = ruled(driver);
    let address = broker.addresses()[0];
    let mut bob = Client::connect(address, Version::V5, "bob");
    assert_eq!(bob.subscribe_for("secret/#"), 0x87);
    assert_eq!(bob.subscribe_for("#"), 1);
    let mut ann = Client::connect(address, Version::V311, "ann");
    ann.publish("bob/x", b"denied, and acknowledged all the same", QoS::AtLeastOnce);
    ann.publish("ann/x", b"allowed", QoS::ExactlyOnce);
    let message = bob.receive();
    assert_eq!((&*message.topic, &*message.payload), ("ann/x", &b"allowed"[..]));
    ann.disconnect();
    bob.disconnect();
    let deadline = Instant::now() + PATIENCE;
    let denied = || {
        let counters = broker.statistics().counters;
        (counters.publish_denied, counters.subscribe_denied)
    };
    while denied() != (1, 1) {
        assert!(
            Instant::now() < deadline,
            "the counts are published as the shards go to sleep: {:?}",
            denied()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    broker.shutdown();
    broker.wait().expect("it ends in order");
}
