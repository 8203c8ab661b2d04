//! Runs a traffic scenario over real sockets: connect, warm up, measure, drain.

use crate::broker::Process;
use crate::cli::Shared;
use crate::clock::{Clock, nanos};
use crate::connection::{Arrived, Connection};
use crate::dial::{Dialer, prepare_process};
use crate::error::BenchError;
use crate::exchange::{Counts, Exchange, Role, Terms};
use crate::frame::{Cut, cut};
use crate::handshake::{Client, contested_packet, publish_template};
use crate::ledger::Violations;
use crate::limits::{
    EVENTS_PER_WAIT, LINGER_NS, PACKET_BYTES_MAX, PING_INTERVAL_NS, READ_BYTES_MAX, WAIT_NS_MAX,
};
use crate::plan::Plan;
use crate::poller::{Interest, Poller};
use crate::publisher::Publisher;
use crate::report::{BrokerFigures, CpuSpan, Latency, TrafficReport};

/// What tells the loops of one process apart, and how they share its time.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Part of every client id.
    pub label: &'static str,
    /// Readiness events taken per turn.
    pub events_per_turn: usize,
    /// Whether a turn never sleeps.
    pub spin: bool,
    /// Subscribers have sessions that outlive their connections.
    pub durable: bool,
    /// The clock that all loops of the process share.
    pub clock: Clock,
}

/// The loop: sockets around an [`Exchange`].
pub struct Traffic {
    clock: Clock,
    poller: Poller,
    /// Subscribers first, then publishers; those that joined later follow.
    connections: Vec<Connection>,
    subscribers: usize,
    in_flight: u32,
    exchange: Exchange,
    buffer: Vec<u8>,
    out: Vec<u8>,
    next_ping_ns: u64,
    spin: bool,
}

/// What was counted between warm-up and stop.
struct Measured {
    seconds: f64,
    from: Counts,
    to: Counts,
    broker: Option<BrokerFigures>,
    generator: BrokerFigures,
}

/// Runs `plan` and reports.
pub fn run(shared: &Shared, plan: &Plan) -> Result<TrafficReport, BenchError> {
    let broker = shared.broker_pid.map(Process::watch).transpose()?;
    prepare_process((plan.topics.len() + plan.subscribers.len()) as u64, shared.cpu)?;
    let (spin, clock) = (shared.spin, Clock::start());
    let side = Side { label: "", events_per_turn: EVENTS_PER_WAIT, spin, durable: false, clock };
    let mut traffic = Traffic::set_up(shared, plan, side)?;
    let measured = traffic.measure(shared, broker.as_ref())?;
    traffic.drain(nanos(shared.stall), nanos(shared.seconds))?;
    let (violations, histogram) = traffic.exchange.finish();
    let delivered = measured.to.delivered - measured.from.delivered;
    Ok(TrafficReport {
        scenario: plan.scenario,
        mqtt: shared.version.to_string(),
        qos: shared.qos as u8,
        payload_bytes: shared.size,
        publishers: plan.topics.len(),
        subscribers: plan.subscribers.len(),
        seconds: measured.seconds,
        published_per_second: (measured.to.published - measured.from.published) as f64 / measured.seconds,
        delivered_per_second: delivered as f64 / measured.seconds,
        delivered,
        latency: Latency::of(&histogram),
        broker: measured.broker,
        generator_cpu_percent: measured.generator.cpu_percent,
        violations,
    })
}

impl Traffic {
    /// Connects everybody, subscribers first, but for those that are away.
    pub fn set_up(shared: &Shared, plan: &Plan, side: Side) -> Result<Traffic, BenchError> {
        let mut dialer = Dialer::new(shared.target()?, shared.ifaddr.clone());
        let poller = Poller::new(side.events_per_turn)?;
        let mut connections = Vec::with_capacity(plan.subscribers.len() + plan.topics.len());
        let mut in_flight = shared.in_flight;
        let subscribers = if plan.is_offline() { 0 } else { plan.subscribers.len() };
        let online = (0..subscribers as u32).map(Role::Subscriber);
        for role in online.chain((0..plan.topics.len() as u32).map(Role::Publisher)) {
            let name = client_name(side.label, role);
            let mut client = if side.durable && matches!(role, Role::Subscriber(_)) {
                let hello = contested_packet(&name, shared.version);
                Client::greet(&mut dialer, name, (shared.version, &hello), shared.stall)?
            } else {
                Client::connect(&mut dialer, name, shared.version, shared.stall)?
            };
            match role {
                Role::Subscriber(index) => {
                    client.subscribe(&plan.subscribers[index as usize].filters, shared.qos)?;
                }
                Role::Publisher(_) => in_flight = in_flight.min(client.receive_maximum.into()),
            }
            let (stream, unread) = client.into_parts()?;
            poller.add(&stream, connections.len() as u64, Interest::Read)?;
            connections.push(Connection::new(stream, role, unread));
        }
        let terms = Terms {
            run: std::process::id(),
            version: shared.version,
            qos: shared.qos,
            payload_bytes: shared.size,
            in_flight,
        };
        Ok(Traffic {
            clock: side.clock,
            poller,
            connections,
            subscribers,
            in_flight,
            exchange: Exchange::new(terms, publishers(shared, plan, in_flight), plan),
            buffer: vec![0; PACKET_BYTES_MAX + READ_BYTES_MAX],
            out: Vec::new(),
            next_ping_ns: side.clock.now_ns() + PING_INTERVAL_NS,
            spin: side.spin,
        })
    }

