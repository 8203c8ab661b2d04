//! Reason codes of MQTT 5 (section 2.4), where each may stand, and the CONNACK return codes of MQTT 3.

use super::frame::PacketType;

macro_rules! reason_codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// A reason code. 0x00 is also "normal disconnection" and "granted QoS 0".
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = $text] $name = $code,)*
        }

        impl ReasonCode {
            /// All of them, in numeric order.
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$name,)*];

            /// What it says, in a few words, for a log line.
            pub const fn text(self) -> &'static str {
                match self { $(ReasonCode::$name => $text,)* }
            }
        }

        impl TryFrom<u8> for ReasonCode {
            type Error = u8;
            /// The code numbered `code`; the number itself when MQTT 5 does not define it.
            fn try_from(code: u8) -> Result<ReasonCode, u8> {
                match code { $($code => Ok(ReasonCode::$name),)* _ => Err(code) }
            }
        }
    };
}

reason_codes! {
    Success = 0x00, "success";
    GrantedQoS1 = 0x01, "granted QoS 1";
    GrantedQoS2 = 0x02, "granted QoS 2";
    DisconnectWithWill = 0x04, "disconnect with will message";
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    NoSubscriptionExisted = 0x11, "no subscription existed";
    ContinueAuthentication = 0x18, "continue authentication";
    Reauthenticate = 0x19, "re-authenticate";
    UnspecifiedError = 0x80, "unspecified error";
    MalformedPacket = 0x81, "malformed packet";
    ProtocolError = 0x82, "protocol error";
    ImplementationSpecificError = 0x83, "implementation specific error";
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    BadUserNameOrPassword = 0x86, "bad user name or password";
    NotAuthorized = 0x87, "not authorized";
    ServerUnavailable = 0x88, "server unavailable";
    ServerBusy = 0x89, "server busy";
    Banned = 0x8a, "banned";
    ServerShuttingDown = 0x8b, "server shutting down";
    BadAuthenticationMethod = 0x8c, "bad authentication method";
    KeepAliveTimeout = 0x8d, "keep alive timeout";
    SessionTakenOver = 0x8e, "session taken over";
    TopicFilterInvalid = 0x8f, "topic filter invalid";
    TopicNameInvalid = 0x90, "topic name invalid";
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    TopicAliasInvalid = 0x94, "topic alias invalid";
    PacketTooLarge = 0x95, "packet too large";
    MessageRateTooHigh = 0x96, "message rate too high";
    QuotaExceeded = 0x97, "quota exceeded";
    AdministrativeAction = 0x98, "administrative action";
    PayloadFormatInvalid = 0x99, "payload format invalid";
    RetainNotSupported = 0x9a, "retain not supported";
    QoSNotSupported = 0x9b, "QoS not supported";
    UseAnotherServer = 0x9c, "use another server";
    ServerMoved = 0x9d, "server moved";
    SharedSubscriptionsNotSupported = 0x9e, "shared subscriptions not supported";
    ConnectionRateExceeded = 0x9f, "connection rate exceeded";
    MaximumConnectTime = 0xa0, "maximum connect time";
    SubscriptionIdentifiersNotSupported = 0xa1, "subscription identifiers not supported";
    WildcardSubscriptionsNotSupported = 0xa2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// Whether it refuses: 0x80 and above.
    #[inline]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether the table of section 2.4 lets it stand in `packet`.
    pub const fn stands_in(self, packet: PacketType) -> bool {
        let code = self as u8;
        match packet {
            PacketType::Connack => {
                matches!(code, 0x00 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f)
            }
            PacketType::Puback | PacketType::Pubrec => {
                matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::Pubrel | PacketType::Pubcomp => matches!(code, 0x00 | 0x92),
            PacketType::Suback => {
                matches!(code, 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2)
            }
            PacketType::Unsuback => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91),
            PacketType::Disconnect => {
                matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0xa2)
            }
            PacketType::Auth => matches!(code, 0x00 | 0x18 | 0x19),
            _ => false,
        }
    }

    /// Whether a client may disconnect with it: the column "sent by" of the table of section 3.14.2.1.
    pub const fn is_sent_by_clients(self) -> bool {
        matches!(self as u8, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
    }

    /// What a v3 client is told in CONNACK instead. v3 has five refusals; whatever is none of theirs is "server unavailable".
    pub const fn to_connect_return(self) -> ConnectReturnCode {
        match self {
            ReasonCode::Success => ConnectReturnCode::Accepted,
            ReasonCode::UnsupportedProtocolVersion => ConnectReturnCode::UnacceptableProtocolVersion,
            ReasonCode::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
            ReasonCode::BadUserNameOrPassword => ConnectReturnCode::BadUserNameOrPassword,
            ReasonCode::NotAuthorized => ConnectReturnCode::NotAuthorized,
            _ => ConnectReturnCode::ServerUnavailable,
        }
    }
}

/// The return code of a v3 CONNACK (MQTT 3.1.1 section 3.2.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// The connection stands.
    Accepted = 0,
    /// The server does not speak that protocol level.
    UnacceptableProtocolVersion = 1,
    /// The client identifier is well-formed but not allowed.
    IdentifierRejected = 2,
    /// The service is not available.
    ServerUnavailable = 3,
    /// The data in user name or password is malformed.
    BadUserNameOrPassword = 4,
    /// The client may not connect.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// The return code numbered `code`; `None` above 5.
    pub const fn from_u8(code: u8) -> Option<ConnectReturnCode> {
        match code {
            0 => Some(ConnectReturnCode::Accepted),
            1 => Some(ConnectReturnCode::UnacceptableProtocolVersion),
            2 => Some(ConnectReturnCode::IdentifierRejected),
            3 => Some(ConnectReturnCode::ServerUnavailable),
            4 => Some(ConnectReturnCode::BadUserNameOrPassword),
            5 => Some(ConnectReturnCode::NotAuthorized),
            _ => None,
        }
    }

    /// The reason code that says the same.
    pub const fn to_reason(self) -> ReasonCode {
        match self {
            ConnectReturnCode::Accepted => ReasonCode::Success,
            ConnectReturnCode::UnacceptableProtocolVersion => ReasonCode::UnsupportedProtocolVersion,
            ConnectReturnCode::IdentifierRejected => ReasonCode::ClientIdentifierNotValid,
            ConnectReturnCode::ServerUnavailable => ReasonCode::ServerUnavailable,
            ConnectReturnCode::BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
            ConnectReturnCode::NotAuthorized => ReasonCode::NotAuthorized,
        }
    }
}
