//! The generator judged: it must pass a correct broker in every scenario, and fail each planted fault.

mod stub;

use serde_json::Value;
use std::process::{Command, Output};
use stub::{Fault, start};

const SHORT: &[&str] = &["--warmup", "0.1", "--seconds", "0.3", "--json"];

fn bench(port: u16, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shardmq-bench"))
        .args(arguments)
        .args(["-p", &port.to_string()])
        .args(SHORT)
        .output()
        .expect("the generator starts")
}

fn passes(fault: Fault, arguments: &[&str]) -> Value {
    let output = bench(start(fault), arguments); // a busy machine may pause for most of the default stall limit
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

/// Runs against `fault`, expects exit code 1, and returns what was said.
fn fails(fault: Fault, arguments: &[&str]) -> (Value, String) {
    let output = bench(start(fault), &[arguments, &["--stall", "1"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{fault:?} must be found: {errors}");
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), errors)
}

fn count(report: &Value, kind: &str) -> u64 {
    report["violations"][kind].as_u64().expect("every kind is counted")
}

const PAIRS: &[&str] = &["pair", "--pairs", "4", "--outstanding", "32"];

#[test]
fn a_correct_broker_passes_in_every_version_and_qos() {
    for version in ["3", "4", "5"] {
        for qos in ["0", "1", "2"] {
            let report = passes(Fault::None, &[PAIRS, &["-V", version, "-q", qos]].concat());
            assert!(report["delivered"].as_u64().unwrap() > 100, "{report}");
            let p99 = report["p99_us"].as_f64().unwrap();
            assert!(p99 > 0.0 && p99 <= report["max_us"].as_f64().unwrap(), "{report}");
        }
    }
}

#[test]
fn a_correct_broker_passes_in_every_shape() {
    let fanout = passes(Fault::None, &["fanout", "--subscribers", "10", "--outstanding", "20"]);
    let (published, delivered) = (&fanout["published_per_second"], &fanout["delivered_per_second"]);
    let copies = delivered.as_f64().unwrap() / published.as_f64().unwrap();
    assert!((8.0..12.0).contains(&copies), "{fanout}");
    passes(Fault::None, &["fanin", "--publishers", "10", "-q", "1"]);
    passes(Fault::None, &["wildcard", "--pairs", "4", "--filters", "100"]);
    passes(Fault::None, &[PAIRS, &["--size", "100000"]].concat());
}

#[test]
fn a_paced_run_keeps_its_rate() {
    for spin in [&[][..], &["--spin"]] {
        let report = passes(Fault::None, &[&["pair", "--pairs", "4", "--rate", "1000"], spin].concat());
        let rate = report["published_per_second"].as_f64().unwrap();
        assert!((700.0..1300.0).contains(&rate), "{report}"); // a pause at the edge of 0.3 s counts much
    }
}

#[test]
fn a_rate_that_the_broker_cannot_keep_fails_the_run() {
    let (report, said) = fails(Fault::None, &["pair", "--pairs", "2", "--rate", "5000000"]);
    assert!(count(&report, "unsent") > 0 && said.contains("due but unsent"), "{said}");
    assert_eq!(count(&report, "lost"), 0, "{said}");
}

#[test]
fn a_lost_copy_fails_the_run() {
    for qos in ["0", "2"] {
        let (report, said) = fails(Fault::Lose, &[PAIRS, &["-q", qos]].concat());
        assert!(count(&report, "lost") > 0 && said.contains("lost"), "{said}");
        assert_eq!((count(&report, "duplicated"), count(&report, "reordered")), (0, 0), "{said}");
    }
    let (report, said) = fails(Fault::Lose, &["fanout", "--subscribers", "10"]);
    assert!(count(&report, "lost") > 0, "{said}");
    let (report, said) = fails(Fault::Lose, &["fanin", "--publishers", "10"]);
    assert!(count(&report, "lost") > 0, "{said}");
}

#[test]
fn a_second_copy_fails_the_run() {
    let (report, said) = fails(Fault::Duplicate, PAIRS);
    assert!(count(&report, "duplicated") > 0, "{said}");
    assert_eq!((count(&report, "lost"), count(&report, "reordered")), (0, 0), "{said}");
}

#[test]
fn a_swapped_pair_fails_the_run() {
    let (report, said) = fails(Fault::Swap, PAIRS);
    assert!(count(&report, "reordered") > 0, "{said}");
    assert_eq!(count(&report, "duplicated"), 0, "{said}");
}

#[test]
fn an_altered_copy_fails_the_run() {
    for fault in [Fault::Alter, Fault::Rename] {
        let (report, said) = fails(fault, PAIRS);
        assert!(count(&report, "corrupt") > 0, "{said}");
    }
}

#[test]
fn a_missing_acknowledgement_fails_the_run() {
    for qos in ["1", "2"] {
        let (report, said) = fails(Fault::SwallowAck, &[PAIRS, &["-q", qos]].concat());
        assert!(count(&report, "unacknowledged") > 0, "{said}");
        assert_eq!(count(&report, "lost"), 0, "{said}");
    }
}

#[test]
fn a_closed_connection_and_a_lower_grant_fail_the_run() {
    let (_, said) = fails(Fault::HangUp, PAIRS);
    assert!(said.contains("closed the connection of publisher"), "{said}");
    let (_, said) = fails(Fault::Downgrade, &[PAIRS, &["-q", "1"]].concat());
    assert!(said.contains("granted 0x00"), "{said}");
    let (_, said) = fails(Fault::Downgrade, &["filters", "--filters", "150", "-q", "1"]);
    assert!(said.contains("granted 0x00"), "{said}");
}

#[test]
fn a_count_of_messages_ends_the_run() {
    let report = passes(Fault::None, &[PAIRS, &["-q", "1", "--count", "1003"]].concat());
    assert_eq!(report["delivered"], 1003, "{report}");
    let (report, said) = fails(Fault::SwallowAck, &[PAIRS, &["-q", "1", "--count", "100000"]].concat());
    assert!(count(&report, "unsent") > 0, "the window fills before the count: {said}");
}

#[test]
fn a_session_may_be_taken_over_in_every_version() {
    for version in ["3", "4", "5"] {
        for race in [&[][..], &["--race"]] {
            let report = passes(Fault::None, &[&["takeover", "-V", version], race].concat());
            // Few, so that a busy machine passes: the rate is measured, not tested.
            assert!(report["takeovers"].as_u64().unwrap() > 5, "{report}");
            assert!(report["published"].as_u64().unwrap() > 100, "{report}");
            assert!(report["redelivered"].as_u64().unwrap() > 0, "{report}");
        }
    }
}

#[test]
fn every_fault_of_a_takeover_fails_the_run() {
    let faults = [
        (Fault::Lose, &["lost"][..]),
        (Fault::KeepOld, &["overlaps", "not_closed"][..]),
        (Fault::ForgetInFlight, &["lost"]),
        (Fault::OmitDup, &["duplicated"]),
        (Fault::DenySession, &["session_lost"]),
        (Fault::IgnoreConnect, &["unanswered"]),
    ];
    for (fault, kinds) in faults {
        let (report, said) = fails(fault, &["takeover"]);
        for kind in kinds {
            assert!(report["breaches"][kind].as_u64().unwrap() > 0, "{fault:?}: {said}");
        }
    }
}

#[test]
fn a_stall_and_a_burst_are_seen_by_a_pair_beside_them() {
    let burst = ["burst", "--subscribers", "50", "--messages", "3", "--rounds", "2"];
    let report = passes(Fault::None, &[&burst[..], &["-q", "1"]].concat());
    assert!(report["all_have_it_ms"].as_f64().unwrap() > 0.0, "{report}");
    let (before, during) = (&report["before"], &report["during"]);
    let (before, during) = (before["deliveries"].as_u64().unwrap(), during["deliveries"].as_u64().unwrap());
    assert!(before > 500 && during > 0 && during < before, "calm counted to the bursts: {report}");
    fails(Fault::Lose, &burst);
    for qos in ["0", "1"] {
        let reading = ["stall", "--reading", "--mib", "2", "--rounds", "2", "-s", "4096", "-q", qos];
        let report = passes(Fault::None, &reading);
        assert!(report["during"]["deliveries"].as_u64().unwrap() > 0, "{report}");
    }
    // The stub has no queue: it waits for the stalled subscriber itself, as no broker may.
    let (_, said) = fails(Fault::None, &["stall", "--mib", "50", "--rounds", "1", "-s", "4096"]);
    assert!(said.contains("waited in vain"), "{said}");
}

#[test]
fn retained_messages_are_counted_each_once() {
    let retained = ["retained", "--messages", "1200", "--rounds", "2", "-s", "32"];
    let pid = std::process::id().to_string();
    for (version, qos) in [("4", "0"), ("5", "1"), ("3", "2")] {
        let arguments = [&retained[..], &["-q", qos, "-V", version, "--broker-pid", &pid]].concat();
        let report = passes(Fault::None, &arguments);
        assert!(report["all_have_come_ms"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["rss_bytes_per_message"].is_number() && report["missing"] == 0, "{report}");
        assert!(report["during"]["deliveries"].as_u64().unwrap() > 0, "{report}");
    }
    for (fault, kind) in
        [(Fault::Lose, "missing"), (Fault::Duplicate, "duplicated"), (Fault::Alter, "corrupt")]
    {
        let (report, said) = fails(fault, &retained);
        assert!(report[kind].as_u64().unwrap() > 0, "{fault:?}: {said}");
    }
}

#[test]
fn connecting_and_idling_are_measured_with_the_brokers_cpu_and_memory() {
    let pid = std::process::id().to_string(); // the stub is a thread of this process
    for version in ["3", "4", "5"] {
        let report = passes(Fault::None, &["conn", "--parallel", "4", "-V", version, "--broker-pid", &pid]);
        assert!(report["cycles"].as_u64().unwrap() > 10, "{report}");
        assert!(report["broker"]["cpu_us_per_message"].as_f64().unwrap() > 1.0, "{report}");
    }
    let idle = ["idle", "--connections", "20", "--own-filter", "--settle", "0.1", "--touch-mib", "1"];
    let report = passes(Fault::None, &[&idle[..], &["--broker-pid", &pid]].concat());
    assert!(report["broker"]["rss_bytes"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["disturbed"], 0);
    let wakeups = report["broker"]["wakeups"].as_array().unwrap();
    assert!(
        !wakeups.is_empty() && wakeups.iter().all(|wakeups| wakeups["per_second"].is_number()),
        "{report}"
    );
}

/// The numbers of the records that a bare log's file holds, one after the other from its beginning.
fn records_of(file: &std::path::Path, log: u32, (record, batch): (usize, usize)) -> u64 {
    let bytes = std::fs::read(file).expect("the file was kept");
    assert_eq!(bytes.len(), 64 << 20, "allocated in full");
    let block = (record * batch).next_multiple_of(4096);
    let marks = bytes.chunks(block).flat_map(|block| block.chunks_exact(record).take(batch));
    let number = |mark: &[u8]| {
        (mark[..4] == log.to_le_bytes()).then(|| u64::from_le_bytes(*mark[4..].first_chunk().unwrap()))
    };
    (0..).zip(marks).take_while(|&(expected, mark)| number(mark) == Some(expected)).count() as u64
}

#[test]
fn bare_logs_hold_every_record_that_they_count() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare-logs");
    let _ = std::fs::remove_dir_all(&directory); // a run that was broken off may have left it
    for (api, segments, logs, outstanding) in
        [("dsync", "recycled", 1u64, 1u64), ("direct", "fresh", 3, 2), ("buffered", "recycled", 2, 60)]
    {
        let (logs_text, outstanding_text) = (logs.to_string(), outstanding.to_string());
        let disk = ["disk", "--dir", directory.to_str().unwrap(), "--rounds", "1", "--keep"];
        let what = ["--api", api, "--segments", segments, "--record", "100"];
        let shape = ["--logs", &logs_text, "--outstanding", &outstanding_text];
        let report = passes(Fault::None, &[&disk[..], &what, &shape].concat());
        let cell = &report["cells"][0];
        let claimed = cell["records"].as_u64().unwrap();
        let busy: u64 = outstanding.min(logs);
        let batch = outstanding / busy;
        let held = |log| {
            let file = directory.join(format!("{segments}-{log}-0.log"));
            records_of(&file, log as u32, (100, batch as usize))
        };
        let held: u64 = (0..busy).map(held).sum();
        let overwritten = claimed / batch * (batch * 100).next_multiple_of(4096) > 64 << 20;
        assert!(claimed > 0 && (held == claimed || overwritten), "{held}: {report}");
        assert!(cell["flush_p99_us"].as_f64() >= cell["flush_p50_us"].as_f64(), "{report}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
    let disk = ["disk", "--dir", directory.to_str().unwrap(), "--rounds", "2", "--outstanding", "7"];
    let report = passes(Fault::None, &[&disk[..], &["--api", "packed,dsync", "--logs", "1,2"]].concat());
    let variants = report["cells"].as_array().unwrap();
    assert!(variants.len() == 8 && variants.iter().all(|cell| cell["records"] != 0), "{report}");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "nothing is left unless asked for");
    std::fs::remove_dir(&directory).unwrap();
}

const KEPT: &[&str] = &["durable", "--publishers", "1", "--outstanding", "20"];

#[test]
fn what_sessions_have_kept_is_counted() {
    let pid = std::process::id().to_string();
    for version in ["3", "4", "5"] {
        let report = passes(Fault::None, &[KEPT, &["-V", version, "--broker-pid", &pid]].concat());
        assert!(report["kept"].as_u64().unwrap() > 100, "{report}");
        assert!(report["acknowledged_per_second"].as_f64().unwrap() > 100.0, "{report}");
        assert!(report["broker"]["cpu_us_per_message"].as_f64().unwrap() > 0.0, "{report}");
    }
    let uneven = bench(start(Fault::None), &["durable", "--publishers", "3", "--outstanding", "10"]);
    assert_eq!(uneven.status.code(), Some(2), "{}", String::from_utf8_lossy(&uneven.stderr));
}

#[test]
fn what_sessions_have_not_kept_fails_the_run() {
    for (fault, kind) in
        [(Fault::Lose, "lost"), (Fault::ForgetInFlight, "lost"), (Fault::SwallowAck, "unacknowledged")]
    {
        let (report, said) = fails(fault, KEPT);
        assert!(count(&report, kind) > 0, "{fault:?}: {said}");
    }
    let (_, said) = fails(Fault::DenySession, KEPT);
    assert!(said.contains("its session is gone"), "{said}");
}

/// Not a test: the stub as a process of its own, for the test below.
#[test]
#[ignore = "a broker for another test, lives until it is killed"]
fn stub_as_a_process() {
    let Ok(port) = std::env::var("STUB_PORT") else { return };
    let file = std::env::var_os("STUB_FILE").map(Into::into);
    stub::start_on(port.parse().unwrap(), file, Fault::None);
    std::thread::sleep(std::time::Duration::from_secs(60)); // if nobody kills it
}

/// Runs `recover` with this command as the broker.
fn recover(port: u16, file: Option<&std::path::Path>, command: &[&str]) -> Output {
    let shape = ["recover", "--sessions", "1", "--messages", "50", "--in-flight", "10", "--rounds", "2"];
    let mut run = Command::new(env!("CARGO_BIN_EXE_shardmq-bench"));
    run.args(shape).args(["--json", "-p", &port.to_string(), "--"]).args(command);
    run.env("STUB_PORT", port.to_string());
    if let Some(file) = file {
        run.env("STUB_FILE", file);
    }
    run.output().expect("the generator starts")
}

#[test]
fn a_broker_is_killed_and_has_to_have_everything_again() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let own = std::env::current_exe().unwrap();
    let stub = [own.to_str().unwrap(), "stub_as_a_process", "--exact", "--ignored"];
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stub-{port}"));
    let output = recover(port, Some(&file), &stub);
    std::fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let first = report["first_connack_ms"].as_f64().unwrap();
    assert!(first > 0.0 && first <= report["all_sessions_ms"].as_f64().unwrap(), "{report}");
    assert!(report["rss_bytes"].as_f64().unwrap() > 0.0, "{report}");

    let forgetful = recover(port, None, &stub);
    let said = String::from_utf8_lossy(&forgetful.stderr);
    assert!(forgetful.status.code() == Some(1) && said.contains("its session is gone"), "{said}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the run ends what it has started");
    let brief = recover(port, None, &["true"]);
    let said = String::from_utf8_lossy(&brief.stderr);
    assert!(brief.status.code() == Some(1) && said.contains("it ended while it started"), "{said}");
    assert_eq!(recover(port, None, &["/nowhere/broker"]).status.code(), Some(2));
}

#[test]
fn source_addresses_are_used_in_turn() {
    let sources = ["--ifaddr", "127.0.0.2,127.0.0.3"];
    passes(Fault::None, &[PAIRS, &sources[..]].concat());
    let wrong_family = bench(1, &[PAIRS, &["--ifaddr", "::1"]].concat());
    assert_eq!(wrong_family.status.code(), Some(2));
}

#[test]
fn other_machines_are_refused_unless_told() {
    let output = bench(1, &[PAIRS, &["--host", "192.0.2.1"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-remote"));
}

#[test]
fn a_broker_that_is_not_there_is_no_check_failure() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(bench(free, PAIRS).status.code(), Some(2));
}