    /// What is published and has arrived.
    pub fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    /// Messages that each publisher may have in flight: what was asked for, or what the broker takes.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Everybody leaves, without a DISCONNECT. Nothing may be left to publish.
    pub fn part(&mut self) {
        self.connections.clear(); // closed, and so no longer watched
        while self.exchange.poll_ready().is_some() {}
    }

    /// Subscriber `index` comes: takes what its client has read already, and everything from now on.
    pub fn join(&mut self, index: u32, client: Client) -> Result<(), BenchError> {
        let (stream, unread) = client.into_parts()?;
        let token = self.connections.len();
        self.poller.add(&stream, token as u64, Interest::Read)?;
        self.connections.push(Connection::new(stream, Role::Subscriber(index), Vec::new()));
        self.buffer[..unread.len()].copy_from_slice(&unread);
        self.take(token, unread.len())
    }

    /// What was wrong, when nobody publishes or receives any more.
    pub fn into_violations(self) -> Violations {
        self.exchange.finish().0
    }

    /// The readiness that [`Traffic::turn`] waits for.
    pub fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Whether bytes of `publisher` wait for its socket to take them.
    pub fn is_blocked(&self, publisher: u32) -> bool {
        self.connections[self.subscribers + publisher as usize].is_blocked()
    }

    /// Sends PINGREQ behind everything that `publisher` has sent.
    pub fn ping(&mut self, publisher: u32) -> Result<(), BenchError> {
        self.out.clear();
        self.out.extend_from_slice(&[0xc0, 0]);
        self.send(self.subscribers + publisher as usize)
    }

    /// Ends the run: nothing new, everything outstanding awaited. What was wrong.
    pub fn finish(mut self, stall_ns: u64) -> Result<Violations, BenchError> {
        self.exchange.stop(self.clock.now_ns());
        self.drain(stall_ns, stall_ns)?;
        Ok(self.exchange.finish().0)
    }

    /// Warm-up and the measured seconds, or the count of messages; after it nothing new is published.
    fn measure(&mut self, shared: &Shared, broker: Option<&Process>) -> Result<Measured, BenchError> {
        let own = Process::watch(std::process::id())?;
        let (stall_ns, start_ns) = (nanos(shared.stall), self.clock.now_ns());
        let counted = self.exchange.is_counted();
        let from_ns = if counted { start_ns } else { start_ns + nanos(shared.warmup) };
        let to_ns = if counted { u64::MAX } else { from_ns + nanos(shared.seconds) };
        self.exchange.record(from_ns..to_ns);
        self.run_until(from_ns, stall_ns)?;
        let (began_ns, from) = (self.clock.now_ns(), self.exchange.counts());
        let span = CpuSpan::begin(broker)?;
        let own_span = CpuSpan::begin(Some(&own))?.expect("a process was given");
        self.run_until(to_ns, stall_ns)?;
        let (ended_ns, to) = (self.clock.now_ns(), self.exchange.counts());
        let seconds = (ended_ns - began_ns) as f64 / 1e9;
        let delivered = to.delivered - from.delivered;
        let broker = span.map(|span| span.end(seconds, delivered)).transpose()?;
        let generator = own_span.end(seconds, delivered)?;
        self.exchange.stop(ended_ns);
        Ok(Measured { seconds, from, to, broker, generator })
    }

    /// Turns until `end_ns` or until the count is complete, or until nothing has arrived for `stall_ns` although something is outstanding.
    fn run_until(&mut self, end_ns: u64, stall_ns: u64) -> Result<(), BenchError> {
        let mut progress = (self.exchange.counts().delivered, self.clock.now_ns());
        loop {
            let now_ns = self.clock.now_ns();
            let delivered = self.exchange.counts().delivered;
            let is_pause = self.exchange.outstanding() == 0 && !self.exchange.is_counted();
            if delivered != progress.0 || is_pause {
                progress = (delivered, now_ns);
            }
            let ended = now_ns >= end_ns || (end_ns == u64::MAX && self.exchange.is_complete());
            if ended || now_ns - progress.1 > stall_ns {
                return Ok(());
            }
            self.turn(end_ns - now_ns)?;
        }
    }

