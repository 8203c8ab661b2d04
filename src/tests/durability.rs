//! What is kept on disk: over kill -9, for one broker at a time, for its owner only, and as far as there is room.

use crate::broker::{Broker, DataFolder, Driver, PATIENCE, Setup};
use crate::client::Client;
use shardmq_shards::wire::{Connect, QoS, ReasonCode, Version};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

crate::on_both_drivers![
    what_was_acknowledged_is_there_after_kill_9,
    an_orderly_stop_keeps_as_much_and_says_so,
    a_stop_in_the_middle_of_the_traffic_gives_nothing_up,
    another_number_of_shards_keeps_everything,
    a_second_broker_on_the_directory_is_refused,
    what_is_kept_is_its_owners_alone,
    in_memory_nothing_is_written,
    a_log_that_cannot_be_written_ends_the_broker,
    damage_is_put_aside_and_the_rest_is_there,
    a_full_disk_refuses_publishers_until_there_is_room,
];

fn durable<'a>(version: Version, client_id: &'a str) -> Connect<'a> {
    let mut connect = Connect::new(version, client_id, false);
    connect.properties.session_expiry = version.is_v5().then_some(600);
    connect
}

fn setup(driver: Driver, data: &Arc<DataFolder>) -> Setup {
    Setup::new(driver).data(data)
}

/// Sessions that went away, messages for them, and a retained one, all acknowledged.
pub fn leave_something(broker: &Broker) {
    for (version, client_id) in [(Version::V311, "three"), (Version::V5, "five")] {
        let (mut sleeper, present) = Client::connect_with(broker.address(), &durable(version, client_id));
        assert!(!present);
        sleeper.subscribe("dreams/#", QoS::ExactlyOnce);
        sleeper.disconnect();
    }
    // The kernel spreads the publishers over the shards.
    for publisher in 0..4_u8 {
        let mut client = Client::connect(broker.address(), Version::V5, &format!("publisher-{publisher}"));
        for n in 0..10_u8 {
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(n % 2)];
            client.publish(&format!("dreams/{publisher}"), &[n], qos);
        }
        client.publish_retained(&format!("kept/{publisher}"), &[publisher], QoS::AtLeastOnce, true);
    }
}

/// What [`leave_something`] left is there, once, and in order.
pub fn find_it_again(broker: &Broker) {
    for (version, client_id) in [(Version::V311, "three"), (Version::V5, "five")] {
        let (mut sleeper, present) = Client::connect_with(broker.address(), &durable(version, client_id));
        assert!(present, "{client_id}");
        let mut next = [0_u8; 4];
        while next != [10; 4] {
            let message = sleeper.receive();
            if message.payload == b"mine" {
                continue;
            }
            let publisher = usize::from(message.topic.as_bytes()["dreams/".len()] - b'0');
            assert_eq!(message.payload, [next[publisher]], "{client_id}, publisher {publisher}");
            next[publisher] += 1;
        }
        let more =
            sleeper.receive_within(Duration::from_millis(100)).filter(|message| message.payload != b"mine");
        assert_eq!(more, None, "each came once");
        // The subscription is in force, too.
        let topic = format!("dreams/of/{client_id}");
        sleeper.publish(&topic, b"mine", QoS::AtLeastOnce);
        assert_eq!(sleeper.receive().topic, topic);
        sleeper.unsubscribe("dreams/#");
        sleeper.subscribe("dreams/4", QoS::AtLeastOnce);
        sleeper.disconnect();
    }
    let mut reader = Client::connect(broker.address(), Version::V5, "reader");
    reader.subscribe("kept/+", QoS::AtLeastOnce);
    let mut kept: Vec<_> = (0..4).map(|_| reader.receive()).map(|kept| (kept.payload, kept.retain)).collect();
    kept.sort();
    assert_eq!(kept, (0..4).map(|n| (vec![n], true)).collect::<Vec<_>>());
}

fn what_was_acknowledged_is_there_after_kill_9(driver: Driver) {
    let data = DataFolder::new();
    let broker = setup(driver, &data).shards(3).start();
    leave_something(&broker);
    broker.kill();
    // Twice: what was recovered is recovered again.
    setup(driver, &data).shards(3).start().kill();
    let broker = setup(driver, &data).shards(3).start();
    find_it_again(&broker);
    broker.kill();
    let broker = setup(driver, &data).shards(3).start();
    let (mut sleeper, present) = Client::connect_with(broker.address(), &durable(Version::V311, "three"));
    assert!(present);
    Client::connect(broker.address(), Version::V5, "p").publish("dreams/0", b"not for it", QoS::AtLeastOnce);
    Client::connect(broker.address(), Version::V5, "q").publish("dreams/4", b"new", QoS::AtLeastOnce);
    let message = sleeper.receive();
    assert_eq!(
        message.payload, b"new",
        "what it took does not come again, and what it gave up does not come"
    );
}

