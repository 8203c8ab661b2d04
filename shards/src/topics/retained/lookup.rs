//! Lookups: a skip scan over the ordered topics, in slices that resume by topic.

use super::PublisherMark;
use super::order::{ByTopic, by_level};
use super::store::RetainedStore;
use crate::base::time::Time;
use crate::topics::TopicFilter;
use crate::wire::Message;
use std::cmp::Ordering;
use std::ops::Bound;

/// One slice of a lookup.
#[derive(Clone, Copy, Debug)]
pub struct RetainedLookup<'a> {
    /// What topics are to match.
    pub filter: TopicFilter<'a>,
    /// The topic behind which to go on.
    pub after: Option<&'a str>,
    /// Leave out what this one published.
    pub except: Option<PublisherMark>,
    /// Leave out what has expired now (MQTT 5, 3.3.2.3.3).
    pub now: Time,
    /// Messages found at most.
    pub messages_max: usize,
    /// Topics looked at, each at most one descent of the map. At least one is.
    pub steps_max: usize,
}

/// Where a slice of a lookup ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetainedPage {
    /// The last topic looked at, from which the next slice goes on, whatever was added or removed meanwhile; `None` when nothing is left.
    pub resume: Option<Box<str>>,
    /// Topics looked at.
    pub steps: usize,
}

/// Below every topic that comes after `prefix` and all below it, and above those.
const PAST_SUBTREE: char = '\u{1}';
/// Below every topic that comes after those that begin with `$`.
const PAST_RESERVED: &str = "%";

impl RetainedStore {
    /// Appends the messages that a slice of a lookup finds, in topic order.
    pub fn matching(&self, lookup: &RetainedLookup<'_>, out: &mut Vec<Message>) -> RetainedPage {
        let RetainedLookup { filter, after, .. } = *lookup;
        if !filter.is_wildcard() {
            let found = self.entry(filter.as_str()).filter(|entry| after.is_none() && lookup.wants(entry));
            out.extend(found.map(|entry| entry.message.clone()));
            return RetainedPage { resume: None, steps: 1 };
        }
        let mut target = String::new();
        let mut topics = match after {
            Some(after) => self.from(Bound::Excluded(after)),
            None => {
                target.push_str(literal_prefix(filter));
                self.from(Bound::Included(&target))
            }
        };
        let (mut found, mut steps) = (0, 0);
        loop {
            let Some(entry) = topics.next() else { return RetainedPage { resume: None, steps } };
            steps += 1;
            match next_candidate(filter, entry.message.topic(), &mut target) {
                Candidate::This if lookup.wants(entry) => {
                    out.push(entry.message.clone());
                    found += 1;
                }
                Candidate::This | Candidate::Next => {}
                Candidate::From => topics = self.from(Bound::Included(&target)),
                Candidate::None => return RetainedPage { resume: None, steps },
            }
            if found >= lookup.messages_max || steps >= lookup.steps_max {
                return RetainedPage { resume: Some(entry.message.topic().into()), steps };
            }
        }
    }
}

impl RetainedLookup<'_> {
    /// Whether a message whose topic matches is wanted.
    fn wants(&self, entry: &ByTopic) -> bool {
        let local = self.except.is_some() && entry.publisher == self.except;
        !local && entry.message.expires_at().is_none_or(|at| at > self.now)
    }
}

/// The levels before the first wildcard: the first topic that can match is not before it.
fn literal_prefix(filter: TopicFilter<'_>) -> &str {
    let text = filter.as_str();
    let wildcard = text.find(['+', '#']).unwrap_or(text.len());
    // Without the `/`, as `a/#` matches `a`.
    text[..wildcard].strip_suffix('/').unwrap_or(&text[..wildcard])
}

/// The next topic, from one that the map holds, that a filter can match.
enum Candidate {
    /// The topic itself matches.
    This,
    /// Not this one; the next one may.
    Next,
    /// None before `target`.
    From,
    /// None at all.
    None,
}

/// Compares level by level and writes to `target` what to seek when the next candidate is further on than the next topic.
fn next_candidate(filter: TopicFilter<'_>, topic: &str, target: &mut String) -> Candidate {
    if topic.starts_with('$') && filter.begins_with_wildcard() {
        target.clear();
        target.push_str(PAST_RESERVED);
        return Candidate::From;
    }
    let mut topic_levels = topic.split('/');
    // Bytes of the topic up to where the current level begins, and up to the end of the last level that `+` matched.
    let mut begin = 0;
    let mut plus_end = None;
    for level in filter.levels() {
        if level == "#" {
            return Candidate::This;
        }
        let Some(topic_level) = topic_levels.next() else {
            // The topic ends before the filter: the next candidate is below it.
            return if level == "+" {
                Candidate::Next
            } else {
                seek(target, &[topic, "/", level]);
                Candidate::From
            };
        };
        let end = begin + topic_level.len();
        if level == "+" {
            plus_end = Some(end);
        } else if level != topic_level {
            return match (by_level(topic_level.as_bytes(), level.as_bytes()), plus_end) {
                (Ordering::Less, _) => {
                    seek(target, &[&topic[..begin], level]);
                    Candidate::From
                }
                (_, Some(plus_end)) => past_subtree(target, &topic[..plus_end]),
                (_, None) => Candidate::None,
            };
        }
        begin = end + 1;
    }
    if topic_levels.next().is_none() {
        Candidate::This
    } else {
        // Too deep: on behind all that is below the filter's last level.
        past_subtree(target, &topic[..begin - 1])
    }
}

fn seek(target: &mut String, parts: &[&str]) {
    target.clear();
    target.extend(parts.iter().copied());
}

fn past_subtree(target: &mut String, prefix: &str) -> Candidate {
    target.clear();
    target.push_str(prefix);
    target.push(PAST_SUBTREE);
    Candidate::From
}
