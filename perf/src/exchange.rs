//! The traffic without its sockets: what is published next, what an arriving packet means, what the window allows.

use crate::frame::{RawFrame, read_acknowledgement, read_publish};
use crate::ledger::{Ledger, Violations};
use crate::limits::LATENCY_NS_MAX;
use crate::plan::{Pace, Plan};
use crate::publisher::{Publisher, Step};
use crate::stamp::{FILLER, STAMP_BYTES, Stamp};
use hdrhistogram::Histogram;
use shardmq_shards::wire::{QoS, Version};
use std::ops::Range;

/// Whose connection a packet came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The publisher with this index.
    Publisher(u32),
    /// The subscriber with this index.
    Subscriber(u32),
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Role::Publisher(index) => write!(f, "publisher {index}"),
            Role::Subscriber(index) => write!(f, "subscriber {index}"),
        }
    }
}

/// What all messages of a run have in common.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Number of this run.
    pub run: u32,
    /// Protocol version of all connections.
    pub version: Version,
    /// QoS of publishers and subscriptions.
    pub qos: QoS,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// Messages that one publisher may have in flight.
    pub in_flight: u32,
}

/// Counts over the whole run so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages published.
    pub published: u64,
    /// Copies received.
    pub delivered: u64,
    /// PINGRESPs received.
    pub pongs: u64,
    /// Messages whose last acknowledgement has come.
    pub acknowledged: u64,
}

/// How a paced run's messages follow each other.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    /// Messages whose time has come.
    due: u64,
}

/// The state of a run.
pub struct Exchange {
    terms: Terms,
    filler: Vec<u8>,
    publishers: Vec<Publisher>,
    /// Messages that each publisher may publish as far as the pace is concerned.
    credits: Vec<u64>,
    /// Publishers that may have become able to publish, each at most once.
    ready: Vec<u32>,
    queued: Vec<bool>,
    ledger: Ledger,
    schedule: Option<Schedule>,
    /// Whether a complete message makes room for the next one of its publisher.
    gives_back: bool,
    /// Messages of the whole run, over all publishers.
    count: Option<u64>,
    publishing: bool,
    outstanding: u64,
    unsent: u64,
    counts: Counts,
    recorded_ns: Range<u64>,
    latency: Histogram<u64>,
}

impl Exchange {
    /// A run that has not published anything.
    pub fn new(terms: Terms, publishers: Vec<Publisher>, plan: &Plan) -> Exchange {
        let count = publishers.len();
        let mut exchange = Exchange {
            filler: vec![FILLER; terms.payload_bytes as usize - STAMP_BYTES],
            terms,
            credits: vec![0; count],
            ready: Vec::with_capacity(count),
            queued: vec![false; count],
            publishers,
            ledger: Ledger::new(plan),
            schedule: None,
            gives_back: matches!(plan.pace, Pace::Closed { .. }),
            count: plan.count,
            publishing: true,
            outstanding: 0,
            unsent: 0,
            counts: Counts::default(),
            recorded_ns: 0..0,
            latency: Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("the bounds are constants"),
        };
        match plan.pace {
            Pace::Closed { outstanding } => exchange.share_out(outstanding),
            Pace::Open { rate } => {
                let interval_ns = 1e9 / f64::from(rate);
                exchange.schedule = Some(Schedule { start_ns: u64::MAX, interval_ns, due: 0 });
            }
            Pace::Acknowledged { outstanding } => {
                // The publishers' own windows are the pace; fewer messages than publishers leave some of these idle.
                for index in 0..outstanding.min(count as u32) {
                    exchange.grant(index, u64::MAX);
                }
            }
            Pace::Granted => {}
        }
        exchange
    }

    /// Splits the closed window evenly; a message that is complete gives its place back to its publisher.
    fn share_out(&mut self, outstanding: u32) {
        let count = self.publishers.len() as u32;
        for index in 0..count {
            self.credits[index as usize] =
                u64::from(outstanding / count + u32::from(index < outstanding % count));
            self.make_ready(index);
        }
    }

    /// Lets `publisher` publish `messages` more.
    pub fn grant(&mut self, publisher: u32, messages: u64) {
        self.credits[publisher as usize] += messages;
        self.make_ready(publisher);
    }

