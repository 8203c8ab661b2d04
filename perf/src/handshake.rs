//! CONNECT and SUBSCRIBE, one connection after the other, before the traffic starts; through the engine's codec.

use crate::dial::Dialer;
use crate::error::BenchError;
use crate::frame::RawFrame;
use crate::limits::{CONTESTED_EXPIRY_SECS, FILTERS_PER_SUBSCRIBE, KEEP_ALIVE_SECS, PACKET_BYTES_MAX};
use crate::publisher::Template;
use crate::stamp::FILLER;
use shardmq_shards::wire::{
    Connack, Connect, Disconnect, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Split,
    Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, UserProperties, Version, split,
};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connected client on a blocking socket.
pub struct Client {
    stream: TcpStream,
    name: String,
    version: Version,
    /// Bytes read and not yet handled.
    unread: Vec<u8>,
    /// QoS > 0 messages that the broker takes unacknowledged.
    pub receive_maximum: u16,
    /// Whether the broker had a session for it; 3.1 does not tell.
    pub resumed: bool,
}

impl Client {
    /// Opens a connection as client `name` and waits at most `limit` for its CONNACK.
    pub fn connect(
        dialer: &mut Dialer,
        name: String,
        version: Version,
        limit: Duration,
    ) -> Result<Client, BenchError> {
        let hello = connect_packet(&name, version);
        Client::greet(dialer, name, (version, &hello), limit)
    }

    /// Opens a connection, sends the CONNECT `hello`, which is in this version, and waits at most `limit` for its CONNACK.
    pub fn greet(
        dialer: &mut Dialer,
        name: String,
        (version, hello): (Version, &[u8]),
        limit: Duration,
    ) -> Result<Client, BenchError> {
        let stream = dialer.open(limit)?;
        let (unread, receive_maximum) = (Vec::new(), u16::MAX);
        let mut client = Client { stream, name, version, unread, receive_maximum, resumed: false };
        client.send(hello)?;
        (client.receive_maximum, client.resumed) = client.expect("CONNACK", |packet| match packet {
            Packet::Connack(connack) => {
                let resumed = connack.session_present;
                Some(check_connack(&connack).map(|receive_maximum| (receive_maximum, resumed)))
            }
            _ => None,
        })?;
        Ok(client)
    }

    /// Subscribes to `filters`, each to be granted at exactly `qos`.
    pub fn subscribe(&mut self, filters: &[String], qos: QoS) -> Result<(), BenchError> {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let packet_id = PacketId::new(1).expect("1 is not 0");
        for part in filters.chunks(FILTERS_PER_SUBSCRIBE) {
            let entries: Vec<_> = part.iter().map(|filter| SubscribeFilter { filter, options }).collect();
            let packet = Subscribe {
                packet_id,
                subscription_id: None,
                user: UserProperties::default(),
                filters: SubscribeFilters::from_slice(&entries),
            };
            let mut bytes = Vec::new();
            packet.encode(self.version, &mut bytes);
            self.send(&bytes)?;
            self.expect("SUBACK", |packet| match packet {
                Packet::Suback(suback) if suback.packet_id != packet_id => {
                    Some(Err("SUBACK for another id".into()))
                }
                Packet::Suback(suback) if suback.codes.len() != part.len() => {
                    Some(Err(format!("SUBACK with {} codes for {} filters", suback.codes.len(), part.len())))
                }
                Packet::Suback(suback) => {
                    Some(match suback.codes.iter().position(|&code| code != qos as u8) {
                        Some(at) => Err(format!("{} granted {:#04x}", part[at], suback.codes[at])),
                        None => Ok(()),
                    })
                }
                _ => None,
            })?;
        }
        Ok(())
    }

