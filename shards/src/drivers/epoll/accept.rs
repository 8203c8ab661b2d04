//! New connections: bounded per turn, left in the kernel's backlog when there are too many, never a spin on errors.

use super::Loop;
use super::poller::Interest;
use crate::base::limits::ACCEPT_BACKOFF;
use crate::base::time::Time;
use crate::drivers::driven::Driven;
use crate::mesh::ListenerId;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Connections accepted per listener and turn: a burst of clients does not hold up those already connected.
const ACCEPTS_PER_TURN: usize = 64;

/// One listening socket of this shard.
pub(super) struct Listener {
    id: ListenerId,
    fd: OwnedFd,
    watched: bool,
    /// Accepting failed for want of descriptors or memory; nothing is accepted before.
    paused_until: Option<Time>,
}

impl Listener {
    pub fn new(id: ListenerId, fd: OwnedFd) -> Listener {
        Listener { id, fd, watched: false, paused_until: None }
    }
}

/// The token of a listener: no connection has it, a slab never fills its last index.
fn listener_token(index: usize) -> u64 {
    (index as u64 + 1) << 32 | u64::from(u32::MAX)
}

/// The index of the listener that `token` names, if it names one.
pub(super) fn listener_of(token: u64) -> Option<usize> {
    let above = (token >> 32) as usize;
    (token as u32 == u32::MAX && above > 0).then(|| above - 1)
}

impl<D: Driven> Loop<D> {
    /// Watches the listeners while new connections are welcome; once per turn.
    pub(super) fn tend_listeners(&mut self, now: Time) -> io::Result<()> {
        if self.core.is_stopping() {
            // Closing them makes the kernel refuse at once what would otherwise wait in vain.
            self.listeners.clear();
            return Ok(());
        }
        let welcome = self.core.accepts();
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.paused_until.is_some_and(|until| until <= now) {
                listener.paused_until = None;
            }
            let watch = welcome && listener.paused_until.is_none();
            if watch == listener.watched {
                continue;
            }
            if watch {
                self.poller.add(&listener.fd, listener_token(index), Interest::READ)?;
            } else {
                self.poller.remove(&listener.fd)?;
            }
            listener.watched = watch;
        }
        Ok(())
    }

    /// When accepting goes on after a failure.
    pub(super) fn accept_deadline(&self) -> Option<Time> {
        self.listeners.iter().filter_map(|listener| listener.paused_until).min()
    }

    /// Accepts what waits at one listener.
    pub(super) fn accept(&mut self, now: Time, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get_mut(index) else { return };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(&listener.fd, flags) {
                Ok((fd, peer)) => {
                    // A peer without an address was reset while it waited.
                    let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else { continue };
                    let key = self.core.handle_accept(now, listener.id, peer);
                    self.links.insert(key, fd);
                }
                Err(Errno::AGAIN) => return,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    self.counters.accept_back_offs += 1;
                    listener.paused_until = Some(now + ACCEPT_BACKOFF);
                    tracing::warn!(
                        "cannot accept connections for {ACCEPT_BACKOFF:?}: {error}; see `ulimit -n` and the sysctl fs.file-max"
                    );
                    return;
                }
                // What remains is one connection's own trouble (accept(2) lists it): it is gone, the next may be fine.
                Err(error) => tracing::debug!("a connection failed before it was accepted: {error}"),
            }
        }
    }
}
