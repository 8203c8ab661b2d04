//! Reading the fields of a packet's body (section 1.5).

use super::frame::read_variable_integer;
use super::packet_id::PacketId;
use super::violation::Violation;
use crate::base::limits::TOPIC_BYTES_MAX;

/// What is left of a body. Everything it returns borrows from the input.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(body: &'a [u8]) -> Reader<'a> {
        Reader { rest: body }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Violation::FieldTruncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Violation::FieldTruncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn variable_integer(&mut self) -> Result<u32, Violation> {
        let (value, bytes) = read_variable_integer(self.rest)?.ok_or(Violation::FieldTruncated)?;
        self.rest = &self.rest[bytes..];
        Ok(value)
    }

    /// Binary data (section 1.5.6).
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let bytes = self.u16()?;
        self.take(usize::from(bytes))
    }

    /// A UTF-8 string (section 1.5.4).
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, Violation> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Violation::StringNotUtf8)?;
        if text.as_bytes().contains(&0) {
            return Err(Violation::StringHasNul);
        }
        Ok(text)
    }

    /// A topic name, which may be empty here: no wildcard, within [`TOPIC_BYTES_MAX`].
    #[inline]
    pub(super) fn topic_or_empty(&mut self) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        if bytes.len() > TOPIC_BYTES_MAX {
            return Err(Violation::TopicTooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Violation::StringNotUtf8)?;
        // Without an early exit, so that it runs over many bytes at a time.
        if bytes.iter().fold(false, |found, &byte| found | matches!(byte, 0 | b'+' | b'#')) {
            return Err(if bytes.contains(&0) {
                Violation::StringHasNul
            } else {
                Violation::TopicHasWildcard
            });
        }
        Ok(text)
    }

    /// A topic name of at least one character.
    #[inline]
    pub(super) fn topic(&mut self) -> Result<&'a str, Violation> {
        let topic = self.topic_or_empty()?;
        if topic.is_empty() { Err(Violation::TopicEmpty) } else { Ok(topic) }
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::new(self.u16()?).ok_or(Violation::PacketIdZero)
    }

    /// All that is left.
    #[inline]
    pub(super) fn remainder(self) -> &'a [u8] {
        self.rest
    }

    /// The body must end here.
    #[inline]
    pub(super) fn finish(self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(Violation::TrailingBytes) }
    }
}
