//! Start, stop, the command line and what is said when something is wrong.

use crate::broker::{Broker, Driver, PATIENCE, Setup, shardmq, thread_names, write_config};
use crate::client::{Client, Ended};
use rustix::process::Signal;
use shardmq_shards::wire::{Connect, QoS, ReasonCode, Version};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

crate::on_both_drivers![
    a_signal_ends_it_in_order,
    a_second_signal_ends_it_at_once,
    a_client_that_does_not_read_does_not_hold_it,
    signals_that_mean_nothing_change_nothing,
    a_port_in_use_is_refused,
    a_port_that_becomes_free_is_waited_for,
    several_ports_are_logged_once_each,
    shards_run_where_they_are_placed,
];

fn a_signal_ends_it_in_order(driver: Driver) {
    for signal in [Signal::TERM, Signal::INT] {
        let mut broker = Setup::new(driver).shards(3).start();
        let address = broker.address();
        let mut clients: Vec<Client> =
            (0..12).map(|n| Client::connect(address, Version::ALL[n % 3], &format!("client-{n}"))).collect();
        let half_open = TcpStream::connect(address).expect("it listens");
        let started = Instant::now();
        broker.signal(signal);
        for client in &mut clients {
            let v5 = client.version.is_v5();
            let told = if v5 { Ended::Told(ReasonCode::ServerShuttingDown) } else { Ended::Silently };
            assert_eq!(client.end(), told);
        }
        drop(clients);
        let status = broker.wait_for_exit(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "after {:?}", started.elapsed());
        drop(half_open);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}

/// A subscriber that reads nothing, with more on its way than the kernel's buffers take.
fn stall(broker: &Broker) -> Client {
    let mut stalled = Client::connect(broker.address(), Version::V311, "stalled");
    stalled.subscribe("flood", QoS::AtMostOnce);
    let mut publisher = Client::connect(broker.address(), Version::V311, "publisher");
    let payload = vec![0; 60_000];
    for _ in 0..300 {
        publisher.publish("flood", &payload, QoS::AtMostOnce);
    }
    publisher.ping();
    publisher.disconnect();
    stalled
}

fn stalling(driver: Driver) -> Broker {
    Setup::new(driver).with("limits: (queue_bytes_max: \"64 MiB\")").start()
}

fn a_second_signal_ends_it_at_once(driver: Driver) {
    let mut broker = stalling(driver);
    let stalled = stall(&broker);
    broker.signal(Signal::TERM);
    broker.wait_for_log("the first signal", |line| line.contains("a second one ends at once").then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    broker.signal(Signal::TERM);
    let status = broker.wait_for_exit(Duration::from_secs(1));
    assert_eq!(status.code(), Some(130), "after {:?}", started.elapsed());
    drop(stalled);
}

fn a_client_that_does_not_read_does_not_hold_it(driver: Driver) {
    let mut broker = stalling(driver);
    let stalled = stall(&broker);
    let started = Instant::now();
    broker.signal(Signal::TERM);
    let status = broker.wait_for_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    drop(stalled);
}

fn signals_that_mean_nothing_change_nothing(driver: Driver) {
    let broker = Setup::new(driver).start();
    let mut client = Client::connect(broker.address(), Version::V5, "client");
    for signal in [Signal::HUP, Signal::USR1, Signal::USR1] {
        broker.signal(signal);
        client.ping();
    }
    broker.wait_for_log("the ignored signal", |line| line.contains("is ignored").then_some(()));
}

fn a_port_in_use_is_refused(driver: Driver) {
    let first = Setup::new(driver).start();
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for address in [first.address(), plain.local_addr().expect("it is bound")] {
        let listen = address.to_string();
        let mut second = Broker::spawn(&["--io", &driver.to_string(), "--listen", &listen], None);
        assert_eq!(second.wait_for_exit(PATIENCE).code(), Some(1));
        let said =
            second.wait_for_log("the reason", |line| line.contains("port in use").then(|| line.to_owned()));
        assert!(said.contains(&listen), "{said}");
    }
    Client::connect(first.address(), Version::V5, "unimpressed").ping();
}

/// As after a kill: the kernel still takes the last broker's ring apart, which holds its listeners.
fn a_port_that_becomes_free_is_waited_for(driver: Driver) {
    let last = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = last.local_addr().expect("it is bound").to_string();
    let broker = Broker::spawn(&["--io", &driver.to_string(), "--listen", &listen], None);
    broker.wait_for_log("the driver", |line| line.contains("io: ").then_some(()));
    thread::sleep(Duration::from_millis(200));
    drop(last);
    broker.wait_for_log("the broker to be ready", |line| line.contains("ready").then_some(()));
}

fn several_ports_are_logged_once_each(driver: Driver) {
    let arguments = ["run", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--io"];
    let io = driver.to_string();
    let broker = Broker::spawn(&[&arguments[..], &[io.as_str(), "--shards", "3"]].concat(), None);
    broker.wait_for_log("the broker to be ready", |line| line.contains("ready").then_some(()));
    let log = broker.log();
    let count = |what: &str| log.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("listening on 127.0.0.1:"), count("listening on [::1]:"), count("ready")), (1, 1, 1));
}

fn shards_run_where_they_are_placed(driver: Driver) {
    let broker = Setup::new(driver).shards(1).placement("cores").start();
    let ours = std::fs::read_to_string("/proc/self/status").expect("we run");
    let status_line = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.expect("the kernel tells").trim().to_owned()
    };
    let first = status_line(&ours).split(['-', ',']).next().expect("at least one").to_owned();
    let threads = thread_names(&broker);
    let (thread, _) = threads.iter().find(|(_, name)| name == "shardmq-0").expect("shard 0 has a thread");
    let status =
        std::fs::read_to_string(format!("/proc/{}/task/{thread}/status", broker.pid())).expect("it runs");
    assert_eq!(status_line(&status), first);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 64 {
        let file = write_config("(placement: cores, shards: 64, listeners: [(address: \"127.0.0.1:0\")])");
        let (refused, said) =
            output(&["--config", file.to_str().expect("UTF-8"), "--io", &driver.to_string()]);
        std::fs::remove_file(&file).expect("it is ours");
        assert!(refused.status.code() == Some(1) && said.contains("64 shards"), "{said}");
    }
}

