//! What is done with a data directory while no broker uses it: look at it, and carry what it has elsewhere.

use crate::broker::{DataFolder, Driver, Setup};
use crate::durability::{find_it_again, leave_something};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

crate::on_both_drivers![what_a_broker_kept_is_served_by_another];

/// A folder of a test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("tools-{}-{name}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir(&path).expect("the name is our own");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the tool; returns its exit code and what it said.
pub fn shardmq(arguments: &[&str], directory: &Path, input: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shardmq"))
        .args(arguments)
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // It may end without having read it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let said = [stdout, stderr].concat();
    (status.code().expect("it ends by itself"), String::from_utf8(said).expect("text"))
}

/// A session that has subscribed, with so many messages waiting, a retained message, and a delayed one.
fn lines(messages: usize) -> String {
    let copies: Vec<String> = (0..messages)
        .map(|number| {
            format!(
                r#"{{"qos":1,"state":"queued","message":{{"topic":"a/b","payload":"{number:04}","qos":1,"content_type":"text/plain"}}}}"#
            )
        })
        .collect();
    let subscription =
        r#"{"filter":"a/+","qos":1,"no_local":false,"retain_as_published":false,"retain_handling":0}"#;
    [
        r#"{"shardmq_export":1}"#.to_owned(),
        format!(
            r#"{{"session":{{"client_id":"reader","expiry_seconds":4294967295,"offline_since":1790000000000000,"subscriptions":[{subscription}],"queue":[{}]}}}}"#,
            copies.join(",")
        ),
        r#"{"retained":{"topic":"kept","payload":"AAECAw==","qos":0,"retain":true}}"#.to_owned(),
        r#"{"waiting":{"waits_for":{"time":4100000000000000},"message":{"topic":"later","payload":"","qos":1}}}"#
            .to_owned(),
        String::new(),
    ]
    .join("\n")
}

fn what_a_broker_kept_is_served_by_another(driver: Driver) {
    let (data, elsewhere) = (DataFolder::new(), DataFolder::new());
    let broker = Setup::new(driver).data(&data).start();
    leave_something(&broker);
    let (code, said) = shardmq(&["log", "verify"], data.path(), "");
    assert!(code == 2 && said.contains("is in use by another broker"), "{code}: {said}");
    broker.kill();

    let (code, said) = shardmq(&["log", "verify"], data.path(), "");
    let counts = "2 sessions, 80 messages queued for them, 4 retained messages, 0 waiting";
    assert!(code == 0 && said.contains(counts) && said.ends_with("clean\n"), "{code}: {said}");
    let (code, dumped) = shardmq(&["log", "dump"], data.path(), "");
    assert_eq!((code, dumped.matches(" subscribed session=").count()), (0, 2), "{dumped}");
    let (code, exported) = shardmq(&["export"], data.path(), "");
    assert_eq!((code, exported.lines().count()), (0, 1 + 2 + 4), "{exported}");
    assert_eq!(shardmq(&["import"], elsewhere.path(), &exported).0, 0);
    find_it_again(&Setup::new(driver).data(&elsewhere).shards(3).start());
    // Looking has changed nothing.
    find_it_again(&Setup::new(driver).data(&data).start());
}

#[test]
fn what_is_imported_is_verified_dumped_and_exported_again() {
    let scratch = Scratch::new("again");
    let data = scratch.0.join("data");
    let (code, said) = shardmq(&["import"], &data, &lines(100));
    assert_eq!((code, said.contains("1 sessions, 1 retained messages")), (0, true), "{said}");

    let (code, said) = shardmq(&["log", "verify"], &data, "");
    let counts = "1 sessions, 100 messages queued for them, 1 retained messages, 1 waiting, 0 on their way";
    assert!(code == 0 && said.contains(counts) && said.ends_with("clean\n"), "{code}: {said}");

    let (code, said) = shardmq(&["log", "dump"], &data, "");
    assert_eq!(code, 0, "{said}");
    let first: Vec<&str> = said.lines().take(2).collect();
    assert_eq!(first, ["0 1.1 start", r#"0 1.2 body body=0.1 topic="a/b" payload=3B qos=1"#]);
    for line in [
        r#" session session=1 client-id="reader" epoch=1 expiry=4294967295s next-copy=100 offline-since=1790000000.000000s"#,
        r#" subscribed session=1 filter="a/+" qos=1"#,
        r#" retained topic="kept" payload=4B qos=0 retain"#,
        r#" at=4100000000.000000s topic="later" payload=0B qos=1"#,
        " stopped",
    ] {
        assert!(said.lines().any(|told| told.ends_with(line)), "{line} in\n{said}");
    }

    let (code, exported) = shardmq(&["export"], &data, "");
    assert_eq!((code, exported.as_str()), (0, &*lines(100)));
    let (code, said) = shardmq(&["import"], &data, &exported);
    assert!(code == 2 && said.contains("has data already"), "{code}: {said}");
}

#[test]
fn damage_is_told_with_exit_code_1_and_what_is_whole_is_exported() {
    let scratch = Scratch::new("damage");
    let data = scratch.0.join("data");
    assert_eq!(shardmq(&["import"], &data, &lines(500)).0, 0);
    let segment = data.join("2/shard-00/0000000000000001.log");
    let file = File::options().write(true).open(segment).expect("the log's first segment");
    file.write_all_at(&[0x55; 16], 10_000).expect("it can be written");

    let (code, said) = shardmq(&["log", "verify"], &data, "");
    assert!(code == 1 && said.contains("shard 0: damage: segment 1, "), "{code}: {said}");
    assert!(said.contains("whose message is nowhere") && said.ends_with("damaged\n"), "{said}");
    let (code, exported) = shardmq(&["export"], &data, "");
    let messages = exported.matches("\"state\":\"queued\"").count();
    assert!(code == 0 && exported.contains("\"reader\"") && (480..500).contains(&messages), "{messages}");
}

#[test]
fn what_is_no_data_directory_and_no_export_is_refused() {
    let scratch = Scratch::new("refused");
    for tool in [&["log", "verify"][..], &["log", "dump"], &["export"]] {
        let (code, said) = shardmq(tool, &scratch.0, "");
        assert!(code == 2 && said.contains("is no data directory"), "{tool:?}, {code}: {said}");
    }
    let later = lines(1).replace("export\":1", "export\":2");
    let twice = format!("{}{}", lines(1), lines(1).lines().nth(1).expect("a session"));
    for (input, complaint) in [
        ("", "the input is empty"),
        ("{}", "line 1"),
        (&*later, "line 1: this is no export of a version that this program reads"),
        (&*twice, "line 5: a second session of \"reader\""),
    ] {
        let data = scratch.0.join("data");
        let (code, said) = shardmq(&["import"], &data, input);
        assert!(code == 2 && said.contains(complaint) && !data.exists(), "{complaint}, {code}: {said}");
    }
}
