//! Rests: clients answer, threads run until none has anything to do, time stands still. Then nothing may be left undone.

use super::client::{LinkState, Outgoing};
use super::coordinator_thread::CoordinatorLoop;
use super::failure::{Checked, ensure, fail};
use super::ledger::{Fate, MessageId, Published};
use super::network::ClientEnd;
use super::topics::RETAINED_WILLS;
use super::world::World;
use crate::base::time::Time;
use crate::coordinator::Coordinator;
use std::time::Duration;

/// Rounds within which everything comes to rest, or never will.
const ROUNDS_MAX: u32 = 30_000;
/// The longest that a deadline may be late: a timer far off is rounded up to a whole second, a near one to an eighth.
pub const TIMER_GRAIN: Duration = Duration::from_millis(1_130);

impl World {
    /// Lets everything that is under way come to its end, and checks that it did.
    pub(super) fn rest(&mut self) -> Checked {
        self.settle()?;
        self.note_settled();
        self.check_rest()
    }

    /// Clients read and answer, threads run, until nothing moves.
    pub(super) fn settle(&mut self) -> Checked {
        let calm = std::mem::replace(&mut self.calm, true);
        for _ in 0..ROUNDS_MAX {
            let clients = self.clients_answer()?;
            let threads = self.run_threads()?;
            if self.crash_is_due() {
                self.crash()?;
                continue;
            }
            if !clients && !threads {
                self.calm = calm;
                return Ok(());
            }
        }
        self.calm = calm;
        let busy = self.loops.iter().filter(|shard| shard.seat.busy()).map(|shard| {
            let (core, reads) = (&shard.seat.shard, shard.log.disk().map_or(0, super::disk::SimDisk::reads));
            format!(
                "{} cleans {}, {} rounds, {reads} reads",
                shard.id(),
                core.is_cleaning(),
                core.cleaning_rounds()
            )
        });
        fail("idle", format!("no rest after {ROUNDS_MAX} rounds; busy: {:?}", busy.collect::<Vec<_>>()))
    }

    /// Every client reads everything and sends what it owes. Whether one had something to do.
    fn clients_answer(&mut self) -> Result<bool, super::failure::Failure> {
        let mut any = false;
        for client in 0..self.clients.len() {
            let Some(socket) = self.clients[client].current else { continue };
            self.clients[client].reading = true;
            if self.network.peek(socket).has_news() {
                any = true;
                self.client_reads(socket, usize::MAX)?;
            }
            any |= !self.links[socket].replies.is_empty();
            self.send_replies(socket, usize::MAX);
        }
        Ok(any)
    }

    /// What arrived on connections that still stand was handled.
    fn note_settled(&mut self) {
        let mut wills = RetainedWills::default();
        for id in 0..self.ledger.messages.len() {
            let link = self.ledger.messages[id].link;
            let link = &self.links[link];
            let stands = self.clients[link.client].current == Some(self.ledger.messages[id].link);
            // It had its session within one step, if it had one.
            let unseen = link.connect_arrived.is_some() && link.attached.is_none();
            let later = link.will.is_some_and(|(_, delay)| delay > 0);
            let now = self.now;
            let message = &mut self.ledger.messages[id];
            let due = matches!(message.fate, Fate::Due(at) if at.max(message.due_by) + TIMER_GRAIN < now);
            wills.note(id as MessageId, message, (now, unseen));
            message.certain |= message.fate == Fate::Sent && stands && message.arrived.is_some() || due;
            // Nothing lies unread but what never will be read.
            let over = message.fate == Fate::Open || message.fate == Fate::Carried && unseen && !later;
            if due || over || message.fate == Fate::Sent && message.arrived.is_some() {
                message.handled_by.get_or_insert(now);
                message.settled = true;
            }
        }
        for link in &mut self.links {
            // Whatever it was to become it has become.
            link.detached |= link.attached.is_none() && link.connect_arrived.is_some();
        }
        for session in &mut self.ledger.sessions {
            session.may_end = None;
            session.resting = session.link.is_none().then_some((session.offline_since, session.expiry));
            // Who reads has acknowledged everything.
            let reads = session.link.is_some() && self.clients[session.client].current == session.link;
            for (id, received) in session.received.iter_mut().filter(|_| reads) {
                let message = &self.ledger.messages[*id as usize];
                received.done = message.settled.then_some((message.sends, message.replays));
            }
        }
        self.last_rest = self.step;
        self.ledger.settle_retained();
        let before = std::mem::replace(&mut self.wills_pending, wills.pending);
        if let Some(kept) = wills.kept(before) {
            self.ledger.keep_will(RETAINED_WILLS, kept);
        }
    }

