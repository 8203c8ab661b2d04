//! Bytes to packets and back: MQTT 3.1, 3.1.1 and 5.0 in one codec, a file per packet.
//!
//! [`split`] cuts the stream into frames, [`Packet::decode`] reads one, [`Packet::encode`] appends one; the version is an argument wherever
//! bytes differ. Decoding borrows from the input, allocates nothing and never panics: every breach is a [`Violation`] with the reason code it
//! is answered with and the clause it breaks. Lists (filters, user properties, subscription identifiers) are checked when decoded and then
//! read where they lie. Section numbers are those of MQTT 5.0 unless they name another version.

mod ack;
mod auth;
mod connack;
mod connect;
mod delivery;
mod disconnect;
mod frame;
mod message;
mod packet;
mod packet_id;
mod property;
mod publish;
mod put;
mod qos;
mod reader;
mod reason;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;
mod user_properties;
mod version;
mod violation;
mod will;

pub use ack::{Ack, AckProperties};
pub use auth::{Auth, AuthProperties};
pub use connack::{Connack, ConnackProperties};
pub use connect::{Connect, ConnectProperties};
pub use delivery::Delivery;
pub use disconnect::{Disconnect, DisconnectProperties};
pub use frame::{Frame, PacketType, Split, split};
pub use message::{Message, MessageParts};
pub use packet::Packet;
pub use packet_id::PacketId;
pub use publish::{Publish, PublishProperties, SubscriptionIds};
pub use qos::QoS;
pub use reason::{ConnectReturnCode, ReasonCode};
pub use suback::{Suback, ack_of_codes_bytes};
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions};
pub use unsuback::Unsuback;
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters};
pub use user_properties::UserProperties;
pub use version::Version;
pub use violation::Violation;
pub use will::{Will, WillProperties};
