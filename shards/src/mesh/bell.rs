//! Bells: how a shard learns that there is something on its lanes, and how it sleeps without missing it.

use crate::base::planted::{Bug, Planted};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// Wakes one sleeping shard: an eventfd write in the real drivers.
pub trait Wake: Send + Sync {
    /// Makes the sleeper's wait return. Called at most once per sleep.
    fn wake(&self);
}

/// What one shard's peers leave for it to see. Lives on every core; peers set bits, the owner takes them.
pub(super) struct Bell {
    /// Shards that put something on a lane to the owner.
    pub(super) inbound: AtomicU64,
    /// Shards whose data lane, once full, has room for the owner again.
    pub(super) space: AtomicU64,
    /// The coordinator answered (at a shard's bell).
    pub(super) coordinator: AtomicBool,
    /// The broker is to stop.
    pub(super) shutdown: AtomicBool,
    /// The owner is about to block, or blocks.
    sleeping: AtomicBool,
    wake: Arc<dyn Wake>,
}

impl Bell {
    pub(super) fn new(wake: Arc<dyn Wake>) -> Bell {
        Bell {
            inbound: AtomicU64::new(0),
            space: AtomicU64::new(0),
            coordinator: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            wake,
        }
    }

    /// After a bit was set: wakes the owner if it sleeps. The fence pairs with the one in [`Bell::try_sleep`]: either the owner sees the
    /// bit when it looks again, or the ringer sees the flag.
    pub(super) fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        let asleep = self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed);
        if asleep {
            self.wake.wake();
        }
        asleep
    }

    fn is_silent(&self) -> bool {
        self.inbound.load(Ordering::Relaxed) == 0
            && self.space.load(Ordering::Relaxed) == 0
            && !self.coordinator.load(Ordering::Relaxed)
            && !self.shutdown.load(Ordering::Relaxed)
    }

    pub(super) fn try_sleep(&self, planted: Planted) -> bool {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_silent() || planted.is(Bug::SleepWithoutRecheck) {
            return true;
        }
        self.sleeping.store(false, Ordering::Relaxed);
        false
    }

    /// Awake again.
    pub(super) fn woke(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}
