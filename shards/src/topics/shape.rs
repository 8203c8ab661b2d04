//! The shapes of wildcard filters: what the interest replica knows of them beside a fingerprint.

use super::interest::Ticket;
use super::levels::{Levels, fold};
use crate::base::limits::{WIDENED_PREFIX_LEVELS_MAX, WILDCARD_SHAPES_IN_FLIGHT_MIN, WILDCARD_SHAPES_MAX};

/// Which levels of a wildcard filter are `+`, how many there are, and whether `#` follows them. `dev/+/state` and `car/+/speed` have the same shape.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shape {
    plus: [u64; 2],
    /// Levels before `#`, or all of them.
    levels: u8,
    multi: bool,
}

/// Leading literal levels that a wildcard fingerprint carries apart, so that the match cache can tell which topics a change may concern.
pub(super) const PREFIX_LEVELS: usize = 3;
/// Bits for them at the low end of the fingerprint, where a shortened fingerprint (simulator) keeps them.
pub(super) const PREFIX_BITS: u32 = 12;

impl Shape {
    /// The shape of a filter.
    pub(super) fn of(filter: &Levels<'_>) -> Shape {
        let multi = filter.level(filter.count() - 1) == "#";
        let levels = filter.count() - usize::from(multi);
        let mut plus = [0; 2];
        for index in (0..levels).filter(|index| filter.level(*index) == "+") {
            plus[index / 64] |= 1 << (index % 64);
        }
        Shape { plus, levels: levels as u8, multi }
    }

    /// `levels` literal levels and `#`.
    fn prefix(levels: usize) -> Shape {
        Shape { plus: [0; 2], levels: levels as u8, multi: true }
    }

    fn is_plus(&self, index: usize) -> bool {
        self.plus[index / 64] >> (index % 64) & 1 == 1
    }

    /// Literal levels before the first wildcard.
    pub(super) fn leading_literals(&self) -> usize {
        let first = match self.plus {
            [0, high] => 64 + high.trailing_zeros(),
            [low, _] => low.trailing_zeros(),
        };
        usize::from(self.levels).min(first as usize)
    }

    fn literals(&self) -> u32 {
        u32::from(self.levels) - self.plus[0].count_ones() - self.plus[1].count_ones()
    }

    /// Level counts of the topics that it can match: at least the first, at most the second.
    pub(super) fn topic_levels(&self) -> (usize, Option<usize>) {
        let levels = usize::from(self.levels);
        (levels, (!self.multi).then_some(levels))
    }

    fn fits(&self, topic_levels: usize) -> bool {
        if self.multi {
            topic_levels >= usize::from(self.levels)
        } else {
            topic_levels == usize::from(self.levels)
        }
    }

    /// Whether this shape, filled with the literal levels of a filter of shape `other`, matches all that the filter matches
    /// (but for topics that begin with `$`, on which the replica therefore makes no exception).
    fn covers(&self, other: &Shape) -> bool {
        let levels = usize::from(self.levels);
        let within = |index: usize| match levels.saturating_sub(index * 64) {
            0 => 0,
            bits @ 1..64 => (1u64 << bits) - 1,
            _ => u64::MAX,
        };
        let literals_kept = (0..2).all(|i| other.plus[i] & within(i) & !self.plus[i] == 0);
        let reach = if self.multi {
            self.levels <= other.levels
        } else {
            !other.multi && self.levels == other.levels
        };
        reach && literals_kept
    }

    /// A reserved shape can always be taken into use: what a filter is widened to in the end.
    fn is_reserved(&self) -> bool {
        self.multi && self.plus == [0; 2] && usize::from(self.levels) <= WIDENED_PREFIX_LEVELS_MAX
    }

    /// The fingerprint of those levels that are literal in this shape: their hash, and at the low end that of the leading ones alone.
    pub(super) fn fingerprint(&self, levels: &Levels<'_>) -> u64 {
        let lead = self.leading_literals().min(PREFIX_LEVELS);
        let (mut literals, mut prefix) = (0, 0);
        for index in (0..usize::from(self.levels)).filter(|index| !self.is_plus(*index)) {
            literals = fold(literals, levels.hash(index));
            if index + 1 == lead {
                prefix = literals;
            }
        }
        literals << PREFIX_BITS | prefix & ((1 << PREFIX_BITS) - 1)
    }
}

