//! What a traffic scenario consists of: who publishes where, who subscribes to what, at which pace.

use crate::cli::Scenario;
use std::ops::Range;

/// How fast messages are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At most so many messages published and not yet received by all their subscribers.
    Closed {
        /// Over all publishers.
        outstanding: u32,
    },
    /// So many messages per second over all publishers, whatever the broker does.
    Open {
        /// Messages per second.
        rate: u32,
    },
    /// At most so many messages published and not yet acknowledged; who gets them, and when, does not matter.
    Acknowledged {
        /// Over all publishers.
        outstanding: u32,
    },
    /// None until they are granted, one grant after the other.
    Granted,
}

/// One subscriber: its filters, and whose messages it must get.
#[derive(Clone, Debug)]
pub struct SubscriberPlan {
    /// Its filters; together they match each of its publishers' messages exactly once.
    pub filters: Vec<String>,
    /// The publishers whose messages it gets.
    pub publishers: Range<u32>,
}

/// A traffic scenario, laid out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub scenario: &'static str,
    /// The topic of each publisher.
    pub topics: Vec<String>,
    /// The subscribers.
    pub subscribers: Vec<SubscriberPlan>,
    /// The pace.
    pub pace: Pace,
    /// Messages after which the run is over, over all publishers; none: it lasts its seconds.
    pub count: Option<u64>,
}

impl Plan {
    /// The plan of a traffic scenario under `prefix`; `None` for those without messages.
    pub fn of(scenario: &Scenario, prefix: &str) -> Option<Plan> {
        match *scenario {
            Scenario::Pair { pairs, outstanding, rate, count } => {
                let pace = rate.map_or(Pace::Closed { outstanding }, |rate| Pace::Open { rate });
                Some(Plan { count, ..Plan::pairs(prefix, pairs, pace) })
            }
            Scenario::Fanout { subscribers, outstanding } => {
                Some(Plan::fanout(prefix, subscribers, Pace::Closed { outstanding }))
            }
            Scenario::Fanin { publishers, outstanding } => Some(Plan {
                scenario: "fanin",
                topics: (0..publishers).map(|i| format!("{prefix}/in/{i}")).collect(),
                subscribers: vec![SubscriberPlan {
                    filters: vec![format!("{prefix}/in/#")],
                    publishers: 0..publishers,
                }],
                pace: Pace::Closed { outstanding },
                count: None,
            }),
            Scenario::Wildcard { pairs, filters, outstanding } => {
                Some(Plan::wildcard(prefix, pairs, filters, Pace::Closed { outstanding }))
            }
            Scenario::Conn { .. }
            | Scenario::Idle { .. }
            | Scenario::Takeover { .. }
            | Scenario::Stall { .. }
            | Scenario::Burst { .. }
            | Scenario::Filters { .. }
            | Scenario::Disk(_)
            | Scenario::Durable { .. }
            | Scenario::Recover(_)
            | Scenario::Cleaning(_)
            | Scenario::Retained { .. } => None,
        }
    }

    /// One publisher, `subscribers` subscribers of its topic; none: it publishes to nobody that is watched.
    pub fn fanout(prefix: &str, subscribers: u32, pace: Pace) -> Plan {
        let topic = format!("{prefix}/out");
        let subscriber = SubscriberPlan { filters: vec![topic.clone()], publishers: 0..1 };
        Plan {
            scenario: "fanout",
            topics: vec![topic],
            subscribers: vec![subscriber; subscribers as usize],
            pace,
            count: None,
        }
    }

    /// As many publishers as durable sessions, each to one of them.
    pub fn kept(prefix: &str, sessions: u32, pace: Pace, count: Option<u64>) -> Plan {
        Plan { scenario: "kept", count, ..Plan::pairs(&format!("{prefix}/kept"), sessions, pace) }
    }

    /// Whether its subscribers are away while it is published to them.
    pub fn is_offline(&self) -> bool {
        matches!(self.pace, Pace::Acknowledged { .. })
    }

    /// Pairs of one publisher and one subscriber of its topic.
    pub fn pairs(prefix: &str, pairs: u32, pace: Pace) -> Plan {
        let topic = |i: u32| format!("{prefix}/pair/{i}");
        Plan {
            scenario: if matches!(pace, Pace::Open { .. }) { "paced" } else { "pair" },
            topics: (0..pairs).map(topic).collect(),
            subscribers: (0..pairs)
                .map(|i| SubscriberPlan { filters: vec![topic(i)], publishers: i..i + 1 })
                .collect(),
            pace,
            count: None,
        }
    }

    /// Subscriber `i` has `…/+/dev<i>/#` and every `pairs`-th of the filters that never match.
    fn wildcard(prefix: &str, pairs: u32, filters: u32, pace: Pace) -> Plan {
        let mut subscribers: Vec<SubscriberPlan> = (0..pairs)
            .map(|i| SubscriberPlan { filters: vec![format!("{prefix}/+/dev{i}/#")], publishers: i..i + 1 })
            .collect();
        for k in 0..filters {
            let (site, i) = (k / pairs, k % pairs);
            subscribers[i as usize].filters.push(format!("{prefix}/site{site}/noise{i}/+/temp"));
        }
        let sites = filters.div_ceil(pairs).max(1);
        Plan {
            scenario: "wildcard",
            topics: (0..pairs).map(|i| format!("{prefix}/site{}/dev{i}/temp", i % sites)).collect(),
            subscribers,
            pace,
            count: None,
        }
    }

    /// How many subscribers get each message of `publisher`.
    pub fn copies(&self, publisher: u32) -> u32 {
        self.subscribers.iter().filter(|subscriber| subscriber.publishers.contains(&publisher)).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_spreads_all_filters() {
        let plan =
            Plan::of(&Scenario::Wildcard { pairs: 100, filters: 20_000, outstanding: 800 }, "b").unwrap();
        assert!(plan.subscribers.iter().all(|subscriber| subscriber.filters.len() == 201));
        let distinct: std::collections::BTreeSet<_> =
            plan.subscribers.iter().flat_map(|s| &s.filters).collect();
        assert_eq!(distinct.len(), 20_100);
        assert_eq!(plan.topics[7], "b/site7/dev7/temp");
    }

    #[test]
    fn copies_count_the_subscribers_of_a_publisher() {
        let fanout = Plan::of(&Scenario::Fanout { subscribers: 5, outstanding: 1 }, "b").unwrap();
        assert_eq!(fanout.copies(0), 5);
        let fanin = Plan::of(&Scenario::Fanin { publishers: 5, outstanding: 1 }, "b").unwrap();
        assert!((0..5).all(|publisher| fanin.copies(publisher) == 1));
    }
}
