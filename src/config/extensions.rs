//! What the broker does beyond the protocol's own rules, as the configuration file says it.

use super::ConfigError;
use super::bounded::{Bytes, Number};
use super::settings::Settings;
use serde::Deserialize;
use shardmq_shards::base::limits::{AUTO_SUBSCRIPTIONS_MAX, Limits};
use shardmq_shards::shard::{self, Extensions};
use shardmq_shards::topics::{self, RewriteRules, TopicFilter, fill_in};
use shardmq_shards::wire::{SubscriptionOptions, Version};
use std::sync::Arc;

/// Messages that are published later.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DelayedMessages {
    /// Whether `$delayed/SECONDS/TOPIC` means that.
    pub enabled: bool,
    /// Messages that may wait on each shard.
    pub messages_max: Number<0, 1_000_000_000>,
    /// Memory of the messages that wait on each shard.
    pub bytes_max: Bytes<0, { 1 << 40 }>,
}

impl Default for DelayedMessages {
    fn default() -> DelayedMessages {
        let limits = Limits::default();
        DelayedMessages {
            enabled: true,
            messages_max: Number::new(limits.delayed_messages_max as u64),
            bytes_max: Bytes::new(limits.delayed_bytes_max as u64),
        }
    }
}

/// Subscriptions of one client at a time.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExclusiveSubscriptions {
    /// Whether `$exclusive/FILTER` can be subscribed to.
    pub enabled: bool,
}

impl Default for ExclusiveSubscriptions {
    fn default() -> ExclusiveSubscriptions {
        ExclusiveSubscriptions { enabled: true }
    }
}

/// A rule that replaces topics by others.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewriteRule {
    /// Which packets it is for.
    pub action: RewriteAction,
    /// The topics that it is for.
    pub filter: String,
    /// What is found in them: a regular expression.
    pub pattern: String,
    /// The new topic.
    pub to: String,
}

/// Which packets a rewriting rule is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewriteAction {
    /// PUBLISH and wills.
    Publish,
    /// SUBSCRIBE and UNSUBSCRIBE.
    Subscribe,
    /// Both.
    All,
}

/// A subscription that every client gets at CONNECT.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoSubscription {
    /// A topic filter with `%c` and `%u`.
    pub filter: String,
    /// Highest QoS of deliveries.
    #[serde(default = "zero")]
    pub qos: Number<0, 2>,
    /// Whether the client's own publications are left out.
    #[serde(default)]
    pub no_local: bool,
    /// Whether deliveries keep the RETAIN flag.
    #[serde(default)]
    pub retain_as_published: bool,
    /// Retained messages at every CONNECT (0), when the subscription is new (1), never (2).
    #[serde(default = "zero")]
    pub retain_handling: Number<0, 2>,
}

fn zero() -> Number<0, 2> {
    Number::new(0)
}

impl Settings {
    /// The extensions of the engine that these settings stand for.
    ///
    /// # Errors
    /// What no single field can show: rules that do not compile.
    pub fn engine_extensions(&self) -> Result<Extensions, ConfigError> {
        Ok(Extensions {
            permission: None,
            delayed: self.delayed.enabled,
            exclusive: self.exclusive.enabled,
            rewrite: rewrite_rules(&self.rewrite)?,
            auto_subscribe: auto_subscriptions(&self.auto_subscribe)?,
        })
    }
}

fn rewrite_rules(rules: &[RewriteRule]) -> Result<RewriteRules, ConfigError> {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| topics::RewriteRule {
            action: match rule.action {
                RewriteAction::Publish => topics::RewriteAction::Publish,
                RewriteAction::Subscribe => topics::RewriteAction::Subscribe,
                RewriteAction::All => topics::RewriteAction::All,
            },
            filter: &rule.filter,
            pattern: &rule.pattern,
            to: &rule.to,
        })
        .collect();
    RewriteRules::new(&rules).map_err(|error| ConfigError::Refused(error.to_string()))
}