/// The place of a shape in this shard's [`Shapes`]; other shards number theirs differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShapeSlot(u16);

impl ShapeSlot {
    /// No shape: a filter without wildcard, or interest that nobody is told.
    pub(super) const NONE: ShapeSlot = ShapeSlot(u16::MAX);
    /// A shared group, which is announced by its text.
    pub(super) const GROUP: ShapeSlot = ShapeSlot(u16::MAX - 1);

    pub(super) const fn number(self) -> u16 {
        self.0
    }
}

/// The shapes in use over own and remote interest.
///
/// An owner takes a new one into use only while it sees fewer than [`WILDCARD_SHAPES_MAX`]; what it does not see yet is bounded by what each shard may
/// have under way unseen, so that hostile filters on all shards at once stay bounded too.
pub(super) struct Shapes {
    slots: Vec<Option<InUse>>,
    /// New shapes that this shard may have under way, not yet applied by every peer.
    in_flight_max: usize,
}

struct InUse {
    shape: Shape,
    /// Own filters announced under it, and announcements under way.
    own: u32,
    /// Fingerprints of it in the replica.
    remote: u32,
    /// The announcement that made it known, when that was ours.
    introduced: Ticket,
}

impl Shapes {
    pub(super) fn new(shards: usize) -> Shapes {
        let in_flight_max = (WILDCARD_SHAPES_MAX / shards).max(WILDCARD_SHAPES_IN_FLIGHT_MIN);
        Shapes { slots: Vec::new(), in_flight_max }
    }

    fn find(&self, shape: &Shape) -> Option<ShapeSlot> {
        let at = self.slots.iter().position(|s| s.as_ref().is_some_and(|s| s.shape == *shape))?;
        Some(ShapeSlot(at as u16))
    }

    fn add(&mut self, shape: Shape, introduced: Ticket) -> ShapeSlot {
        let at = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        assert!(at < usize::from(u16::MAX - 1), "unseen shapes are bounded per shard");
        self.slots[at] = Some(InUse { shape, own: 0, remote: 0, introduced });
        ShapeSlot(at as u16)
    }

    fn used(&self) -> impl Iterator<Item = &InUse> {
        self.slots.iter().flatten()
    }

    /// The shape under which an own filter of shape `wanted` is announced: itself, or when too many are in use the narrowest one in use or
    /// reserved that covers it. Counted as one use; `next` is the ticket that its announcement will get, `settled` the last that all peers applied.
    pub(super) fn place(&mut self, wanted: Shape, next: Ticket, settled: Ticket) -> ShapeSlot {
        let slot = match self.find(&wanted) {
            Some(slot) => slot,
            None if wanted.is_reserved() || self.has_room(settled) => self.add(wanted, next),
            None => self.widen(&wanted, next),
        };
        self.hold(slot);
        slot
    }

    fn has_room(&self, settled: Ticket) -> bool {
        // The reserved ones are kept free for widening: `#` and the literal prefixes.
        let others = self.used().filter(|used| !used.shape.is_reserved()).count();
        let in_flight = self.used().filter(|used| used.introduced > settled).count();
        others < WILDCARD_SHAPES_MAX - (WIDENED_PREFIX_LEVELS_MAX + 1) && in_flight < self.in_flight_max
    }

    fn widen(&mut self, wanted: &Shape, next: Ticket) -> ShapeSlot {
        let prefix = Shape::prefix(wanted.leading_literals().min(WIDENED_PREFIX_LEVELS_MAX));
        let in_use = self.used().map(|used| used.shape).filter(|shape| shape.covers(wanted));
        let narrowest = in_use.chain([prefix]).max_by_key(|shape| (shape.literals(), *shape));
        let shape = narrowest.expect("the prefix is among them");
        self.find(&shape).unwrap_or_else(|| self.add(shape, next))
    }

    /// The slot of a shape that a peer announced, taken into use if need be.
    pub(super) fn of_peer(&mut self, shape: &Shape, create: bool) -> Option<ShapeSlot> {
        self.find(shape).or_else(|| create.then(|| self.add(*shape, Ticket::ZERO)))
    }

