//! Where one topic goes: computed once, kept by the match cache.

use std::fmt::Debug;

use super::group::GroupId;
use super::subscribers::Subscriber;
use crate::base::shard_set::ShardSet;
use crate::wire::QoS;

/// One local session that receives the topic, all its overlapping subscriptions merged into one (MQTT 5, 3.3.4): 16 bytes when the key has 8.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<K> {
    key: K,
    /// Where its identifiers begin in [`Routes::identifiers_of`].
    identifiers_from: u32,
    /// Number of identifiers above the low bits named below.
    packed: u32,
}

const QOS_MASK: u32 = 0b11;
const RETAIN_AS_PUBLISHED: u32 = 1 << 2;
/// QoS for the publisher itself in bits 3 and 4; 3 is no QoS: skip.
const PUBLISHER_SHIFT: u32 = 3;
const PUBLISHER_SKIP: u32 = 0b11;
const PUBLISHER_RETAIN_AS_PUBLISHED: u32 = 1 << 5;
/// Only some of its subscriptions are no-local: the first entry of its identifiers is the number of those that the publisher itself gets.
const MIXED: u32 = 1 << 6;
const COUNT_SHIFT: u32 = 7;

impl<K: Copy> Receiver<K> {
    /// The session.
    pub fn key(&self) -> K {
        self.key
    }

    /// The highest QoS of its matching subscriptions.
    pub fn qos(&self) -> QoS {
        QoS::from_bits((self.packed & QOS_MASK) as u8).expect("packed from a QoS")
    }

    /// Whether one of its matching subscriptions asks for the retain flag as published (MQTT 5, 3.8.3.1).
    pub fn retain_as_published(&self) -> bool {
        self.packed & RETAIN_AS_PUBLISHED != 0
    }

    /// The same for the session that publishes: its QoS without the no-local subscriptions, `None` when nothing else matches (MQTT-3.8.3-3).
    pub fn for_publisher(&self) -> Option<QoS> {
        QoS::from_bits((self.packed >> PUBLISHER_SHIFT & PUBLISHER_SKIP) as u8)
    }

    /// [`Receiver::retain_as_published`] for the session that publishes.
    pub fn retain_as_published_for_publisher(&self) -> bool {
        self.packed & PUBLISHER_RETAIN_AS_PUBLISHED != 0
    }

    fn is_mixed(&self) -> bool {
        self.packed & MIXED != 0
    }
}

/// Where one topic goes.
#[derive(Debug)]
pub struct Routes<K> {
    receivers: Box<[Receiver<K>]>,
    identifiers: Box<[u32]>,
    remote: ShardSet,
    remote_durable: ShardSet,
    durable_here: bool,
    groups: Box<[GroupId]>,
}

impl<K: Copy + Ord + Debug> Routes<K> {
    /// Merges the matching subscriptions per session; leaves `matching` sorted.
    pub(super) fn merge(
        matching: &mut [Subscriber<K>],
        remote: ShardSet,
        remote_durable: ShardSet,
    ) -> Routes<K> {
        // One filter's subscribers come in key order, so one matching filter needs no sort.
        let strictly_sorted = matching.is_sorted_by(|a, b| a.key < b.key);
        if !strictly_sorted {
            // No-local ones last in each session, so that what the publisher itself gets comes first.
            matching.sort_unstable_by_key(|s| (s.key, s.options.no_local, s.identifier(), s.durable()));
        }
        let sessions =
            if strictly_sorted { matching.len() } else { matching.chunk_by(|a, b| a.key == b.key).count() };
        let mut receivers = Vec::with_capacity(sessions);
        let mut identifiers = Vec::new();
        for session in matching.chunk_by(|a, b| a.key == b.key) {
            receivers.push(receiver(session, &mut identifiers));
        }
        let durable_here = matching.iter().any(Subscriber::durable);
        let (receivers, identifiers) = (receivers.into_boxed_slice(), identifiers.into_boxed_slice());
        Routes { receivers, identifiers, remote, remote_durable, durable_here, groups: Box::default() }
    }

    /// With the shared groups that match, too.
    pub(super) fn with_groups(self, groups: &[GroupId]) -> Routes<K> {
        Routes { groups: groups.into(), ..self }
    }

    /// The local sessions, in key order, each once.
    pub fn receivers(&self) -> &[Receiver<K>] {
        &self.receivers
    }

    /// The subscription identifiers that go with the receiver's copy, one per matching subscription that has one (MQTT-3.3.4-4).
    pub fn identifiers_of(&self, receiver: &Receiver<K>) -> &[u32] {
        &self.entries_of(receiver)[usize::from(receiver.is_mixed())..]
    }

    /// [`Routes::identifiers_of`] for the session that publishes.
    pub fn identifiers_for_publisher(&self, receiver: &Receiver<K>) -> &[u32] {
        match self.entries_of(receiver) {
            [count, identifiers @ ..] if receiver.is_mixed() => &identifiers[..*count as usize],
            identifiers => identifiers,
        }
    }

