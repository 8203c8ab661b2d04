//! What the broker does beyond the protocol's own rules, as the configuration file says it.

use super::ConfigError;
use super::bounded::{Bytes, Number};
use super::settings::Settings;
use serde::Deserialize;
use shardmq_shards::base::limits::Limits;
use shardmq_shards::shard::Extensions;
use shardmq_shards::topics::{self, RewriteRules};

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

impl Settings {
    /// The extensions of the engine that these settings stand for.
    ///
    /// # Errors
    /// What no single field can show: rules that do not compile.
    pub fn engine_extensions(&self) -> Result<Extensions, ConfigError> {
        Ok(Extensions {
            permission: None,
            delayed: self.delayed.enabled,
            rewrite: rewrite_rules(&self.rewrite)?,
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
        assert!(!off.engine_extensions().expect("right").delayed);
        assert_eq!(off.engine_limits().delayed_messages_max, 5);
        assert_eq!(off.engine_limits().delayed_bytes_max, 1_024);
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
