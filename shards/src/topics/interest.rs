//! What this shard's sessions are interested in, counted per fingerprint, and told to the other shards.

use std::collections::VecDeque;
use std::sync::Arc;

use super::group::{GroupId, GroupKey};
use super::levels::fold;
use super::members::Standings;
use super::shape::{Shape, ShapeSlot, Shapes};
use crate::base::parted::Parted;
use crate::base::planted::{Bug, Planted};

/// Numbers the interest transitions of one shard; whoever waits for a transition waits for its ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Ticket(u64);

impl Ticket {
    /// Before every transition: nothing to wait for.
    pub const ZERO: Ticket = Ticket(0);

    /// The ticket numbered `number`, for tests of what carries tickets.
    pub const fn from_number(number: u64) -> Ticket {
        Ticket(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    fn next(self) -> Ticket {
        Ticket(self.0 + 1)
    }
}

/// A filter as the other shards know it: different filters may have the same one, and all shards compute the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fingerprinted {
    /// A filter without wildcard: the keyed hash of its text.
    Exact(u64),
    /// A filter with wildcards: its shape and the keyed hash of its literal levels.
    Wildcard(Shape, u64),
}

/// The state of one fingerprint at its owner: absolute, so that applying it twice does no harm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterestChange {
    /// Which filters.
    pub what: Fingerprinted,
    /// Whether any session subscribes one of them.
    pub any: bool,
    /// Whether a durable session does, with QoS above 0. Implies `any`.
    pub durable: bool,
}

/// What one shard has of one shared group: absolute, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupChange {
    /// The whole shared filter. Unlike a fingerprint it cannot be mistaken: a message goes to one member of each group, not to one of either.
    pub text: Arc<str>,
    /// How the owner calls it: what a message for it must say.
    pub key: GroupKey,
    /// The owner's members.
    pub standings: Standings,
    /// Whether one of them is durable, with QoS above 0.
    pub durable: bool,
}

/// Transitions of one shard, in the order of their tickets. Made by the owner, applied by every other shard; losing one would lose messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterestBatch {
    /// The fingerprints that changed, each with its state when the batch was made.
    pub changes: Box<[InterestChange]>,
    /// The shared groups that changed, likewise.
    pub groups: Box<[GroupChange]>,
    /// Who has applied this batch and all before it has applied every transition up to this ticket.
    pub through: Ticket,
}

/// A fingerprint as this shard keeps it, with its own number for the shape; or a shared group by its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Announced {
    /// [`ShapeSlot::NONE`] for a filter without wildcard, [`ShapeSlot::GROUP`] for a group.
    pub(super) shape: ShapeSlot,
    pub(super) fingerprint: u64,
}

impl Announced {
    fn hash(self) -> u64 {
        fold(self.fingerprint, u64::from(self.shape.number()))
    }

    pub(super) fn of_group(key: GroupKey) -> Announced {
        Announced { shape: ShapeSlot::GROUP, fingerprint: key.to_bits() }
    }

    fn group(self) -> Option<GroupKey> {
        (self.shape == ShapeSlot::GROUP).then_some(GroupKey::from_bits(self.fingerprint))
    }

    fn is_wildcard(self) -> bool {
        self.shape != ShapeSlot::NONE && self.shape != ShapeSlot::GROUP
    }
}

/// Subscriptions of one fingerprint. Packed to 20 bytes: most clients bring one of their own.
struct Count {
    fingerprint: [u32; 2],
    any: u32,
    durable: u32,
    shape: ShapeSlot,
}

impl Count {
    fn announced(&self) -> Announced {
        Announced { shape: self.shape, fingerprint: join(self.fingerprint) }
    }

    fn bits(&self) -> (bool, bool) {
        (self.any > 0, self.durable > 0)
    }
}

pub(super) fn split(fingerprint: u64) -> [u32; 2] {
    [fingerprint as u32, (fingerprint >> 32) as u32]
}

