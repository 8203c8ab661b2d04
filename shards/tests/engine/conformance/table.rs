//! Holds the tests against the statements: a statement that binds a server has exactly one test, a test has its statement, and
//! CONFORMANCE.md says so.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The specifications: heading, name in paths and module names, statements.
const SPECIFICATIONS: [(&str, &str, &str); 2] = [
    ("MQTT 5.0", "v5", include_str!("statements_v5.txt")),
    ("MQTT 3.1.1", "v311", include_str!("statements_v311.txt")),
];

/// One test of one statement.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    /// `v5` or `v311`.
    version: String,
    id: String,
    does: String,
    function: String,
    /// From the repository's root.
    file: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").into()
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/conformance")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source files that may hold tests of statements, in order.
fn sources() -> Vec<PathBuf> {
    let listed = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("the tests are readable");
        entries.map(|entry| entry.expect("the tests are readable").path()).collect()
    };
    let mut found: Vec<PathBuf> =
        ["v5", "v311"].iter().flat_map(|version| listed(&here().join(version))).collect();
    let over_sockets = listed(&repository().join("src/tests")).into_iter();
    found.extend(over_sockets.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("conformance"))
    }));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found.sort();
    for path in &found {
        let stem = path.file_stem().expect("a source file").to_string_lossy();
        let (first, second) = (path.with_file_name("mod.rs"), path.with_file_name("main.rs"));
        let named = |parent: &Path| parent.exists() && read(parent).contains(&format!("mod {stem};\n"));
        assert!(stem == "mod" || named(&first) || named(&second), "{} is compiled by nobody", path.display());
    }
    found
}

/// The tests of statements in `text`. Which specification they are about: the folder or, over sockets, the `mod v5 {` or `mod v311 {`.
fn rows(file: &str, text: &str) -> Result<Vec<Row>, String> {
    let mut version = ["v5", "v311"].into_iter().find(|version| file.contains(&format!("/{version}/")));
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim).enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if let Some(module) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            version = ["v5", "v311"].into_iter().find(|version| *version == module).or(version);
        }
        let Some((id, does)) = line.strip_prefix("/// [MQTT-").and_then(|rest| rest.split_once("] ")) else {
            continue;
        };
        let at = format!("{file}:{}", number + 1);
        let mut does = does.to_string();
        while let Some((_, more)) = lines.next_if(|(_, line)| line.starts_with("/// ")) {
            does += &more[3..];
        }
        let _rest = std::iter::from_fn(|| lines.next_if(|(_, line)| line.starts_with("///"))).count();
        lines
            .next_if(|(_, line)| *line == "#[test]")
            .ok_or(format!("{at}: no #[test] after the documentation"))?;
        let function = lines.next().and_then(|(_, line)| line.strip_prefix("fn ")?.split('(').next());
        let function = function.ok_or(format!("{at}: no fn after #[test]"))?.to_string();
        let digits = format!("mqtt_{}_", id.replace(['.', '-'], "_"));
        if !function.starts_with(&digits) {
            return Err(format!("{at}: the name of {function} does not start with {digits}"));
        }
        let version = version.ok_or(format!("{at}: in no `mod v5` or `mod v311`"))?.to_string();
        let id = format!("MQTT-{id}");
        found.push(Row { version, id, does, function, file: file.into() });
    }
    Ok(found)
}

/// Every statement and whether it binds a server, in the specification's order.
fn statements(text: &str) -> Vec<(String, bool)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (id, role) = line.split_once(' ').expect("id and role");
        assert!(["server", "client", "both"].contains(&role), "{line}");
        (id.to_string(), role != "client")
    });
    parsed.collect()
}

/// What is wrong between the statements and the tests.
fn faults(statements: &[(String, bool)], rows: &[Row]) -> Vec<String> {
    let mut tests: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        tests.entry(&row.id).or_default().push(row);
    }
    let mut found = Vec::new();
    for (id, due) in statements {
        let covered = tests.remove(&**id).unwrap_or_default();
        match covered[..] {
            [] if *due => found.push(format!("{id} has no test")),
            [_] if !due => found.push(format!("{id} binds clients only: correct its role, or drop the test")),
            [first, second, ..] => {
                found.push(format!("{id} has two tests: {} and {}", first.function, second.function));
            }
            _ => {}
        }
    }
    found.extend(tests.keys().map(|id| format!("{id} is no statement")));
    found
}

