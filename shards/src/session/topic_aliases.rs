//! Topic aliases towards one client (MQTT 5 section 3.3.2.3.4): the few that it takes go to the topics that save most, long ones that repeat.
//!
//! A topic is a candidate when it is sent, and gets an alias when it is sent again: one that comes once never takes a slot. When all slots are
//! taken, it displaces the one that has saved least of late, once it is worth twice as much. What an alias stands for is defined by the order
//! of the packets on the connection, so that it is asked for exactly when the packet is appended.

use crate::base::limits::TOPIC_ALIAS_TOPIC_BYTES_MAX;
use std::num::NonZeroU16;

/// Bytes that the alias takes in a packet: a topic that is no longer gains nothing.
const ALIAS_BYTES: usize = 3;
/// Topics remembered that have no alias: in sets by hash, so that one is found with a few comparisons; all together one KiB.
const CANDIDATE_SETS: usize = 32;
const CANDIDATES_PER_SET: usize = 4;
/// Packets after which what was counted is worth half.
const HALF_LIFE: u16 = 256;

/// How a packet says its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// As text.
    Text,
    /// As text, and from now on the alias stands for it.
    Defining(NonZeroU16),
    /// By the alias alone.
    Alias(NonZeroU16),
}

struct Slot {
    hash: u64,
    topic: Box<str>,
    sent: u16,
}

impl Slot {
    fn worth(&self) -> u32 {
        worth(self.topic.len(), self.sent)
    }
}

#[derive(Clone, Copy, Default)]
struct Candidate {
    tag: u32,
    sent: u16,
}

/// See the module's documentation. Begins anew with every connection.
pub struct TopicAliases {
    max: usize,
    slots: Vec<Slot>,
    topic_bytes: usize,
    candidates: [[Candidate; CANDIDATES_PER_SET]; CANDIDATE_SETS],
    packets: u16,
}

impl TopicAliases {
    /// At most `max` aliases.
    pub fn new(max: u16) -> TopicAliases {
        TopicAliases {
            max: usize::from(max),
            slots: Vec::new(),
            topic_bytes: 0,
            candidates: Default::default(),
            packets: 0,
        }
    }

    /// How the packet that is appended next says `topic`. `may_define`: it has room for an alias beside the text.
    pub fn name(&mut self, topic: &str, may_define: bool) -> Naming {
        if topic.len() <= ALIAS_BYTES {
            return Naming::Text;
        }
        self.age();
        let hash = hash(topic);
        if let Some(at) = self.slots.iter().position(|slot| slot.hash == hash && *slot.topic == *topic) {
            self.slots[at].sent = self.slots[at].sent.saturating_add(1);
            return Naming::Alias(number(at));
        }
        let sent = self.count_candidate(hash);
        if sent < 2 || !may_define {
            return Naming::Text;
        }
        match self.place_for(topic.len(), sent) {
            Some(at) => Naming::Defining(self.define(at, Slot { hash, topic: topic.into(), sent })),
            None => Naming::Text,
        }
    }

    /// Counts a packet of a topic without alias. When its set is full the topic with the fewest loses a count, and its place when it has none left.
    fn count_candidate(&mut self, hash: u64) -> u16 {
        let tag = (hash >> 32) as u32;
        let set = &mut self.candidates[hash as usize % CANDIDATE_SETS];
        if let Some(known) = set.iter_mut().find(|candidate| candidate.tag == tag) {
            known.sent = known.sent.saturating_add(1);
            return known.sent;
        }
        let candidate = set.iter_mut().min_by_key(|candidate| candidate.sent).expect("a set has places");
        candidate.sent = candidate.sent.saturating_sub(1);
        if candidate.sent == 0 {
            *candidate = Candidate { tag, sent: 1 };
        }
        1
    }

    fn place_for(&self, bytes: usize, sent: u16) -> Option<usize> {
        if self.slots.len() < self.max && self.topic_bytes + bytes <= TOPIC_ALIAS_TOPIC_BYTES_MAX {
            return Some(self.slots.len());
        }
        let (at, least) = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.worth())?;
        let fits = self.topic_bytes - least.topic.len() + bytes <= TOPIC_ALIAS_TOPIC_BYTES_MAX;
        (fits && worth(bytes, sent) > 2 * least.worth()).then_some(at)
    }

    fn define(&mut self, at: usize, slot: Slot) -> NonZeroU16 {
        self.topic_bytes += slot.topic.len();
        if at == self.slots.len() {
            self.slots.push(slot);
        } else {
            let displaced = std::mem::replace(&mut self.slots[at], slot);
            self.topic_bytes -= displaced.topic.len();
        }
        number(at)
    }

    fn age(&mut self) {
        self.packets += 1;
        if self.packets < HALF_LIFE {
            return;
        }
        self.packets = 0;
        self.slots.iter_mut().for_each(|slot| slot.sent /= 2);
        self.candidates.iter_mut().flatten().for_each(|candidate| candidate.sent /= 2);
    }
}

