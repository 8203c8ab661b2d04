//! What a broker does beyond the protocol's own rules. All of it is off by default and then costs a branch.

use super::permission::Permission;
use std::sync::Arc;

/// The same for all shards of a broker.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Who may publish and subscribe where; without it everybody may everything.
    pub permission: Option<Arc<dyn Permission>>,
}

impl Extensions {
    /// Whether a PUBLISH has to be looked at before it is published.
    pub(super) fn concern_publishers(&self) -> bool {
        self.permission.is_some()
    }
}