    /// With nobody doing anything, for `span` of virtual time: shards wake for deadlines only, and seldom.
    pub(super) fn idle(&mut self, span: Duration) -> Checked {
        let end = self.now + span;
        let mut idle_wakes = vec![0u64; self.loops.len()];
        while let Some(at) = self.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let before: Vec<_> = self.loops.iter().map(|shard| shard.deadline_wakes).collect();
            let changed = self.state_of_shards();
            self.settle()?;
            if changed == self.state_of_shards() {
                for (count, (shard, before)) in idle_wakes.iter_mut().zip(self.loops.iter().zip(before)) {
                    *count += shard.deadline_wakes.saturating_sub(before);
                }
            }
        }
        // A crash meanwhile may have taken longer.
        self.now = self.now.max(end);
        // After a crash there may be fewer shards.
        for (thread, (count, shard)) in idle_wakes.into_iter().zip(&self.loops).enumerate() {
            let connections = shard.seat.shard.sizes().connections as u64;
            // Once a second, and each connection's keep-alive and stall watch may look in vain once.
            let allowed = span.as_secs() + 1 + 2 * connections;
            ensure(count <= allowed, "idle", || {
                format!("shard {thread} woke {count} times in {span:?} for nothing, {allowed} are allowed")
            })?;
        }
        self.rest()
    }

    fn state_of_shards(&self) -> Vec<(crate::shard::Sizes, [u64; 2])> {
        let state = |shard: &super::driver::Loop| {
            let counters = shard.seat.shard.statistics().counters;
            (shard.seat.shard.sizes(), [counters.timed_out, counters.copies])
        };
        self.loops.iter().map(state).collect()
    }

    fn next_deadline(&self) -> Option<Time> {
        self.loops.iter().filter_map(super::driver::Loop::poll_deadline).min()
    }

    /// The end of a run: faults stop, everyone comes back and collects what is owed.
    pub(super) fn come_home(&mut self) -> Checked {
        self.rest()?;
        for socket in 0..self.links.len() {
            let client = self.links[socket].client;
            if self.clients[client].current != Some(socket) || self.links[socket].hostile {
                self.network.socket(socket).client = ClientEnd::Reset;
            }
        }
        self.settle()?;
        for client in 0..self.clients.len() {
            let alive =
                self.clients[client].session.is_some_and(|session| self.ledger.sessions[session].alive);
            if alive && self.clients[client].current.is_none() {
                self.calm = true;
                let shard = self.random.below(self.loops.len() as u64) as usize;
                self.connect_to(client, shard, false);
            }
        }
        self.rest()?;
        self.idle(Duration::from_secs(30))?;
        self.rest()
    }

    /// Looks at the coordinator, wherever it lives.
    pub(super) fn with_coordinator<T>(&self, look: impl FnOnce(&Coordinator) -> T) -> T {
        let inline = self.loops[0].seat.coordinator.as_ref();
        let thread = self.coordinator.as_ref().map(|own: &CoordinatorLoop| &own.seat);
        look(inline.or(thread).expect("there is one coordinator").coordinator())
    }

    /// Nobody waits for an answer.
    pub(super) fn check_answers(&self) -> Checked {
        for client in &self.clients {
            let Some(socket) = client.current.filter(|socket| self.is_open(*socket)) else { continue };
            let link = &self.links[socket];
            let name = &client.name;
            ensure(link.state == LinkState::Up, "wedge", || {
                format!("{name} waits for its CONNACK on {socket}")
            })?;
            ensure(link.requests.is_empty(), "wedge", || format!("{name} waits for {:?}", link.requests))?;
            ensure(link.pings == 0, "wedge", || format!("{name} waits for PINGRESP"))?;
            let open: Vec<(&crate::wire::PacketId, &Outgoing)> = client.outgoing.iter().collect();
            ensure(open.is_empty(), "wedge", || format!("{name} waits for acknowledgements: {open:?}"))?;
        }
        Ok(())
    }
}

/// Retained wills since the last rest.
#[derive(Default)]
struct RetainedWills {
    /// Published since then.
    fresh: Vec<MessageId>,
    /// Perhaps published, as deadlines are not exact.
    pending: bool,
    /// Perhaps published, as nobody knows how their connections ended.
    open: bool,
}

impl RetainedWills {
    fn note(&mut self, id: MessageId, message: &Published, (now, unseen): (Time, bool)) {
        match message.fate {
            _ if !message.retain || message.certain || message.handled_by.is_some() => {}
            Fate::Due(at) if at.max(message.due_by) + TIMER_GRAIN < now => self.fresh.push(id),
            Fate::Due(at) => self.pending |= at <= now,
            Fate::Open => self.open = true,
            Fate::Carried => self.open |= unseen,
            _ => {}
        }
    }

    /// What is kept now if it has changed: one of them, or nobody knows which. `pending`: whether there was one at the last rest.
    fn kept(&self, pending: bool) -> Option<Option<MessageId>> {
        match self.fresh[..] {
            [] if !self.open && !self.pending => None,
            [one] if !self.open && !self.pending && !pending => Some(Some(one)),
            _ => Some(None),
        }
    }
}
