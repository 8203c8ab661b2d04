//! What the other shards are interested in, by fingerprint.

use super::interest::{join, split};
use super::levels::{Levels, fold};
use super::shape::{ShapeSlot, Shapes};
use crate::base::parted::Parted;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::slab::Slab;

/// This shard's copy of the others' interest, written only by applying their batches. Losing an entry loses messages; one too many costs a lane slot.
///
/// An entry whose fingerprint one shard has is 12 bytes (16 for a wildcard); a pair of bitmaps stands aside for those that several have.
pub(super) struct Replica {
    exact: Parted<Entry<()>>,
    wildcard: Parted<Entry<ShapeSlot>>,
    shared: Slab<Owners>,
}

/// Which shards are interested.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Owners {
    pub(super) any: ShardSet,
    pub(super) durable: ShardSet,
}

impl Owners {
    fn set(&mut self, shard: ShardId, any: bool, durable: bool) {
        self.any.remove(shard);
        self.durable.remove(shard);
        if any {
            self.any.insert(shard);
        }
        if any && durable {
            self.durable.insert(shard);
        }
    }

    fn join(&mut self, other: Owners) {
        self.any = self.any.union(other.any);
        self.durable = self.durable.union(other.durable);
    }
}

/// What a fingerprint belongs to: the exact filters, or those of one shape.
trait Scope: Copy + Eq {
    fn salt(self) -> u64;
}

impl Scope for () {
    fn salt(self) -> u64 {
        0
    }
}

impl Scope for ShapeSlot {
    fn salt(self) -> u64 {
        u64::from(self.number())
    }
}

struct Entry<S> {
    fingerprint: [u32; 2],
    packed: PackedOwners,
    scope: S,
}

impl<S: Scope> Entry<S> {
    fn hash(&self) -> u64 {
        hash(self.scope, join(self.fingerprint))
    }
}

fn hash<S: Scope>(scope: S, fingerprint: u64) -> u64 {
    fold(fingerprint, scope.salt())
}

/// One owner (shard number, durable bit), or with [`SHARED`] the slot of an [`Owners`].
#[derive(Clone, Copy)]
struct PackedOwners(u32);

const SHARED: u32 = 1 << 31;
const DURABLE: u32 = 1 << 8;

impl PackedOwners {
    fn unpack(self, shared: &Slab<Owners>) -> Owners {
        if self.0 & SHARED != 0 {
            return *shared.at(self.0 & !SHARED).expect("a shared entry has its bitmaps");
        }
        let mut owners = Owners::default();
        owners.set(ShardId::new((self.0 % DURABLE) as usize), true, self.0 & DURABLE != 0);
        owners
    }

    /// Packs `owners`, which are not nobody, reusing or freeing the bitmaps that `old` had.
    fn pack(owners: Owners, old: Option<PackedOwners>, shared: &mut Slab<Owners>) -> PackedOwners {
        let slot = old.filter(|old| old.0 & SHARED != 0).map(|old| old.0 & !SHARED);
        if owners.any.len() == 1 {
            if let Some(slot) = slot {
                shared.remove_at(slot);
            }
            let shard = owners.any.iter().next().expect("one shard is in it");
            let durable = if owners.durable.contains(shard) { DURABLE } else { 0 };
            return PackedOwners(shard.index() as u32 | durable);
        }
        let slot = match slot {
            Some(slot) => {
                *shared.at_mut(slot).expect("a shared entry has its bitmaps") = owners;
                slot
            }
            None => shared.insert(owners).index() as u32,
        };
        assert!(slot < SHARED, "fewer than 2^31 shared fingerprints fit memory");
        PackedOwners(SHARED | slot)
    }
}

/// What setting a fingerprint's state did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Applied {
    Nothing,
    Changed,
    EntryAdded,
    EntryRemoved,
}

