//! A socket that does not block, with the codec on it.

use super::limits::{PACKET_BYTES_MAX, READ_BYTES};
use shardmq_shards::wire::{Packet, Split, Version, split};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// One connection to the broker.
pub struct Link {
    stream: TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    has_ended: bool,
}

impl Link {
    /// Opens a connection; on the loopback that never waits.
    pub fn open(target: SocketAddr) -> io::Result<Link> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Link { stream, unread: Vec::new(), unsent: Vec::new(), has_ended: false })
    }

    /// To be polled for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether the broker has closed it, or its process is gone, and all that had arrived is read.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Sends after what is already waiting.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.flush();
    }

    /// Sends what is waiting. A failure shows when the link is read: what has arrived before it still counts.
    pub fn flush(&mut self) {
        if let Ok(sent) = self.stream.write(&self.unsent) {
            self.unsent.drain(..sent);
        }
    }

    /// Reads all that is there.
    pub fn fill(&mut self) {
        let mut chunk = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.has_ended = true;
    }

    /// Hands the packets that were read to `handle`, which may answer into its second argument; the text says what is no packet.
    pub fn take_packets(
        &mut self,
        version: Version,
        mut handle: impl FnMut(Packet<'_>, &mut Vec<u8>),
    ) -> Result<(), String> {
        let (mut at, mut answers) = (0, Vec::new());
        let outcome = loop {
            match split(&self.unread[at..], PACKET_BYTES_MAX) {
                Ok(Split::Whole(frame)) => match Packet::decode(frame, version) {
                    Ok(packet) => {
                        handle(packet, &mut answers);
                        at += frame.wire_bytes();
                    }
                    Err(violation) => break Err(violation.to_string()),
                },
                Ok(Split::Partial { .. }) => break Ok(()),
                Err(violation) => break Err(violation.to_string()),
            }
        };
        self.unread.drain(..at);
        if !answers.is_empty() {
            self.send(&answers);
        }
        outcome
    }
}
