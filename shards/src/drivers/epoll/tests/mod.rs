//! The loop on real sockets, driven by a scripted core; each rare state is shown to be reached by a counter.

mod script;

use super::*;
use crate::drivers::socket::listen_per_shard;
use crate::mesh::ListenerId;
use crate::shard::{Action, CloseMode, End};
use rustix::net::sockopt;
use script::Script;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// No state takes longer to reach, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A script on a loop with a listener, turned by the test itself.
struct Rig {
    shard: Loop<Script>,
    address: SocketAddr,
    clock: Clock,
}

impl Rig {
    fn new(script: Script) -> Rig {
        let (address, sockets) = listen_per_shard(([127, 0, 0, 1], 0).into(), 1).expect("a free port");
        let listeners = sockets.into_iter().map(|socket| (ListenerId(0), socket)).collect();
        let bell = EventFd::new().expect("descriptors are available");
        let shard = Loop::new(script, listeners, bell).expect("epoll works everywhere");
        Rig { shard, address, clock: Clock::start() }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    /// One turn; how many events it had.
    fn turn(&mut self) -> usize {
        let events = self.shard.poller.wait(Duration::from_millis(2)).expect("epoll waits");
        self.shard.turn(self.now(), events).expect("epoll works");
        events
    }

    fn turn_until(&mut self, what: &str, reached: impl Fn(&mut Loop<Script>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached(&mut self.shard) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            self.turn();
        }
    }

    /// A connected client and its key.
    fn connect(&mut self) -> (TcpStream, ConnectionKey) {
        let accepted = self.shard.core.accepted.len();
        let stream = TcpStream::connect(self.address).expect("the loop listens");
        self.turn_until("the connection is accepted", |shard| shard.core.accepted.len() > accepted);
        (stream, self.shard.core.accepted[accepted])
    }

    /// Reads `bytes` bytes at the client's side while the loop turns.
    fn read(&mut self, stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
        stream.set_nonblocking(true).expect("it is open");
        let (mut all, mut chunk) = (Vec::new(), [0; 8_192]);
        let deadline = Instant::now() + PATIENCE;
        while all.len() < bytes {
            assert!(Instant::now() < deadline, "{} of {bytes} bytes came", all.len());
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => all.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.turn();
                }
                Err(error) => panic!("{error}"),
            }
        }
        all
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 % 253) as u8).collect()
}

#[test]
fn what_the_socket_does_not_take_follows_in_order() {
    let mut rig = Rig::new(Script::default());
    let (mut stream, key) = rig.connect();
    let all = pattern(12_000_000);
    let (whole, pieces) = all.split_at(6_000_000);
    rig.shard.core.send(key, vec![whole.to_vec()]);
    rig.shard.core.send(key, pieces.chunks(10_000).map(<[u8]>::to_vec).collect());
    rig.turn_until("a send is blocked", |shard| shard.counters.blocked_sends > 0);
    assert!(rig.read(&mut stream, all.len()) == all, "every byte in its place");
    rig.turn_until("all is reported", |shard| shard.core.client(key).sent == all.len());
    // Room to write is there now, and must not wake the loop any more.
    rig.turn();
    assert_eq!(rig.turn(), 0);
}

#[test]
fn a_pause_in_mid_burst_stops_the_input_and_loses_nothing() {
    let mut rig = Rig::new(Script { pause_on_input: true, ..Script::default() });
    let (mut stream, key) = rig.connect();
    let all = pattern(1_000_000);
    let writer = {
        let all = all.clone();
        std::thread::spawn(move || stream.write_all(&all).map(|()| stream))
    };
    rig.turn_until("input comes", |shard| !shard.core.client(key).input.is_empty());
    let first = rig.shard.core.client(key).input.len();
    for _ in 0..20 {
        rig.turn();
    }
    assert_eq!(rig.shard.core.client(key).input.len(), first, "paused");
    assert!(first <= receive::RECEIVE_BYTES);
    assert_eq!(rig.turn(), 0, "input that nobody wants does not wake");
    rig.shard.core.pause_on_input = false;
    rig.shard.core.actions.push_back(Action::Read(key));
    rig.turn_until("all has come", |shard| shard.core.client(key).input.len() == all.len());
    assert!(rig.shard.core.client(key).input == all);
    writer.join().expect("no panic").expect("the loop reads");
}

#[test]
fn a_connection_that_dies_unread_is_reported_once_and_does_not_spin() {
    let mut rig = Rig::new(Script { unread: true, ..Script::default() });
    let (stream, key) = rig.connect();
    // Watched once, then paused: only such a connection is in the set.
    rig.shard.core.actions.extend([Action::Read(key), Action::Pause(key)]);
    rig.turn();
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("it is open");
    drop(stream);
    rig.turn_until("its death is seen", |shard| shard.core.client(key).end == Some(End::Failed));
    assert_eq!(rig.shard.counters.died_unread, 1);
    assert_eq!(rig.turn(), 0);
    rig.shard.core.actions.push_back(Action::Close(key, CloseMode::Now));
    rig.turn_until("it is closed", |shard| shard.links.is_empty());
}

#[test]
fn one_receive_is_one_receive() {
    let mut rig = Rig::new(Script { unread: true, ..Script::default() });
    let (mut stream, key) = rig.connect();
    rig.shard.core.actions.push_back(Action::ReadOnce(key));
    stream.write_all(b"first").expect("it is open");
    rig.turn_until("the first comes", |shard| shard.core.client(key).input == b"first");
    stream.write_all(b"second").expect("it is open");
    for _ in 0..10 {
        rig.turn();
    }
    assert_eq!(rig.shard.core.client(key).input, b"first");
    rig.shard.core.actions.push_back(Action::ReadOnce(key));
    rig.turn_until("the second comes", |shard| shard.core.client(key).input == b"firstsecond");
}

