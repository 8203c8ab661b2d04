//! What a broker does beyond the protocol's own rules. All of it is off by default and then costs a branch.

use super::auto_subscribe::AutoSubscription;
use super::permission::Permission;
use crate::topics::RewriteRules;
use std::sync::Arc;

/// The same for all shards of a broker.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Who may publish and subscribe where; without it everybody may everything.
    pub permission: Option<Arc<dyn Permission>>,
    /// Whether `$delayed/SECONDS/TOPIC` is published to TOPIC later; else it is a topic as any other that begins with `$`.
    pub delayed: bool,
    /// Whether one client at a time may subscribe to `$exclusive/FILTER` and gets FILTER; else nobody may.
    pub exclusive: bool,
    /// Topics and filters that are replaced by others.
    pub rewrite: RewriteRules,
    /// Subscriptions that every client gets at CONNECT.
    pub auto_subscribe: Arc<[AutoSubscription]>,
}

impl Extensions {
    /// Whether a message to `topic` has to be looked at before it is published.
    #[inline]
    pub(super) fn concern_publish(&self, topic: &str) -> bool {
        self.permission.is_some() || !self.rewrite.is_empty() || self.delayed && topic.starts_with('$')
    }

    /// Whether somebody will ask who publishes or subscribes.
    #[inline]
    pub(super) fn ask_for_author(&self) -> bool {
        self.permission.is_some() || !self.rewrite.is_empty() || !self.auto_subscribe.is_empty()
    }
}
