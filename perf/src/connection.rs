//! One connection in traffic: a socket, the role behind it, and nothing that an idle one would need.

use crate::exchange::Role;
use crate::limits::{PARTIAL_BYTES_KEPT, READ_BYTES_MAX, UNSENT_BYTES_MAX};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// So many bytes lie at the beginning of the buffer, the remembered part of a packet included.
    Bytes(usize),
    /// Nothing is there.
    Nothing,
    /// The peer has closed, or the socket failed.
    End,
}

/// A connection of the traffic loop.
pub struct Connection {
    /// Its socket, not blocking.
    pub stream: TcpStream,
    /// Who speaks over it.
    pub role: Role,
    /// The beginning of a packet whose rest has not arrived.
    partial: Vec<u8>,
    /// Bytes that the kernel did not take.
    unsent: Vec<u8>,
}

impl Connection {
    /// A connection over `stream` from which `unread` has already been read.
    pub fn new(stream: TcpStream, role: Role, unread: Vec<u8>) -> Connection {
        Connection { stream, role, partial: unread, unsent: Vec::new() }
    }

    /// Whether bytes wait for the socket to take them.
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads once into `buffer`, behind the part of a packet that was kept; both fit, since a part is shorter than a packet.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> Arrived {
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        match self.stream.read(&mut buffer[kept..kept + READ_BYTES_MAX]) {
            Ok(0) => Arrived::End,
            Ok(count) => {
                self.partial.clear();
                Arrived::Bytes(kept + count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Arrived::Nothing
            }
            Err(_) => Arrived::End,
        }
    }

    /// Keeps the beginning of a packet for the next read.
    #[inline]
    pub fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() && self.partial.capacity() > PARTIAL_BYTES_KEPT {
            self.partial = Vec::new();
        }
        self.partial.extend_from_slice(rest);
    }

    /// Sends `bytes` after what is already waiting; what the kernel does not take waits. False: the socket failed.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let mut sent = 0;
        if self.unsent.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => sent = count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return false,
            }
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
        self.unsent.len() <= UNSENT_BYTES_MAX
    }

    /// Sends what is waiting. False: the socket failed.
    pub fn flush(&mut self) -> bool {
        match self.stream.write(&self.unsent) {
            Ok(count) if count == self.unsent.len() => self.unsent = Vec::new(),
            Ok(count) => {
                self.unsent.drain(..count);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return false,
        }
        true
    }
}
