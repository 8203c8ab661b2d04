//! Topic filters as in SUBSCRIBE, and the naive matching that everything faster is tested against.

use std::fmt;

use super::name::{TopicError, TopicName, check_text};

/// What a shared subscription's filter begins with (MQTT 5, 4.8.2).
const SHARE_PREFIX: &str = "$share/";

/// A topic filter within the limits, wildcards where they may stand (MQTT 5, 4.7.1). Cannot be wrong once it exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks `text`; a text that begins with `$share/` must be a whole shared filter.
    pub fn new(text: &'a str) -> Result<TopicFilter<'a>, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::MultiLevelWildcard);
            }
            if level.contains('+') && level != "+" {
                return Err(TopicError::SingleLevelWildcard);
            }
        }
        if let Some(rest) = text.strip_prefix(SHARE_PREFIX) {
            let (group, filter) = rest.split_once('/').ok_or(TopicError::ShareName)?;
            if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
                return Err(TopicError::ShareName);
            }
        }
        Ok(TopicFilter(text))
    }

    /// The filter whose text was checked before and kept.
    pub(super) fn checked(text: &'a str) -> TopicFilter<'a> {
        debug_assert!(TopicFilter::new(text).is_ok(), "only checked texts are kept");
        TopicFilter(text)
    }

    /// The whole text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Its levels, wildcards included.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether it has a wildcard: it can match more than one topic.
    pub fn is_wildcard(self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    /// Whether it begins with a wildcard, and so does not match topics that begin with `$` (MQTT-4.7.2-1).
    pub fn begins_with_wildcard(self) -> bool {
        self.0.starts_with(['+', '#'])
    }

    /// The share name and the filter behind it, when this is a shared subscription's (MQTT 5, 4.8.2).
    pub fn shared(self) -> Option<(&'a str, TopicFilter<'a>)> {
        let (group, filter) = self.0.strip_prefix(SHARE_PREFIX)?.split_once('/')?;
        Some((group, TopicFilter(filter)))
    }

    /// Whether it matches `topic`, level by level: the reference for the tree, the replica and the retained store.
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        if topic.is_reserved() && self.begins_with_wildcard() {
            return false;
        }
        let mut topic_levels = topic.levels();
        for level in self.levels() {
            if level == "#" {
                return true; // also the parent level: `a/#` matches `a` (MQTT 5, 4.7.1.2)
            }
            match topic_levels.next() {
                Some(other) if level == "+" || level == other => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for good in
            ["#", "+", "+/+", "a/#", "/+/", "$SYS/#", "$share", "$share/g/+", "$share/g//", "$shared/x"]
        {
            assert_eq!(TopicFilter::new(good).map(TopicFilter::as_str), Ok(good));
        }
        for (bad, error) in [
            ("", TopicError::Empty),
            ("a#", TopicError::MultiLevelWildcard),
            ("#/a", TopicError::MultiLevelWildcard),
            ("a/#/", TopicError::MultiLevelWildcard),
            ("##", TopicError::MultiLevelWildcard),
            ("a+/b", TopicError::SingleLevelWildcard),
            ("++", TopicError::SingleLevelWildcard),
            ("$share/", TopicError::ShareName),
            ("$share/g", TopicError::ShareName),
            ("$share/g/", TopicError::ShareName),
            ("$share//a", TopicError::ShareName),
            ("$share/+/a", TopicError::ShareName),
            ("$share/#", TopicError::ShareName),
            ("a\0b", TopicError::Null),
        ] {
            assert_eq!(TopicFilter::new(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn a_shared_filter_names_its_group_and_filter() {
        let shared = |text| TopicFilter::new(text).unwrap().shared().map(|(g, f)| (g, f.as_str()));
        assert_eq!(shared("$share/g/a/+"), Some(("g", "a/+")));
        assert_eq!(shared("$share/g//"), Some(("g", "/")));
        assert_eq!(shared("$share"), None);
        assert_eq!(shared("share/g/a"), None);
    }

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        let matches =
            |filter, topic| TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap());
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/monitor/Clients"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/monitor"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("a/b", "a/B"),
            ("a", "a/"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