fn auto_subscriptions(wanted: &[AutoSubscription]) -> Result<Arc<[shard::AutoSubscription]>, ConfigError> {
    let refused = |at, why| ConfigError::Refused(format!("auto_subscribe[{at}]: {why}"));
    if wanted.len() > AUTO_SUBSCRIPTIONS_MAX {
        return Err(refused(
            AUTO_SUBSCRIPTIONS_MAX,
            format!("there may be {AUTO_SUBSCRIPTIONS_MAX} of them"),
        ));
    }
    let engine = |(at, one): (usize, &AutoSubscription)| {
        let example = fill_in(&one.filter, "client", Some("user")).unwrap_or_default();
        let filter = TopicFilter::new(&example).map_err(|error| refused(at, format!("filter: {error}")))?;
        if example.starts_with("$exclusive/") {
            return Err(refused(at, "filter: one client at a time can have it, not every client".to_owned()));
        }
        if one.no_local && filter.shared().is_some() {
            return Err(refused(at, "no_local: not on a shared subscription [MQTT-3.8.3-4]".to_owned()));
        }
        let options = one.qos.get::<u8>()
            | u8::from(one.no_local) << 2
            | u8::from(one.retain_as_published) << 3
            | one.retain_handling.get::<u8>() << 4;
        let options = SubscriptionOptions::from_byte(options, Version::V5);
        let options = options.expect("the fields are in their ranges");
        Ok(shard::AutoSubscription { filter: one.filter.as_str().into(), options })
    };
    wanted.iter().enumerate().map(engine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{check, parse};
    use std::path::Path;

    fn settings(text: &str) -> Settings {
        parse(text, Path::new("test.ron")).expect(text)
    }

    #[test]
    fn delayed_messages_can_be_bounded_and_switched_off() {
        let extensions = settings("()").engine_extensions().expect("the defaults are right");
        assert!(extensions.delayed && extensions.rewrite.is_empty());
        let off = settings("(delayed: (enabled: false, messages_max: 5, bytes_max: \"1 KiB\"))");
        assert!(!off.engine_extensions().expect("right").delayed && extensions.exclusive);
        let off_too = settings("(exclusive: (enabled: false))").engine_extensions().expect("right");
        assert!(!off_too.exclusive && off_too.delayed);
        assert_eq!(off.engine_limits().delayed_messages_max, 5);
        assert_eq!(off.engine_limits().delayed_bytes_max, 1_024);
    }

    #[test]
    fn auto_subscriptions_are_filters_with_names_to_be_filled_in() {
        let right = settings(
            "(auto_subscribe: [(filter: \"c/%c/%u\", qos: 1, retain_handling: 2), (filter: \"all\")])",
        );
        check(&right).expect("both are right");
        let engine = right.engine_extensions().expect("both are right").auto_subscribe;
        assert_eq!(&*engine[0].filter, "c/%c/%u");
        assert_eq!(
            (engine[0].options.to_byte(Version::V5), engine[1].options.to_byte(Version::V5)),
            (0x21, 0)
        );
        for (wrong, what) in [
            ("filter: \"a#\"", "auto_subscribe[0]: filter: "),
            ("filter: \"$exclusive/a\"", "auto_subscribe[0]: filter: one client"),
            ("filter: \"$share/g/%c\", no_local: true", "auto_subscribe[0]: no_local: "),
        ] {
            let error = check(&settings(&format!("(auto_subscribe: [({wrong})])"))).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        }
        let many = "(filter: \"a\"),".repeat(AUTO_SUBSCRIPTIONS_MAX + 1);
        assert!(check(&settings(&format!("(auto_subscribe: [{many}])"))).is_err());
    }

    #[test]
    fn rewriting_rules_are_compiled_and_a_wrong_one_is_named() {
        let rule =
            |pattern: &str| format!("(action: all, filter: \"x/#\", pattern: r\"{pattern}\", to: \"y/$1\")");
        let right = settings(&format!("(rewrite: [{}])", rule(r"^x/(\d+)$")));
        check(&right).expect("the rule is right");
        let rules = right.engine_extensions().expect("the rule is right").rewrite;
        assert_eq!(rules.published("x/1", "c", None).as_deref(), Some("y/1"));
        let wrong = settings(&format!("(rewrite: [{}, {}])", rule("^x/(.+)$"), rule("^x/(")));
        let error = check(&wrong).expect_err("the second does not compile").to_string();
        assert!(error.contains("rewrite[1]: pattern: ") && error.contains("unclosed group"), "{error}");
    }
}