fn an_orderly_stop_keeps_as_much_and_says_so(driver: Driver) {
    let data = DataFolder::new();
    let mut broker = setup(driver, &data).start();
    leave_something(&broker);
    broker.signal(rustix::process::Signal::TERM);
    assert_eq!(broker.wait_for_exit(PATIENCE).code(), Some(0));
    drop(broker);
    let broker = setup(driver, &data).start();
    broker.wait_for_log("what was recovered", |line| {
        line.contains("recovered: 2 sessions, 80 messages").then_some(())
    });
    assert!(!broker.log().iter().any(|line| line.contains("WARN")), "{:?}", broker.log());
    find_it_again(&broker);
}

/// Neither the log, whose last batch is held for clients that are gone, nor a connection that its client leaves open is waited for until it is given up.
fn a_stop_in_the_middle_of_the_traffic_gives_nothing_up(driver: Driver) {
    let data = DataFolder::new();
    for round in 0..6 {
        let mut broker = setup(driver, &data).start();
        let connect = durable(Version::V5, "sleeper");
        let (mut sleeper, _) = Client::connect_with(broker.address(), &connect);
        sleeper.subscribe("dreams/#", QoS::ExactlyOnce);
        if round % 3 != 0 {
            drop(sleeper);
        }
        let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
        for n in 0..4 {
            publisher.publish("dreams/1", &[n], QoS::AtLeastOnce);
        }
        drop(publisher);
        broker.signal(rustix::process::Signal::TERM);
        assert_eq!(broker.wait_for_exit(PATIENCE).code(), Some(0));
        assert!(!broker.log().iter().any(|line| line.contains("WARN")), "{:?}", broker.log());
    }
}

fn another_number_of_shards_keeps_everything(driver: Driver) {
    let data = DataFolder::new();
    // What the system has outlives the process, too.
    let broker = setup(driver, &data).shards(3).with("durability: os").start();
    leave_something(&broker);
    broker.kill();
    for shards in [1, 4, 2] {
        let broker = setup(driver, &data).shards(shards).start();
        let lines = |what: &str| broker.log().iter().filter(|line| line.contains(what)).count();
        assert_eq!((lines("moving what"), lines("recovered: 2 sessions, 80 messages")), (1, 1));
        broker.kill();
    }
    find_it_again(&setup(driver, &data).shards(2).start());
}

fn a_second_broker_on_the_directory_is_refused(driver: Driver) {
    let first = Setup::new(driver).start();
    let io = driver.to_string();
    let path = first.data().to_str().expect("UTF-8").to_owned();
    let arguments = ["--listen", "127.0.0.1:0", "--io", &io, "--data-dir", &path];
    let output = crate::broker::shardmq(&arguments).output().expect("the binary can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("process {}", first.pid())) && said.contains("--data-dir"), "{said}");
    Client::connect(first.address(), Version::V5, "unimpressed").ping();
}

/// Every file and folder below `path`, with its permission bits.
fn modes(path: &Path) -> Vec<(bool, u32)> {
    let told = std::fs::metadata(path).expect("it is there");
    let mut all = vec![(told.is_dir(), told.permissions().mode() & 0o777)];
    if told.is_dir() {
        let entries = std::fs::read_dir(path).expect("it is ours");
        all.extend(entries.flat_map(|entry| modes(&entry.expect("readable").path())));
    }
    all
}

fn what_is_kept_is_its_owners_alone(driver: Driver) {
    let broker = Setup::new(driver).start();
    leave_something(&broker);
    let modes = modes(broker.data());
    assert!(modes.len() > 8, "lock, manifests, folders, segments: {modes:?}");
    assert!(modes.iter().all(|(folder, mode)| *mode == if *folder { 0o700 } else { 0o600 }), "{modes:?}");
}

fn in_memory_nothing_is_written(driver: Driver) {
    let broker = Setup::new(driver).with("durability: memory").start();
    leave_something(&broker);
    find_it_again(&broker);
    assert!(!broker.data().exists());
}

/// A limit on the size of files, with the signal that it would raise ignored, is an error at the next segment that is made.
fn a_log_that_cannot_be_written_ends_the_broker(driver: Driver) {
    let data = DataFolder::new();
    let mut broker = setup(driver, &data).start();
    let (mut sleeper, _) = Client::connect_with(broker.address(), &durable(Version::V5, "sleeper"));
    sleeper.subscribe("big", QoS::AtLeastOnce);
    sleeper.disconnect();
    let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
    publisher.publish("big", b"small", QoS::AtLeastOnce);
    let pid = rustix::process::Pid::from_raw(broker.pid() as i32).expect("a child has an id");
    let limit = rustix::process::Rlimit { current: Some(0), maximum: None };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).expect("the child is ours");
    publisher.send_publish("big", b"never acknowledged", 77);
    assert_eq!(publisher.puback_or_end(), None, "what cannot be kept is not acknowledged");
    assert_eq!(broker.wait_for_exit(PATIENCE).code(), Some(1));
    let said = broker
        .wait_for_log("the reason", |line| line.contains("of the log cannot be").then(|| line.to_owned()));
    assert!(said.contains("File too large"), "{said}");
    drop(broker);
    let broker = setup(driver, &data).start();
    let (mut sleeper, present) = Client::connect_with(broker.address(), &durable(Version::V5, "sleeper"));
    assert!(present);
    assert_eq!(sleeper.receive().payload, b"small");
}