fn set<S: Scope>(
    table: &mut Parted<Entry<S>>,
    shared: &mut Slab<Owners>,
    (scope, fingerprint): (S, u64),
    update: impl Fn(&mut Owners),
) -> Applied {
    let hash = hash(scope, fingerprint);
    let is = |entry: &Entry<S>| entry.fingerprint == split(fingerprint) && entry.scope == scope;
    let Some(entry) = table.find_mut(hash, is) else {
        let mut owners = Owners::default();
        update(&mut owners);
        if owners.any.is_empty() {
            return Applied::Nothing;
        }
        let packed = PackedOwners::pack(owners, None, shared);
        table.insert(hash, Entry { fingerprint: split(fingerprint), packed, scope }, Entry::hash);
        return Applied::EntryAdded;
    };
    let before = entry.packed.unpack(shared);
    let mut after = before;
    update(&mut after);
    if after == before {
        return Applied::Nothing;
    }
    if after.any.is_empty() {
        // Nobody after a change is one owner before it, and that one had no bitmaps.
        table.remove(hash, is, Entry::hash);
        return Applied::EntryRemoved;
    }
    entry.packed = PackedOwners::pack(after, Some(entry.packed), shared);
    Applied::Changed
}

impl Replica {
    pub(super) fn new() -> Replica {
        Replica { exact: Parted::new(), wildcard: Parted::new(), shared: Slab::new() }
    }

    /// Sets what `shard` has of an exact fingerprint.
    pub(super) fn set_exact(
        &mut self,
        fingerprint: u64,
        shard: ShardId,
        any: bool,
        durable: bool,
    ) -> Applied {
        let update = |owners: &mut Owners| owners.set(shard, any, durable);
        set(&mut self.exact, &mut self.shared, ((), fingerprint), update)
    }

    /// Sets what `shard` has of a wildcard fingerprint: `(shape, fingerprint)`.
    pub(super) fn set_wildcard(
        &mut self,
        what: (ShapeSlot, u64),
        shard: ShardId,
        any: bool,
        durable: bool,
    ) -> Applied {
        set(&mut self.wildcard, &mut self.shared, what, |owners| owners.set(shard, any, durable))
    }

    /// Everyone who may have a subscription that matches: one probe for the exact filter and one per shape that fits.
    pub(super) fn owners(&self, exact: u64, topic: &Levels<'_>, mask: u64, shapes: &Shapes) -> Owners {
        let mut owners = Owners::default();
        self.find(&self.exact, (), exact, &mut owners);
        for (slot, shape) in shapes.probes(topic.count()) {
            self.find(&self.wildcard, slot, shape.fingerprint(topic) & mask, &mut owners);
        }
        owners
    }

    fn find<S: Scope>(&self, table: &Parted<Entry<S>>, scope: S, fingerprint: u64, into: &mut Owners) {
        let is = |entry: &Entry<S>| entry.fingerprint == split(fingerprint) && entry.scope == scope;
        if let Some(entry) = table.find(hash(scope, fingerprint), is) {
            into.join(entry.packed.unpack(&self.shared));
        }
    }

    /// Fingerprints that someone is interested in.
    pub(super) fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Bytes as allocated: tables, free buckets included, and bitmaps.
    pub(super) fn memory_bytes(&self) -> usize {
        self.exact.memory_bytes()
            + self.wildcard.memory_bytes()
            + self.shared.len() * (size_of::<Owners>() + 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    #[test]
    fn entries_are_as_small_as_promised() {
        assert_eq!(size_of::<Entry<()>>(), 12);
        assert_eq!(size_of::<Entry<ShapeSlot>>(), 16);
    }

    #[test]
    fn behaves_as_a_map_of_shard_sets() {
        let mut random = Random::from_seed(17);
        let mut replica = Replica::new();
        let mut map: BTreeMap<u64, Owners> = BTreeMap::new();
        for _ in 0..50_000 {
            let fingerprint = random.below(300);
            let shard = ShardId::new(random.below(64) as usize % if random.one_in(2) { 3 } else { 64 });
            let (any, durable) = (random.one_in(3), random.one_in(2));
            let before = map.get(&fingerprint).copied().unwrap_or_default();
            let mut after = before;
            after.set(shard, any, durable);
            let expected = match (before.any.is_empty(), after.any.is_empty()) {
                _ if before == after => Applied::Nothing,
                (true, _) => Applied::EntryAdded,
                (_, true) => Applied::EntryRemoved,
                _ => Applied::Changed,
            };
            assert_eq!(replica.set_exact(fingerprint, shard, any, durable), expected);
            map.insert(fingerprint, after);
            map.retain(|_, owners| !owners.any.is_empty());
            let mut found = Owners::default();
            replica.find(&replica.exact, (), fingerprint, &mut found);
            assert_eq!(found, after);
        }
        assert_eq!(replica.len(), map.len());
        assert_eq!(replica.shared.len(), map.values().filter(|owners| owners.any.len() > 1).count());
    }
}
