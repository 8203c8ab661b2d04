//! Accepting, not accepting, and running out of descriptors.

use super::*;
use crate::drivers::own_process::run_test;

#[test]
fn a_shard_that_takes_no_more_leaves_connections_in_the_backlog() {
    let mut rig = Rig::new(script(), &options(64));
    let _first = rig.connect();
    rig.script().accepts = false;
    (0..5).for_each(|_| rig.turn());
    let waiting: Vec<_> =
        (0..10).map(|_| TcpStream::connect(rig.address).expect("the backlog has room")).collect();
    (0..20).for_each(|_| rig.turn());
    assert_eq!(rig.script().keys.len(), 1);
    rig.script().accepts = true;
    rig.turn_until("the accepts", |script| script.keys.len() == 1 + waiting.len());
}

#[test]
fn a_process_out_of_descriptors_backs_off_and_recovers() {
    // The limit is the process's: in one of its own.
    run_test("drivers::glommio::tests::accepting::out_of_descriptors");
}

#[test]
#[ignore = "lowers the process's limits: run by the test above in its own process"]
fn out_of_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut rig = Rig::new(script(), &options(64));
    let (first, _) = rig.connect();
    rig.script().accepts = false;
    (0..5).for_each(|_| rig.turn());
    let clients: Vec<_> =
        (0..5).map(|_| TcpStream::connect(rig.address).expect("the backlog has room")).collect();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |current| setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum });
    limit(3).expect("a lower limit is always allowed");
    // The kernel notes the limit when the accept is armed.
    rig.script().accepts = true;
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < Duration::from_secs(1) {
        rig.turn();
        turns += 1;
    }
    let backoffs = rig.counters().accept_backoffs.get();
    assert!((1..=12).contains(&backoffs), "{backoffs} in a second");
    assert!(turns < 1_000, "{turns} turns in a second is spinning");
    limit(1_000).expect("up to the maximum is allowed");
    rig.turn_until("the accepts", |script| script.keys.len() == 6);
    drop((first, clients));
}

#[test]
fn stopping_ends_the_accepts_and_the_run() {
    let options = options(256);
    let counters = options.counters.clone();
    let (address, sockets) = listen_per_shard(([127, 0, 0, 1], 0).into(), 1).expect("a free port");
    let listeners = sockets.into_iter().map(|socket| (ListenerId(0), socket)).collect();
    let bell = EventFd::new().expect("descriptors are available");
    let stopping = Script { stopping: true, ..script() };
    super::super::run(stopping, listeners, options, bell, None).expect("it stops");
    assert_eq!(counters.submission_entries.get(), 256);
    assert_eq!(counters.completion_entries.get(), 1_024);
    assert_eq!(counters.buffers.get(), 512);
    assert!(TcpStream::connect(address).is_err(), "the listener is closed");
}

#[test]
fn the_real_size_of_the_ring_is_readable() {
    for (wished, real) in [(64, 64), (256, 256), (1_000, 1_024), (4_096, 4_096)] {
        let rig = Rig::new(script(), &options(wished));
        assert_eq!(rig.counters().submission_entries.get(), real);
        assert_eq!(rig.counters().completion_entries.get(), 4 * real);
        assert_eq!(rig.counters().buffers.get(), 2 * real);
    }
}
