//! Outputs in the order of the records that they wait for.

use crate::base::lsn::Lsn;
use std::collections::VecDeque;

/// A queue of outputs, each released once the log is committed up to its number.
///
/// Its length is bounded by what may be unacknowledged: each connection's receive maximum.
#[derive(Debug)]
pub struct Gate<T> {
    waiting: VecDeque<(Lsn, T)>,
    committed: Lsn,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Gate { waiting: VecDeque::new(), committed: Lsn::NONE }
    }
}

impl<T> Gate<T> {
    /// Whether the record `lsn` is committed.
    pub fn is_committed(&self, lsn: Lsn) -> bool {
        lsn <= self.committed
    }

    /// Holds `output` back until `lsn` is committed. Never ahead of what was held before it.
    pub fn hold(&mut self, lsn: Lsn, output: T) {
        let behind = self.waiting.back().map_or(lsn, |(last, _)| lsn.max(*last));
        self.waiting.push_back((behind, output));
    }

    /// How far everything is on disk.
    pub fn committed(&self) -> Lsn {
        self.committed
    }

    /// Everything up to `lsn` is on disk.
    pub fn commit(&mut self, lsn: Lsn) {
        self.committed = self.committed.max(lsn);
    }

    /// The next output that need not wait any longer.
    pub fn release(&mut self) -> Option<T> {
        let (lsn, _) = self.waiting.front()?;
        if *lsn > self.committed {
            return None;
        }
        self.waiting.pop_front().map(|(_, output)| output)
    }

    /// Whether anything is held.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Outputs held.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_leave_in_order_and_only_when_committed() {
        let mut gate = Gate::default();
        let (first, second) = (Lsn(1), Lsn(2));
        gate.hold(second, "second");
        gate.hold(first, "behind the second although its record is older");
        gate.hold(Lsn::NONE, "behind both");
        assert_eq!(gate.release(), None);
        gate.commit(first);
        assert_eq!(gate.release(), None);
        gate.commit(second);
        assert_eq!(gate.release(), Some("second"));
        assert_eq!(gate.len(), 2);
        assert!(gate.release().is_some() && gate.release() == Some("behind both") && gate.is_empty());
    }
}
