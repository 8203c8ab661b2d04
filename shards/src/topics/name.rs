//! Topic names, and what can be wrong with a name or a filter.

use std::fmt;

use crate::base::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No characters at all (MQTT-4.7.3-1).
    Empty,
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    TooLong,
    /// More than [`TOPIC_LEVELS_MAX`] levels.
    TooDeep,
    /// Contains U+0000 (MQTT-4.7.3-2).
    Null,
    /// A wildcard in a topic name (MQTT-4.7.1-1).
    WildcardInName,
    /// `#` that is not alone in the last level (MQTT-4.7.1-1).
    MultiLevelWildcard,
    /// `+` that is not alone in its level (MQTT-4.7.1-2).
    SingleLevelWildcard,
    /// `$share/` without a share name of at least one character and free of wildcards, or without a filter after it (MQTT-4.8.2-1, MQTT-4.8.2-2).
    ShareName,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicError::Empty => f.write_str("a topic has at least one character (MQTT-4.7.3-1)"),
            TopicError::TooLong => write!(f, "a topic has at most {TOPIC_BYTES_MAX} bytes here"),
            TopicError::TooDeep => write!(f, "a topic has at most {TOPIC_LEVELS_MAX} levels here"),
            TopicError::Null => f.write_str("a topic must not contain U+0000 (MQTT-4.7.3-2)"),
            TopicError::WildcardInName => {
                f.write_str("a topic name must not contain wildcards (MQTT-4.7.1-1)")
            }
            TopicError::MultiLevelWildcard => {
                f.write_str("`#` must stand alone in the last level (MQTT-4.7.1-1)")
            }
            TopicError::SingleLevelWildcard => {
                f.write_str("`+` must stand alone in its level (MQTT-4.7.1-2)")
            }
            TopicError::ShareName => {
                f.write_str("a shared filter is $share/{name without wildcards}/{filter} (MQTT-4.8.2-2)")
            }
        }
    }
}

impl std::error::Error for TopicError {}

/// What names and filters have in common: length, depth, no U+0000.
pub(super) fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    // Both are below U+0080, so bytes are characters here.
    let mut levels = 1;
    for byte in text.bytes() {
        match byte {
            b'/' => levels += 1,
            0 => return Err(TopicError::Null),
            _ => {}
        }
    }
    if levels > TOPIC_LEVELS_MAX { Err(TopicError::TooDeep) } else { Ok(()) }
}

/// A topic name as in PUBLISH: no wildcards, within the limits (MQTT 5, 4.7.3). Cannot be wrong once it exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text`.
    pub fn new(text: &'a str) -> Result<TopicName<'a>, TopicError> {
        check_text(text)?;
        if text.bytes().any(|byte| byte == b'+' || byte == b'#') {
            return Err(TopicError::WildcardInName);
        }
        Ok(TopicName(text))
    }

    /// The whole text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Its levels, which may be empty: `/a` has two.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether filters that begin with a wildcard must not match it (MQTT-4.7.2-1).
    pub fn is_reserved(self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "/", "a//b", "$SYS/x", "ä/ö", " ", "\u{1}"] {
            assert_eq!(TopicName::new(good).map(TopicName::as_str), Ok(good));
        }
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(TopicName::new("a#"), Err(TopicError::WildcardInName));
        assert_eq!(TopicName::new("a\0"), Err(TopicError::Null));
        assert!(TopicName::new(&"x".repeat(TOPIC_BYTES_MAX)).is_ok());
        assert_eq!(TopicName::new(&"x".repeat(TOPIC_BYTES_MAX + 1)), Err(TopicError::TooLong));
        assert!(TopicName::new(&"/".repeat(TOPIC_LEVELS_MAX - 1)).is_ok());
        assert_eq!(TopicName::new(&"/".repeat(TOPIC_LEVELS_MAX)), Err(TopicError::TooDeep));
    }
}