    /// Messages that `publisher` may publish as far as the pace is concerned.
    pub fn credit(&self, publisher: u32) -> u64 {
        self.credits[publisher as usize]
    }

    /// Whether the run ends with a count of messages.
    pub fn is_counted(&self) -> bool {
        self.count.is_some()
    }

    /// Whether the run's count of messages has been published and all their copies have been received.
    pub fn is_complete(&self) -> bool {
        self.count.is_some_and(|count| self.counts.published == count) && self.outstanding == 0
    }

    /// Messages of the run's count that `index` has not published; without a count there is no end to them.
    fn left(&self, index: u32) -> u64 {
        let Some(count) = self.count else { return u64::MAX };
        let many = self.publishers.len() as u64;
        let share = count / many + u64::from(u64::from(index) < count % many);
        share - self.publishers[index as usize].published()
    }

    /// The latencies recorded since the last call.
    pub fn take_latency(&mut self) -> Histogram<u64> {
        let empty = Histogram::new_from(&self.latency);
        std::mem::replace(&mut self.latency, empty)
    }

    /// Latencies of messages meant to be sent within this span are recorded.
    pub fn record(&mut self, recorded_ns: Range<u64>) {
        self.recorded_ns = recorded_ns;
    }

    /// Nothing new is published from now on, except what a paced run already owes.
    pub fn stop(&mut self, now_ns: u64) {
        self.handle_time(now_ns);
        self.publishing = false;
        if self.schedule.is_none() {
            self.credits.fill(0);
        }
    }

    /// Whether nothing is outstanding, unacknowledged or owed.
    pub fn is_settled(&self) -> bool {
        self.outstanding == 0
            && self.credits_owed() == 0
            && self.publishers.iter().all(|publisher| publisher.in_flight() == 0)
    }

    fn credits_owed(&self) -> u64 {
        if self.publishing { 0 } else { self.credits.iter().sum() }
    }

    /// Gives up what a paced run still owes: the broker has had its time to catch up.
    pub fn abandon(&mut self) {
        self.unsent += self.credits_owed();
        self.credits.fill(0);
    }

    /// Messages published and not yet received by all their subscribers.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When the next paced message is due, nanoseconds; none in a closed window.
    pub fn next_due_ns(&self) -> Option<u64> {
        let schedule = self.schedule.as_ref().filter(|_| self.publishing)?;
        Some(schedule.start_ns + (schedule.due as f64 * schedule.interval_ns) as u64)
    }

