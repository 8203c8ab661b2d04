//! How many may connect, how long they may take, and to which listener.

use crate::broker::{Broker, Driver, Setup};
use crate::client::{Client, Ended};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shardmq_shards::wire::{Connect, ReasonCode, Version};
use std::sync::Mutex;
use std::time::{Duration, Instant};

crate::on_both_drivers![
    one_connection_too_many_is_refused_with_an_answer,
    the_edge_profile_is_as_promised,
    the_small_profile_is_as_promised,
    the_medium_profile_is_as_promised,
    the_large_profile_is_as_promised,
    a_connect_that_does_not_come_in_time_ends_the_connection,
    a_silent_client_is_missed_after_its_keep_alive,
    listeners_accept_their_versions_only,
    running_out_of_descriptors_is_survived,
];

/// Tests with thousands of sockets of this process take turns: its descriptors are limited, too.
static MANY_SOCKETS: Mutex<()> = Mutex::new(());

fn refusal(broker: &Broker, version: Version) -> ReasonCode {
    let mut client = Client::open(broker.address(), version);
    let (present, reason) = client.introduce(&Connect::new(version, "one-too-many", true));
    assert!(!present);
    assert_eq!(client.end(), Ended::Silently, "a refused connection is closed");
    reason
}

/// Fills the broker and asserts that exactly one more is refused, in every version, and that a place that becomes free can be taken.
fn assert_carries(broker: &Broker, connections: usize) {
    let mut clients: Vec<Client> = (0..connections)
        .map(|n| Client::connect(broker.address(), Version::ALL[n % 3], &format!("client-{n}")))
        .collect();
    assert_eq!(refusal(broker, Version::V5), ReasonCode::QuotaExceeded);
    for version in [Version::V31, Version::V311] {
        assert_eq!(refusal(broker, version), ReasonCode::ServerUnavailable, "return code 3");
    }
    clients.pop().expect("there are many").disconnect();
    // The coordinator hears of the end a moment after the client.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut client = loop {
        let mut client = Client::open(broker.address(), Version::V5);
        if client.introduce(&Connect::new(Version::V5, "next", true)).1 == ReasonCode::Success {
            break client;
        }
        assert!(Instant::now() < deadline, "the free place can be taken");
        std::thread::sleep(Duration::from_millis(5));
    };
    client.ping();
    clients[0].ping();
}

fn one_connection_too_many_is_refused_with_an_answer(driver: Driver) {
    let broker = Setup::new(driver).shards(3).with("max_connections: 20").start();
    assert_carries(&broker, 20);
}

/// The ring entries that the log says each shard has; `None` when there is no ring.
fn assert_ring_entries(broker: &Broker, driver: Driver, entries: u32) {
    if driver == Driver::Glommio {
        broker.wait_for_log("the ring's size", |line| {
            line.contains(&format!("submission_entries={entries} ")).then_some(())
        });
    }
}

/// Lets this process open as many sockets as it may; how many that are.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .expect("the soft limit may rise to the hard one");
    limit.maximum.unwrap_or(u64::MAX)
}

fn the_edge_profile_is_as_promised(driver: Driver) {
    let broker = Setup::new(driver).profile("edge").shards(1).start();
    assert_ring_entries(&broker, driver, 64);
    assert_carries(&broker, 500);
}

fn the_small_profile_is_as_promised(driver: Driver) {
    let _alone = MANY_SOCKETS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let descriptors = raise_descriptors();
    // Where this machine has fewer descriptors the broker says so itself, and carries what is left.
    let own = 64 + 2 * 21;
    let connections = 10_000.min(descriptors - own);
    let broker = Setup::new(driver).profile("small").start();
    assert_ring_entries(&broker, driver, 256);
    if connections + 200 < descriptors {
        assert_carries(&broker, usize::try_from(connections).expect("it is 10,000 at most"));
    }
}

fn the_medium_profile_is_as_promised(driver: Driver) {
    lowered_profile(driver, "medium", 100_000, 1_024);
}

