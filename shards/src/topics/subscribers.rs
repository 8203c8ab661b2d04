//! Who subscribed one filter: one session nearly always, a million sometimes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::wire::{QoS, SubscriptionOptions};

/// One session's subscription of one filter, in 16 bytes when the key has 8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscriber<K> {
    /// The session.
    pub key: K,
    /// What it asked for and was granted.
    pub options: SubscriptionOptions,
    /// The subscription identifier (at most 268,435,455; 0 is none) and [`DURABLE`].
    marks: u32,
}

/// The bit of a subscription that counts as durable interest.
const DURABLE: u32 = 1 << 31;

impl<K> Subscriber<K> {
    /// `durable`: the session outlives its connection and the QoS is above 0.
    pub fn new(
        key: K,
        options: SubscriptionOptions,
        identifier: Option<NonZeroU32>,
        durable: bool,
    ) -> Subscriber<K> {
        let identifier = identifier.map_or(0, NonZeroU32::get);
        assert!(identifier < DURABLE, "subscription identifiers end at 268,435,455 (MQTT 5, 3.8.2.1.2)");
        Subscriber { key, options, marks: identifier | if durable { DURABLE } else { 0 } }
    }

    /// The subscription identifier that a v5 client gave (MQTT 5, 3.8.2.1.2).
    pub fn identifier(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.marks & !DURABLE)
    }

    /// Whether messages for it must survive the broker.
    pub fn durable(&self) -> bool {
        self.marks & DURABLE != 0
    }

    /// The highest QoS at which it receives.
    pub fn qos(&self) -> QoS {
        self.options.qos
    }
}

/// The subscribers of one filter, in key order. Boxed where it is not one, so that the frequent case is no bigger than a [`Subscriber`].
pub(super) enum Subscribers<K> {
    None,
    One(Subscriber<K>),
    /// 2 to [`FEW_MAX`], sorted by key.
    #[expect(clippy::box_collection, reason = "the enum stays as small as its frequent variant")]
    Few(Box<Vec<Subscriber<K>>>),
    /// Insert and remove in O(log n) with a million of them.
    #[expect(clippy::box_collection, reason = "as above")]
    Many(Box<BTreeMap<K, Subscriber<K>>>),
}

/// Up to here a sorted vector is both smaller and faster than a map.
const FEW_MAX: usize = 32;
/// A map that shrank to this becomes a vector again; well below [`FEW_MAX`], so that one client cannot make it change back and forth.
const MANY_MIN: usize = FEW_MAX / 2;

impl<K: Copy + Ord> Subscribers<K> {
    /// Adds or replaces the subscription of this session; returns the one it replaces.
    pub(super) fn insert(&mut self, subscriber: Subscriber<K>) -> Option<Subscriber<K>> {
        match self {
            Subscribers::None => *self = Subscribers::One(subscriber),
            Subscribers::One(one) if one.key == subscriber.key => {
                return Some(std::mem::replace(one, subscriber));
            }
            Subscribers::One(one) => {
                let mut few = Vec::with_capacity(2);
                few.extend([*one, subscriber]);
                few.sort_unstable_by_key(|s| s.key);
                *self = Subscribers::Few(Box::new(few));
            }
            Subscribers::Few(few) => match few.binary_search_by_key(&subscriber.key, |s| s.key) {
                Ok(at) => return Some(std::mem::replace(&mut few[at], subscriber)),
                Err(at) if few.len() < FEW_MAX => few.insert(at, subscriber),
                Err(_) => {
                    let mut many: BTreeMap<_, _> = few.iter().map(|s| (s.key, *s)).collect();
                    many.insert(subscriber.key, subscriber);
                    *self = Subscribers::Many(Box::new(many));
                }
            },
            Subscribers::Many(many) => return many.insert(subscriber.key, subscriber),
        }
        None
    }

    /// Takes out the subscription of this session.
    pub(super) fn remove(&mut self, key: K) -> Option<Subscriber<K>> {
        match self {
            Subscribers::One(one) if one.key == key => {
                let one = *one;
                *self = Subscribers::None;
                Some(one)
            }
            Subscribers::None | Subscribers::One(_) => None,
            Subscribers::Few(few) => {
                let at = few.binary_search_by_key(&key, |s| s.key).ok()?;
                let removed = few.remove(at);
                if let [last] = few[..] {
                    *self = Subscribers::One(last);
                }
                Some(removed)
            }
            Subscribers::Many(many) => {
                let removed = many.remove(&key)?;
                if many.len() <= MANY_MIN {
                    *self = Subscribers::Few(Box::new(many.values().copied().collect()));
                }
                Some(removed)
            }
        }
    }

    /// This session's subscription.
    pub(super) fn get(&self, key: K) -> Option<&Subscriber<K>> {
        match self {
            Subscribers::None => None,
            Subscribers::One(one) => (one.key == key).then_some(one),
            Subscribers::Few(few) => few.binary_search_by_key(&key, |s| s.key).ok().map(|at| &few[at]),
            Subscribers::Many(many) => many.get(&key),
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        match self {
            Subscribers::None => 0,
            Subscribers::One(_) => 1,
            Subscribers::Few(few) => few.len(),
            Subscribers::Many(many) => many.len(),
        }
    }

    /// Whether nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Subscribers::None)
    }

    /// Appends all, in key order.
    pub(super) fn collect(&self, into: &mut Vec<Subscriber<K>>) {
        match self {
            Subscribers::None => {}
            Subscribers::One(one) => into.push(*one),
            Subscribers::Few(few) => into.extend_from_slice(few),
            Subscribers::Many(many) => into.extend(many.values().copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn subscriber(key: u64, identifier: u32) -> Subscriber<u64> {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        Subscriber::new(key, options, NonZeroU32::new(identifier), key.is_multiple_of(2))
    }

    #[test]
    fn the_frequent_case_is_small() {
        assert_eq!(size_of::<Subscriber<u64>>(), 16);
        assert_eq!(size_of::<Subscribers<u64>>(), 16);
    }

    #[test]
    fn behaves_as_a_map_over_all_sizes() {
        let mut random = Random::from_seed(11);
        let mut subscribers = Subscribers::None;
        let mut map = BTreeMap::new();
        for step in 0..20_000u32 {
            // Grows and shrinks through all representations.
            let key = random.below(if step / 2_000 % 2 == 0 { 80 } else { 500 });
            if random.below(100) < if step / 1_000 % 2 == 0 { 80 } else { 20 } {
                let new = subscriber(key, step % 7);
                assert_eq!(subscribers.insert(new), map.insert(key, new));
            } else {
                assert_eq!(subscribers.remove(key), map.remove(&key));
            }
            assert_eq!(subscribers.get(key), map.get(&key));
            assert_eq!((subscribers.is_empty(), subscribers.len()), (map.is_empty(), map.len()));
            if step % 50 == 0 {
                let mut all = Vec::new();
                subscribers.collect(&mut all);
                assert!(all.iter().eq(map.values()));
            }
        }
    }
}