fn output(arguments: &[&str]) -> (Output, String) {
    let output = shardmq(arguments).output().expect("the binary can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn the_default_configuration_is_printed_and_accepted() {
    let (printed, _) = output(&["default-config"]);
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).expect("UTF-8");
    assert_eq!(text, include_str!("../../config/default.ron"));
    let file = write_config(&text);
    let (checked, said) = output(&["check-config", file.to_str().expect("UTF-8")]);
    assert!(checked.status.success(), "{said}");
    std::fs::remove_file(file).expect("it is ours");
    for profile in ["default", "small", "medium", "large", "edge"] {
        let file = format!("{}/config/{profile}.ron", env!("CARGO_MANIFEST_DIR"));
        let (checked, said) = output(&["check-config", &file]);
        assert!(checked.status.success(), "{said}");
    }
}

#[test]
fn the_version_is_printed() {
    let (printed, _) = output(&["version"]);
    assert_eq!(printed.stdout, format!("shardmq {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    let wrong = [
        (
            "(\n  max_connections: 0,\n)",
            ":2:",
            "max_connections: expected a whole number from 1 to 10_000_000",
        ),
        (
            "(\n  limits: (\n    topic_alias_max: 70_000,\n  ),\n)",
            ":3:",
            "limits.topic_alias_max: expected a whole",
        ),
        ("(\n  max_conections: 5,\n)", ":2:", "near it are max_connections"),
        ("(\n  io: kqueue,\n)", ":2:", "there are auto, glommio, epoll"),
        ("(shards: 1", ":1:", ""),
    ];
    for (text, place, reason) in wrong {
        let file = write_config(text);
        let name = file.to_str().expect("UTF-8");
        for arguments in [vec!["check-config", name], vec!["--config", name], vec!["run", "--config", name]] {
            let (output, said) = output(&arguments);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(said.contains(&format!("{name}{place}")) && said.contains(reason), "{text}: {said}");
        }
        std::fs::remove_file(&file).expect("it is ours");
    }
    let (output, said) = output(&["--config", "/nonexistent.ron"]);
    assert!(output.status.code() == Some(1) && said.contains("/nonexistent.ron"), "{said}");
}

#[test]
fn a_listener_for_the_network_needs_anonymous_said_explicitly() {
    let (refused, said) = output(&["--listen", "0.0.0.0:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("0.0.0.0:0") && said.contains("allow_anonymous: true"), "{said}");
    let broker = Setup::new(Driver::Epoll)
        .listeners(&["(address: \"0.0.0.0:0\")"])
        .with("allow_anonymous: true")
        .start();
    let port = broker.address().port();
    Client::connect_with(([127, 0, 0, 1], port).into(), &Connect::new(Version::V5, "anyone", true)).0.ping();
}

#[test]
fn arguments_that_are_wrong_are_refused() {
    for arguments in [&["--shards", "0"][..], &["--io", "kqueue"], &["--listen", "here"], &["launch"]] {
        let (output, _) = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn auto_says_what_it_chose_and_why() {
    let broker = Broker::spawn(&["--listen", "127.0.0.1:0", "--io", "auto", "--shards", "2"], None);
    broker.wait_for_log("the choice", |line| {
        (line.contains("io: epoll, because") || line.contains("io: glommio, because")).then_some(())
    });
}

#[test]
fn rust_log_is_honoured() {
    // A start that fails, so that it ends by itself.
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = held.local_addr().expect("it is bound").to_string();
    let said = |rust_log: &str| {
        let mut command = shardmq(&["--listen", &address, "--log-level", "error"]);
        let output = command.env("RUST_LOG", rust_log).output().expect("the binary can be run");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_eq!(said("off"), "");
    assert!(said("info").contains("io: "), "{}", said("info"));
    assert!(!said("").contains("io: ") && said("").contains("port in use"), "{}", said(""));
}
