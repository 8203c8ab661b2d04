//! The statistics line, compared with what the clients counted themselves.

use crate::broker::{Broker, Driver, Setup};
use crate::client::Client;
use shardmq_shards::wire::{Connect, QoS, Version};
use std::time::Duration;

crate::on_both_drivers![every_field_is_what_the_clients_counted, nothing_new_is_no_line];

/// One statistics line: `name=value` pairs.
pub struct Line(String);

impl Line {
    fn parse(line: &str) -> Option<Line> {
        line.split_once("statistics ").map(|(_, fields)| Line(fields.to_owned()))
    }

    /// The field `name` as it stands.
    pub fn field(&self, name: &str) -> &str {
        self.0
            .split_whitespace()
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("no field {name} in {}", self.0))
    }

    /// The field `name` as a number, units dropped.
    pub fn number(&self, name: &str) -> f64 {
        let digits = self.field(name).trim_end_matches(|c: char| !c.is_ascii_digit());
        digits.parse().unwrap_or_else(|_| panic!("{name} is no number in {}", self.0))
    }
}

/// The first line that `wanted` likes.
pub fn wait_for_statistics(broker: &Broker, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
    broker.wait_for_log(what, |line| Line::parse(line).filter(|line| wanted(line)))
}

fn every_field_is_what_the_clients_counted(driver: Driver) {
    let broker = Setup::new(driver)
        .shards(3)
        .with("stats_interval: \"200 ms\", max_connections: 50, limits: (queue_messages_max: 5)")
        .start();
    let mut subscribers: Vec<Client> =
        (0..6).map(|n| Client::connect(broker.address(), Version::ALL[n % 3], &format!("s{n}"))).collect();
    for client in &mut subscribers {
        client.subscribe("count/#", QoS::AtLeastOnce);
    }
    // An offline session with a queue of five: of ten messages it drops five.
    let mut offline = Connect::new(Version::V311, "offline", false);
    offline.keep_alive = 0;
    let (mut sleeper, _) = Client::connect_with(broker.address(), &offline);
    sleeper.subscribe("count/x", QoS::AtLeastOnce);
    let (sleeper_out, sleeper_in) = (sleeper.bytes_sent + 2, sleeper.bytes_received);
    sleeper.disconnect();
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    for _ in 0..10 {
        publisher.publish("count/x", b"0123456789", QoS::AtLeastOnce);
    }
    for client in &mut subscribers {
        for _ in 0..10 {
            client.receive();
        }
        // The acknowledgements have been read once this is answered.
        client.ping();
    }
    publisher.ping();
    let clients = || subscribers.iter().chain([&publisher]);
    let sent: u64 = clients().map(|client| client.bytes_sent).sum::<u64>() + sleeper_out;
    let received: u64 = clients().map(|client| client.bytes_received).sum::<u64>() + sleeper_in;
    let line = wait_for_statistics(&broker, "all bytes in the statistics", |line| {
        line.number("bytes_in") as u64 == sent && line.number("bytes_out") as u64 == received
    });
    assert_eq!(line.field("connections"), "7/50");
    assert_eq!(line.number("messages_in") as u64, clients().map(|client| client.published).sum::<u64>());
    assert_eq!(line.number("messages_out") as u64, clients().map(|client| client.received).sum::<u64>());
    assert_eq!(line.field("offline_sessions"), "1");
    assert_eq!(line.field("dropped"), "5");
    assert_eq!(line.field("dropped_queue_full"), "5");
    // One topic published ten times by one shard: the first asks the tree, nine the cache; subscriptions of others
    // do not come in between.
    assert!(line.number("match_cache_hits") > 50.0, "{}", line.0);
    assert!(line.number("uptime_s") < 60.0);
    let rates = wait_for_statistics(&broker, "a rate", |line| line.number("messages_in_per_s") > 0.0);
    assert!(rates.number("messages_in_per_s") <= 10.0 / 0.15, "{}", rates.0);
    wait_for_statistics(&broker, "a rate", |line| line.number("messages_out_per_s") > 0.0);
}

fn nothing_new_is_no_line(driver: Driver) {
    let broker = Setup::new(driver).with("stats_interval: \"50 ms\"").start();
    let mut client = Client::connect(broker.address(), Version::V5, "client");
    client.ping();
    wait_for_statistics(&broker, "the connection", |line| line.field("connections") == "1/10000");
    std::thread::sleep(Duration::from_millis(200));
    let lines = broker.log().len();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(broker.log()[lines..], [] as [String; 0], "idle is silent");
}
