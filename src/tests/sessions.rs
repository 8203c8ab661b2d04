//! Sessions outlive connections and have one owner at a time.

use crate::broker::{Driver, Setup, thread_names};
use crate::client::{Client, Ended};
use shardmq_shards::wire::{Connect, QoS, ReasonCode, Version};

crate::on_both_drivers![
    a_newer_connection_takes_over,
    takeover_moves_the_session_whichever_shard_accepts,
    a_session_is_resumed_with_what_it_missed,
    unacknowledged_messages_come_again,
    a_clean_start_forgets,
    a_coordinator_on_its_own_thread_does_the_same,
];

fn a_newer_connection_takes_over(driver: Driver) {
    let broker = Setup::new(driver).shards(3).start();
    for version in Version::ALL {
        for _ in 0..6 {
            let mut old = Client::connect(broker.address(), version, "one");
            let mut new = Client::connect(broker.address(), version, "one");
            let told =
                if version.is_v5() { Ended::Told(ReasonCode::SessionTakenOver) } else { Ended::Silently };
            assert_eq!(old.end(), told);
            new.ping();
        }
    }
}

fn durable<'a>(version: Version, client_id: &'a str) -> Connect<'a> {
    let mut connect = Connect::new(version, client_id, false);
    connect.properties.session_expiry = version.is_v5().then_some(600);
    connect
}

/// Version 3.1 has no session present flag.
fn tells_presence(version: Version) -> bool {
    version != Version::V31
}

fn takeover_moves_the_session_whichever_shard_accepts(driver: Driver) {
    let broker = Setup::new(driver).shards(4).start();
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    let connect = durable(Version::V311, "wanderer");
    let (mut wanderer, _) = Client::connect_with(broker.address(), &connect);
    wanderer.subscribe("to/wanderer", QoS::AtLeastOnce);
    // The kernel spreads the connections over the shards; the session stays where it is.
    for n in 0..40_u8 {
        let (mut next, present) = Client::connect_with(broker.address(), &connect);
        assert!(present);
        assert_eq!(wanderer.end(), Ended::Silently);
        publisher.publish("to/wanderer", &[n], QoS::AtLeastOnce);
        assert_eq!(next.receive().payload, [n]);
        next.ping();
        wanderer = next;
    }
    broker.wait_for_log("a takeover in the log", |line| line.contains("connected again").then_some(()));
}

fn a_session_is_resumed_with_what_it_missed(driver: Driver) {
    let broker = Setup::new(driver).shards(3).start();
    let mut publisher = Client::connect(broker.address(), Version::V311, "publisher");
    for version in Version::ALL {
        let connect = durable(version, "sleeper");
        let (mut sleeper, present) = Client::connect_with(broker.address(), &connect);
        assert!(!present);
        sleeper.subscribe("dreams/#", QoS::ExactlyOnce);
        sleeper.disconnect();
        for n in 0..10_u8 {
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(n % 2)];
            publisher.publish("dreams/x", &[n], qos);
        }
        let (mut sleeper, present) = Client::connect_with(broker.address(), &connect);
        assert_eq!(present, tells_presence(version));
        let got: Vec<_> = (0..10).map(|_| sleeper.receive().payload[0]).collect();
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        sleeper.disconnect();
        // Leaves nothing behind for the next version.
        Client::connect(broker.address(), version, "sleeper").disconnect();
    }
}

fn unacknowledged_messages_come_again(driver: Driver) {
    let broker = Setup::new(driver).start();
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    for version in Version::ALL {
        let connect = durable(version, "forgetful");
        let (mut forgetful, _) = Client::connect_with(broker.address(), &connect);
        forgetful.subscribe("again", QoS::AtLeastOnce);
        publisher.publish("again", b"x", QoS::AtLeastOnce);
        assert!(!forgetful.receive_unacknowledged().dup);
        drop(forgetful);
        let (mut forgetful, present) = Client::connect_with(broker.address(), &connect);
        assert_eq!(present, tells_presence(version));
        let again = forgetful.receive();
        assert_eq!((again.payload.as_slice(), again.dup), (&b"x"[..], true));
        forgetful.ping();
        forgetful.disconnect();
        Client::connect(broker.address(), version, "forgetful").disconnect();
    }
}

fn a_clean_start_forgets(driver: Driver) {
    let broker = Setup::new(driver).start();
    for version in Version::ALL {
        let (mut client, _) = Client::connect_with(broker.address(), &durable(version, "client"));
        client.subscribe("past", QoS::AtLeastOnce);
        client.disconnect();
        Client::connect(broker.address(), version, "client").disconnect();
        let (_, present) = Client::connect_with(broker.address(), &durable(version, "client"));
        assert!(!present);
        Client::connect(broker.address(), version, "client").disconnect();
    }
}

fn a_coordinator_on_its_own_thread_does_the_same(driver: Driver) {
    // Up to four shards the coordinator shares shard 0's turn; above, it has a thread.
    let mut broker = Setup::new(driver).shards(6).start();
    let mut threads = thread_names(&broker);
    threads.retain(|(_, name)| name == "shardmq-coord");
    assert_eq!(threads.len(), 1);
    let mut clients: Vec<Client> = Vec::new();
    for round in 0..3 {
        for n in 0..12 {
            let connect = durable(Version::ALL[n % 3], CLIENT_IDS[n]);
            let (mut client, present) = Client::connect_with(broker.address(), &connect);
            assert_eq!(present, round > 0 && tells_presence(connect.version));
            if round > 0 {
                clients[n].end();
                clients[n] = client;
            } else {
                client.subscribe("all", QoS::AtLeastOnce);
                clients.push(client);
            }
        }
        let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
        publisher.publish("all", &[round], QoS::AtLeastOnce);
        assert!(clients.iter_mut().all(|client| client.receive().payload == [round]));
        publisher.disconnect();
    }
    broker.signal(rustix::process::Signal::TERM);
    assert_eq!(broker.wait_for_exit(std::time::Duration::from_secs(5)).code(), Some(0));
}

const CLIENT_IDS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
