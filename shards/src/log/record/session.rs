//! Records of a session: its head, its connection's end, its subscriptions.

use super::BodyRecord;
use crate::base::kept::{CopyNumber, SessionNumber};
use crate::base::time::Time;
use crate::mesh::Epoch;
use crate::wire::{PacketId, SubscriptionOptions};
use std::borrow::Cow;
use std::num::NonZeroU32;

/// The head of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRecord<'a> {
    /// Its number.
    pub session: SessionNumber,
    /// Nothing of an earlier session of this number is left: always so where it begins.
    pub fresh: bool,
    /// Whose.
    pub client_id: Cow<'a, str>,
    /// As whom its connection authenticated.
    pub user: Option<Cow<'a, str>>,
    /// The claim that speaks for it.
    pub epoch: Epoch,
    /// Seconds that it outlives its connection, above 0.
    pub expiry_seconds: u32,
    /// Since when it has no connection; `None` while it has one.
    pub offline_since: Option<Time>,
    /// The will that its connection left.
    pub will: Option<WillRecord<'a>>,
    /// QoS 2 packet ids from the client between PUBLISH and PUBREL: with cleaning only, else empty.
    pub received: Cow<'a, [PacketId]>,
    /// The number that its next copy gets.
    pub next_copy: CopyNumber,
}

/// A will as the session has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WillRecord<'a> {
    /// The message, without expiry.
    pub body: BodyRecord<'a>,
    /// Seconds after the connection's end.
    pub delay_seconds: u32,
    /// Expiry from its publication on.
    pub expiry_seconds: Option<u32>,
    /// The user name of its author, for permission.
    pub user_name: Option<Cow<'a, str>>,
    /// The author's address.
    pub peer: std::net::SocketAddr,
}

/// The end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfflineRecord {
    /// Whose.
    pub session: SessionNumber,
    /// When.
    pub since: Time,
    /// Its will is forgotten: the client said DISCONNECT.
    pub will_forgotten: bool,
    /// Seconds that the session outlives this.
    pub expiry_seconds: u32,
}

/// A subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscribedRecord<'a> {
    /// Whose.
    pub session: SessionNumber,
    /// The filter in use, `$share/NAME/` included, `$exclusive/` not.
    pub filter: Cow<'a, str>,
    /// What was granted.
    pub options: SubscriptionOptions,
    /// The subscription identifier.
    pub identifier: Option<NonZeroU32>,
    /// Nobody else may have it.
    pub exclusive: bool,
}
