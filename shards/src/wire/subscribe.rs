//! SUBSCRIBE (section 3.8).

use super::frame::{Frame, PacketType};
use super::packet_id::PacketId;
use super::property::{Property, PropertyReader, once};
use super::put::{put_binary, put_packet, put_packet_id, put_sized};
use super::qos::QoS;
use super::reader::Reader;
use super::user_properties::UserProperties;
use super::version::Version;
use super::violation::Violation;
use std::fmt;

/// The request for one or more subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// Repeated in SUBACK.
    pub packet_id: PacketId,
    /// Identifier of all these subscriptions, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// User properties.
    pub user: UserProperties<'a>,
    /// At least one.
    pub filters: SubscribeFilters<'a>,
}

/// One subscription asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscribeFilter<'a> {
    /// UTF-8 without U+0000; its syntax is not checked yet.
    pub filter: &'a str,
    /// How messages are to be delivered.
    pub options: SubscriptionOptions,
}

/// The subscription options (section 3.8.3.1). v3 has only the QoS; there the others have the values that behave like v3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscriptionOptions {
    /// Highest QoS of deliveries.
    pub qos: QoS,
    /// Whether the client's own publications are left out.
    pub no_local: bool,
    /// Whether deliveries keep the RETAIN flag of the publication.
    pub retain_as_published: bool,
    /// Whether retained messages are sent upon subscribing.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent upon a SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Each time.
    #[default]
    Send = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscriptionOptions {
    /// At most `qos`, everything else as in v3.
    pub const fn with_qos(qos: QoS) -> SubscriptionOptions {
        SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    /// The options in `byte`.
    pub fn from_byte(byte: u8, version: Version) -> Result<SubscriptionOptions, Violation> {
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if byte & reserved != 0 {
            return Err(Violation::SubscriptionOptionsReserved);
        }
        Ok(SubscriptionOptions {
            qos: QoS::from_bits(byte & 0b11).ok_or(Violation::SubscriptionQosReserved)?,
            no_local: byte & 0b100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling: match byte >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Violation::RetainHandlingReserved),
            },
        })
    }

    /// The byte that says so; in v3 the QoS alone.
    pub fn to_byte(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if !version.is_v5() {
            return qos;
        }
        qos | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

impl<'a> Subscribe<'a> {
    /// Reads the body of a SUBSCRIBE frame.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Subscribe<'a>, Violation> {
        let mut body = Reader::new(frame.body);
        let packet_id = body.packet_id()?;
        let mut section = PropertyReader::open_in(&mut body, version)?;
        let mut subscription_id = None;
        while let Some(property) = section.next_property()? {
            match property {
                Property::SubscriptionId => once(&mut subscription_id, section.subscription_id()?)?,
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        let filters = SubscribeFilters::decode(body, version)?;
        Ok(Subscribe { packet_id, subscription_id, user: section.user(), filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Subscribe.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            if version.is_v5() {
                put_sized(out, 0, |out| {
                    Property::SubscriptionId.put_variable_integer(out, self.subscription_id);
                    self.user.put(out);
                });
            }
            for entry in self.filters.iter() {
                put_binary(out, entry.filter.as_bytes());
                out.push(entry.options.to_byte(version));
            }
        });
    }
}

/// The entries of a SUBSCRIBE, in order.
#[derive(Clone, Copy)]
pub struct SubscribeFilters<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// A payload that was checked when it was decoded.
    Payload {
        payload: &'a [u8],
        count: u32,
    },
    Entries(&'a [SubscribeFilter<'a>]),
}

impl<'a> SubscribeFilters<'a> {
    /// These entries, at least one, to be encoded.
    pub const fn from_slice(entries: &'a [SubscribeFilter<'a>]) -> SubscribeFilters<'a> {
        SubscribeFilters(Source::Entries(entries))
    }

    fn decode(body: Reader<'a>, version: Version) -> Result<SubscribeFilters<'a>, Violation> {
        let mut rest = body;
        let mut count = 0;
        while !rest.is_empty() {
            rest.text()?;
            SubscriptionOptions::from_byte(rest.u8()?, version)?;
            count += 1;
        }
        if count == 0 {
            return Err(Violation::SubscribeWithoutFilter);
        }
        Ok(SubscribeFilters(Source::Payload { payload: body.remainder(), count }))
    }

    /// How many, without looking at them.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Payload { count, .. } => count as usize,
            Source::Entries(entries) => entries.len(),
        }
    }

    /// Whether there is none; never after decoding.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        let (payload, entries): (&[u8], &[_]) = match self.0 {
            Source::Payload { payload, .. } => (payload, &[]),
            Source::Entries(entries) => (&[], entries),
        };
        let mut rest = Reader::new(payload);
        let decoded = std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| entry(&mut rest).expect("the payload was checked when it was decoded"))
        });
        decoded.chain(entries.iter().copied())
    }
}

/// An entry of a checked payload. v5 reads the options of v3 too: there the other bits are 0.
fn entry<'a>(rest: &mut Reader<'a>) -> Result<SubscribeFilter<'a>, Violation> {
    Ok(SubscribeFilter {
        filter: rest.text()?,
        options: SubscriptionOptions::from_byte(rest.u8()?, Version::V5)?,
    })
}

impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &SubscribeFilters<'_>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeFilters<'_> {}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
