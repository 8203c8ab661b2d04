//! Whether this machine can run the driver: everything it needs is done once, small, and undone.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;
use std::{io, io::Write, mem::MaybeUninit};

use io_uring::types::Fd;
use io_uring::{Probe, cqueue, opcode};
use rustix::process::{Resource, getrlimit};

use super::buffers::{Buffers, GROUP};
use super::executor;
use super::options::MEMLOCK_BYTES_MIN;
use super::ring::{REAP_PER_TURN, Ring, Wait};
use super::{DriverError, DriverOptions, Placement};

/// Answers of the kernel to what the check itself asked take far less; only a broken one takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sets up a small ring with buffers, receives with it as the driver does, and starts an executor.
pub fn check() -> Result<(), DriverError> {
    let options = DriverOptions { buffer_bytes: 64, ..DriverOptions::new("check", 8) };
    let mut ring = Ring::new(&options, options.counters.clone())?;
    check_operations(&ring)?;
    let buffers = Buffers::new(ring.uring(), options.buffer_count(), options.buffer_bytes)?;
    let received = check_receive(&mut ring, &buffers);
    drop(ring); // before the buffers that it may fill
    received.map_err(|error| match error {
        // Setting up is allowed and entering is not: as good as denied.
        DriverError::Enter(error) => DriverError::setup(&error),
        other => other,
    })?;
    match getrlimit(Resource::Memlock).current {
        Some(bytes) if bytes < MEMLOCK_BYTES_MIN => return Err(DriverError::LockedMemory(bytes)),
        _ => {}
    }
    executor::start(&Placement::Unpinned).map(drop)
}

fn check_operations(ring: &Ring) -> Result<(), DriverError> {
    let mut probe = Probe::new();
    ring.uring().submitter().register_probe(&mut probe).map_err(|error| DriverError::setup(&error))?;
    for (code, name) in [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::RecvMulti::CODE, "receive"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "gathering send"),
        (opcode::Close::CODE, "close"),
        (opcode::AsyncCancel2::CODE, "cancel"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::Write::CODE, "write"),
    ] {
        if !probe.is_supported(code) {
            return Err(DriverError::KernelTooOld(name));
        }
    }
    Ok(())
}

/// Multishot accept and receive cannot be asked for by a feature bit: they are tried.
fn check_receive(ring: &mut Ring, buffers: &Buffers) -> Result<(), DriverError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DriverError::Setup)?;
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(1);
    // SAFETY: the entry points to nothing.
    unsafe { ring.push(accept) };
    let address = listener.local_addr().map_err(DriverError::Setup)?;
    let mut client = TcpStream::connect(address).map_err(DriverError::Setup)?;
    let (accepted, flags) = one_completion(ring)?;
    if accepted < 0 || !cqueue::more(flags) {
        return Err(DriverError::KernelTooOld("multishot accept"));
    }
    let receive = opcode::RecvMulti::new(Fd(accepted), GROUP).build().user_data(2);
    let close = opcode::Close::new(Fd(accepted)).build().user_data(3);
    // SAFETY: the kernel fills one of the buffers, which outlive the ring.
    unsafe { ring.push(receive) };
    client.write_all(b"ring").map_err(DriverError::Setup)?;
    let answer = one_completion(ring);
    // SAFETY: the entry points to nothing.
    unsafe { ring.push(close) };
    ring.enter(Wait::No, 0)?;
    let (received, flags) = answer?;
    match cqueue::buffer_select(flags) {
        Some(id) if received == 4 && cqueue::more(flags) && buffers.filled(id, 4) == b"ring" => Ok(()),
        _ => Err(DriverError::KernelTooOld("multishot receive into provided buffers")),
    }
}

fn one_completion(ring: &mut Ring) -> Result<(i32, u32), DriverError> {
    let mut reaped = [const { MaybeUninit::uninit() }; REAP_PER_TURN];
    for _ in 0..2 {
        // Twice: a signal may end the first wait.
        ring.enter(Wait::AtMost(PATIENCE), 0)?;
        if let [completion] = ring.reap(&mut reaped, 1) {
            return Ok((completion.result(), completion.flags()));
        }
    }
    Err(DriverError::Setup(io::ErrorKind::TimedOut.into()))
}
