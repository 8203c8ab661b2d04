//! Judges every delivery: each subscriber must get each message of its publishers once, in publish order.

use crate::limits::EXAMPLES_MAX;
use crate::plan::Plan;
use serde::Serialize;
use std::collections::BTreeSet;

/// What went wrong, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// Copies that never came.
    pub lost: u64,
    /// Copies that came again.
    pub duplicated: u64,
    /// Copies that came after a later one of the same publisher.
    pub reordered: u64,
    /// Copies with a wrong topic, QoS or payload, or at the wrong subscriber.
    pub corrupt: u64,
    /// Messages whose acknowledgement never came.
    pub unacknowledged: u64,
    /// Messages of a paced run whose time came but whose turn did not: their latencies are in no percentile.
    pub unsent: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl Violations {
    /// Whether nothing at all went wrong.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.corrupt + self.unacknowledged + self.unsent == 0
    }

    /// Keeps one more example while there are few.
    pub fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// Where one subscriber's flows lie.
#[derive(Clone, Copy, Debug)]
struct Row {
    publisher_first: u32,
    publishers: u32,
    flow_first: u32,
}

/// The state of all flows; a flow is one publisher's messages at one subscriber.
#[derive(Debug)]
pub struct Ledger {
    rows: Vec<Row>,
    /// The sequence number that each flow expects next.
    expected: Vec<u64>,
    /// (flow, sequence) jumped over; at most the publishers' windows, since nothing unpublished is accepted.
    missing: BTreeSet<(u32, u64)>,
    violations: Violations,
}

impl Ledger {
    /// A ledger in which nothing has been published.
    pub fn new(plan: &Plan) -> Ledger {
        let mut flows = 0;
        let rows = plan.subscribers.iter().map(|subscriber| {
            let publishers = subscriber.publishers.end - subscriber.publishers.start;
            let row = Row { publisher_first: subscriber.publishers.start, publishers, flow_first: flows };
            flows += publishers;
            row
        });
        let rows = rows.collect();
        Ledger {
            rows,
            expected: vec![0; flows as usize],
            missing: BTreeSet::new(),
            violations: Violations::default(),
        }
    }

    /// Enters one copy; true when it is the first of its message at this subscriber.
    ///
    /// The caller has checked that the message was published.
    #[inline]
    pub fn enter(&mut self, subscriber: u32, publisher: u32, sequence: u64) -> bool {
        let row = self.rows[subscriber as usize];
        let offset = publisher.wrapping_sub(row.publisher_first);
        if offset >= row.publishers {
            self.corrupt(|| format!("subscriber {subscriber} got a message of publisher {publisher}"));
            return false;
        }
        let flow = row.flow_first + offset;
        let expected = &mut self.expected[flow as usize];
        if sequence == *expected {
            *expected += 1;
            return true;
        }
        self.enter_unexpected(subscriber, publisher, flow, sequence)
    }

    #[cold]
    fn enter_unexpected(&mut self, subscriber: u32, publisher: u32, flow: u32, sequence: u64) -> bool {
        let expected = self.expected[flow as usize];
        let text = |kind: &str| {
            format!(
                "{kind}: subscriber {subscriber}, publisher {publisher}: expected {expected}, got {sequence}"
            )
        };
        if sequence > expected {
            self.violations.example(|| text("gap"));
            self.missing.extend((expected..sequence).map(|skipped| (flow, skipped)));
            self.expected[flow as usize] = sequence + 1;
            true
        } else if self.missing.remove(&(flow, sequence)) {
            self.violations.reordered += 1;
            self.violations.example(|| text("late"));
            true
        } else {
            self.violations.duplicated += 1;
            self.violations.example(|| text("again"));
            false
        }
    }

    /// Counts a copy that is not what was published.
    #[cold]
    pub fn corrupt(&mut self, example: impl FnOnce() -> String) {
        self.violations.corrupt += 1;
        self.violations.example(example);
    }

    /// The verdict, when `published(publisher)` messages of each publisher should have arrived.
    pub fn close(mut self, published: impl Fn(u32) -> u64) -> Violations {
        self.violations.lost = self.missing.len() as u64;
        for (subscriber, row) in self.rows.iter().enumerate() {
            for offset in 0..row.publishers {
                let publisher = row.publisher_first + offset;
                let expected = self.expected[(row.flow_first + offset) as usize];
                let tail = published(publisher) - expected;
                self.violations.lost += tail;
                if tail > 0 {
                    self.violations.example(|| {
                        format!("end: subscriber {subscriber} lacks the last {tail} messages of publisher {publisher}")
                    });
                }
            }
        }
        self.violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Scenario;

    fn ledger() -> Ledger {
        Ledger::new(
            &Plan::of(&Scenario::Pair { pairs: 2, outstanding: 8, rate: None, count: None }, "b").unwrap(),
        )
    }

    fn verdict(arrivals: &[u64], published: u64) -> (u64, u64, u64, u64) {
        let mut ledger = ledger();
        for &sequence in arrivals {
            ledger.enter(1, 1, sequence);
        }
        let found = ledger.close(|publisher| if publisher == 1 { published } else { 0 });
        (found.lost, found.duplicated, found.reordered, found.corrupt)
    }

    #[test]
    fn tells_loss_duplication_and_order_apart() {
        assert_eq!(verdict(&[0, 1, 2, 3], 4), (0, 0, 0, 0));
        assert_eq!(verdict(&[0, 1, 3], 4), (1, 0, 0, 0), "a gap");
        assert_eq!(verdict(&[0, 1, 2], 4), (1, 0, 0, 0), "a missing tail");
        assert_eq!(verdict(&[0, 1, 1, 2, 3], 4), (0, 1, 0, 0));
        assert_eq!(verdict(&[0, 2, 1, 3], 4), (0, 0, 1, 0));
        assert_eq!(verdict(&[0, 2, 1, 1, 3], 4), (0, 1, 1, 0), "late, and then again");
        assert_eq!(verdict(&[3], 4), (3, 0, 0, 0));
    }

    #[test]
    fn a_strangers_message_is_corrupt() {
        let mut ledger = ledger();
        assert!(!ledger.enter(0, 1, 0));
        assert_eq!(ledger.close(|_| 0).corrupt, 1);
    }
}
