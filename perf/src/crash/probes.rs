//! Subscriptions that come and go, and the messages that try after each crash which of them work.

use super::client::{Arrival, Client, Event, Outgoing};
use super::verdict::{Fault, Verdict};
use super::world::{Role, Stage, World};
use shardmq_shards::wire::QoS;

/// Filters of each wanderer.
pub const FILTERS: usize = 6;

/// What a subscription was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Its QoS.
    pub qos: QoS,
    /// Its subscription identifier.
    pub id: Option<u32>,
}

/// What a subscription may be as far as its client can know: one thing once the last request is answered, several while or after one is not.
type Belief = Vec<Option<Grant>>;

struct Wanderer {
    beliefs: Vec<Belief>,
    is_ready: bool,
}

struct Probe {
    wanderer: usize,
    filter: usize,
    belief: Belief,
    is_acknowledged: bool,
    arrivals: u32,
}

impl Probe {
    fn is_missing(&self) -> bool {
        self.is_acknowledged && self.arrivals == 0 && !self.belief.contains(&None)
    }
}

/// All subscriptions that come and go, and all probes.
#[derive(Default)]
pub struct Probes {
    wanderers: Vec<Wanderer>,
    sent: Vec<Probe>,
    /// Of [`Probes::sent`], those of the last check and later.
    first_open: usize,
    /// SUBACK and UNSUBACK received.
    pub answered: u64,
}

/// The topic, and filter, that `wanderer` has as its `filter`-th.
pub fn topic(wanderer: usize, filter: usize) -> String {
    format!("k/w/{wanderer}/{filter}")
}

impl Probes {
    /// One more wanderer, without subscriptions.
    pub fn add_wanderer(&mut self) -> usize {
        self.wanderers.push(Wanderer { beliefs: vec![vec![None]; FILTERS], is_ready: false });
        self.wanderers.len() - 1
    }

    /// A request was sent that may make the subscription this.
    pub fn may_be(&mut self, wanderer: usize, filter: usize, grant: Option<Grant>) {
        let belief = &mut self.wanderers[wanderer].beliefs[filter];
        if !belief.contains(&grant) {
            belief.push(grant);
        }
    }

    /// It was answered: the subscription is this.
    pub fn is_now(&mut self, wanderer: usize, filter: usize, grant: Option<Grant>) {
        self.answered += 1;
        self.wanderers[wanderer].beliefs[filter] = vec![grant];
    }

    /// The session has no subscriptions, or may have none.
    pub fn is_empty_now(&mut self, wanderer: usize, is_sure: bool) {
        for filter in 0..FILTERS {
            if is_sure {
                self.wanderers[wanderer].beliefs[filter] = vec![None];
            } else {
                self.may_be(wanderer, filter, None);
            }
        }
    }

    /// Whether the wanderer waits to be tried.
    pub fn set_ready(&mut self, wanderer: usize, is_ready: bool) {
        self.wanderers[wanderer].is_ready = is_ready;
    }

    /// A probe arrived at a wanderer.
    pub fn enter(&mut self, wanderer: usize, arrival: &Arrival, verdict: &mut Verdict) {
        let number = std::str::from_utf8(&arrival.payload).ok().and_then(|text| text.parse::<usize>().ok());
        let Some(probe) = number.and_then(|number| self.sent.get_mut(number)) else {
            return verdict.fault(Fault::Corrupt, || format!("wanderer {wanderer} got a strange payload"));
        };
        probe.arrivals += 1;
        let what = || {
            format!(
                "{} to wanderer {wanderer} at {:?}, {:?} possible",
                arrival.topic, arrival.qos, probe.belief
            )
        };
        if probe.wanderer != wanderer || arrival.topic != topic(wanderer, probe.filter) {
            verdict.fault(Fault::Corrupt, what);
        } else if probe.belief == [None] {
            verdict.fault(Fault::SubscriptionLeft, what);
        } else if !probe
            .belief
            .contains(&Some(Grant { qos: arrival.qos, id: arrival.subscriptions.first().copied() }))
        {
            verdict.fault(Fault::SubscriptionLost, || format!("other options: {}", what()));
        } else if probe.arrivals > 1 && arrival.qos == QoS::ExactlyOnce {
            verdict.fault(Fault::Duplicated, what);
        }
    }
}

