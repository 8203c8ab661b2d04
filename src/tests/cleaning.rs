//! Logs that are cleaned while they are written: what is on disk stays within what lives, whatever comes and goes and however the broker ends.

use crate::broker::{Broker, DataFolder, Driver, PATIENCE, Setup};
use crate::client::Client;
use crate::tools::shardmq;
use shardmq_shards::wire::{Connect, Packet, PacketId, Publish, PublishProperties, QoS, Version};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

crate::on_both_drivers![
    the_directory_stays_within_twice_what_lives,
    what_was_acknowledged_is_there_after_kill_9_while_the_log_is_cleaned,
    a_broker_that_is_started_often_does_not_fill_the_disk,
    what_is_left_of_a_cleaned_log_is_verified_and_carried_elsewhere,
];

/// Bytes of a segment of these brokers.
const SEGMENT: u64 = 1 << 20;
/// Segments of a shard beside those within the bound: three that are ready, one that is kept to be used again, and what is not filled yet of the last.
const BESIDE: u64 = 5;
/// How long the traffic of a test may take.
const TRAFFIC_MAX: Duration = Duration::from_secs(60);
const LIMITS: &str = "limits: (queue_messages_max: 100_000, queue_bytes_max: \"64 MiB\")";

fn durable(client_id: &str) -> Connect<'_> {
    let mut connect = Connect::new(Version::V5, client_id, false);
    connect.properties.session_expiry = Some(600);
    connect
}

fn setup(driver: Driver, data: &Arc<DataFolder>) -> Setup {
    Setup::new(driver).data(data).with(LIMITS)
}

/// Of each shard, the bytes of its segments, and how many it has begun in this run.
fn segments(data: &Path) -> Vec<(u64, u64)> {
    let generation = std::fs::read_dir(data.join("1")).expect("it is ours");
    let folders = generation.map(|entry| entry.expect("readable").path());
    let of = |folder: std::path::PathBuf| {
        let (mut bytes, mut highest) = (0, 0);
        for entry in std::fs::read_dir(folder).expect("it is ours").flatten() {
            let name = entry.file_name().into_string().expect("ASCII");
            // Renamed or removed since.
            let Ok(told) = entry.metadata() else { continue };
            bytes += told.len();
            let number: Option<u64> = name.strip_suffix(".log").and_then(|digits| digits.parse().ok());
            highest = highest.max(number.unwrap_or_default() % (1 << 32));
        }
        (bytes, highest)
    };
    folders.map(of).collect()
}

/// The bound for each shard.
fn bound(live: u64) -> u64 {
    2 * live + (2 + BESIDE) * SEGMENT
}

fn check_bytes(data: &Path, live: u64) {
    for (bytes, begun) in segments(data) {
        assert!(bytes <= bound(live), "{bytes} bytes where {live} live, {begun} segments were begun");
    }
}

/// Sessions that come back at the end, with `count` messages of 2 KiB each.
fn leave_sleepers(broker: &Broker, count: u32) {
    for sleeper in 0..4 {
        let (mut client, _) = Client::connect_with(broker.address(), &durable(&format!("sleeper-{sleeper}")));
        client.subscribe("dreams", QoS::AtLeastOnce);
        client.disconnect();
    }
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    for number in 0..count {
        let payload = [&number.to_be_bytes()[..], &[7; 2048]].concat();
        publisher.publish("dreams", &payload, QoS::AtLeastOnce);
    }
}

/// They have everything, in order.
fn wake_sleepers(broker: &Broker, count: u32) {
    for sleeper in 0..4 {
        let client_id = format!("sleeper-{sleeper}");
        let (mut client, present) = Client::connect_with(broker.address(), &durable(&client_id));
        assert!(present, "{sleeper}");
        for number in 0..count {
            assert_eq!(client.receive().payload[..4], number.to_be_bytes(), "sleeper {sleeper}");
        }
    }
}