#[test]
fn last_words_arrive_although_the_peer_goes_on_sending() {
    let mut rig = Rig::new(Script { pause_on_input: true, ..Script::default() });
    let (mut stream, key) = rig.connect();
    stream.write_all(&pattern(200_000)).expect("it is open");
    rig.turn_until("input comes", |shard| !shard.core.client(key).input.is_empty());
    let words = pattern(50_000);
    rig.shard.core.send(key, vec![words.clone()]);
    rig.shard.core.actions.push_back(Action::Close(key, CloseMode::Flush));
    rig.turn();
    stream.write_all(b"more").expect("the socket is not reset yet");
    // One byte more than there is: reads to the end.
    assert!(rig.read(&mut stream, words.len() + 1) == words);
    drop(stream);
    rig.turn_until("it is closed", |shard| shard.links.is_empty());
}

#[test]
fn a_peer_that_never_closes_is_closed_after_a_moment() {
    let mut rig = Rig::new(Script::default());
    let (_stream, key) = rig.connect();
    rig.shard.core.send(key, vec![b"goodbye".to_vec()]);
    rig.shard.core.actions.push_back(Action::Close(key, CloseMode::Flush));
    let started = Instant::now();
    rig.turn_until("it is closed", |shard| shard.links.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_socket_moves_to_another_loop() {
    let mut from = Rig::new(Script { unread: true, ..Script::default() });
    let mut to = Rig::new(Script::default());
    let (mut stream, key) = from.connect();
    stream.write_all(b"before").expect("it is open");
    from.shard.core.actions.extend([Action::ReadOnce(key), Action::Detach(key)]);
    from.turn_until("it is let go", |shard| !shard.core.detached.is_empty());
    assert!(from.shard.links.is_empty());
    let key = to.shard.core.insert();
    let socket = from.shard.core.detached[0];
    to.shard.core.actions.extend([Action::Attach(key, socket), Action::Read(key)]);
    to.turn_until("its bytes come", |shard| shard.core.client(key).input == b"before");
    to.shard.core.send(key, vec![b"after".to_vec()]);
    assert_eq!(to.read(&mut stream, 5), b"after");
}

#[test]
fn unwelcome_connections_wait_in_the_kernel() {
    let mut rig = Rig::new(Script { refuses: true, ..Script::default() });
    rig.turn();
    let _stream = TcpStream::connect(rig.address).expect("the kernel takes it");
    for _ in 0..10 {
        assert_eq!(rig.turn(), 0);
    }
    rig.shard.core.refuses = false;
    rig.turn_until("it is accepted", |shard| shard.core.accepted.len() == 1);
}

#[test]
fn a_ring_of_the_bell_ends_the_wait_once() {
    let mut rig = Rig::new(Script::default());
    rig.turn();
    rig.shard.bell.clone().ring();
    assert_eq!(rig.turn(), 1);
    assert_eq!(rig.turn(), 0);
}

#[test]
fn a_log_is_written_and_its_answers_end_the_wait() {
    use crate::drivers::files::{Folder, Keeper, Scratch, Watermark};
    use crate::log::{BLOCK_BYTES, Block, DiskDone, DiskRequest, SegmentId};
    let scratch = Scratch::new();
    let mut rig = Rig::new(Script::default());
    let folder = Folder::open(&scratch.0.join("shard-00"), Watermark::Bytes(0)).expect("it can be made");
    let port = Keeper::start(vec![(folder, rig.shard.bell.clone())]).expect("threads").remove(0);
    rig.shard.disk = Some(FileDisk::start("flusher", port, rig.shard.bell.clone()).expect("threads"));
    let segment = SegmentId(1);
    let mut block = Block::with_capacity(BLOCK_BYTES);
    block.set_len(BLOCK_BYTES);
    let requests = [
        DiskRequest::Prepare { segment, bytes: 1 << 20 },
        DiskRequest::Write { segment, offset: 0, block, durable: true },
    ];
    for request in requests {
        rig.shard.core.disk_requests.push_back(request);
        rig.turn();
        let started = Instant::now();
        // A write that the kernel would have to wait for rings twice: when it is given back, and when the thread has done it.
        let done = loop {
            // Only the bell can end this wait in time.
            let events = rig.shard.poller.wait(PATIENCE).expect("epoll waits");
            assert!(events == 1 && started.elapsed() < PATIENCE);
            rig.shard.turn(rig.now(), events).expect("epoll works");
            if let Some(done) = rig.shard.core.disk_done.pop() {
                break done;
            }
        };
        assert!(matches!(
            done,
            DiskDone::Prepared { result: Ok(()), .. } | DiskDone::Written { result: Ok(()), .. }
        ));
    }
    rig.shard.core.log_failure = Some("no space for the log".to_owned());
    let clock = Clock::start();
    let error = rig.shard.run(|| clock.now()).expect_err("nothing more may be acknowledged");
    assert_eq!(error.to_string(), "no space for the log");
}

#[test]
fn a_stopped_loop_refuses_and_returns_when_it_has_drained() {
    let mut rig = Rig::new(Script { stopping: true, ..Script::default() });
    let clock = Clock::start();
    rig.shard.run(|| clock.now()).expect("epoll works");
    assert!(TcpStream::connect(rig.address).is_err());
}
