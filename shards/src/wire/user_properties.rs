//! User properties (section 2.2.2.2, identifier 0x26): carried for the clients, in order, never looked into.

use super::property::{Property, values};
use super::put::put_binary;
use super::reader::Reader;
use std::fmt;

/// The user properties of one packet: pairs of strings, in order, keys may repeat.
#[derive(Clone, Copy)]
pub struct UserProperties<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Among the other properties of a section that was checked when it was decoded.
    Section {
        section: &'a [u8],
        count: u16,
    },
    Pairs(&'a [(&'a str, &'a str)]),
}

impl<'a> UserProperties<'a> {
    /// None.
    pub const NONE: UserProperties<'static> = UserProperties(Source::Pairs(&[]));

    /// These pairs, to be encoded. Each string may have at most 65,535 bytes.
    pub const fn from_pairs(pairs: &'a [(&'a str, &'a str)]) -> UserProperties<'a> {
        UserProperties(Source::Pairs(pairs))
    }

    /// The `count` user properties in a checked section.
    #[inline]
    pub(super) fn in_section(section: &'a [u8], count: u16) -> UserProperties<'a> {
        UserProperties(Source::Section { section, count })
    }

    /// How many pairs.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Section { count, .. } => usize::from(count),
            Source::Pairs(pairs) => pairs.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pairs (key, value), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (section, pairs): (&[u8], &[_]) = match self.0 {
            Source::Section { count: 0, .. } => (&[], &[]),
            Source::Section { section, .. } => (section, &[]),
            Source::Pairs(pairs) => (&[], pairs),
        };
        values(section, Property::User).map(pair).chain(pairs.iter().copied())
    }

    /// Bytes that `put` appends.
    pub(super) fn encoded_bytes(&self) -> usize {
        match self.0 {
            Source::Section { count: 0, .. } => 0,
            Source::Section { section, .. } => values(section, Property::User).map(|v| 1 + v.len()).sum(),
            Source::Pairs(pairs) => pairs.iter().map(|(key, value)| 5 + key.len() + value.len()).sum(),
        }
    }

    /// Appends them as properties.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self.0 {
            Source::Section { count: 0, .. } => {}
            Source::Section { section, .. } => {
                for value in values(section, Property::User) {
                    out.push(Property::User as u8);
                    out.extend_from_slice(value);
                }
            }
            Source::Pairs(pairs) => {
                for (key, value) in pairs {
                    out.push(Property::User as u8);
                    put_binary(out, key.as_bytes());
                    put_binary(out, value.as_bytes());
                }
            }
        }
    }
}

fn pair(value: &[u8]) -> (&str, &str) {
    let mut reader = Reader::new(value);
    let mut text = || reader.text().expect("the section was checked when it was decoded");
    (text(), text())
}

impl Default for UserProperties<'_> {
    fn default() -> Self {
        UserProperties::NONE
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &UserProperties<'_>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