    /// Sends bytes and waits until the kernel has them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        self.stream.write_all(bytes).map_err(|error| self.broken(error, "room to send"))
    }

    /// Asks for a PINGRESP: proof that the broker has handled everything before it.
    pub fn ping(&mut self) -> Result<(), BenchError> {
        self.send(&[0xc0, 0])?;
        self.expect("PINGRESP", |packet| matches!(packet, Packet::Pingresp).then_some(Ok(())))
    }

    /// Makes the kernel hold at most about `bytes` that have not been read.
    pub fn limit_receive_buffer(&self, bytes: usize) -> Result<(), BenchError> {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, bytes)
            .map_err(|error| BenchError::system("SO_RCVBUF", error))
    }

    /// Whether the broker has neither closed the connection nor sent anything.
    pub fn is_quiet(&self) -> bool {
        let _ = self.stream.set_nonblocking(true);
        let quiet = matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        let _ = self.stream.set_nonblocking(false);
        quiet
    }

    /// Says goodbye and closes.
    pub fn disconnect(mut self) -> Result<(), BenchError> {
        self.send(&disconnect_packet(self.version))
    }

    /// The socket, not blocking any more, and what was read too much.
    pub fn into_parts(self) -> Result<(TcpStream, Vec<u8>), BenchError> {
        let system = |error| BenchError::system("preparing a socket", error);
        self.stream.set_nonblocking(true).map_err(system)?;
        Ok((self.stream, self.unread))
    }

    /// Reads the next packet; `want` says whether it is the one (`None`: it is not) and what it is worth.
    fn expect<T>(
        &mut self,
        waiting_for: &'static str,
        want: impl FnOnce(Packet<'_>) -> Option<Result<T, String>>,
    ) -> Result<T, BenchError> {
        let wire = |what: String, name: &str| BenchError::Protocol { who: name.into(), what };
        loop {
            match split(&self.unread, PACKET_BYTES_MAX) {
                Ok(Split::Whole(frame)) => {
                    let bytes = frame.wire_bytes();
                    let packet = Packet::decode(frame, self.version)
                        .map_err(|violation| wire(violation.to_string(), &self.name))?;
                    let text = format!("{:?} instead of {waiting_for}", packet.packet_type());
                    let outcome = want(packet).unwrap_or(Err(text)).map_err(|what| wire(what, &self.name))?;
                    self.unread.drain(..bytes);
                    return Ok(outcome);
                }
                Ok(Split::Partial { .. }) => {
                    let mut chunk = [0; 4096];
                    match self.stream.read(&mut chunk) {
                        Ok(0) => return Err(BenchError::Closed { who: self.name.clone() }),
                        Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                        Err(error) => return Err(self.broken(error, waiting_for)),
                    }
                }
                Err(violation) => return Err(wire(violation.to_string(), &self.name)),
            }
        }
    }

    fn broken(&self, error: std::io::Error, waiting_for: &'static str) -> BenchError {
        let who = self.name.clone();
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => BenchError::Timeout { who, waiting_for },
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => BenchError::Closed { who },
            _ => BenchError::system(format!("{who}: {waiting_for}"), error),
        }
    }
}

/// The Receive Maximum that an accepting CONNACK grants; else what was refused.
pub fn check_connack(connack: &Connack<'_>) -> Result<u16, String> {
    if connack.reason != ReasonCode::Success {
        return Err(format!("CONNECT refused: {:?}", connack.reason));
    }
    Ok(connack.properties.receive_maximum.map_or(u16::MAX, std::num::NonZeroU16::get))
}

/// Whether an accepting CONNACK resumes a session.
pub fn read_connack(frame: RawFrame<'_>, version: Version) -> Result<bool, String> {
    let mut bytes = vec![frame.first];
    let mut length = frame.body.len();
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(frame.body);
    let Ok(Split::Whole(frame)) = split(&bytes, PACKET_BYTES_MAX) else {
        return Err("malformed CONNACK".into());
    };
    match Packet::decode(frame, version).map_err(|violation| violation.to_string())? {
        Packet::Connack(connack) => check_connack(&connack).map(|_| connack.session_present),
        other => Err(format!("{:?} instead of CONNACK", other.packet_type())),
    }
}

/// CONNECT for a clean session.
pub fn connect_packet(name: &str, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect { keep_alive: KEEP_ALIVE_SECS, ..Connect::new(version, name, true) }.encode(&mut bytes);
    bytes
}

/// CONNECT for a session that outlives its connections.
pub fn contested_packet(name: &str, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut connect = Connect { keep_alive: KEEP_ALIVE_SECS, ..Connect::new(version, name, false) };
    if version.is_v5() {
        connect.properties.session_expiry = Some(CONTESTED_EXPIRY_SECS);
    }
    connect.encode(&mut bytes);
    bytes
}

/// DISCONNECT, normal.
pub fn disconnect_packet(version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    Disconnect::new(ReasonCode::Success).encode(version, &mut bytes);
    bytes
}

/// The PUBLISH that a publisher sends again and again.
pub fn publish_template(topic: &str, qos: QoS, payload_bytes: u32, version: Version) -> Template {
    let payload = vec![FILLER; payload_bytes as usize];
    let packet_id = (qos != QoS::AtMostOnce).then(|| PacketId::new(1).expect("1 is not 0"));
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        properties: PublishProperties::default(),
        payload: &payload,
    };
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes);
    let payload_at = bytes.len() - payload.len();
    let packet_id_at = packet_id.map(|_| payload_at - usize::from(version.is_v5()) - 2);
    let topic_end = packet_id_at.unwrap_or(payload_at - usize::from(version.is_v5()));
    Template { bytes, packet_id_at, payload_at, topic: topic_end - topic.len()..topic_end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_knows_its_places() {
        for version in Version::ALL {
            for qos in QoS::ALL {
                let template = publish_template("a/topic", qos, 300, version);
                let mut bytes = template.bytes.clone();
                assert_eq!(&bytes[template.topic.clone()], b"a/topic");
                if let Some(at) = template.packet_id_at {
                    bytes[at..at + 2].copy_from_slice(&[0x12, 0x34]);
                }
                bytes[template.payload_at] = 1;
                let Ok(Split::Whole(frame)) = split(&bytes, PACKET_BYTES_MAX) else {
                    panic!("one whole packet")
                };
                let publish = Publish::decode(frame, version).unwrap();
                assert_eq!(publish.packet_id.map(PacketId::get), (qos != QoS::AtMostOnce).then_some(0x1234));
                assert_eq!((publish.payload.len(), publish.payload[0]), (300, 1));
            }
        }
    }
}
