//! WebSocket frames to packet bytes and back (RFC 6455 section 5, MQTT 5 chapter 6).
//!
//! Packets may lie in messages and frames as they like [MQTT-6.0.0-2]: payloads are unmasked straight into the packets' input as they come, a
//! frame is never kept. Towards the client each flush is one binary message.

use super::handshake::{self, HandshakeError, Shaken};
use crate::base::limits::WEB_SOCKET_HEAD_BYTES_MAX;
use std::fmt;

/// Bytes of the longest frame header that a client sends: two, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;
/// Bytes of the longest control frame payload (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Why a connection's WebSocket ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebSocketError {
    /// The request was not upgraded.
    Handshake(HandshakeError),
    /// A text message [MQTT-6.0.0-1].
    Text,
    /// A frame without mask (RFC 6455 section 5.1).
    Unmasked,
    /// Reserved bits or opcodes (section 5.2).
    Reserved,
    /// A control frame in fragments or over 125 bytes (section 5.5).
    Control,
    /// A continuation without a beginning, or a beginning within a message (section 5.4).
    Fragment,
    /// A length with its highest bit set (section 5.2).
    Length,
}

impl WebSocketError {
    /// The status code of the close frame (section 7.4.1).
    fn status(self) -> u16 {
        match self {
            WebSocketError::Text => 1003,
            _ => 1002,
        }
    }
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebSocketError::Handshake(error) => return error.fmt(f),
            WebSocketError::Text => {
                "a WebSocket text message: MQTT travels in binary messages [MQTT-6.0.0-1]"
            }
            WebSocketError::Unmasked => "a WebSocket frame without mask",
            WebSocketError::Reserved => "a WebSocket frame with reserved bits or opcode",
            WebSocketError::Control => "a WebSocket control frame in fragments or over 125 bytes",
            WebSocketError::Fragment => "a WebSocket message in the wrong order of fragments",
            WebSocketError::Length => "a WebSocket frame with an impossible length",
        }
        .fmt(f)
    }
}

/// What bytes from the socket came to, beside the input for packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Nothing else.
    Data,
    /// The peer has closed its side, and expects the same.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The request's head is not complete.
    Handshake,
    /// Frames.
    Open,
    /// Over: nothing more is read, nothing more is framed.
    Closed,
}

/// The frame whose payload comes next.
#[derive(Clone, Copy, Debug, Default)]
struct Incoming {
    /// Bytes of payload that are still to come.
    left: u64,
    mask: [u8; 4],
    /// How far into the mask the next byte is.
    turn: usize,
    control: Option<Control>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Control {
    Close,
    Ping,
    Pong,
}

/// One connection's WebSocket. Moves with the connection to its home shard.
#[derive(Debug)]
pub struct WebSocket {
    state: State,
    /// The request's head, a cut frame header, or a control frame's payload so far.
    partial: Vec<u8>,
    incoming: Incoming,
    /// The client has offered the subprotocol of MQTT 3.1 only.
    v31: bool,
    /// Within a message: the next data frame is a continuation.
    fragmented: bool,
    /// What this layer itself has to say: the handshake's answer, the newest pong, the close.
    answer: Vec<u8>,
}

impl Default for WebSocket {
    fn default() -> WebSocket {
        WebSocket {
            state: State::Handshake,
            partial: Vec::new(),
            incoming: Incoming::default(),
            fragmented: false,
            v31: false,
            answer: Vec::new(),
        }
    }
}

impl WebSocket {
    /// Takes all of `bytes` and appends the packets' bytes to `input`.
    ///
    /// # Errors
    /// The connection is to be closed once what [`WebSocket::trail`] gives is sent.
    pub fn receive(&mut self, mut bytes: &[u8], input: &mut Vec<u8>) -> Result<Received, WebSocketError> {
        if self.state == State::Handshake {
            return self.shake(bytes);
        }
        while !bytes.is_empty() && self.state == State::Open {
            if self.incoming.left > 0 {
                self.payload(&mut bytes, input);
            } else if let Err(error) = self.header(&mut bytes) {
                self.close(error.status());
                return Err(error);
            }
        }
        Ok(if self.state == State::Closed { Received::Closed } else { Received::Data })
    }

    fn shake(&mut self, bytes: &[u8]) -> Result<Received, WebSocketError> {
        self.partial.extend_from_slice(bytes);
        let (state, result) = match handshake::answer(&self.partial, WEB_SOCKET_HEAD_BYTES_MAX) {
            Shaken::Partial => return Ok(Received::Data),
            Shaken::Accepted { answer, v31 } => {
                self.answer = answer;
                self.v31 = v31;
                (State::Open, Ok(Received::Data))
            }
            Shaken::Refused(error, answer) => {
                self.answer = answer;
                (State::Closed, Err(WebSocketError::Handshake(error)))
            }
        };
        self.partial = Vec::new();
        self.state = state;
        result
    }