fn the_large_profile_is_as_promised(driver: Driver) {
    lowered_profile(driver, "large", 1_000_000, 4_096);
}

/// No test machine carries these: they are started with few descriptors, warn, and keep what they then promise.
fn lowered_profile(driver: Driver, name: &str, connections: u32, ring_entries: u32) {
    let broker = Setup::new(driver).profile(name).descriptors(600).start();
    assert_ring_entries(&broker, driver, ring_entries);
    let carried: usize = broker.wait_for_log("the warning", |line| {
        let (_, rest) = line.split_once(&format!("max_connections lowered from {connections} to "))?;
        assert!(line.contains("LimitNOFILE="), "it says what to change: {line}");
        rest.split(':').next()?.parse().ok()
    });
    assert_eq!(carried, 600 - 64 - 2 * 21);
    assert_carries(&broker, carried);
}

fn a_connect_that_does_not_come_in_time_ends_the_connection(driver: Driver) {
    let broker = Setup::new(driver).with("limits: (connect_deadline: \"1 s\")").start();
    let started = Instant::now();
    let mut silent = Client::open(broker.address(), Version::V5);
    let mut dribbling = Client::open(broker.address(), Version::V5);
    // Byte by byte does not buy time: the deadline is for the whole CONNECT.
    for byte in [0x10, 0x20, 0x00, 0x04] {
        dribbling.send_bytes(&[byte]);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(silent.end(), Ended::Silently);
    assert_eq!(dribbling.end(), Ended::Silently);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
    Client::connect(broker.address(), Version::V5, "in-time").ping();
}

fn a_silent_client_is_missed_after_its_keep_alive(driver: Driver) {
    let broker = Setup::new(driver).start();
    let mut connect = Connect::new(Version::V5, "silent", true);
    connect.keep_alive = 1;
    let started = Instant::now();
    let (mut silent, _) = Client::connect_with(broker.address(), &connect);
    assert_eq!(silent.end(), Ended::Told(ReasonCode::KeepAliveTimeout));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1_400) && took < Duration::from_secs(4), "{took:?}");
}

fn listeners_accept_their_versions_only(driver: Driver) {
    let broker = Setup::new(driver)
        .listeners(&[
            "(address: \"127.0.0.1:0\", versions: Some([V3_1_1]))",
            "(address: \"127.0.0.1:0\", versions: [V5])",
            "(address: \"[::1]:0\")",
        ])
        .start();
    let addresses = broker.addresses();
    assert_eq!(addresses.len(), 3);
    let answer = |listener: usize, version: Version| {
        let mut client = Client::open(addresses[listener], version);
        client.introduce(&Connect::new(version, "client", true)).1
    };
    let refused = ReasonCode::UnsupportedProtocolVersion;
    assert_eq!(Version::ALL.map(|version| answer(0, version)), [refused, ReasonCode::Success, refused]);
    assert_eq!(Version::ALL.map(|version| answer(1, version)), [refused, refused, ReasonCode::Success]);
    assert_eq!(Version::ALL.map(|version| answer(2, version)), [ReasonCode::Success; 3]);
}

fn running_out_of_descriptors_is_survived(driver: Driver) {
    // Half-open connections are no connections yet, but they hold descriptors.
    let broker = Setup::new(driver).descriptors(130).start();
    let mut client = Client::connect(broker.address(), Version::V5, "early");
    let half_open: Vec<Client> = (0..130).map(|_| Client::open(broker.address(), Version::V5)).collect();
    broker.wait_for_log("the warning", |line| line.contains("cannot accept").then_some(()));
    let before = cpu_ticks(&broker);
    std::thread::sleep(Duration::from_millis(500));
    let spent = cpu_ticks(&broker) - before;
    assert!(spent < 25, "waiting for descriptors took {spent} of 50 ticks");
    client.ping();
    drop(half_open);
    Client::connect(broker.address(), Version::V5, "late").ping();
    client.ping();
}

/// User and system time of the broker in ticks of 10 ms, from /proc.
fn cpu_ticks(broker: &Broker) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
    ticks(11) + ticks(12)
}