/// Publishes one message to every filter of every wanderer, in each check.
#[derive(Default)]
pub struct Prober {
    /// The broker's start in which the probes were sent.
    probed_start: u32,
}

impl Role for Prober {
    fn wants_link(&mut self, world: &mut World) -> bool {
        world.stage == Stage::Settle
    }

    fn handle(&mut self, event: Event, _client: &mut Client, world: &mut World) {
        if let Event::Acknowledged(number) = event {
            world.probes.sent[number as usize].is_acknowledged = true;
        }
    }

    fn turn(&mut self, client: &mut Client, world: &mut World) {
        let probes = &mut world.probes;
        let is_time = world.stage == Stage::Settle && self.probed_start != world.starts;
        if !is_time || !probes.wanderers.iter().all(|wanderer| wanderer.is_ready) {
            return;
        }
        self.probed_start = world.starts;
        probes.first_open = probes.sent.len();
        for wanderer in 0..probes.wanderers.len() {
            for filter in 0..FILTERS {
                let belief = probes.wanderers[wanderer].beliefs[filter].clone();
                let token = probes.sent.len() as u64;
                probes.sent.push(Probe { wanderer, filter, belief, is_acknowledged: false, arrivals: 0 });
                client.publish(Outgoing {
                    token,
                    topic: topic(wanderer, filter),
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    payload: token.to_string().into_bytes(),
                });
            }
        }
    }

    fn is_settled(&self, client: &Client, world: &World) -> bool {
        let mut open = world.probes.sent[world.probes.first_open..].iter();
        world.stage == Stage::Look
            || self.probed_start == world.starts && client.in_flight() == 0 && !open.any(Probe::is_missing)
    }

    fn give_up(&mut self, client: &Client, world: &mut World) {
        if world.stage == Stage::Look {
            return;
        }
        if self.probed_start != world.starts || client.in_flight() > 0 {
            let in_flight = client.in_flight();
            world.verdict.fault(Fault::Stuck, || format!("{}: {in_flight} probes in flight", client.name));
        }
        for probe in &world.probes.sent[world.probes.first_open..] {
            if probe.is_missing() {
                world.verdict.fault(Fault::SubscriptionLost, || {
                    format!(
                        "{} brings nothing, {:?} granted",
                        topic(probe.wanderer, probe.filter),
                        probe.belief
                    )
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(belief: Belief, arriving: &[Option<Grant>]) -> Vec<Fault> {
        let mut probes = Probes::default();
        probes.sent.push(Probe { wanderer: 0, filter: 1, belief, is_acknowledged: true, arrivals: 0 });
        let mut verdict = Verdict::default();
        for grant in arriving.iter().flatten() {
            let arrival = Arrival {
                topic: topic(0, 1),
                payload: b"0".to_vec(),
                qos: grant.qos,
                retain: false,
                subscriptions: grant.id.into_iter().collect(),
            };
            probes.enter(0, &arrival, &mut verdict);
        }
        if probes.sent[0].is_missing() {
            verdict.fault(Fault::SubscriptionLost, String::new);
        }
        Fault::ALL.into_iter().filter(|&fault| verdict.count(fault) > 0).collect()
    }

    #[test]
    fn a_probe_tells_what_the_subscription_is() {
        let one = Some(Grant { qos: QoS::AtLeastOnce, id: Some(7) });
        let two = Some(Grant { qos: QoS::ExactlyOnce, id: None });
        assert_eq!(faults(vec![one], &[one]), []);
        assert_eq!(faults(vec![one], &[]), [Fault::SubscriptionLost]);
        assert_eq!(faults(vec![one], &[two]), [Fault::SubscriptionLost]);
        assert_eq!(faults(vec![None], &[]), []);
        assert_eq!(faults(vec![None], &[one]), [Fault::SubscriptionLeft]);
        for arriving in [[None], [one], [two]] {
            assert_eq!(faults(vec![one, two, None], &arriving), [], "its request was never answered");
        }
        assert_eq!(faults(vec![two], &[two, two]), [Fault::Duplicated]);
    }
}