pub(super) fn join([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[derive(Clone, Copy)]
struct Transition {
    announced: Announced,
    ticket: Ticket,
}

/// The owner's side: lives in the shard whose sessions subscribe. A fingerprint whose state changed gets a ticket and waits in a FIFO until it is
/// sent; changes until then coalesce in it.
pub(super) struct Announcements {
    counts: Parted<Count>,
    /// The newest transition of each fingerprint that not every peer has applied yet.
    unsettled: Parted<Transition>,
    queued: VecDeque<Transition>,
    sent: VecDeque<Transition>,
    last: Ticket,
    last_sent: Ticket,
    settled: Ticket,
    pub(super) planted: Planted,
}

/// What one subscription adds to or takes from a fingerprint.
#[derive(Clone, Copy)]
pub(super) struct CountChange {
    pub(super) any: i32,
    pub(super) durable: i32,
}

impl Announcements {
    pub(super) fn new() -> Announcements {
        Announcements {
            counts: Parted::new(),
            unsettled: Parted::new(),
            queued: VecDeque::new(),
            sent: VecDeque::new(),
            last: Ticket::ZERO,
            last_sent: Ticket::ZERO,
            settled: Ticket::ZERO,
            planted: Planted::default(),
        }
    }

    /// The ticket that the next transition will get.
    pub(super) fn next_ticket(&self) -> Ticket {
        self.last.next()
    }

    pub(super) fn settled_ticket(&self) -> Ticket {
        self.settled
    }

    /// Counts a subscription in or out; a transition is queued.
    pub(super) fn count(&mut self, announced: Announced, change: CountChange, shapes: &mut Shapes) {
        let hash = announced.hash();
        let is = |count: &Count| count.announced() == announced;
        let rehash = |count: &Count| count.announced().hash();
        let count = match self.counts.find_mut(hash, is) {
            Some(count) => count,
            None => {
                let (fingerprint, shape) = (split(announced.fingerprint), announced.shape);
                self.counts.insert(hash, Count { fingerprint, any: 0, durable: 0, shape }, rehash)
            }
        };
        let before = count.bits();
        let mut change = change;
        if self.planted.is(Bug::FingerprintNotCounted) {
            // Present or not: the second subscription adds nothing, the first that goes takes all.
            let flag = |by: i32, count: u32| by.clamp(-(count.min(1) as i32), 1 - count.min(1) as i32);
            change = CountChange {
                any: flag(change.any, count.any),
                durable: flag(change.durable, count.durable),
            };
        }
        let added =
            |count: u32, by| count.checked_add_signed(by).expect("a subscription is counted out once");
        count.any = added(count.any, change.any);
        count.durable = added(count.durable, change.durable);
        let after = count.bits();
        if !after.0 {
            self.counts.remove(hash, is, rehash);
        }
        if before != after {
            self.queue(announced, shapes);
        }
    }

    /// The members of a group change. Whether that is a transition of its own: the group must then be kept until it is settled.
    pub(super) fn group_changes(&mut self, key: GroupKey, shapes: &mut Shapes) -> bool {
        self.queue(Announced::of_group(key), shapes)
    }

    /// Whether it did not just join one that waits to be sent.
    fn queue(&mut self, announced: Announced, shapes: &mut Shapes) -> bool {
        let hash = announced.hash();
        let ticket = self.last.next();
        let transition = Transition { announced, ticket };
        match self.unsettled.find_mut(hash, |t| t.announced == announced) {
            Some(waiting) if waiting.ticket > self.last_sent => return false,
            Some(sent) => sent.ticket = ticket,
            None => {
                self.unsettled.insert(hash, transition, |t| t.announced.hash());
            }
        }
        if announced.is_wildcard() {
            shapes.hold(announced.shape); // until it is settled, so that its number is not reused before
        }
        self.last = ticket;
        self.queued.push_back(transition);
        true
    }

    fn state(&self, announced: Announced) -> (bool, bool) {
        self.counts.find(announced.hash(), |c| c.announced() == announced).map_or((false, false), Count::bits)
    }

    /// The ticket of the newest transition of this fingerprint that is not settled, else zero.
    pub(super) fn ticket_of(&self, announced: Announced) -> Ticket {
        self.unsettled
            .find(announced.hash(), |t| t.announced == announced)
            .map_or(Ticket::ZERO, |transition| transition.ticket)
    }

    /// The oldest queued transitions, at most `max`, with their state now.
    pub(super) fn next_batch(
        &mut self,
        max: usize,
        shapes: &Shapes,
        group: impl Fn(GroupKey) -> GroupChange,
    ) -> Option<InterestBatch> {
        let count = max.min(self.queued.len());
        let through = self.queued.get(count.checked_sub(1)?)?.ticket;
        let groups = self.queued.range(..count).filter_map(|transition| transition.announced.group());
        let groups = groups.map(group).collect();
        let filters = self.queued.range(..count).filter(|transition| transition.announced.group().is_none());
        let changes = filters.map(|transition| {
            let announced = transition.announced;
            let (any, durable) = self.state(announced);
            let what = if announced.is_wildcard() {
                Fingerprinted::Wildcard(*shapes.shape(announced.shape), announced.fingerprint)
            } else {
                Fingerprinted::Exact(announced.fingerprint)
            };
            InterestChange { what, any, durable }
        });
        let changes = changes.collect();
        self.sent.extend(self.queued.drain(..count));
        self.last_sent = through;
        Some(InterestBatch { changes, groups, through })
    }

    /// Every peer has applied everything up to `through`, which must have been sent.
    pub(super) fn settled(&mut self, through: Ticket, shapes: &mut Shapes, mut release: impl FnMut(GroupId)) {
        assert!(through <= self.last_sent, "nobody has applied what was not sent");
        while self.sent.front().is_some_and(|t| t.ticket <= through) {
            let done = self.sent.pop_front().expect("there is a front");
            let is_newest = |t: &Transition| t.announced == done.announced && t.ticket == done.ticket;
            self.unsettled.remove(done.announced.hash(), is_newest, |t| t.announced.hash());
            if done.announced.is_wildcard() {
                shapes.release(done.announced.shape);
            }
            if let Some(group) = done.announced.group() {
                release(group.id());
            }
        }
        self.settled = self.settled.max(through);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes()
            + self.unsettled.memory_bytes()
            + (self.queued.capacity() + self.sent.capacity()) * size_of::<Transition>()
    }
}
