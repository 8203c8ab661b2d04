//! Properties (section 2.2.2): identifiers, reading a section of them, writing one.

use super::frame::variable_integer;
use super::put::{put_binary, put_u16, put_variable_integer};
use super::reader::Reader;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;
use crate::base::limits::USER_PROPERTIES_BYTES_MAX;
use std::num::{NonZeroU16, NonZeroU32};

/// Every property, by the identifier of section 2.2.2.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Property {
    PayloadFormat = 0x01,
    MessageExpiry = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionId = 0x0b,
    SessionExpiry = 0x11,
    AssignedClientId = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelay = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1a,
    ServerReference = 0x1c,
    ReasonString = 0x1f,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    User = 0x26,
    MaximumPacketSize = 0x27,
    WildcardAvailable = 0x28,
    SubscriptionIdsAvailable = 0x29,
    SharedAvailable = 0x2a,
}

use Property::*;

impl Property {
    #[inline]
    fn from_id(id: u32) -> Option<Property> {
        Some(match id {
            0x01 => PayloadFormat,
            0x02 => MessageExpiry,
            0x03 => ContentType,
            0x08 => ResponseTopic,
            0x09 => CorrelationData,
            0x0b => SubscriptionId,
            0x11 => SessionExpiry,
            0x12 => AssignedClientId,
            0x13 => ServerKeepAlive,
            0x15 => AuthenticationMethod,
            0x16 => AuthenticationData,
            0x17 => RequestProblemInformation,
            0x18 => WillDelay,
            0x19 => RequestResponseInformation,
            0x1a => ResponseInformation,
            0x1c => ServerReference,
            0x1f => ReasonString,
            0x21 => ReceiveMaximum,
            0x22 => TopicAliasMaximum,
            0x23 => TopicAlias,
            0x24 => MaximumQos,
            0x25 => RetainAvailable,
            0x26 => User,
            0x27 => MaximumPacketSize,
            0x28 => WildcardAvailable,
            0x29 => SubscriptionIdsAvailable,
            0x2a => SharedAvailable,
            _ => return None,
        })
    }

    /// Moves `reader` past a value of this property, by the wire type that section 2.2.2.2 gives it.
    fn skip(self, reader: &mut Reader<'_>) -> Result<(), Violation> {
        match self {
            PayloadFormat
            | RequestProblemInformation
            | RequestResponseInformation
            | MaximumQos
            | RetainAvailable
            | WildcardAvailable
            | SubscriptionIdsAvailable
            | SharedAvailable => reader.take(1).map(drop),
            ServerKeepAlive | ReceiveMaximum | TopicAliasMaximum | TopicAlias => reader.take(2).map(drop),
            MessageExpiry | SessionExpiry | WillDelay | MaximumPacketSize => reader.take(4).map(drop),
            SubscriptionId => reader.variable_integer().map(drop),
            ContentType | ResponseTopic | CorrelationData | AssignedClientId | AuthenticationMethod
            | AuthenticationData | ResponseInformation | ServerReference | ReasonString => {
                reader.binary().map(drop)
            }
            User => {
                reader.binary()?;
                reader.binary().map(drop)
            }
        }
    }

    #[inline]
    pub(super) fn put_flag(self, out: &mut Vec<u8>, value: Option<bool>) {
        self.put_u8(out, value.map(u8::from));
    }

    #[inline]
    pub(super) fn put_u8(self, out: &mut Vec<u8>, value: Option<u8>) {
        if let Some(value) = value {
            out.extend_from_slice(&[self as u8, value]);
        }
    }

    #[inline]
    pub(super) fn put_u16(self, out: &mut Vec<u8>, value: Option<u16>) {
        if let Some(value) = value {
            out.push(self as u8);
            put_u16(out, value);
        }
    }

    #[inline]
    pub(super) fn put_u32(self, out: &mut Vec<u8>, value: Option<u32>) {
        if let Some(value) = value {
            out.push(self as u8);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    #[inline]
    pub(super) fn put_variable_integer(self, out: &mut Vec<u8>, value: Option<u32>) {
        if let Some(value) = value {
            out.push(self as u8);
            put_variable_integer(out, value as usize);
        }
    }

    #[inline]
    pub(super) fn put_binary(self, out: &mut Vec<u8>, value: Option<&[u8]>) {
        if let Some(value) = value {
            out.push(self as u8);
            put_binary(out, value);
        }
    }

    #[inline]
    pub(super) fn put_text(self, out: &mut Vec<u8>, value: Option<&str>) {
        self.put_binary(out, value.map(str::as_bytes));
    }
}

/// The values of `wanted` in a section that was checked when it was decoded, in order.
pub(super) fn values(section: &[u8], wanted: Property) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(section);
    std::iter::from_fn(move || {
        while !reader.is_empty() {
            let property = read_id(&mut reader).expect("the section was checked when it was decoded");
            let before = reader.remainder();
            property.skip(&mut reader).expect("the section was checked when it was decoded");
            if property == wanted {
                return Some(&before[..before.len() - reader.remainder().len()]);
            }
        }
        None
    })
}

#[inline]
fn read_id(reader: &mut Reader<'_>) -> Result<Property, Violation> {
    Property::from_id(reader.variable_integer()?).ok_or(Violation::PropertyUnknown)
}

const _: () = assert!(USER_PROPERTIES_BYTES_MAX / 5 <= u16::MAX as usize, "a pair takes at least five bytes");

/// One packet's properties while they are read. User properties, which every packet may carry, never reach the packet's own loop.
pub(super) struct PropertyReader<'a> {
    section: &'a [u8],
    rest: Reader<'a>,
    user_count: u16,
    user_bytes: usize,
}

