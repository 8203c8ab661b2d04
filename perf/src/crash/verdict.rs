//! What the broker was found to have done wrong.

use super::limits::EXAMPLES_MAX;
use std::collections::BTreeMap;
use std::fmt;

/// A promise that was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// An acknowledged message did not reach a durable subscription.
    Lost,
    /// A QoS 2 message reached a session twice.
    Duplicated,
    /// A message came for the first time after a later one of the same publisher, topic and QoS.
    Reordered,
    /// A message that nobody sent, or with another content, topic or QoS.
    Corrupt,
    /// A CONNACK had been received, and the session is not there.
    SessionMissing,
    /// A session is there that had ended.
    SessionLeft,
    /// An acknowledged retained message is not there.
    RetainedLost,
    /// A retained message is there that an acknowledged one had replaced or removed.
    RetainedStale,
    /// SUBACK had been received, and the subscription does not work.
    SubscriptionLost,
    /// UNSUBACK had been received, and the subscription works.
    SubscriptionLeft,
    /// A connection was cut, and its will never came.
    WillLost,
    /// A will came that its client had prevented.
    WillLeft,
    /// The broker sent what no correct broker sends.
    Protocol,
    /// Something did not come to an end within the time allowed.
    Stuck,
    /// The broker ended by itself, or did not end as it had to.
    Exit,
}

impl Fault {
    /// All of them, in the order of the report.
    pub const ALL: [Fault; 15] = [
        Fault::Lost,
        Fault::Duplicated,
        Fault::Reordered,
        Fault::Corrupt,
        Fault::SessionMissing,
        Fault::SessionLeft,
        Fault::RetainedLost,
        Fault::RetainedStale,
        Fault::SubscriptionLost,
        Fault::SubscriptionLeft,
        Fault::WillLost,
        Fault::WillLeft,
        Fault::Protocol,
        Fault::Stuck,
        Fault::Exit,
    ];

    /// Its name in the report.
    pub fn text(self) -> &'static str {
        match self {
            Fault::Lost => "acknowledged messages lost",
            Fault::Duplicated => "QoS 2 duplicates",
            Fault::Reordered => "out of order",
            Fault::Corrupt => "corrupt",
            Fault::SessionMissing => "sessions missing",
            Fault::SessionLeft => "ended sessions there",
            Fault::RetainedLost => "retained messages lost",
            Fault::RetainedStale => "retained messages stale",
            Fault::SubscriptionLost => "subscriptions lost",
            Fault::SubscriptionLeft => "removed subscriptions there",
            Fault::WillLost => "wills lost",
            Fault::WillLeft => "prevented wills sent",
            Fault::Protocol => "protocol errors",
            Fault::Stuck => "stuck",
            Fault::Exit => "wrong exits",
        }
    }
}

/// Faults counted, the first of each kind told in full.
#[derive(Default)]
pub struct Verdict {
    counts: BTreeMap<Fault, u64>,
    examples: Vec<String>,
    round: u32,
}

impl Verdict {
    /// From here on faults belong to `round`.
    pub fn begin_round(&mut self, round: u32) {
        self.round = round;
    }

    /// Counts a fault; `tell` describes it where there is still room for examples of its kind.
    pub fn fault(&mut self, fault: Fault, tell: impl FnOnce() -> String) {
        let count = self.counts.entry(fault).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            let line = format!("round {}: {}: {}", self.round, fault.text(), tell());
            eprintln!("{line}");
            self.examples.push(line);
        }
    }

    /// How often this happened.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or(0)
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// As an object for scripts.
    pub fn to_json(&self) -> serde_json::Value {
        let counts: serde_json::Map<_, _> = Fault::ALL
            .iter()
            .map(|&fault| (fault.text().replace(' ', "_"), self.count(fault).into()))
            .collect();
        serde_json::json!({ "counts": counts, "examples": self.examples })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{} {}", fault.text(), self.count(fault))?;
        }
        Ok(())
    }
}