/// Bytes that an alias would have saved.
fn worth(topic_bytes: usize, sent: u16) -> u32 {
    (topic_bytes - ALIAS_BYTES) as u32 * u32::from(sent)
}

fn number(at: usize) -> NonZeroU16 {
    let number = u16::try_from(at + 1).expect("there are at most 65,535 slots");
    NonZeroU16::new(number).expect("one more than something")
}

/// Which topics share a hash does not matter for what is sent: texts are compared.
fn hash(topic: &str) -> u64 {
    topic.as_bytes().chunks(8).fold(topic.len() as u64, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let mixed = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(aliases: &mut TopicAliases, topic: &str) -> (&'static str, u16) {
        match aliases.name(topic, true) {
            Naming::Text => ("text", 0),
            Naming::Defining(alias) => ("defining", alias.get()),
            Naming::Alias(alias) => ("alias", alias.get()),
        }
    }

    #[test]
    fn a_topic_that_repeats_gets_an_alias_and_short_ones_never() {
        let mut aliases = TopicAliases::new(2);
        let said: Vec<_> = (0..4).map(|_| named(&mut aliases, "long/topic")).collect();
        assert_eq!(said, [("text", 0), ("defining", 1), ("alias", 1), ("alias", 1)]);
        assert!((0..9).all(|_| named(&mut aliases, "abc") == ("text", 0)));
        assert_eq!(aliases.name("other/topic", false), Naming::Text);
        assert_eq!(aliases.name("other/topic", false), Naming::Text, "no room in the packet");
        assert_eq!(named(&mut aliases, "other/topic"), ("defining", 2));
    }

    #[test]
    fn topics_that_come_once_take_no_slot() {
        let mut aliases = TopicAliases::new(4);
        assert!((0..10_000).all(|n| named(&mut aliases, &format!("once/{n}")) == ("text", 0)));
        assert!(aliases.slots.is_empty());
    }

    #[test]
    fn what_saves_more_displaces_what_saves_least_and_not_the_other_way_round() {
        let mut aliases = TopicAliases::new(2);
        for _ in 0..20 {
            named(&mut aliases, "hot/and/quite/long");
        }
        named(&mut aliases, "rare");
        assert_eq!(named(&mut aliases, "rare"), ("defining", 2), "a free slot");
        assert_eq!(named(&mut aliases, "another/that/repeats"), ("text", 0));
        assert_eq!(named(&mut aliases, "another/that/repeats"), ("defining", 2), "the slot of the least");
        assert_eq!(named(&mut aliases, "another/that/repeats"), ("alias", 2));
        for _ in 0..3 {
            assert_eq!(named(&mut aliases, "rare"), ("text", 0), "worth too little to come back");
        }
        assert_eq!(named(&mut aliases, "hot/and/quite/long"), ("alias", 1));
    }

    #[test]
    fn yesterdays_topics_give_way() {
        let mut aliases = TopicAliases::new(1);
        for _ in 0..1_000 {
            named(&mut aliases, "yesterday/topic");
        }
        let until = (0..5_000).position(|_| named(&mut aliases, "today/topic") == ("alias", 1));
        assert!(until.is_some_and(|packets| packets > 10), "{until:?}");
        assert_eq!(named(&mut aliases, "yesterday/topic"), ("text", 0));
    }

    #[test]
    fn the_texts_are_bounded_together() {
        let mut aliases = TopicAliases::new(u16::MAX);
        for n in 0..100 {
            let topic = format!("{n:01000}");
            for _ in 0..3 {
                named(&mut aliases, &topic);
            }
            let held: usize = aliases.slots.iter().map(|slot| slot.topic.len()).sum();
            assert!(held == aliases.topic_bytes && held <= TOPIC_ALIAS_TOPIC_BYTES_MAX, "{held}");
        }
        assert_eq!(aliases.slots.len(), TOPIC_ALIAS_TOPIC_BYTES_MAX / 1_000);
    }
}
