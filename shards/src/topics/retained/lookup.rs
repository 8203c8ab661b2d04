//! Lookups: a skip scan over the ordered topics, in slices that resume by topic.

use super::order::by_level;
use super::store::RetainedStore;
use crate::topics::TopicFilter;
use crate::wire::Message;
use std::cmp::Ordering;
use std::ops::Bound;

/// Where a slice of a lookup or of a sweep ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetainedPage {
    /// Whether nothing is left.
    pub done: bool,
    /// The last topic looked at, from which the next slice goes on, whatever was added or removed meanwhile; `None` when done.
    pub resume: Option<Box<str>>,
}

impl RetainedPage {
    pub(super) const DONE: RetainedPage = RetainedPage { done: true, resume: None };

    pub(super) fn after(topic: &str) -> RetainedPage {
        RetainedPage { done: false, resume: Some(topic.into()) }
    }
}

/// Below every topic that comes after `prefix` and all below it, and above those.
const PAST_SUBTREE: char = '\u{1}';
/// Below every topic that comes after those that begin with `$`.
const PAST_RESERVED: &str = "%";

impl RetainedStore {
    /// Appends the messages that `filter` matches, in topic order, from behind the topic `after` on. Stops after `max` of them or after
    /// `max_steps` topics looked at, each at most one descent of the map, and at least one.
    pub fn matching(
        &self,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        max: usize,
        max_steps: usize,
        out: &mut Vec<Message>,
    ) -> RetainedPage {
        if !filter.is_wildcard() {
            let found = self.get(filter.as_str()).filter(|_| after.is_none());
            out.extend(found.cloned());
            return RetainedPage::DONE;
        }
        let mut target = String::new();
        let mut topics = match after {
            Some(after) => self.from(Bound::Excluded(after)),
            None => {
                target.push_str(literal_prefix(filter));
                self.from(Bound::Included(&target))
            }
        };
        let mut found = 0;
        let mut last = None;
        for _ in 0..max_steps.max(1) {
            let Some(message) = topics.next() else { return RetainedPage::DONE };
            last = Some(message);
            match next_candidate(filter, message.topic(), &mut target) {
                Candidate::This => {
                    out.push(message.clone());
                    found += 1;
                }
                Candidate::Next => {}
                Candidate::From => topics = self.from(Bound::Included(&target)),
                Candidate::None => return RetainedPage::DONE,
            }
            if found >= max {
                break;
            }
        }
        last.map_or(RetainedPage::DONE, |message| RetainedPage::after(message.topic()))
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
