//! UNSUBSCRIBE (section 3.10).

use super::frame::{Frame, PacketType};
use super::packet_id::PacketId;
use super::property::PropertyReader;
use super::put::{put_binary, put_packet, put_packet_id, put_sized};
use super::reader::Reader;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;
use std::fmt;

/// The request to end one or more subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// Repeated in UNSUBACK.
    pub packet_id: PacketId,
    /// User properties.
    pub user: UserProperties<'a>,
    /// At least one.
    pub filters: UnsubscribeFilters<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// Reads the body of an UNSUBSCRIBE frame.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Unsubscribe<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        let packet_id = body.packet_id()?;
        let mut section = PropertyReader::open_in(&mut body, version)?;
        if section.next_property()?.is_some() {
            return Err(Violation::PropertyMisplaced);
        }
        let filters = UnsubscribeFilters::decode(body)?;
        Ok(Unsubscribe { packet_id, user: section.user(), filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Unsubscribe.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            if version.is_v5() {
                put_sized(out, 0, |out| self.user.put(out));
            }
            for filter in self.filters.iter() {
                put_binary(out, filter.as_bytes());
            }
        });
    }
}

/// The filters of an UNSUBSCRIBE, in order: UTF-8 without U+0000, their syntax not checked yet.
#[derive(Clone, Copy)]
pub struct UnsubscribeFilters<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// A payload that was checked when it was decoded.
    Payload {
        payload: &'a [u8],
        count: u32,
    },
    Filters(&'a [&'a str]),
}

impl<'a> UnsubscribeFilters<'a> {
    /// These filters, at least one, to be encoded.
    pub const fn from_slice(filters: &'a [&'a str]) -> UnsubscribeFilters<'a> {
        UnsubscribeFilters(Source::Filters(filters))
    }

    fn decode(body: Reader<'a>) -> Result<UnsubscribeFilters<'a>, Violation> {
        let mut rest = body;
        let mut count = 0;
        while !rest.is_empty() {
            rest.text()?;
            count += 1;
        }
        if count == 0 {
            return Err(Violation::UnsubscribeWithoutFilter);
        }
        Ok(UnsubscribeFilters(Source::Payload { payload: body.remainder(), count }))
    }

    /// How many, without looking at them.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Payload { count, .. } => count as usize,
            Source::Filters(filters) => filters.len(),
        }
    }

    /// Whether there is none; never after decoding.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The filters, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (payload, filters): (&[u8], &[_]) = match self.0 {
            Source::Payload { payload, .. } => (payload, &[]),
            Source::Filters(filters) => (&[], filters),
        };
        let mut rest = Reader::new(payload);
        let decoded = std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| rest.text().expect("the payload was checked when it was decoded"))
        });
        decoded.chain(filters.iter().copied())
    }
}

impl PartialEq for UnsubscribeFilters<'_> {
    fn eq(&self, other: &UnsubscribeFilters<'_>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for UnsubscribeFilters<'_> {}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
