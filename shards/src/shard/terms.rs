//! What a broker offers its clients beside the limits: capabilities that can be switched off, and another server to go to.

use super::Shard;
use crate::topics::TopicFilter;
use crate::wire::{Connect, Publish, QoS, Violation};

/// The operator's terms. The same on all shards.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What clients may use.
    pub capabilities: Capabilities,
    /// What a client that asks for Response Information is told to build its response topics from; the first `{client_id}` in it stands for its
    /// client id.
    pub response_information: Option<Box<str>>,
    /// Another server for the clients.
    pub redirect: Option<Redirect>,
    /// Whether a payload that is said to be text (Payload Format Indicator 1) is looked at.
    pub check_payload_format: bool,
}

/// What clients may use, as CONNACK tells them (MQTT 5 section 3.2.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// The highest QoS of a PUBLISH or a will, and of what a subscription is granted.
    pub maximum_qos: QoS,
    /// Retained messages.
    pub retain: bool,
    /// Filters with `+` and `#`.
    pub wildcard_subscriptions: bool,
    /// Subscription identifiers.
    pub subscription_identifiers: bool,
    /// `$share/NAME/FILTER`.
    pub shared_subscriptions: bool,
}

impl Default for Capabilities {
    fn default() -> Capabilities {
        Capabilities {
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
        }
    }
}

/// Another server (MQTT 5 section 4.11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// Its Server Reference: `host:port`, or several, divided by spaces.
    pub to: Box<str>,
    /// Whether clients are to remember it.
    pub permanent: bool,
    /// Clients are served until the broker stops, and sent there then; else every new one is, at once.
    pub only_when_stopping: bool,
}

impl Capabilities {
    /// Whether a message with this QoS and retain flag may be published.
    #[inline]
    pub(super) fn check_message(&self, qos: QoS, retain: bool) -> Result<(), Violation> {
        if qos > self.maximum_qos {
            return Err(Violation::QosNotAvailable);
        }
        if retain && !self.retain {
            return Err(Violation::RetainNotAvailable);
        }
        Ok(())
    }

    /// Whether `filter` may be subscribed.
    pub(super) fn check_filter(&self, filter: TopicFilter<'_>) -> Result<(), Violation> {
        if !self.shared_subscriptions && filter.shared().is_some() {
            return Err(Violation::SharedNotAvailable);
        }
        if !self.wildcard_subscriptions && filter.is_wildcard() {
            return Err(Violation::WildcardNotAvailable);
        }
        Ok(())
    }
}

impl Terms {
    /// Whether the will of `connect` could be published.
    pub(super) fn check_will(&self, connect: &Connect<'_>) -> Result<(), Violation> {
        let Some(will) = connect.will else { return Ok(()) };
        self.capabilities.check_message(will.qos, will.retain)?;
        let text = will.properties.payload_format_utf8 == Some(true);
        if self.check_payload_format && text && std::str::from_utf8(will.payload).is_err() {
            return Err(Violation::PayloadNotText);
        }
        Ok(())
    }

    /// Whether the payload of `publish` is what it is said to be, as far as that is asked for.
    #[inline]
    pub(super) fn payload_is_as_said(&self, publish: &Publish<'_>) -> bool {
        !self.check_payload_format
            || publish.properties.payload_format_utf8 != Some(true)
            || std::str::from_utf8(publish.payload).is_ok()
    }
}

impl Shard {
    /// Response Information for `connect`, when it asks for it. A client id with wildcards would make topics of which none is valid.
    pub(super) fn response_information(&self, connect: &Connect<'_>, client_id: &str) -> Option<String> {
        let wanted = connect.properties.request_response_information == Some(true);
        let template = self.terms.response_information.as_deref().filter(|_| wanted)?;
        let usable = !template.contains("{client_id}") || !client_id.contains(['+', '#']);
        usable.then(|| template.replacen("{client_id}", client_id, 1))
    }
}