impl<'a> PropertyReader<'a> {
    /// Takes the section (length and content) off the front of `body`.
    #[inline]
    pub(super) fn open(body: &mut Reader<'a>) -> Result<PropertyReader<'a>, Violation> {
        let bytes = body.variable_integer()?;
        let section = body.take(bytes as usize)?;
        Ok(PropertyReader { section, rest: Reader::new(section), user_count: 0, user_bytes: 0 })
    }

    /// The section of `body` in v5; an empty one in v3, which has none.
    #[inline]
    pub(super) fn open_in(body: &mut Reader<'a>, version: Version) -> Result<PropertyReader<'a>, Violation> {
        if version.is_v5() {
            return PropertyReader::open(body);
        }
        Ok(PropertyReader { section: &[], rest: Reader::new(&[]), user_count: 0, user_bytes: 0 })
    }

    /// The next property, its value not yet read; `None` at the end.
    #[inline]
    pub(super) fn next_property(&mut self) -> Result<Option<Property>, Violation> {
        while !self.rest.is_empty() {
            match read_id(&mut self.rest)? {
                User => self.user_property()?,
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    }

    fn user_property(&mut self) -> Result<(), Violation> {
        let key = self.rest.text()?;
        let value = self.rest.text()?;
        self.user_bytes += 5 + key.len() + value.len();
        if self.user_bytes > USER_PROPERTIES_BYTES_MAX {
            return Err(Violation::UserPropertiesTooLarge);
        }
        self.user_count += 1;
        Ok(())
    }

    /// The user properties, once `next_property` has returned `None`.
    #[inline]
    pub(super) fn user(&self) -> UserProperties<'a> {
        UserProperties::in_section(self.section, self.user_count)
    }

    /// The whole section, once it has been read.
    #[inline]
    pub(super) fn section(&self) -> &'a [u8] {
        self.section
    }

    pub(super) fn flag(&mut self, slot: &mut Option<bool>, invalid: Violation) -> Result<(), Violation> {
        match self.rest.u8()? {
            0 => once(slot, false),
            1 => once(slot, true),
            _ => Err(invalid),
        }
    }

    pub(super) fn boolean(&mut self, slot: &mut Option<bool>) -> Result<(), Violation> {
        self.flag(slot, Violation::BooleanInvalid)
    }

    pub(super) fn u16(&mut self, slot: &mut Option<u16>) -> Result<(), Violation> {
        once(slot, self.rest.u16()?)
    }

    pub(super) fn non_zero_u16(
        &mut self,
        slot: &mut Option<NonZeroU16>,
        zero: Violation,
    ) -> Result<(), Violation> {
        once(slot, NonZeroU16::new(self.rest.u16()?).ok_or(zero)?)
    }

    pub(super) fn u32(&mut self, slot: &mut Option<u32>) -> Result<(), Violation> {
        once(slot, self.rest.u32()?)
    }

    pub(super) fn non_zero_u32(
        &mut self,
        slot: &mut Option<NonZeroU32>,
        zero: Violation,
    ) -> Result<(), Violation> {
        once(slot, NonZeroU32::new(self.rest.u32()?).ok_or(zero)?)
    }

    /// A subscription identifier: 1 to 268,435,455.
    pub(super) fn subscription_id(&mut self) -> Result<u32, Violation> {
        match self.rest.variable_integer()? {
            0 => Err(Violation::SubscriptionIdZero),
            id => Ok(id),
        }
    }

    pub(super) fn text(&mut self, slot: &mut Option<&'a str>) -> Result<(), Violation> {
        once(slot, self.rest.text()?)
    }

    pub(super) fn binary(&mut self, slot: &mut Option<&'a [u8]>) -> Result<(), Violation> {
        once(slot, self.rest.binary()?)
    }

    /// A response topic (section 3.3.2.3.5): a topic name.
    pub(super) fn response_topic(&mut self, slot: &mut Option<&'a str>) -> Result<(), Violation> {
        match self.rest.topic() {
            Ok(topic) => once(slot, topic),
            Err(Violation::TopicHasWildcard | Violation::TopicEmpty) => Err(Violation::ResponseTopicInvalid),
            Err(other) => Err(other),
        }
    }
}

/// Fills `slot`, which a property may do once.
#[inline]
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Violation> {
    if slot.is_some() {
        return Err(Violation::PropertyDuplicate);
    }
    *slot = Some(value);
    Ok(())
}

/// Bytes of a subscription identifier as a property.
#[inline]
pub(super) fn subscription_id_bytes(id: u32) -> usize {
    1 + variable_integer(id as usize).1
}
