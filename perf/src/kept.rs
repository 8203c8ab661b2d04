//! Durable sessions that are offline while messages are published to them, and what they have kept when they come back.
//! Shared by [`crate::durable`] and [`crate::recover`].

use crate::cli::Shared;
use crate::clock::Clock;
use crate::dial::Dialer;
use crate::error::BenchError;
use crate::exchange::Role;
use crate::handshake::{Client, contested_packet};
use crate::ledger::Violations;
use crate::limits::{EVENTS_PER_WAIT, LINGER_NS, WAIT_NS_MAX};
use crate::plan::{Pace, Plan};
use crate::traffic::{Side, Traffic, client_name};
use shardmq_shards::wire::{QoS, Version};

/// Sessions, the publishers to them, and what is known of every message.
pub struct Kept<'a> {
    shared: Shared,
    plan: &'a Plan,
    dialer: Dialer,
    clock: Clock,
    /// The publishers; later the sessions' clients.
    pub traffic: Traffic,
}

/// The QoS of a run about what is kept: nothing is promised for QoS 0, so that stands for 1 here.
pub fn kept_qos(shared: &Shared) -> QoS {
    if shared.qos == QoS::AtMostOnce { QoS::AtLeastOnce } else { shared.qos }
}

/// A client of session `index`, and whether the broker had the session.
fn resume(shared: &Shared, dialer: &mut Dialer, index: u32) -> Result<Client, BenchError> {
    let name = client_name("", Role::Subscriber(index));
    let hello = contested_packet(&name, shared.version);
    Client::greet(dialer, name, (shared.version, &hello), shared.stall)
}

impl<'a> Kept<'a> {
    /// Makes the sessions, leaves them, and connects the publishers.
    pub fn set_up(shared: &Shared, plan: &'a Plan) -> Result<Kept<'a>, BenchError> {
        let Pace::Acknowledged { outstanding } = plan.pace else {
            panic!("offline sessions acknowledge nothing that could set another pace");
        };
        let publishers = (plan.topics.len() as u32).min(outstanding);
        if !outstanding.is_multiple_of(publishers) {
            let text =
                format!("{outstanding} messages in flight are no even share for {publishers} publishers");
            return Err(BenchError::Usage(text));
        }
        let shared = Shared { qos: kept_qos(shared), in_flight: outstanding / publishers, ..shared.clone() };
        let (mut dialer, clock) = (Dialer::new(shared.target()?, shared.ifaddr.clone()), Clock::start());
        for (index, subscriber) in (0..).zip(&plan.subscribers) {
            let mut client = resume(&shared, &mut dialer, index)?;
            client.subscribe(&subscriber.filters, shared.qos)?;
            client.disconnect()?;
        }
        let side =
            Side { label: "", events_per_turn: EVENTS_PER_WAIT, spin: shared.spin, durable: false, clock };
        let traffic = Traffic::set_up(&shared, plan, side)?;
        if traffic.in_flight() < shared.in_flight {
            let text = format!(
                "the broker takes only {} unacknowledged messages of a publisher",
                traffic.in_flight()
            );
            return Err(BenchError::Usage(text));
        }
        Ok(Kept { shared, plan, dialer, clock, traffic })
    }

    /// Now, by the clock of the run, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Messages acknowledged so far.
    pub fn acknowledged(&mut self) -> u64 {
        self.traffic.exchange().counts().acknowledged
    }

    /// Publishes until `end_ns`, or to the end of the plan's count; ends early when nothing is acknowledged for `stall_ns`.
    pub fn publish_until(&mut self, end_ns: u64, stall_ns: u64) -> Result<(), BenchError> {
        let count = self.plan.count.unwrap_or(u64::MAX);
        self.turn_while(stall_ns, |traffic, now_ns| {
            let acknowledged = traffic.exchange().counts().acknowledged;
            (now_ns < end_ns && acknowledged < count).then_some(acknowledged)
        })
    }

    /// Publishes nothing more and awaits the acknowledgements; the publishers leave.
    pub fn stop(&mut self, stall_ns: u64) -> Result<(), BenchError> {
        self.traffic.exchange().stop(self.clock.now_ns());
        self.turn_while(stall_ns, |traffic, _| {
            let settled = traffic.exchange().is_settled();
            (!settled).then(|| traffic.exchange().counts().acknowledged)
        })?;
        self.traffic.part();
        Ok(())
    }

    /// Connects to every session as a client that only looks whether it is there.
    pub fn look(&mut self) -> Result<Vec<Client>, BenchError> {
        (0..self.plan.subscribers.len() as u32).map(|index| self.find(index)).collect()
    }

    /// Connects to session `index`, which must be there.
    fn find(&mut self, index: u32) -> Result<Client, BenchError> {
        let client = resume(&self.shared, &mut self.dialer, index)?;
        if !client.resumed && self.shared.version != Version::V31 {
            let (who, what) = (Role::Subscriber(index).to_string(), "its session is gone".into());
            return Err(BenchError::Protocol { who, what });
        }
        Ok(client)
    }

    /// Connects to every session and takes what it has kept; ends the sessions; what was wrong.
    pub fn drain(mut self, stall_ns: u64) -> Result<Violations, BenchError> {
        for index in 0..self.plan.subscribers.len() as u32 {
            let client = self.find(index)?;
            self.traffic.join(index, client)?;
            self.traffic.turn(0)?;
        }
        self.turn_while(stall_ns, |traffic, _| {
            let counts = traffic.exchange().counts();
            (counts.delivered < counts.published).then_some(counts.delivered)
        })?;
        let late_ns = self.clock.now_ns() + LINGER_NS;
        self.turn_while(stall_ns, |_, now_ns| (now_ns < late_ns).then_some(now_ns))?;
        self.traffic.part();
        for index in 0..self.plan.subscribers.len() as u32 {
            let name = client_name("", Role::Subscriber(index));
            Client::connect(&mut self.dialer, name, self.shared.version, self.shared.stall)?.disconnect()?;
        }
        Ok(self.traffic.into_violations())
    }

    /// Turns as long as `progress` says how far it is, and that changes within `stall_ns`.
    fn turn_while(
        &mut self,
        stall_ns: u64,
        mut progress: impl FnMut(&mut Traffic, u64) -> Option<u64>,
    ) -> Result<(), BenchError> {
        let mut last = (u64::MAX, self.clock.now_ns());
        while let Some(reached) = progress(&mut self.traffic, self.clock.now_ns()) {
            let now_ns = self.clock.now_ns();
            if reached != last.0 {
                last = (reached, now_ns);
            } else if now_ns - last.1 > stall_ns {
                break; // the verdict tells what is missing
            }
            self.traffic.turn(WAIT_NS_MAX)?;
        }
        Ok(())
    }
}
