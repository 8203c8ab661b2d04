//! A message as JSON, and back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use shardmq_shards::base::time::Time;
use shardmq_shards::wire::{Message, MessageParts, Publish, QoS, Split, Version, split};
use std::fmt;

/// Why a line cannot be imported.
#[derive(Debug)]
pub struct LineError(pub String);

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LineError {
    /// `what` is wrong, because of `why`.
    pub fn new(what: &str, why: impl fmt::Debug) -> LineError {
        LineError(format!("{what}: {why:?}"))
    }
}

/// Names as in MQTT 5, bytes in base64; what is not there is left out.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct MessageLine {
    topic: String,
    payload: String,
    qos: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
    /// Microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_format_utf8: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(String, String)>,
}

/// As large as MQTT allows.
const PACKET_BYTES_MAX: usize = 268_435_460;

impl MessageLine {
    /// What the line says of `message`.
    pub fn of(message: &Message) -> MessageLine {
        let packet = publish_packet(message.topic().as_bytes(), message.properties());
        let publish = decode(&packet).expect("a message's properties were read from a packet");
        let properties = publish.properties;
        MessageLine {
            topic: message.topic().to_owned(),
            payload: BASE64.encode(message.payload()),
            qos: message.qos() as u8,
            retain: message.retain(),
            expires_at: message.expires_at().map(Time::as_micros),
            payload_format_utf8: properties.payload_format_utf8,
            response_topic: properties.response_topic.map(str::to_owned),
            correlation_data: properties.correlation_data.map(|data| BASE64.encode(data)),
            content_type: properties.content_type.map(str::to_owned),
            user_properties: properties.user.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    /// The message that the line says.
    pub fn to_message(&self) -> Result<Message, LineError> {
        let payload = bytes("payload", &self.payload)?;
        let packet = publish_packet(self.topic.as_bytes(), &self.properties()?);
        let publish = decode(&packet)?;
        let qos = QoS::from_bits(self.qos).ok_or_else(|| LineError::new("qos", self.qos))?;
        // As the properties stand in what was read: the order of user properties counts.
        let forwarded = Message::from_publish(&publish, publish.topic, None);
        Ok(Message::from_parts(MessageParts {
            topic: publish.topic,
            properties: forwarded.properties(),
            payload: &payload,
            qos,
            retain: self.retain,
            expires_at: self.expires_at.map(Time::from_micros),
        }))
    }

    fn properties(&self) -> Result<Vec<u8>, LineError> {
        let mut section = Vec::new();
        if let Some(is_text) = self.payload_format_utf8 {
            section.extend([0x01, u8::from(is_text)]);
        }
        put(&mut section, 0x08, self.response_topic.as_deref().map(str::as_bytes))?;
        let correlation_data = self.correlation_data.as_deref().map(|data| bytes("correlation_data", data));
        put(&mut section, 0x09, correlation_data.transpose()?.as_deref())?;
        put(&mut section, 0x03, self.content_type.as_deref().map(str::as_bytes))?;
        for (name, value) in &self.user_properties {
            put(&mut section, 0x26, Some(name.as_bytes()))?;
            put_sized(&mut section, value.as_bytes())?;
        }
        Ok(section)
    }
}

/// The bytes of a field in base64.
fn bytes(field: &str, text: &str) -> Result<Vec<u8>, LineError> {
    BASE64.decode(text).map_err(|error| LineError(format!("{field}: {error}")))
}

/// A property, by its identifier (MQTT 5, 2.2.2.2).
fn put(section: &mut Vec<u8>, property: u8, value: Option<&[u8]>) -> Result<(), LineError> {
    let Some(value) = value else { return Ok(()) };
    section.push(property);
    put_sized(section, value)
}

fn put_sized(section: &mut Vec<u8>, value: &[u8]) -> Result<(), LineError> {
    let length =
        u16::try_from(value.len()).map_err(|_| LineError("a property is above 65,535 bytes".to_owned()))?;
    section.extend(length.to_be_bytes());
    section.extend(value);
    Ok(())
}

/// A v5 PUBLISH with this topic and these properties: what reads it checks both.
fn publish_packet(topic: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic);
    put_variable_integer(&mut body, properties.len());
    body.extend(properties);
    let mut packet = vec![0x30];
    put_variable_integer(&mut packet, body.len());
    packet.extend(body);
    packet
}

fn put_variable_integer(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn decode(packet: &[u8]) -> Result<Publish<'_>, LineError> {
    let Ok(Split::Whole(frame)) = split(packet, PACKET_BYTES_MAX) else {
        return Err(LineError("the topic or the properties are too long".to_owned()));
    };
    Publish::decode(frame, Version::V5)
        .map_err(|violation| LineError(format!("no MQTT message: {violation}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(properties: &[u8]) -> Message {
        Message::from_parts(MessageParts {
            topic: "a/ü",
            properties,
            payload: &[0, 255, 10],
            qos: QoS::ExactlyOnce,
            retain: true,
            expires_at: Some(Time::from_micros(1_800_000_000_000_000)),
        })
    }

    #[test]
    fn a_message_survives_the_way_through_json() {
        let all = [
            &[0x01, 1][..],
            &[0x08, 0, 1, b'r'],
            &[0x09, 0, 2, 0, 255],
            &[0x03, 0, 1, b'c'],
            &[0x26, 0, 1, b'k', 0, 1, b'1', 0x26, 0, 1, b'k', 0, 0],
        ]
        .concat();
        for properties in [&all[..], &[]] {
            let message = message(properties);
            let line = serde_json::to_string(&MessageLine::of(&message)).unwrap();
            assert!(!line.contains('\n'));
            let read: MessageLine = serde_json::from_str(&line).unwrap();
            assert_eq!(read.to_message().unwrap(), message, "{line}");
        }
        let bare =
            serde_json::to_string(&MessageLine::of(&message(&[]).with_retain(false).with_expiry(None)));
        assert_eq!(bare.unwrap(), r#"{"topic":"a/ü","payload":"AP8K","qos":2}"#);
    }

    #[test]
    fn what_no_broker_could_have_is_refused() {
        for wrong in [
            r#"{"topic":"","payload":"","qos":1}"#,
            r#"{"topic":"a/+","payload":"","qos":1}"#,
            r#"{"topic":"a","payload":"","qos":3}"#,
            r#"{"topic":"a","payload":"***","qos":1}"#,
            r#"{"topic":"a","payload":"","qos":1,"response_topic":"b/#"}"#,
            r#"{"topic":"a","payload":"","qos":1,"content_type":"\u0000"}"#,
        ] {
            let line: MessageLine = serde_json::from_str(wrong).unwrap();
            assert!(line.to_message().is_err(), "{wrong}");
        }
        assert!(
            serde_json::from_str::<MessageLine>(r#"{"topic":"a","payload":"","qos":1,"QOS":2}"#).is_err()
        );
    }
}