fn document(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Conformance\n\nEvery normative statement that binds a server, what ShardMQ does, and the test that would fail if it did not. \
         Written by\n`CONFORMANCE=write cargo test -p shardmq-shards --test engine conformance::table`, from the tests' documentation; \
         the same test fails when this\nfile, the lists of statements or the tests differ. Statements that bind clients only have no row.\n",
    );
    for (heading, version, list) in SPECIFICATIONS {
        let due: Vec<_> = statements(list).into_iter().filter(|(_, due)| *due).collect();
        let of = |id: &str| rows.iter().find(|row| row.version == version && row.id == id);
        write!(text, "\n## {heading}\n\n{} statements.\n", due.len()).unwrap();
        text += "\n| statement | what ShardMQ does | test |\n|---|---|---|\n";
        for row in due.iter().filter_map(|(id, _)| of(id)) {
            let does = row.does.replace('|', "\\|");
            let link = format!("[{}](../{})", row.function, row.file);
            writeln!(text, "| {} | {does} | {link} |", row.id).unwrap();
        }
    }
    text
}

fn all_rows() -> Vec<Row> {
    let root = repository();
    let mut all = Vec::new();
    for path in sources() {
        let file = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        all.extend(rows(&file, &read(&path)).unwrap_or_else(|fault| panic!("{fault}")));
    }
    all
}

#[test]
fn every_statement_has_its_test() {
    let writes = std::env::var("CONFORMANCE").is_ok_and(|value| value == "write");
    let all = all_rows();
    let mut found = Vec::new();
    for (_, version, list) in SPECIFICATIONS {
        let rows: Vec<Row> = all.iter().filter(|row| row.version == version).cloned().collect();
        let faults = faults(&statements(list), &rows);
        found.extend(faults.into_iter().map(|fault| format!("{version}: {fault}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let (path, expected) = (repository().join("shards/CONFORMANCE.md"), document(&all));
    if writes {
        fs::write(&path, &expected).expect("the crate is writable");
    }
    let differs = read(&path) != expected;
    assert!(!differs, "CONFORMANCE.md is not what the tests say: run this test with CONFORMANCE=write");
}

#[test]
fn a_missing_an_unknown_and_a_doubled_row_are_found() {
    let row = |id: &str, function: &str| Row {
        version: "v5".into(),
        id: id.into(),
        does: "It does.".into(),
        function: function.into(),
        file: "a.rs".into(),
    };
    let known = statements("# heading\nA-1 server\nA-2 both\nA-3 client\n");
    let both = [row("A-1", "f"), row("A-2", "g")];
    assert_eq!(faults(&known, &both), [""; 0]);
    assert_eq!(faults(&known, &both[..1]), ["A-2 has no test"]);
    let doubled = [both[0].clone(), row("A-2", "g"), row("A-2", "h")];
    assert_eq!(faults(&known, &doubled), ["A-2 has two tests: g and h"]);
    let strange = [both[0].clone(), both[1].clone(), row("B-1", "i")];
    assert_eq!(faults(&known, &strange), ["B-1 is no statement"]);
    let client = [both[0].clone(), both[1].clone(), row("A-3", "i")];
    assert_eq!(faults(&known, &client), ["A-3 binds clients only: correct its role, or drop the test"]);
}

#[test]
fn a_row_is_read_from_its_test() {
    let text = "    /// [MQTT-1.2.3-4] It does\n    /// this.\n    ///\n    /// Because.\n    #[test]\n    fn mqtt_1_2_3_4_it_does() {\n";
    let expected = Row {
        version: "v311".into(),
        id: "MQTT-1.2.3-4".into(),
        does: "It does this.".into(),
        function: "mqtt_1_2_3_4_it_does".into(),
        file: "a/v311/b.rs".into(),
    };
    assert_eq!(rows("a/v311/b.rs", text), Ok(vec![expected.clone()]));
    let socket = format!("mod v5 {{\n}}\nmod v311 {{\n{text}");
    assert_eq!(rows("c.rs", &socket), Ok(vec![Row { file: "c.rs".into(), ..expected }]));
    assert!(rows("c.rs", text).is_err_and(|fault| fault.ends_with("in no `mod v5` or `mod v311`")));
    assert!(rows("a/v5/b.rs", &text.replace("#[test]", "#[ignore]")).is_err());
    assert!(rows("a/v5/b.rs", &text.replace("4_it", "5_it")).is_err());
}
