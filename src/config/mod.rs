//! The configuration: a RON file over built-in defaults, the command line over both.

mod authentication;
mod bounded;
mod debug;
mod error;
mod extensions;
mod settings;
mod terms;

pub use authentication::is_required as is_authentication_required;
pub use error::{ConfigError, WrongText};
pub use settings::{
    Durability, Io, Listener, LogLevel, Placement, ProtocolVersion, Settings, ShardCount,
    SharedSubscriptions, Strategy, Transport,
};

use ron::extensions::Extensions;
use std::path::Path;

/// The commented defaults, as `shardmq default-config` prints them.
pub const DEFAULT: &str = include_str!("../../config/default.ron");

/// Reads the configuration in `file`.
pub fn load(file: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    parse(&text, file)
}

/// Reads a configuration from its text; `file` only names it in errors.
pub fn parse(text: &str, file: &Path) -> Result<Settings, ConfigError> {
    let wrong = |at: ron::error::SpannedError, path: String| {
        ConfigError::Wrong(Box::new(WrongText {
            file: file.to_owned(),
            line: at.span.start.line,
            column: at.span.start.col,
            path,
            reason: error::reason(&at.code),
        }))
    };
    // `shards: 4` and `shards: Some(4)` say the same.
    let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
    let mut deserializer =
        ron::Deserializer::from_str_with_options(text, &options).map_err(|at| wrong(at, ".".to_owned()))?;
    let settings: Settings = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        wrong(deserializer.span_error(error.into_inner()), path)
    })?;
    deserializer.end().map_err(|error| wrong(deserializer.span_error(error), ".".to_owned()))?;
    Ok(settings)
}