fn the_directory_stays_within_twice_what_lives(driver: Driver) {
    const SLEEPERS: u32 = 1_000;
    let data = DataFolder::new();
    let broker = setup(driver, &data).start();
    leave_sleepers(&broker, SLEEPERS);
    // Each shard with a sleeper has every message once; the rest is little.
    let live = u64::from(SLEEPERS) * 2_200 + SEGMENT / 2;
    let mut workers: Vec<_> = (0..4)
        .map(|worker| Client::connect_with(broker.address(), &durable(&format!("worker-{worker}"))).0)
        .collect();
    for (number, worker) in workers.iter_mut().enumerate() {
        worker.subscribe(&format!("work/{number}"), QoS::AtLeastOnce);
    }
    let began = Instant::now();
    for number in 0_u32.. {
        let at = number as usize % workers.len();
        let payload = vec![number as u8; 300];
        workers[(at + 1) % 4].publish(&format!("work/{at}"), &payload, QoS::ExactlyOnce);
        assert_eq!(workers[at].receive().payload, payload);
        let topic = format!("kept/{}", number % 40);
        workers[at].publish_retained(&topic, &vec![7; 2_000], QoS::AtLeastOnce, true);
        if number % 16 == 0 {
            let visitor = format!("visitor-{}", number % 5);
            let (mut client, _) = Client::connect_with(broker.address(), &durable(&visitor));
            client.subscribe(&format!("visits/{number}"), QoS::AtLeastOnce);
            client.publish(&format!("visits/{number}"), &payload, QoS::AtLeastOnce);
            client.disconnect();
            let mut gone = durable(&visitor);
            (gone.clean_start, gone.properties.session_expiry) = (true, None);
            Client::connect_with(broker.address(), &gone).0.disconnect();
            check_bytes(data.path(), live);
            let begun = segments(data.path()).iter().map(|(_, begun)| *begun).min();
            if begun >= Some(24) {
                break;
            }
            assert!(began.elapsed() < TRAFFIC_MAX, "{:?}", segments(data.path()));
        }
    }
    let rounds = broker.log().iter().filter(|line| line.contains("a round of cleaning ends")).count();
    assert!(rounds > 10, "{rounds}");
    wake_sleepers(&broker, SLEEPERS);
}

/// What a client published until its broker ended.
#[derive(Default)]
struct Published {
    /// The last number sent, and the last that was acknowledged, which each topic must have at least.
    sent: u32,
    kept: BTreeMap<String, u32>,
}

/// Publishes retained messages until the broker is gone.
fn publish_on(mut client: Client, mut published: Published) -> Published {
    loop {
        published.sent += 1;
        let number = published.sent;
        let topic = format!("kept/{}", number % 40);
        let payload = [&number.to_be_bytes()[..], &[7; 2_000]].concat();
        let mut bytes = Vec::new();
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: &topic,
            packet_id: PacketId::new((number % 60_000) as u16 + 1),
            properties: PublishProperties::default(),
            payload: &payload,
        };
        Packet::Publish(publish).encode(Version::V5, &mut bytes);
        client.try_send_bytes(&bytes);
        if client.puback_or_end().is_none() {
            return published;
        }
        published.kept.insert(topic, number);
    }
}