    /// Reads a frame header, as far as `bytes` last.
    fn header(&mut self, bytes: &mut &[u8]) -> Result<(), WebSocketError> {
        let held = self.partial.len();
        let mut header = [0; HEADER_BYTES_MAX];
        header[..held].copy_from_slice(&self.partial);
        let more = bytes.len().min(HEADER_BYTES_MAX - held);
        header[held..held + more].copy_from_slice(&bytes[..more]);
        let available = held + more;
        let length_bytes = match header[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let needed = if available < 2 { 2 } else { 2 + length_bytes + 4 };
        if available >= 2 && header[1] & 0x80 == 0 {
            return Err(WebSocketError::Unmasked);
        }
        if available < needed {
            self.partial.extend_from_slice(&bytes[..more]);
            *bytes = &[];
            return Ok(());
        }
        *bytes = &bytes[needed - held..];
        self.partial.clear();
        self.begin(&header, length_bytes)
    }

    /// A frame with this header begins.
    fn begin(&mut self, header: &[u8; HEADER_BYTES_MAX], length_bytes: usize) -> Result<(), WebSocketError> {
        let (first, last) = (header[0], header[0] & 0x80 != 0);
        if first & 0x70 != 0 {
            return Err(WebSocketError::Reserved);
        }
        let left = match length_bytes {
            0 => u64::from(header[1] & 0x7F),
            _ => header[2..2 + length_bytes].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if left >> 63 != 0 {
            return Err(WebSocketError::Length);
        }
        let control = match first & 0x0F {
            0x0 | 0x2 => None,
            0x1 => return Err(WebSocketError::Text),
            0x8 => Some(Control::Close),
            0x9 => Some(Control::Ping),
            0xA => Some(Control::Pong),
            _ => return Err(WebSocketError::Reserved),
        };
        if control.is_some() && (!last || left > CONTROL_BYTES_MAX as u64) {
            return Err(WebSocketError::Control);
        }
        if control.is_none() {
            if self.fragmented != (first & 0x0F == 0x0) {
                return Err(WebSocketError::Fragment);
            }
            self.fragmented = !last;
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&header[2 + length_bytes..6 + length_bytes]);
        self.incoming = Incoming { left, mask, turn: 0, control };
        if left == 0 {
            self.end_of_frame();
        }
        Ok(())
    }

    /// Takes payload, as far as the frame and `bytes` last.
    fn payload(&mut self, bytes: &mut &[u8], input: &mut Vec<u8>) {
        let incoming = &mut self.incoming;
        let taken = usize::try_from(incoming.left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(taken);
        let into = if incoming.control.is_some() { &mut self.partial } else { input };
        unmask(payload, incoming.mask, incoming.turn, into);
        incoming.turn = (incoming.turn + taken) % 4;
        incoming.left -= taken as u64;
        *bytes = rest;
        if incoming.left == 0 {
            self.end_of_frame();
        }
    }

    fn end_of_frame(&mut self) {
        match self.incoming.control.take() {
            None | Some(Control::Pong) => {}
            Some(Control::Ping) => {
                // Of several pings the newest may be answered alone (RFC 6455 section 5.5.3): this is all that a peer can make us hold.
                self.answer.clear();
                put_header(0x8A, self.partial.len(), &mut self.answer);
                self.answer.extend_from_slice(&self.partial);
            }
            Some(Control::Close) => {
                let status = self.partial.first_chunk().map_or(1000, |status| u16::from_be_bytes(*status));
                self.close(status);
            }
        }
        self.partial = Vec::new();
    }

    /// Nothing is read or framed from here on; the peer is told with `status`.
    pub fn close(&mut self, status: u16) {
        if std::mem::replace(&mut self.state, State::Closed) == State::Open {
            put_header(0x88, 2, &mut self.answer);
            self.answer.extend_from_slice(&status.to_be_bytes());
        }
    }

    /// Whether the subprotocol that was agreed on is that of MQTT 3.1, which nothing newer may use [MQTT-6.0.0-4].
    pub fn is_v31_only(&self) -> bool {
        self.v31
    }

    /// Whether the layer itself has something to send.
    pub fn has_answer(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Appends to `lead` what has to stand before `packets_bytes` bytes of packets: they become one binary message. What the layer itself
    /// has to say goes first, unless it is the end, which [`WebSocket::trail`] gives.
    pub fn lead(&mut self, packets_bytes: usize, lead: &mut Vec<u8>) {
        if self.state != State::Closed {
            lead.append(&mut self.answer);
        }
        if packets_bytes > 0 {
            put_header(0x82, packets_bytes, lead);
        }
    }

    /// Appends what follows the packets: at the end the close frame, or the refusal of the handshake.
    pub fn trail(&mut self, trail: &mut Vec<u8>) {
        trail.append(&mut self.answer);
    }
}

/// A server's frame header: last of its message, without mask.
fn put_header(first: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    out.push(first);
    if payload_bytes <= CONTROL_BYTES_MAX {
        out.push(payload_bytes as u8);
    } else if let Ok(short) = u16::try_from(payload_bytes) {
        out.push(126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

fn unmask(payload: &[u8], mut mask: [u8; 4], turn: usize, into: &mut Vec<u8>) {
    mask.rotate_left(turn);
    let start = into.len();
    into.extend_from_slice(payload);
    let mut words = into[start..].chunks_exact_mut(4);
    for word in &mut words {
        for (byte, mask) in word.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