    /// Waits for everything outstanding, at most `stall_ns` without progress, and a little longer for duplicates. A paced run that
    /// is behind has another `catch_up_ns` to publish what it owes.
    fn drain(&mut self, stall_ns: u64, catch_up_ns: u64) -> Result<(), BenchError> {
        let abandon_ns = self.clock.now_ns() + catch_up_ns;
        let mut progress = (self.exchange.counts().delivered, self.clock.now_ns());
        while !self.exchange.is_settled() {
            self.turn(WAIT_NS_MAX)?;
            let (delivered, now_ns) = (self.exchange.counts().delivered, self.clock.now_ns());
            if delivered != progress.0 {
                progress = (delivered, now_ns);
            } else if now_ns - progress.1 > stall_ns {
                return Ok(());
            }
            if now_ns > abandon_ns {
                self.exchange.abandon();
            }
        }
        self.run_until(self.clock.now_ns() + LINGER_NS, stall_ns)
    }

    /// One turn, which waits at most `wait_ns_max`: what is ready is read, then everything that may be published is sent.
    pub fn turn(&mut self, wait_ns_max: u64) -> Result<(), BenchError> {
        let now_ns = self.clock.now_ns();
        let due_ns = self.exchange.next_due_ns().map_or(u64::MAX, |due_ns| due_ns.saturating_sub(now_ns));
        let wait_ns = if self.spin { 0 } else { wait_ns_max.min(due_ns).min(WAIT_NS_MAX) };
        let ready = self.poller.wait(wait_ns)?;
        for index in 0..ready {
            let event = self.poller.ready(index);
            let token = event.token as usize;
            if event.writable && self.connections[token].is_blocked() {
                self.unblock(token)?;
            }
            if event.readable {
                self.receive(token)?;
            }
        }
        self.publish()
    }

    fn publish(&mut self) -> Result<(), BenchError> {
        let now_ns = self.clock.now_ns();
        self.exchange.handle_time(now_ns);
        while let Some(publisher) = self.exchange.poll_ready() {
            let token = self.subscribers + publisher as usize;
            if self.connections[token].is_blocked() {
                continue; // asked for again once its bytes are gone
            }
            self.out.clear();
            self.exchange.publish(publisher, now_ns, &mut self.out);
            self.send(token)?;
        }
        if now_ns >= self.next_ping_ns {
            self.next_ping_ns += PING_INTERVAL_NS;
            for token in 0..self.connections.len() {
                self.out.clear();
                self.out.extend_from_slice(&[0xc0, 0]);
                self.send(token)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, token: usize) -> Result<(), BenchError> {
        let connection = &mut self.connections[token];
        let total = match connection.read(&mut self.buffer) {
            Arrived::Bytes(total) => total,
            Arrived::Nothing => return Ok(()),
            Arrived::End => return Err(BenchError::Closed { who: connection.role.to_string() }),
        };
        self.take(token, total)
    }

    /// Handles the first `total` bytes of the buffer, which came from `token`.
    #[inline]
    fn take(&mut self, token: usize, total: usize) -> Result<(), BenchError> {
        let connection = &mut self.connections[token];
        let (role, now_ns) = (connection.role, self.clock.now_ns());
        let protocol = |what| BenchError::Protocol { who: role.to_string(), what };
        self.out.clear();
        let mut at = 0;
        loop {
            match cut(&self.buffer[at..total]) {
                Cut::Whole(frame, bytes) => {
                    self.exchange.handle_frame(role, frame, now_ns, &mut self.out).map_err(protocol)?;
                    at += bytes;
                }
                Cut::Partial => break,
                Cut::Malformed => return Err(protocol("malformed remaining length".into())),
            }
        }
        connection.keep(&self.buffer[at..total]);
        self.send(token)
    }

    /// Sends what stands in `out`; the rest goes when the socket can take it.
    fn send(&mut self, token: usize) -> Result<(), BenchError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let connection = &mut self.connections[token];
        let was_blocked = connection.is_blocked();
        if !connection.send(&self.out) {
            return Err(BenchError::Closed { who: connection.role.to_string() });
        }
        if connection.is_blocked() && !was_blocked {
            self.poller.modify(&connection.stream, token as u64, Interest::Both)?;
        }
        Ok(())
    }

    fn unblock(&mut self, token: usize) -> Result<(), BenchError> {
        let connection = &mut self.connections[token];
        if !connection.flush() {
            return Err(BenchError::Closed { who: connection.role.to_string() });
        }
        if !connection.is_blocked() {
            self.poller.modify(&connection.stream, token as u64, Interest::Read)?;
            if let Role::Publisher(publisher) = connection.role {
                self.exchange.make_ready(publisher);
            }
        }
        Ok(())
    }
}

fn publishers(shared: &Shared, plan: &Plan, in_flight: u32) -> Vec<Publisher> {
    let one = |(index, topic): (usize, &String)| {
        let template = publish_template(topic, shared.qos, shared.size, shared.version);
        let copies = if plan.is_offline() { 0 } else { plan.copies(index as u32) };
        Publisher::new(template, copies, in_flight)
    };
    plan.topics.iter().enumerate().map(one).collect()
}

/// A client id that no other generator on this machine uses, within MQTT 3.1's 23 characters.
pub fn client_name(label: &str, role: Role) -> String {
    let pid = std::process::id();
    match role {
        Role::Publisher(index) => format!("b{pid:x}{label}p{index}"),
        Role::Subscriber(index) => format!("b{pid:x}{label}s{index}"),
    }
}
