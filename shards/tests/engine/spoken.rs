//! Packets from the broker as one line of text each, so that a test reads like the exchange it is about.

use shardmq_shards::wire::{
    Ack, Connack, Packet, PacketType, Publish, QoS, ReasonCode, Split, UserProperties, Version, split,
};
use std::fmt::Write;

/// Everything in `bytes`, which must be whole packets.
pub fn spoken(mut bytes: &[u8], version: Version) -> Vec<String> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let Split::Whole(frame) = split(bytes, usize::MAX).expect("the broker sends frames") else {
            panic!("the broker stopped within a packet: {bytes:x?}");
        };
        let packet = Packet::decode(frame, version).expect("the broker keeps to the protocol");
        lines.push(line(&packet));
        bytes = &bytes[frame.wire_bytes()..];
    }
    lines
}

fn line(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connack(connack) => connack_line(connack),
        Packet::Publish(publish) => publish_line(publish),
        Packet::Puback(ack) => ack_line("PUBACK", ack, PacketType::Puback),
        Packet::Pubrec(ack) => ack_line("PUBREC", ack, PacketType::Pubrec),
        Packet::Pubrel(ack) => ack_line("PUBREL", ack, PacketType::Pubrel),
        Packet::Pubcomp(ack) => ack_line("PUBCOMP", ack, PacketType::Pubcomp),
        Packet::Suback(suback) => format!("SUBACK {:?} {:02x?}", suback.packet_id, suback.codes),
        Packet::Unsuback(unsuback) if unsuback.codes.is_empty() => {
            format!("UNSUBACK {:?}", unsuback.packet_id)
        }
        Packet::Unsuback(unsuback) => format!("UNSUBACK {:?} {:02x?}", unsuback.packet_id, unsuback.codes),
        Packet::Pingresp => "PINGRESP".into(),
        Packet::Disconnect(disconnect) => {
            check_reason(disconnect.reason, PacketType::Disconnect);
            let mut line = format!("DISCONNECT {:02x}", disconnect.reason as u8);
            if let Some(reference) = disconnect.properties.server_reference {
                write!(line, " to={reference}").unwrap();
            }
            line
        }
        Packet::Auth(auth) => {
            check_reason(auth.reason, PacketType::Auth);
            let properties = &auth.properties;
            assert_eq!(properties.reason_string, None, "only the codes speak");
            let method = properties.authentication_method.expect("an AUTH names its method");
            format!("AUTH {:02x} {method}{}", auth.reason as u8, data(properties.authentication_data))
        }
        other => panic!("a server never sends {other:?}"),
    }
}

fn check_reason(reason: ReasonCode, packet: PacketType) {
    assert!(reason.stands_in(packet), "{reason:?} cannot stand in {packet:?} (section 2.4)");
}

fn ack_line(name: &str, ack: &Ack<'_>, packet_type: PacketType) -> String {
    check_reason(ack.reason, packet_type);
    match ack.reason {
        ReasonCode::Success => format!("{name} {:?}", ack.packet_id),
        reason => format!("{name} {:?} {:02x}", ack.packet_id, reason as u8),
    }
}

/// Reason, `present`, and those properties that are not the same for every client of the default limits.
fn connack_line(connack: &Connack<'_>) -> String {
    check_reason(connack.reason, PacketType::Connack);
    let mut line = format!("CONNACK {:02x}", connack.reason as u8);
    let properties = &connack.properties;
    if connack.session_present {
        line += " present";
    }
    if let Some(seconds) = properties.session_expiry {
        write!(line, " expiry={seconds}").unwrap();
    }
    if let Some(seconds) = properties.server_keep_alive {
        write!(line, " keep-alive={seconds}").unwrap();
    }
    if properties.assigned_client_id.is_some() {
        line += " assigned";
    }
    if let Some(reference) = properties.server_reference {
        write!(line, " to={reference}").unwrap();
    }
    if let Some(information) = properties.response_information {
        write!(line, " response={information}").unwrap();
    }
    if let Some(method) = properties.authentication_method {
        write!(line, " method={method}{}", data(properties.authentication_data)).unwrap();
    }
    line
}

/// Authentication data, which tests keep to text; only their number when there are many.
fn data(data: Option<&[u8]>) -> String {
    let text = data.map(|data| String::from_utf8(data.to_vec()).expect("tests authenticate with text"));
    text.map_or_else(String::new, |text| match text.len() {
        0..40 => format!(" {text:?}"),
        bytes => format!(" {bytes} bytes"),
    })
}

/// Topic and payload, then `q1`/`q2` with the packet id, `dup`, `retain`, and the properties.
fn publish_line(publish: &Publish<'_>) -> String {
    let payload = publish.payload;
    let mut line = match std::str::from_utf8(payload) {
        Ok(text) if payload.len() <= 40 => format!("{} {text:?}", publish.topic),
        _ => format!("{} {} bytes", publish.topic, payload.len()),
    };
    if let Some(packet_id) = publish.packet_id {
        write!(line, " q{} {packet_id:?}", publish.qos as u8).unwrap();
    } else {
        assert_eq!(publish.qos, QoS::AtMostOnce);
    }
    for (flag, name) in [(publish.dup, " dup"), (publish.retain, " retain")] {
        line += if flag { name } else { "" };
    }
    let properties = &publish.properties;
    if let Some(alias) = properties.topic_alias {
        write!(line, " alias={alias}").unwrap();
    }
    if let Some(utf8) = properties.payload_format_utf8 {
        write!(line, " utf8={utf8}").unwrap();
    }
    if let Some(seconds) = properties.message_expiry {
        write!(line, " expiry={seconds}").unwrap();
    }
    for (name, text) in [("response", properties.response_topic), ("type", properties.content_type)] {
        if let Some(text) = text {
            write!(line, " {name}={text}").unwrap();
        }
    }
    if let Some(data) = properties.correlation_data {
        write!(line, " correlation={data:x?}").unwrap();
    }
    if !properties.subscription_ids.is_empty() {
        write!(line, " ids={:?}", properties.subscription_ids).unwrap();
    }
    line + &user_line(&properties.user)
}

fn user_line(user: &UserProperties<'_>) -> String {
    user.iter().map(|(key, value)| format!(" {key}={value}")).collect()
}
