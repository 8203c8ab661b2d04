//! Why copies are not delivered.

/// Why a copy was not delivered. Every copy that is made and not delivered is counted under one of these or as expired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DropReason {
    /// The session's queue was full.
    QueueFull,
    /// QoS 0 for a session without connection.
    Offline,
    /// Larger than the client's Maximum Packet Size [MQTT-3.1.2-25].
    PacketTooLarge,
    /// The session ended before the copy was delivered.
    SessionEnded,
    /// The client answered PUBACK or PUBREC with an error code.
    Refused,
    /// Its shared group lost its last member.
    NoMember,
    /// The client unsubscribed what it matched before it was started.
    Unsubscribed,
    /// Its message could not be read back from the log.
    Unreadable,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [DropReason; 8] = [
        DropReason::QueueFull,
        DropReason::Offline,
        DropReason::PacketTooLarge,
        DropReason::SessionEnded,
        DropReason::Refused,
        DropReason::NoMember,
        DropReason::Unsubscribed,
        DropReason::Unreadable,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue_full",
            DropReason::Offline => "offline_qos0",
            DropReason::PacketTooLarge => "packet_too_large",
            DropReason::SessionEnded => "session_ended",
            DropReason::Refused => "refused",
            DropReason::NoMember => "no_member",
            DropReason::Unsubscribed => "unsubscribed",
            DropReason::Unreadable => "unreadable",
        }
    }
}