fn damage_is_put_aside_and_the_rest_is_there(driver: Driver) {
    let data = DataFolder::new();
    let broker = setup(driver, &data).shards(1).start();
    leave_something(&broker);
    broker.kill();
    let segment = data.path().join("1/shard-00/0000000000000001.log");
    let mut bytes = std::fs::read(&segment).expect("it is ours");
    // The payload-less middle of one of the first messages' records: within the first batches, behind the subscriptions.
    let at = find(&bytes, b"dreams/1").expect("a message of the second publisher");
    bytes[at] ^= 0x10;
    std::fs::write(&segment, bytes).expect("it is ours");
    std::fs::write(data.path().join("manifest"), b"nothing").expect("it is ours");
    let broker = setup(driver, &data).shards(1).start();
    broker.wait_for_log("a warning", |line| line.contains("records are damaged").then_some(()));
    let (mut sleeper, present) = Client::connect_with(broker.address(), &durable(Version::V311, "three"));
    assert!(present);
    let got = (0..39).map(|_| sleeper.receive()).count();
    assert_eq!(
        (got, sleeper.receive_within(Duration::from_millis(100))),
        (39, None),
        "all but the one that was hit"
    );
    let report =
        std::fs::read_to_string(data.path().join("quarantine/1-shard-00/report.txt")).expect("a report");
    assert!(report.contains("39") || report.contains("records are damaged"), "{report}");
    let copies = std::fs::read_dir(data.path().join("quarantine/1-shard-00")).expect("a folder").count();
    assert_eq!(copies, 2, "the bytes and the report");
}

/// A small file system of its own, which only root can have.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(name: &str) -> Option<SmallDisk> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("the target folder can be written");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(&path);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            std::fs::remove_dir(&path).expect("it is ours");
            eprintln!("skipped: only root can mount a small file system");
            return None;
        }
        Some(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn a_full_disk_refuses_publishers_until_there_is_room(driver: Driver) {
    for (watermark, filler_mib) in [("", 20), ("disk_watermark: 0", 23)] {
        let Some(disk) = SmallDisk::mount(&format!("{driver}-{filler_mib}")) else { return };
        let filler = disk.0.join("filler");
        std::fs::write(&filler, vec![1; filler_mib << 20]).expect("there is room");
        let data = DataFolder::at(disk.0.join("data"));
        let limits = "limits: (queue_messages_max: 100_000, queue_bytes_max: \"512 MiB\")";
        let broker = setup(driver, &data).shards(1).with(limits).with(watermark).start();
        let (mut sleeper, _) = Client::connect_with(broker.address(), &durable(Version::V5, "sleeper"));
        sleeper.subscribe("big", QoS::AtLeastOnce);
        sleeper.disconnect();
        let mut publisher = Client::connect(broker.address(), Version::V5, "publisher");
        let mut kept = Vec::new();
        let mut fill = |publisher: &mut Client, until: &dyn Fn(ReasonCode) -> bool| {
            for n in 0..3_000_u32 {
                let number = (n + 10_000 * kept.len() as u32).to_be_bytes();
                let payload = [&number[..], &[7; 32 * 1024]].concat();
                let reason = publisher.publish_for("big", &payload);
                if !reason.is_error() {
                    kept.push(number);
                }
                if until(reason) {
                    return;
                }
            }
            panic!("{} messages were kept", kept.len());
        };
        fill(&mut publisher, &|reason| reason == ReasonCode::QuotaExceeded);
        // What frees space goes on, and so does what needs none.
        publisher.publish("small", b"x", QoS::AtMostOnce);
        publisher.ping();
        std::fs::remove_file(&filler).expect("it is ours");
        broker
            .wait_for_log("room", |line| line.contains("the disk has room for the log again").then_some(()));
        fill(&mut publisher, &|reason| reason == ReasonCode::Success);
        broker.kill();
        let broker = setup(driver, &data).shards(1).with(limits).with(watermark).start();
        let (mut sleeper, present) = Client::connect_with(broker.address(), &durable(Version::V5, "sleeper"));
        assert!(present);
        for number in kept {
            assert_eq!(sleeper.receive().payload[..4], number);
        }
        assert_eq!(sleeper.receive_within(Duration::from_millis(100)), None, "what was refused is nowhere");
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
