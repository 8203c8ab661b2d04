//! What a peer can do wrong: one variant per breach, with the reason code it is answered with and the clause it breaks.

use super::reason::ReasonCode;
use std::fmt;

macro_rules! violations {
    ($($name:ident => $reason:ident, $clause:literal, $text:literal;)*) => {
        /// A breach of the protocol. The connection it came from is closed; nothing else is touched.
        ///
        /// Clauses are those of MQTT 5.0, also where MQTT 3 says the same under another number, unless they name 3.1.1.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Violation {
            $(#[doc = $text] $name,)*
        }

        impl Violation {
            /// All of them.
            pub const ALL: &'static [Violation] = &[$(Violation::$name,)*];

            /// What a v5 peer is told, in CONNACK or DISCONNECT.
            pub const fn reason(self) -> ReasonCode {
                match self { $(Violation::$name => ReasonCode::$reason,)* }
            }

            /// The conformance statement broken, or the section where the specification numbers none.
            pub const fn clause(self) -> &'static str {
                match self { $(Violation::$name => $clause,)* }
            }

            const fn text(self) -> &'static str {
                match self { $(Violation::$name => $text,)* }
            }
        }
    };
}

violations! {
    // The frame.
    PacketTypeReserved => MalformedPacket, "2.1.2", "reserved packet type";
    FlagsReserved => MalformedPacket, "MQTT-2.1.3-1", "reserved flag bits of the fixed header are not as prescribed";
    QosReserved => MalformedPacket, "MQTT-3.3.1-4", "PUBLISH with QoS 3";
    DupWithoutQos => MalformedPacket, "MQTT-3.3.1-2", "PUBLISH with DUP at QoS 0";
    LengthMalformed => MalformedPacket, "1.5.5", "variable byte integer of more than four bytes";
    LengthNotMinimal => MalformedPacket, "MQTT-1.5.5-1", "variable byte integer in more bytes than it needs";
    PacketTooLarge => PacketTooLarge, "3.2.2.3.6", "packet larger than the maximum packet size";
    // Fields of every packet.
    FieldTruncated => MalformedPacket, "2.1.4", "the packet ends within a field";
    TrailingBytes => MalformedPacket, "2.1.4", "bytes after the last field of the packet";
    StringNotUtf8 => MalformedPacket, "MQTT-1.5.4-1", "string is not well-formed UTF-8";
    StringHasNul => MalformedPacket, "MQTT-1.5.4-2", "string contains U+0000";
    PacketIdZero => ProtocolError, "MQTT-2.2.1-3", "packet identifier 0";
    ReasonCodeInvalid => ProtocolError, "2.4", "reason code that this packet cannot carry";
    // Properties.
    PropertyUnknown => MalformedPacket, "2.2.2.2", "unknown property";
    PropertyMisplaced => MalformedPacket, "2.2.2.2", "property that this packet cannot carry";
    PropertyDuplicate => ProtocolError, "2.2.2.2", "property given twice";
    BooleanInvalid => ProtocolError, "2.2.2.2", "property that must be 0 or 1 is neither";
    PayloadFormatInvalid => ProtocolError, "3.3.2.3.2", "payload format indicator is neither 0 nor 1";
    ReceiveMaximumZero => ProtocolError, "3.1.2.11.3", "receive maximum 0";
    MaximumPacketSizeZero => ProtocolError, "3.1.2.11.4", "maximum packet size 0";
    TopicAliasZero => TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias 0";
    SubscriptionIdZero => ProtocolError, "3.8.2.1.2", "subscription identifier 0";
    MaximumQosInvalid => ProtocolError, "3.2.2.3.4", "maximum QoS is neither 0 nor 1";
    AuthDataWithoutMethod => ProtocolError, "3.1.2.11.10", "authentication data without authentication method";
    // Quota exceeded rather than packet too large: the latter would send the client looking at Maximum Packet Size.
    UserPropertiesTooLarge => QuotaExceeded, "3.3.2.3.7", "user properties larger than this server accepts";
    // Topic names, wherever one stands.
    TopicEmpty => ProtocolError, "MQTT-4.7.3-1", "empty topic name";
    TopicMissing => ProtocolError, "3.3.2.1", "PUBLISH with neither topic name nor topic alias";
    TopicHasWildcard => TopicNameInvalid, "MQTT-3.3.2-2", "wildcard character in a topic name";
    TopicTooLong => TopicNameInvalid, "4.7.3", "topic name longer than this server accepts";
    ResponseTopicInvalid => ProtocolError, "MQTT-3.3.2-14", "response topic is not a topic name";
    // CONNECT and CONNACK.
    ProtocolNameUnknown => UnsupportedProtocolVersion, "MQTT-3.1.2-1", "unknown protocol name";
    UnsupportedProtocolVersion => UnsupportedProtocolVersion, "MQTT-3.1.2-2", "unsupported protocol level";
    ConnectFlagReserved => MalformedPacket, "MQTT-3.1.2-3", "reserved connect flag is set";
    WillQosWithoutWill => MalformedPacket, "MQTT-3.1.2-11", "will QoS without will";
    WillQosReserved => MalformedPacket, "MQTT-3.1.2-12", "will QoS 3";
    WillRetainWithoutWill => MalformedPacket, "MQTT-3.1.2-13", "will retain without will";
    PasswordWithoutUserName => MalformedPacket, "3.1.1: MQTT-3.1.2-22", "password without user name";
    ClientIdTooLong => ClientIdentifierNotValid, "MQTT-3.1.3-8", "client identifier longer than this server accepts";
    ConnackFlagsReserved => MalformedPacket, "MQTT-3.2.2-1", "reserved connect acknowledge flag is set";
    ConnackReturnCodeReserved => ProtocolError, "3.1.1: 3.2.2.3", "reserved return code in CONNACK";
    SessionPresentOnRefusal => ProtocolError, "MQTT-3.2.2-6", "session present in a CONNACK that refuses";
    // SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
    SubscribeWithoutFilter => ProtocolError, "MQTT-3.8.3-2", "SUBSCRIBE without topic filter";
    SubscriptionOptionsReserved => MalformedPacket, "MQTT-3.8.3-5", "reserved bits of the subscription options are set";
    SubscriptionQosReserved => ProtocolError, "3.8.3.1", "subscription with QoS 3";
    RetainHandlingReserved => ProtocolError, "3.8.3.1", "subscription with retain handling 3";
    UnsubscribeWithoutFilter => ProtocolError, "MQTT-3.10.3-2", "UNSUBSCRIBE without topic filter";
    AcknowledgementWithoutCode => ProtocolError, "3.9.3", "SUBACK or UNSUBACK without reason code";
    // Breaches that only the state of the connection shows; the layers above find them.
    FirstPacketNotConnect => ProtocolError, "MQTT-3.1.0-1", "the first packet is not CONNECT";
    SecondConnect => ProtocolError, "MQTT-3.1.0-2", "second CONNECT on a connection";
    PacketFromServer => ProtocolError, "2.1.2", "packet that only a server may send";
    ReceiveMaximumExceeded => ReceiveMaximumExceeded, "MQTT-3.3.4-7", "more unacknowledged PUBLISH packets than the receive maximum";
    TopicAliasTooLarge => TopicAliasInvalid, "MQTT-3.3.2-9", "topic alias above the topic alias maximum";
    TopicAliasUnknown => ProtocolError, "3.3.2.3.4", "topic alias that was never given a topic";
    SubscriptionIdFromClient => ProtocolError, "MQTT-3.3.4-6", "PUBLISH from a client with a subscription identifier";
    TopicFilterInvalid => TopicFilterInvalid, "4.7.1", "topic filter is not well-formed";
    NoLocalOnShared => ProtocolError, "MQTT-3.8.3-4", "no local on a shared subscription";
    SessionExpiryRaised => ProtocolError, "3.14.2.2.2", "DISCONNECT sets a session expiry where CONNECT had none";
    ServerPropertyFromClient => ProtocolError, "3.14.2.2.5", "property that only a server may send";
    // What CONNACK has said that this server does not do.
    QosNotAvailable => QoSNotSupported, "MQTT-3.2.2-11", "QoS above the maximum QoS";
    RetainNotAvailable => RetainNotSupported, "MQTT-3.2.2-14", "retained message where none is kept";
    SubscriptionIdNotAvailable => SubscriptionIdentifiersNotSupported, "3.2.2.3.12", "subscription identifier where none is available";
    SharedNotAvailable => SharedSubscriptionsNotSupported, "3.2.2.3.13", "shared subscription where none is available";
    WildcardNotAvailable => WildcardSubscriptionsNotSupported, "3.2.2.3.11", "wildcard subscription where none is available";
    PayloadNotText => PayloadFormatInvalid, "3.3.2.3.2", "payload that is said to be UTF-8 text and is not";
    AuthUnexpected => ProtocolError, "MQTT-4.12.0-7", "AUTH without authentication method in CONNECT";
    AuthMethodMissing => ProtocolError, "3.15.2.2.2", "AUTH without authentication method";
    AuthMethodChanged => ProtocolError, "MQTT-4.12.0-5", "AUTH with another authentication method than CONNECT";
    AuthOutOfTurn => ProtocolError, "MQTT-4.12.0-3", "AUTH with a reason code that is not due";
    // Not packet too large, which would send the client looking at Maximum Packet Size.
    AuthDataTooLarge => QuotaExceeded, "3.15.2.2.3", "authentication data larger than this server accepts";
    PacketBeforeConnack => ProtocolError, "MQTT-3.1.2-30", "packet other than AUTH or DISCONNECT while authenticating";
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.text(), self.clause())
    }
}

impl std::error::Error for Violation {}
