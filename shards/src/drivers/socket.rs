//! Listening sockets and the options that every connection gets, for all drivers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Connections that may wait in the kernel for their accept, per listener; the kernel caps it by net.core.somaxconn.
///
/// A broker restart brings every client back at once, and a refused SYN costs its client a second.
pub const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug)]
pub enum ListenError {
    /// Another socket listens there, of this process or another.
    PortInUse(SocketAddr),
    /// A port below 1024 without the privilege, or a security policy.
    Denied(SocketAddr),
    /// The machine has no such address.
    NoSuchAddress(SocketAddr),
    /// Anything else: the step that failed and the system's reason.
    Failed(SocketAddr, &'static str, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::PortInUse(address) => {
                write!(f, "cannot listen on {address}: port in use, another process already listens there")
            }
            ListenError::Denied(address) => write!(
                f,
                "cannot listen on {address}: permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)"
            ),
            ListenError::NoSuchAddress(address) => {
                write!(f, "cannot listen on {address}: this machine has no such address")
            }
            ListenError::Failed(address, step, error) => {
                write!(f, "cannot listen on {address}: {step}: {error}")
            }
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ListenError::Failed(_, _, error) => Some(error),
            _ => None,
        }
    }
}

fn failed(address: SocketAddr, step: &'static str) -> impl Fn(Errno) -> ListenError {
    move |errno| match errno {
        Errno::ADDRINUSE => ListenError::PortInUse(address),
        Errno::ACCESS | Errno::PERM => ListenError::Denied(address),
        Errno::ADDRNOTAVAIL => ListenError::NoSuchAddress(address),
        _ => ListenError::Failed(address, step, errno.into()),
    }
}

/// One listening socket per shard on `address`, over which the kernel spreads the connections (SO_REUSEPORT).
///
/// Returns the address with the port that was chosen if it was 0. A second broker on the port would silently share its
/// connections, so a bind without SO_REUSEPORT first shows that nobody else holds it.
pub fn listen_per_shard(
    address: SocketAddr,
    shards: usize,
) -> Result<(SocketAddr, Vec<OwnedFd>), ListenError> {
    let address = probe(address)?;
    let sockets = (0..shards).map(|_| listen(address)).collect::<Result<_, _>>()?;
    Ok((address, sockets))
}

/// Binds and listens without SO_REUSEPORT, and lets go again.
fn probe(address: SocketAddr) -> Result<SocketAddr, ListenError> {
    let socket = bind(address, false)?;
    // Only listening proves it: SO_REUSEADDR lets two sockets bind as long as neither listens.
    rustix::net::listen(&socket, 1).map_err(failed(address, "listen"))?;
    local_address(&socket).map_err(failed(address, "getsockname"))
}

/// One more socket on a port that this process holds already.
fn listen(address: SocketAddr) -> Result<OwnedFd, ListenError> {
    let socket = bind(address, true)?;
    // Accepted sockets inherit it: no call per connection. A broker writes whole packets, once per turn.
    sockopt::set_tcp_nodelay(&socket, true).map_err(failed(address, "TCP_NODELAY"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed(address, "listen"))?;
    Ok(socket)
}

fn bind(address: SocketAddr, shared: bool) -> Result<OwnedFd, ListenError> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .map_err(failed(address, "socket"))?;
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true).map_err(failed(address, "SO_REUSEADDR"))?;
    if shared {
        sockopt::set_socket_reuseport(&socket, true).map_err(failed(address, "SO_REUSEPORT"))?;
    }
    rustix::net::bind(&socket, &address).map_err(failed(address, "bind"))?;
    Ok(socket)
}

/// The address that a socket is bound to.
pub fn local_address(socket: impl AsFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(rustix::net::getsockname(socket)?)
}

/// The address of a connected socket's peer; fails with ENOTCONN when it was reset before it was accepted.
pub fn peer_address(socket: impl AsFd) -> Result<SocketAddr, Errno> {
    let address = rustix::net::getpeername(socket)?.ok_or(Errno::NOTCONN)?;
    SocketAddr::try_from(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::OFlags;
    use rustix::io::FdFlags;
    use std::net::{TcpListener, TcpStream};

    const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    #[test]
    fn shards_share_a_port_that_nobody_else_held() {
        let (address, sockets) = listen_per_shard(ANY_PORT.into(), 3).expect("a free port");
        assert_ne!(address.port(), 0);
        assert!(sockets.iter().all(|socket| local_address(socket) == Ok(address)));
        TcpStream::connect(address).expect("one of the three listens");
    }

    #[test]
    fn a_port_held_by_another_is_in_use_even_if_it_is_shared() {
        let (address, _held) = listen_per_shard(ANY_PORT.into(), 1).expect("a free port");
        let error = listen_per_shard(address, 1).expect_err("the port is held with SO_REUSEPORT");
        assert!(matches!(error, ListenError::PortInUse(at) if at == address), "{error}");

        let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let error = listen_per_shard(plain.local_addr().expect("bound"), 1).expect_err("the port is held");
        assert!(error.to_string().contains("port in use"), "{error}");
    }

    #[test]
    fn a_restart_does_not_wait_for_time_wait() {
        let (address, sockets) = listen_per_shard(ANY_PORT.into(), 1).expect("a free port");
        let client = TcpStream::connect(address).expect("the listener listens");
        let accepted = TcpListener::from(sockets.into_iter().next().expect("one socket"));
        accepted.set_nonblocking(false).expect("the socket is open");
        // The server side closes first, so its end of the connection is the one left in TIME_WAIT.
        drop(accepted.accept().expect("a connection waits"));
        drop((accepted, client));
        listen_per_shard(address, 1).expect("TIME_WAIT does not hold the port");
    }

    #[test]
    fn accepted_sockets_inherit_nodelay_and_sockets_stay_in_this_process() {
        let (address, sockets) = listen_per_shard(ANY_PORT.into(), 1).expect("a free port");
        assert!(rustix::fs::fcntl_getfl(&sockets[0]).expect("open").contains(OFlags::NONBLOCK));
        assert!(rustix::io::fcntl_getfd(&sockets[0]).expect("open").contains(FdFlags::CLOEXEC));
        let client = TcpStream::connect(address).expect("the listener listens");
        let accepted = rustix::net::accept(&sockets[0]).expect("a connection waits");
        assert!(sockopt::tcp_nodelay(&accepted).expect("open"));
        assert_eq!(peer_address(&accepted), Ok(client.local_addr().expect("connected")));
    }

    #[test]
    fn an_address_of_another_machine_is_named_as_such() {
        let error = listen_per_shard(([192, 0, 2, 1], 0).into(), 1).expect_err("TEST-NET-1 is nobody's");
        assert!(matches!(error, ListenError::NoSuchAddress(_)), "{error}");
    }
}