fn what_was_acknowledged_is_there_after_kill_9_while_the_log_is_cleaned(driver: Driver) {
    const SLEEPERS: u32 = 1_000;
    let data = DataFolder::new();
    let mut broker = setup(driver, &data).start();
    leave_sleepers(&broker, SLEEPERS);
    let mut published = Published::default();
    for kill in 0..4_usize {
        let publisher = Client::connect(broker.address(), Version::V5, "publisher");
        let publisher = std::thread::spawn(move || publish_on(publisher, published));
        let began = |line: &str| line.contains("a round of cleaning begins").then_some(());
        let mut from = 0;
        for _ in 0..=3 * kill {
            broker.wait_for_log_after(from, "a round of cleaning", began);
            from = broker.log().len();
        }
        // Somewhere in it.
        std::thread::sleep(Duration::from_micros(700 * kill as u64));
        broker.kill();
        published = publisher.join().expect("it saw the end");
        broker = setup(driver, &data).start();
        assert!(!broker.log().iter().any(|line| line.contains("WARN")), "{:?}", broker.log());
        let mut reader = Client::connect(broker.address(), Version::V5, "reader");
        reader.subscribe("kept/+", QoS::AtLeastOnce);
        for _ in 0..published.kept.len() {
            let message = reader.receive();
            let number = u32::from_be_bytes(message.payload[..4].try_into().expect("four bytes"));
            let acknowledged = published.kept[&message.topic];
            assert!((acknowledged..=published.sent).contains(&number), "{}: {number}", message.topic);
        }
    }
    wake_sleepers(&broker, SLEEPERS);
}

/// What earlier starts have left goes as soon as this one serves.
fn wait_for_bound(data: &Path) {
    let began = Instant::now();
    while segments(data).iter().any(|(bytes, _)| *bytes > bound(0)) {
        assert!(began.elapsed() < PATIENCE, "{:?}", segments(data));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn a_broker_that_is_started_often_does_not_fill_the_disk(driver: Driver) {
    let data = DataFolder::new();
    for start in 0..30_u8 {
        let broker = setup(driver, &data).start();
        let mut client = Client::connect(broker.address(), Version::V5, "somebody");
        client.publish_retained("start", &[start], QoS::AtLeastOnce, true);
        // Every other ends at once.
        if start % 2 == 0 {
            wait_for_bound(data.path());
        }
        broker.kill();
    }
    let broker = setup(driver, &data).start();
    wait_for_bound(data.path());
    let mut client = Client::connect(broker.address(), Version::V5, "somebody");
    client.subscribe("start", QoS::AtLeastOnce);
    assert_eq!(client.receive().payload, [29]);
}

fn what_is_left_of_a_cleaned_log_is_verified_and_carried_elsewhere(driver: Driver) {
    const SLEEPERS: u32 = 300;
    let (data, elsewhere) = (DataFolder::new(), DataFolder::new());
    let broker = setup(driver, &data).start();
    leave_sleepers(&broker, SLEEPERS);
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    let began = Instant::now();
    let mut last = 0_u32;
    // Until every shard has given up the segments in which the sleepers' messages came.
    while !last.is_multiple_of(40) || segments(data.path()).iter().any(|(_, begun)| *begun < 12) {
        last += 1;
        let payload = [&last.to_be_bytes()[..], &[7; 4_000]].concat();
        publisher.publish_retained(&format!("kept/{}", last % 40), &payload, QoS::AtLeastOnce, true);
        assert!(began.elapsed() < TRAFFIC_MAX, "{:?}", segments(data.path()));
    }
    assert!(broker.log().iter().any(|line| line.contains("a round of cleaning ends")));
    broker.kill();

    let (code, said) = shardmq(&["log", "verify"], data.path(), "");
    let counts = format!("4 sessions, {} messages queued for them, 40 retained messages", 4 * SLEEPERS);
    assert!(code == 0 && said.contains(&counts) && said.ends_with("clean\n"), "{code}: {said}");
    let (code, exported) = shardmq(&["export"], data.path(), "");
    assert_eq!((code, exported.lines().count()), (0, 1 + 4 + 40));
    let (code, said) = shardmq(&["import"], elsewhere.path(), &exported);
    assert_eq!(code, 0, "{said}");
    for data in [&elsewhere, &data] {
        let broker = setup(driver, data).start();
        wake_sleepers(&broker, SLEEPERS);
        let mut reader = Client::connect(broker.address(), Version::V5, "reader");
        reader.subscribe("kept/+", QoS::AtLeastOnce);
        let mut numbers: Vec<_> = (0..40).map(|_| reader.receive().payload[..4].to_vec()).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq((last - 39..=last).map(|number| number.to_be_bytes().to_vec())));
    }
}