    fn entries_of(&self, receiver: &Receiver<K>) -> &[u32] {
        let from = receiver.identifiers_from as usize;
        &self.identifiers[from..from + (receiver.packed >> COUNT_SHIFT) as usize]
    }

    /// The other shards that may have a subscription.
    pub fn remote(&self) -> ShardSet {
        self.remote
    }

    /// Those of them that may have one of a durable session with QoS above 0.
    pub fn remote_durable(&self) -> ShardSet {
        self.remote_durable
    }

    /// Whether one of the local sessions may have to keep it: durable, with QoS above 0.
    pub fn is_durable_here(&self) -> bool {
        self.durable_here
    }

    /// The shared groups one member of each of which gets it. Right only for a message that is published now: groups end.
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// Whether the topic goes nowhere.
    pub fn is_nowhere(&self) -> bool {
        self.receivers.is_empty() && self.remote.is_empty() && self.groups.is_empty()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        // 16 bytes: the reference counts of the Arc around it.
        size_of::<Routes<K>>()
            + 16
            + size_of_val(&*self.receivers)
            + size_of_val(&*self.identifiers)
            + size_of_val(&*self.groups)
    }
}

/// Merges the subscriptions of one session, those without no-local first.
fn receiver<K: Copy>(session: &[Subscriber<K>], identifiers: &mut Vec<u32>) -> Receiver<K> {
    let as_published = |part: &[Subscriber<K>]| part.iter().any(|s| s.options.retain_as_published);
    let qos = |part: &[Subscriber<K>]| part.iter().map(|s| s.qos() as u32).max();
    let publisher = &session[..session.partition_point(|s| !s.options.no_local)];
    let from = identifiers.len();
    let mixed = !publisher.is_empty() && publisher.len() < session.len();
    if mixed {
        identifiers.push(publisher.iter().filter(|s| s.identifier().is_some()).count() as u32);
    }
    identifiers.extend(session.iter().filter_map(|s| s.identifier()).map(|i| i.get()));
    let count = identifiers.len() - from;
    assert!(count < 1 << (32 - COUNT_SHIFT), "a session has fewer than 2^25 filters");
    let mut packed = (count as u32) << COUNT_SHIFT;
    packed |= qos(session).expect("a session in the matches has a subscription");
    packed |= qos(publisher).unwrap_or(PUBLISHER_SKIP) << PUBLISHER_SHIFT;
    packed |= if as_published(session) { RETAIN_AS_PUBLISHED } else { 0 };
    packed |= if as_published(publisher) { PUBLISHER_RETAIN_AS_PUBLISHED } else { 0 };
    packed |= if mixed { MIXED } else { 0 };
    let identifiers_from = u32::try_from(from).expect("matches of one topic are far below 2^32");
    Receiver { key: session[0].key, identifiers_from, packed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SubscriptionOptions;
    use std::num::NonZeroU32;

    fn subscriber(key: u64, qos: u8, no_local: bool, identifier: u32) -> Subscriber<u64> {
        let qos = QoS::from_bits(qos).unwrap();
        let options = SubscriptionOptions { qos, no_local, ..Default::default() };
        Subscriber::new(key, options, NonZeroU32::new(identifier), false)
    }

    #[test]
    fn overlapping_subscriptions_merge_to_the_highest_qos_with_all_identifiers() {
        assert_eq!(size_of::<Receiver<u64>>(), 16);
        let mut matching = vec![
            subscriber(7, 0, false, 70),
            subscriber(3, 2, true, 30),
            subscriber(7, 2, true, 71),
            subscriber(7, 1, false, 0),
            subscriber(5, 1, false, 0),
        ];
        let routes = Routes::merge(&mut matching, ShardSet::EMPTY, ShardSet::EMPTY);
        let [three, five, seven] = routes.receivers() else { panic!("one per session") };
        assert_eq!((three.key(), five.key(), seven.key()), (3, 5, 7));
        assert_eq!((three.qos(), three.for_publisher()), (QoS::ExactlyOnce, None));
        assert_eq!(routes.identifiers_of(three), [30]);
        assert_eq!((five.qos(), five.for_publisher()), (QoS::AtLeastOnce, Some(QoS::AtLeastOnce)));
        assert_eq!(routes.identifiers_of(five), [0u32; 0]);
        assert_eq!((seven.qos(), seven.for_publisher()), (QoS::ExactlyOnce, Some(QoS::AtLeastOnce)));
        assert_eq!(routes.identifiers_of(seven), [70, 71]);
        assert_eq!(routes.identifiers_for_publisher(seven), [70]);
        assert!(!routes.is_nowhere());
    }

    #[test]
    fn the_retain_flag_follows_the_subscriptions_that_count() {
        let mut matching = vec![subscriber(1, 0, false, 0), subscriber(1, 1, true, 0)];
        matching[1].options.retain_as_published = true;
        let routes = Routes::merge(&mut matching, ShardSet::EMPTY, ShardSet::EMPTY);
        let [one] = routes.receivers() else { panic!("one session") };
        assert!(one.retain_as_published());
        assert!(!one.retain_as_published_for_publisher());
    }
}
