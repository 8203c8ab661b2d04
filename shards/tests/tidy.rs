//! Style as a test: the import order of the layers, names that are banned below the drivers, files that nothing names, file sizes.
//!
//! To change a rule, change this test, and say why in the commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the floor up. A layer imports from those above it in this list only; layers of one line are siblings and do not
/// import each other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["wire", "transport"],
    &["topics"],
    &["session"],
    &["mesh"],
    &["log"],
    &["shard", "coordinator"],
    &["drivers"],
    &["server"],
];

/// Names that have no place below the drivers, with what to use instead.
const BANNED_BELOW_DRIVERS: &[(&str, &str)] = &[
    ("async fn", "the core is synchronous: handle_* in, poll_* out"),
    (".await", "the core is synchronous: handle_* in, poll_* out"),
    ("Instant::now", "`now: Time` as an argument"),
    ("SystemTime", "`now: Time` as an argument"),
    ("std::thread", "a driver owns threads"),
    ("thread_local!", "a field of the shard"),
    ("Rc<", "a key into a slab, or Arc for what is shared with other shards"),
    ("RefCell", "&mut self"),
    ("Mutex", "a message over a lane"),
    ("RwLock", "a message over a lane"),
    ("HashMap<", "an ordered map, or base::parted: iteration order is fixed and nothing rehashes as a whole"),
    ("HashSet<", "an ordered set: iteration order is fixed"),
    ("unsafe {", "a driver"),
    ("println!", "an Event, which the driver logs"),
    ("tracing::", "an Event, which the driver logs"),
    ("rand::", "base::random, seeded by the caller"),
];

/// Module names that say nothing (STYLE.md rule 9).
const BANNED_MODULES: &[&str] =
    &["utils", "util", "types", "common", "helpers", "helper", "manager", "context", "misc"];

/// Lines a file may have. The ratchet below lists those that have more; it may only shrink.
const LINES_MAX: usize = 350;

/// Files over [`LINES_MAX`], with the size they may not exceed.
const RATCHET: &[(&str, usize)] = &[
    // One second-chance cache with its invalidation stamps.
    ("topics/cache.rs", 380),
];

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file below `src`, by its path there.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("the source tree is readable") {
            let path = entry.expect("the source tree is readable").path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("a source file is text"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&source_root(), &source_root(), &mut found);
    assert!(found.len() > 40, "the walk finds the sources");
    found
}

fn layer_of(file: &str) -> Option<(usize, &str)> {
    let folder = file.split('/').next()?;
    let rank = LAYERS.iter().position(|layers| layers.contains(&folder))?;
    Some((rank, folder))
}

/// The code of a file without comments and without its unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Whether `text` has `name`, not as the beginning of a longer one.
fn uses(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(index, _)| {
        let open_end = name.ends_with(|c: char| c.is_alphanumeric());
        let next = text[index + name.len()..].chars().next();
        !open_end || next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

/// What breaks the import order in `text`, the code of a file of the layer `folder`.
fn upward_imports(rank: usize, folder: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, _) in text.match_indices("crate::") {
        let rest = &text[index + "crate::".len()..];
        let target: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some((target_rank, _)) = layer_of(&target) else { continue };
        if target_rank > rank || target_rank == rank && target != folder {
            found.push(target);
        }
    }
    found
}

#[test]
fn imports_go_only_downward() {
    for (file, text) in sources() {
        let Some((rank, folder)) = layer_of(&file) else {
            assert_eq!(file, "lib.rs", "{file} lies in no layer: add its folder to LAYERS or move it");
            continue;
        };
        let upward = upward_imports(rank, folder, &code(&text));
        assert!(upward.is_empty(), "{file} imports {upward:?} from a layer above or beside {folder}");
    }
}

#[test]
fn the_core_knows_no_clock_no_thread_and_no_lock() {
    let drivers = LAYERS.iter().position(|layers| layers.contains(&"drivers")).expect("listed above");
    for (file, text) in sources() {
        if layer_of(&file).is_none_or(|(rank, _)| rank >= drivers) {
            continue;
        }
        let text = code(&text);
        for (name, instead) in BANNED_BELOW_DRIVERS {
            assert!(!uses(&text, name), "{file} uses `{name}`; below the drivers use {instead}");
        }
    }
}

#[test]
fn every_file_is_named_by_its_parent() {
    let all = sources();
    for file in all.keys().filter(|file| *file != "lib.rs") {
        let path = Path::new(file);
        let module = path.file_stem().expect("a file has a name").to_string_lossy();
        let (module, parent) = if module == "mod" {
            let folder = path.parent().expect("a mod.rs has a folder");
            (
                folder.file_name().expect("not the root").to_string_lossy().into_owned(),
                folder.parent().expect("below src"),
            )
        } else {
            (module.into_owned(), path.parent().expect("below src"))
        };
        assert!(!BANNED_MODULES.contains(&&*module), "{file}: a module named {module} says nothing");
        let parents = [parent.join("mod.rs"), parent.with_extension("rs"), PathBuf::from("lib.rs")];
        let named = parents.iter().filter_map(|parent| all.get(&*parent.to_string_lossy())).any(|text| {
            text.lines().any(|line| {
                let line = line
                    .trim_start_matches("pub ")
                    .trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub(super) ");
                line == format!("mod {module};")
            })
        });
        assert!(named, "{file} is compiled by nobody: name it in its parent or delete it");
    }
}

#[test]
fn files_stay_readable() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        match RATCHET.iter().find(|(name, _)| *name == file) {
            Some((_, allowed)) => {
                assert!(
                    lines <= *allowed,
                    "{file} has {lines} lines, its ratchet allows {allowed}: split it"
                );
            }
            None => assert!(
                lines <= LINES_MAX,
                "{file} has {lines} lines, more than {LINES_MAX}: split it by what happens"
            ),
        }
    }
    for (name, allowed) in RATCHET {
        let lines = sources().get(*name).map_or(0, |text| text.lines().count());
        assert!(lines > LINES_MAX, "{name} has {lines} lines: take it out of the ratchet ({allowed})");
    }
}

#[test]
fn unsafe_blocks_say_why_they_are_sound() {
    for (file, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !line.contains("unsafe {") && !line.contains("unsafe impl") {
                continue;
            }
            let reasoned =
                lines[index.saturating_sub(6)..index].iter().any(|above| above.contains("SAFETY:"));
            assert!(reasoned, "{file}:{} has an unsafe block without a SAFETY line above it", index + 1);
        }
    }
}

/// The checks above are seen to fail.
#[test]
fn a_breach_is_found() {
    let (rank, folder) = layer_of("session/outbound.rs").expect("a layer");
    assert_eq!(upward_imports(rank, folder, "use crate::shard::Shard;"), ["shard"]);
    assert_eq!(upward_imports(rank, folder, "use crate::wire::QoS; use crate::session::Will;"), [""; 0]);
    let (rank, folder) = layer_of("shard/mod.rs").expect("a layer");
    assert_eq!(upward_imports(rank, folder, "let c: crate::coordinator::Coordinator;"), ["coordinator"]);
    assert!(uses("a.await;", ".await") && !uses("self.await_interest()", ".await"));
    assert!(
        !code("let x = 1; // Instant::now\n#[cfg(test)]\nmod tests { Instant::now }").contains("Instant")
    );
}