    fn in_use_mut(&mut self, slot: ShapeSlot) -> &mut InUse {
        self.slots[usize::from(slot.0)].as_mut().expect("a counted shape is in use")
    }

    pub(super) fn shape(&self, slot: ShapeSlot) -> &Shape {
        &self.slots[usize::from(slot.0)].as_ref().expect("a counted shape is in use").shape
    }

    /// One more own use.
    pub(super) fn hold(&mut self, slot: ShapeSlot) {
        self.in_use_mut(slot).own += 1;
    }

    /// One own use less.
    pub(super) fn release(&mut self, slot: ShapeSlot) {
        self.in_use_mut(slot).own -= 1;
        self.free_unused(slot);
    }

    /// Sets how many fingerprints of the shape the replica holds.
    pub(super) fn count_remote(&mut self, slot: ShapeSlot, change: i32) {
        let remote = &mut self.in_use_mut(slot).remote;
        *remote = remote.checked_add_signed(change).expect("no fingerprint is taken out twice");
        self.free_unused(slot);
    }

    fn free_unused(&mut self, slot: ShapeSlot) {
        let used = self.in_use_mut(slot);
        if used.own == 0 && used.remote == 0 {
            self.slots[usize::from(slot.0)] = None;
            while let Some(None) = self.slots.last() {
                self.slots.pop();
            }
        }
    }

    /// The shapes that peers have interest of and that a topic of so many levels can have.
    pub(super) fn probes(&self, topic_levels: usize) -> impl Iterator<Item = (ShapeSlot, &Shape)> {
        self.slots.iter().enumerate().filter_map(move |(at, used)| {
            let used = used.as_ref()?;
            (used.remote > 0 && used.shape.fits(topic_levels)).then_some((ShapeSlot(at as u16), &used.shape))
        })
    }

    /// Shapes in use.
    pub(super) fn len(&self) -> usize {
        self.used().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::HashKey;
    use crate::topics::{TopicFilter, TopicName};

    fn shape(filter: &str) -> Shape {
        Shape::of(&Levels::of(filter, &HashKey::from_seed(1)))
    }

    #[test]
    fn shapes_tell_levels_plus_and_hash() {
        assert_eq!(shape("dev/+/state"), shape("car/+/speed"));
        for (one, other) in [("a/+", "+/a"), ("a/+", "a/+/b"), ("a/#", "a/+"), ("#", "+"), ("a/#", "a/b/#")] {
            assert_ne!(shape(one), shape(other));
        }
        assert_eq!(shape("a/b/+/c").leading_literals(), 2);
        assert_eq!(shape("a/b/#").leading_literals(), 2);
        assert_eq!(shape("#").leading_literals(), 0);
        let deep = format!("{}+", "x/".repeat(100));
        assert_eq!(shape(&deep).leading_literals(), 100);
    }

    #[test]
    fn a_covering_shape_matches_whatever_the_filter_matches() {
        let key = HashKey::from_seed(1);
        let texts = ["a", "b", "+"];
        let mut filters = Vec::new();
        for one in texts {
            filters.extend([one.to_string(), format!("{one}/#")]);
            for two in texts {
                filters.extend([format!("{one}/{two}"), format!("{one}/{two}/#")]);
            }
        }
        filters.push("#".to_string());
        let topics = ["a", "b", "a/a", "a/b", "b/a", "b/b", "a/b/a", "a/b/c/d"];
        for narrow in filters.iter().map(|text| TopicFilter::new(text).unwrap()) {
            for wide in &filters {
                let (narrow_levels, wide) = (Levels::of(narrow.as_str(), &key), shape(wide));
                if !wide.covers(&Shape::of(&narrow_levels)) {
                    continue;
                }
                for topic in topics {
                    let levels = Levels::of(topic, &key);
                    if narrow.matches(TopicName::new(topic).unwrap()) {
                        assert!(wide.fits(levels.count()), "{narrow} {wide:?} {topic}");
                        assert_eq!(wide.fingerprint(&levels), wide.fingerprint(&narrow_levels));
                    }
                }
            }
        }
        assert!(shape("#").covers(&shape("a/+/b")) && shape("+/#").covers(&shape("a/+")));
        assert!(!shape("a/+/#").covers(&shape("a/#")) && !shape("a/+").covers(&shape("a/#")));
    }
}