    /// Makes the paced messages due whose time has come.
    pub fn handle_time(&mut self, now_ns: u64) {
        if let Some(schedule) = self.schedule.as_mut() {
            schedule.start_ns = schedule.start_ns.min(now_ns);
        }
        while self.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            let schedule = self.schedule.as_mut().expect("something is due only with a schedule");
            let index = (schedule.due % self.publishers.len() as u64) as u32;
            schedule.due += 1;
            self.credits[index as usize] += 1;
            self.make_ready(index);
        }
    }

    /// A publisher that may be able to publish; the caller then calls [`Exchange::publish`].
    pub fn poll_ready(&mut self) -> Option<u32> {
        let index = self.ready.pop()?;
        self.queued[index as usize] = false;
        Some(index)
    }

    /// Asks for `publisher` again, when its socket can take bytes.
    pub fn make_ready(&mut self, publisher: u32) {
        if !std::mem::replace(&mut self.queued[publisher as usize], true) {
            self.ready.push(publisher);
        }
    }

    /// Appends to `out` everything that `index` may publish now.
    pub fn publish(&mut self, index: u32, now_ns: u64, out: &mut Vec<u8>) {
        let left = self.left(index);
        let publisher = &mut self.publishers[index as usize];
        let room = u64::from(self.terms.in_flight.saturating_sub(publisher.in_flight()));
        let count = self.credits[index as usize].min(room).min(left);
        let total = self.credits.len() as u64;
        for _ in 0..count {
            let intended_ns = self.schedule.as_ref().map_or(now_ns, |schedule| {
                let turn = publisher.published() * total + u64::from(index);
                schedule.start_ns + (turn as f64 * schedule.interval_ns) as u64
            });
            publisher.publish(self.terms.run, index, intended_ns, out);
        }
        self.credits[index as usize] -= count;
        self.counts.published += count;
        let has_room = publisher.in_flight() < self.terms.in_flight && left > count;
        if self.publishers[index as usize].copies() > 0 {
            self.outstanding += count;
        } else if has_room && self.credits[index as usize] > 0 {
            self.make_ready(index); // no copy comes back to ask for it again
        }
    }

    /// Handles one packet from the broker; replies are appended to `replies`. An error ends the run.
    #[inline]
    pub fn handle_frame(
        &mut self,
        role: Role,
        frame: RawFrame<'_>,
        now_ns: u64,
        replies: &mut Vec<u8>,
    ) -> Result<(), String> {
        match (frame.first >> 4, role) {
            (3, Role::Subscriber(index)) => self.handle_publish(index, frame, now_ns, replies),
            (4, Role::Publisher(index)) => self.handle_acknowledgement(index, Step::Puback, frame, replies),
            (5, Role::Publisher(index)) => self.handle_acknowledgement(index, Step::Pubrec, frame, replies),
            (7, Role::Publisher(index)) => self.handle_acknowledgement(index, Step::Pubcomp, frame, replies),
            (6, Role::Subscriber(_)) => {
                let (id, _) = read_acknowledgement(frame.body).ok_or("malformed PUBREL")?;
                acknowledge(0x70, id, replies);
                Ok(())
            }
            (13, _) => {
                self.counts.pongs += 1;
                Ok(())
            }
            (14, _) => Err(format!("DISCONNECT with reason {:#04x}", frame.body.first().unwrap_or(&0))),
            (other, _) => Err(format!("unexpected packet of type {other}")),
        }
    }

    #[inline]
    fn handle_publish(
        &mut self,
        subscriber: u32,
        frame: RawFrame<'_>,
        now_ns: u64,
        replies: &mut Vec<u8>,
    ) -> Result<(), String> {
        let publish = read_publish(frame, self.terms.version == Version::V5).ok_or("malformed PUBLISH")?;
        match frame.first >> 1 & 3 {
            0 => {}
            1 => acknowledge(0x40, publish.packet_id, replies),
            _ => acknowledge(0x50, publish.packet_id, replies),
        }
        let stamp = match self.judge(frame.first, publish.topic, publish.payload) {
            Ok(stamp) => stamp,
            Err(what) => {
                self.ledger.corrupt(|| format!("{what} at subscriber {subscriber}"));
                return Ok(());
            }
        };
        if !self.ledger.enter(subscriber, stamp.publisher, stamp.sequence) {
            return Ok(());
        }
        self.counts.delivered += 1;
        if self.recorded_ns.contains(&stamp.intended_ns) {
            self.latency.saturating_record(now_ns.saturating_sub(stamp.intended_ns));
        }
        if self.publishers[stamp.publisher as usize].received(stamp.sequence) {
            self.outstanding -= 1;
            if self.gives_back && self.publishing {
                self.credits[stamp.publisher as usize] += 1;
            }
            self.make_ready(stamp.publisher);
        }
        Ok(())
    }

    /// Whether the copy is what was published.
    #[inline]
    fn judge(&self, first: u8, topic: &[u8], payload: &[u8]) -> Result<Stamp, &'static str> {
        let stamp = Stamp::read(payload).ok_or("payload too short")?;
        if stamp.run != self.terms.run {
            return Err("message of another run");
        }
        let publisher =
            self.publishers.get(stamp.publisher as usize).ok_or("publisher that does not exist")?;
        if stamp.sequence >= publisher.published() {
            return Err("message that was never published");
        }
        if topic != publisher.topic() {
            return Err("wrong topic");
        }
        if payload[STAMP_BYTES..] != *self.filler {
            return Err("altered payload");
        }
        if first >> 1 & 3 != self.terms.qos as u8 {
            return Err("wrong QoS");
        }
        if first & 1 != 0 {
            return Err("retain flag on a live message");
        }
        Ok(stamp)
    }

    #[inline]
    fn handle_acknowledgement(
        &mut self,
        index: u32,
        step: Step,
        frame: RawFrame<'_>,
        replies: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (id, reason) = read_acknowledgement(frame.body).ok_or("malformed acknowledgement")?;
        if reason >= 0x80 {
            return Err(format!("publish {id} refused with reason {reason:#04x}"));
        }
        let fits = match step {
            Step::Puback => self.terms.qos == QoS::AtLeastOnce,
            Step::Pubrec | Step::Pubcomp => self.terms.qos == QoS::ExactlyOnce,
        };
        if !fits || !self.publishers[index as usize].acknowledged(id, step) {
            return Err(format!("{step:?} for packet id {id}, which does not wait for it"));
        }
        if step == Step::Pubrec {
            acknowledge(0x62, id, replies);
            return Ok(());
        }
        self.counts.acknowledged += 1;
        if self.credits[index as usize] > 0 {
            self.make_ready(index);
        }
        Ok(())
    }

    /// Ends the run: what was wrong, and the latencies.
    pub fn finish(mut self) -> (Violations, Histogram<u64>) {
        self.abandon();
        if let Some(count) = self.count {
            self.unsent += count - self.counts.published;
        }
        let Exchange { ledger, publishers, latency, unsent, .. } = self;
        let mut violations = ledger.close(|publisher| publishers[publisher as usize].published());
        violations.unsent = unsent;
        violations.unacknowledged = publishers.iter().map(Publisher::unacknowledged).sum();
        (violations, latency)
    }
}