/// Refuses what no single field can: listeners that would let anyone in from the network unsaid, and none at all.
pub fn check(settings: &Settings) -> Result<(), ConfigError> {
    if settings.listeners.is_empty() {
        return Err(ConfigError::Refused("listeners: at least one is needed".to_owned()));
    }
    terms::check(settings)?;
    settings.engine_extensions()?;
    let groups = &settings.shared_subscriptions.groups;
    for (at, group) in groups.iter().enumerate() {
        let name = &group.name;
        if name.is_empty() || name.contains(['/', '+', '#']) {
            return Err(ConfigError::Refused(format!(
                "shared_subscriptions.groups: `{name}` is no share name: it has at least one character and none of / + #"
            )));
        }
        if groups[..at].iter().any(|other| other.name == *name) {
            return Err(ConfigError::Refused(format!(
                "shared_subscriptions.groups: `{name}` is named twice"
            )));
        }
    }
    for listener in &settings.listeners {
        let address = listener.address;
        if listener.versions.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::Refused(format!(
                "listeners: {address} accepts no protocol version; leave `versions` out to accept all"
            )));
        }
    }
    authentication::check(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Settings, ConfigError> {
        parse(text, Path::new("test.ron"))
    }

    fn complaint(text: &str) -> String {
        parse_text(text).expect_err(text).to_string()
    }

    #[test]
    fn default_ron_says_the_built_in_defaults_and_small_is_the_same() {
        assert_eq!(parse_text(DEFAULT).expect("default.ron is right"), Settings::default());
        let small = parse_text(include_str!("../../config/small.ron")).expect("small.ron is right");
        assert_eq!(small, Settings::default());
        check(&small).expect("the defaults go together");
    }

    #[test]
    fn every_field_stands_in_default_ron_exactly_once() {
        // The unknown-field error lists all names that there are.
        for (indent, outer) in [(4, "(?)"), (8, "(limits: (?))"), (8, "(capabilities: (?))")] {
            let text = outer.replace('?', "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq: 1");
            let error = complaint(&text);
            let (_, names) = error.split_once("known are ").expect("all names are listed");
            for name in names.split(", ") {
                let field = format!("{:indent$}{name}:", "");
                let lines = DEFAULT.lines().filter(|line| line.starts_with(&field));
                assert_eq!(lines.count(), 1, "{name}");
            }
        }
    }

    #[test]
    fn the_profiles_are_what_they_promise() {
        let profiles = [
            (include_str!("../../config/small.ron"), 10_000, 256, 1_024, 100),
            (include_str!("../../config/medium.ron"), 100_000, 1_024, 10_000, 1_000),
            (include_str!("../../config/large.ron"), 1_000_000, 4_096, 100_000, 5_000),
            (include_str!("../../config/edge.ron"), 500, 64, 64, 100),
        ];
        for (text, connections, ring, warm_up, batch) in profiles {
            let settings = parse_text(text).expect("a profile is right");
            assert_eq!(settings.engine_limits().connections_max, connections);
            assert_eq!(settings.ring_entries.get::<u32>(), ring);
            assert_eq!(settings.connection_warm_up.get::<u32>(), warm_up);
            assert_eq!(settings.engine_limits().fan_out_batch, batch);
        }
    }

    #[test]
    fn the_log_can_be_kept_in_other_ways_one_at_a_time() {
        let debug = parse_text("(debug: (log_direct: false))").expect("a switch of its own").debug;
        assert_eq!((debug.log_direct, debug.log_recycle), (false, true));
        let debug = parse_text("(debug: (log_clean: false))").expect("a switch of its own").debug;
        assert_eq!((debug.log_recycle, debug.log_clean), (true, false));
        assert!(complaint("(debug: (log_directly: false))").contains("log_recycle"), "all names are listed");
    }

    #[test]
    fn a_wrong_value_is_named_with_place_path_and_range() {
        let error = complaint("(\n    shards: 4,\n    max_connections: 0,\n)");
        assert!(error.starts_with("test.ron:3:"), "{error}");
        assert!(error.contains("max_connections: expected a whole number from 1 to 10_000_000"), "{error}");
        let error = complaint("(\n    limits: (\n        write_stall: \"3 weeks\",\n    ),\n)");
        assert!(error.starts_with("test.ron:3:"), "{error}");
        assert!(error.contains("limits.write_stall: expected a time from 1 s to 600 s"), "{error}");
        let error =
            complaint("(listeners: [\n  (address: \"127.0.0.1:1883\"),\n  (address: \"localhost\"),\n])");
        assert!(error.starts_with("test.ron:3:") && error.contains("listeners[1].address"), "{error}");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_near_ones() {
        let error = complaint("(max_connection: 3)");
        assert!(
            error.contains("no field `max_connection`") && error.contains("near it are max_connections"),
            "{error}"
        );
        let error = complaint("(io: epol)");
        assert!(error.contains("no choice `epol`") && error.contains("epoll"), "{error}");
        let error = complaint("(listeners: [(address: \"127.0.0.1:1883\", versions: [V4])])");
        assert!(error.contains("V3_1_1"), "{error}");
    }

    #[test]
    fn broken_text_is_refused_with_its_place() {
        for text in ["", "(", "(shards: 1", "(shards: 1) x", "(shards: 1, shards: 2)", "[]"] {
            assert!(complaint(text).starts_with("test.ron:1:"), "{}", complaint(text));
        }
    }

    #[test]
    fn a_listener_may_speak_websocket() {
        let listener = |more: &str| {
            let text = format!("(listeners: [(address: \"127.0.0.1:1\", {more})])");
            parse_text(&text).map(|settings| settings.listeners[0].transport)
        };
        assert_eq!(listener("").expect("right"), Transport::Tcp);
        assert_eq!(listener("transport: websocket").expect("right"), Transport::Websocket);
        let error = listener("transport: ws").expect_err("no such transport").to_string();
        assert!(error.contains("tcp") && error.contains("websocket"), "{error}");
    }

    #[test]
    fn options_may_be_written_with_and_without_some() {
        let plain = parse_text("(shards: 4, listeners: [(address: \"[::1]:1\", versions: [V3_1, V5])])");
        let wrapped =
            parse_text("(shards: Some(4), listeners: [(address: \"[::1]:1\", versions: Some([V3_1, V5]))])");
        assert_eq!(plain.expect("right"), wrapped.expect("right"));
    }

    #[test]
    fn shared_groups_have_strategies_by_name() {
        let shared = |text: &str| parse_text(&format!("(shared_subscriptions: ({text}))"));
        let settings =
            shared("strategy: hash_client, groups: [(name: \"g\", strategy: sticky)]").expect("right");
        check(&settings).expect("a name may have its own");
        assert_eq!(settings.shared_subscriptions.strategy, Strategy::HashClient);
        assert_eq!(settings.shared_subscriptions.groups[0].strategy, Strategy::Sticky);
        for names in ["\"\"", "\"a/b\"", "\"+\"", "\"a\", strategy: local), (name: \"a\""] {
            let text = format!("groups: [(name: {names}, strategy: local)]");
            assert!(check(&shared(&text).expect("readable")).is_err(), "{names}");
        }
        assert!(complaint("(shared_subscriptions: (strategy: fair))").contains("round_robin"));
    }

    #[test]
    fn a_network_listener_needs_anonymous_said_explicitly() {
        let open = |allow: &str| {
            parse_text(&format!("({allow} listeners: [(address: \"0.0.0.0:1883\")])")).expect("right")
        };
        let error = check(&open("")).expect_err("open to the network").to_string();
        assert!(error.contains("0.0.0.0:1883") && error.contains("allow_anonymous: true"), "{error}");
        assert!(check(&open("allow_anonymous: false,")).is_err());
        check(&open("allow_anonymous: true,")).expect("said explicitly");
        let error = check(&parse_text("(listeners: [])").expect("right")).expect_err("nothing to listen on");
        assert!(error.to_string().contains("at least one"), "{error}");
    }
}
