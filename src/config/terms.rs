//! What clients are offered, as the configuration file says it.

use super::ConfigError;
use super::bounded::Number;
use super::settings::Settings;
use serde::Deserialize;
use shardmq_shards::shard;
use shardmq_shards::topics::TopicName;
use shardmq_shards::wire::QoS;

/// Bytes of `response_information` and of `redirect.to`: every client may be sent them.
const TEXT_BYTES_MAX: usize = 1024;

/// What clients may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// The highest QoS of a message, and of what a subscription is granted.
    pub maximum_qos: Number<0, 2>,
    /// Retained messages.
    pub retain: bool,
    /// Filters with `+` and `#`.
    pub wildcard_subscriptions: bool,
    /// Subscription identifiers.
    pub subscription_identifiers: bool,
    /// `$share/NAME/FILTER`.
    pub shared_subscriptions: bool,
}

/// Another server for the clients.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Its `host:port`, or several, divided by spaces.
    pub to: String,
    /// Whether clients are to remember it.
    #[serde(default)]
    pub permanent: bool,
    /// Which clients are sent there.
    #[serde(default)]
    pub when: When,
}

/// When clients are sent to another server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Every new one, at once.
    #[default]
    Always,
    /// Those that are here when the broker stops.
    Stopping,
}

impl Default for Capabilities {
    fn default() -> Capabilities {
        let all = shard::Capabilities::default();
        Capabilities {
            maximum_qos: Number::new(all.maximum_qos as u64),
            retain: all.retain,
            wildcard_subscriptions: all.wildcard_subscriptions,
            subscription_identifiers: all.subscription_identifiers,
            shared_subscriptions: all.shared_subscriptions,
        }
    }
}

impl Settings {
    /// The terms of the engine that these settings stand for.
    pub fn engine_terms(&self) -> shard::Terms {
        let Capabilities { maximum_qos, retain, wildcard_subscriptions, .. } = self.capabilities;
        let redirect = self.redirect.as_ref();
        shard::Terms {
            capabilities: shard::Capabilities {
                maximum_qos: QoS::from_bits(maximum_qos.get()).expect("a number up to 2 is a QoS"),
                retain,
                wildcard_subscriptions,
                subscription_identifiers: self.capabilities.subscription_identifiers,
                shared_subscriptions: self.capabilities.shared_subscriptions,
            },
            response_information: self.response_information.as_deref().map(Into::into),
            redirect: redirect.map(|redirect| shard::Redirect {
                to: redirect.to.as_str().into(),
                permanent: redirect.permanent,
                only_when_stopping: redirect.when == When::Stopping,
            }),
            check_payload_format: self.check_payload_format,
        }
    }
}

/// Refuses texts that no client could make use of.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    if let Some(template) = &settings.response_information {
        let topic = template.replacen("{client_id}", "id", 1);
        if template.len() > TEXT_BYTES_MAX || TopicName::new(&topic).is_err() {
            return Err(ConfigError::Refused(format!(
                "response_information: `{template}` cannot begin a topic: it has 1 to {TEXT_BYTES_MAX} bytes and none of + #"
            )));
        }
    }
    if let Some(Redirect { to, .. }) = &settings.redirect
        && (to.trim().is_empty() || to.len() > TEXT_BYTES_MAX || to.contains('\0'))
    {
        return Err(ConfigError::Refused(format!(
            "redirect.to: `{to}` names no server: it has 1 to {TEXT_BYTES_MAX} bytes, such as `other.example:1883`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use std::path::Path;

    fn settings(text: &str) -> Settings {
        parse(&format!("({text})"), Path::new("test.ron")).expect(text)
    }

    #[test]
    fn what_is_switched_off_is_not_offered() {
        let terms = settings(
            "capabilities: (maximum_qos: 1, retain: false), response_information: \"r/{client_id}/\", \
             redirect: (to: \"other:1883\", when: stopping), check_payload_format: true",
        )
        .engine_terms();
        assert_eq!(terms.capabilities.maximum_qos, QoS::AtLeastOnce);
        assert!(!terms.capabilities.retain && terms.capabilities.shared_subscriptions);
        assert_eq!(terms.response_information.as_deref(), Some("r/{client_id}/"));
        let redirect = terms.redirect;
        assert_eq!(
            redirect,
            Some(shard::Redirect { to: "other:1883".into(), permanent: false, only_when_stopping: true })
        );
        assert!(terms.check_payload_format);
    }

    #[test]
    fn texts_of_no_use_are_refused() {
        for text in ["response_information: \"\"", "response_information: \"a/#\"", "redirect: (to: \" \")"] {
            assert!(check(&settings(text)).is_err(), "{text}");
        }
        check(&settings("response_information: \"a\", redirect: (to: \"x\", permanent: true)"))
            .expect("right");
    }
}