/// Appends a four-byte acknowledgement.
#[inline]
fn acknowledge(first: u8, packet_id: u16, replies: &mut Vec<u8>) {
    let [high, low] = packet_id.to_be_bytes();
    replies.extend_from_slice(&[first, 2, high, low]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Scenario;
    use crate::frame::{Cut, cut};
    use crate::handshake::publish_template;

    const MS: u64 = 1_000_000;

    fn exchange(rate: Option<u32>, in_flight: u32) -> Exchange {
        let plan = Plan::of(&Scenario::Pair { pairs: 1, outstanding: 3, rate, count: None }, "b").unwrap();
        let (version, qos) = (Version::V311, QoS::AtMostOnce);
        let publisher = Publisher::new(publish_template("b/pair/0", qos, 64, version), 1, in_flight);
        let terms = Terms { run: 1, version, qos, payload_bytes: 64, in_flight };
        Exchange::new(terms, vec![publisher], &plan)
    }

    /// Publishes what may be published, and returns it.
    fn publish(exchange: &mut Exchange, now_ns: u64) -> Vec<u8> {
        let mut sent = Vec::new();
        exchange.handle_time(now_ns);
        while let Some(publisher) = exchange.poll_ready() {
            exchange.publish(publisher, now_ns, &mut sent);
        }
        sent
    }

    /// Hands `sent` to the subscriber; returns how many messages that were.
    fn deliver(exchange: &mut Exchange, mut sent: &[u8], now_ns: u64) -> usize {
        let mut messages = 0;
        while let Cut::Whole(frame, bytes) = cut(sent) {
            exchange.handle_frame(Role::Subscriber(0), frame, now_ns, &mut Vec::new()).unwrap();
            sent = &sent[bytes..];
            messages += 1;
        }
        messages
    }

    #[test]
    fn the_closed_window_never_holds_more_than_its_size() {
        let mut exchange = exchange(None, 64);
        for turn in 0..100 {
            let sent = publish(&mut exchange, turn);
            assert_eq!((exchange.outstanding(), deliver(&mut exchange, &sent, turn)), (3, 3));
        }
        exchange.stop(100);
        assert!(publish(&mut exchange, 101).is_empty() && exchange.is_settled());
        assert!(exchange.finish().0.is_clean());
    }

    #[test]
    fn a_stalled_broker_shows_in_every_latency_of_a_paced_run() {
        let mut exchange = exchange(Some(1_000), 1);
        exchange.record(0..20 * MS);
        let mut sent = publish(&mut exchange, 0);
        let stall_ms = 10; // the first message comes back only now; nine others have become due meanwhile
        for turn in 0..10 {
            let now_ns = (stall_ms + turn) * MS;
            assert_eq!(deliver(&mut exchange, &sent, now_ns), 1);
            sent = publish(&mut exchange, now_ns);
        }
        let (_, latency) = exchange.finish();
        assert_eq!(latency.len(), 10);
        let shortest_ms = latency.min() as f64 / MS as f64;
        assert!(
            (9.9..10.1).contains(&shortest_ms),
            "counted from when it was due, not from when it was sent"
        );
    }
}
