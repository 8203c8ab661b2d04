//! Layers between the socket's bytes and the packets' bytes. A layer is sans-IO like everything below the drivers: bytes in, bytes out.
//!
//! A connection without a layer pays one branch per read and write for the possibility.

mod handshake;
mod web_socket;

pub use handshake::HandshakeError;
pub use web_socket::{Received, WebSocket, WebSocketError};

/// What a listener's sockets carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// MQTT packets.
    #[default]
    Tcp,
    /// HTTP, upgraded to WebSocket, with MQTT in binary messages (MQTT 5 chapter 6).
    WebSocket,
}
