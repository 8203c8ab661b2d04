//! Closing in its two manners, and moving to another loop.

use super::*;
use std::io::{ErrorKind, Read, Write};

use crate::shard::CloseMode;

#[test]
fn a_flushing_close_delivers_the_last_bytes_although_input_is_unread() {
    let mut rig =
        Rig::new(Script { reading: Reading::Paused, send_buffer: Some(16_384), ..script() }, &options(64));
    let (mut client, key) = rig.connect();
    client.write_all(&pattern(1, 100_000)).expect("the kernel buffers it");
    let farewell = pattern(2, 1_000_000);
    rig.script().send(key, Pieces(vec![farewell[..500_000].to_vec()]));
    rig.script().send(key, Pieces(vec![farewell[500_000..].to_vec()]));
    rig.script().actions.push_back(Action::Close(key, CloseMode::Flush));
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("an end, not a reset");
        received == farewell
    });
    rig.turn_until("the close", |script| script.closed == [key]);
    assert!(reader.join().expect("reading does not panic"), "everything arrived");
    assert_eq!(rig.counters().flush_timeouts.get(), 0);
}

#[test]
fn a_peer_that_does_not_take_the_last_bytes_is_hung_up_on() {
    let mut rig = Rig::new(Script { send_buffer: Some(16_384), ..script() }, &options(64));
    let (_client, key) = rig.connect();
    rig.script().send(key, Pieces(vec![pattern(1, 1_000_000)]));
    rig.script().actions.push_back(Action::Close(key, CloseMode::Flush));
    (0..20).for_each(|_| rig.turn());
    assert_eq!(rig.script().closed, []);
    rig.ring_loop.clock.advance(crate::base::limits::CLOSE_FLUSH_MAX);
    rig.turn_until("the close", |script| script.closed == [key]);
    assert_eq!(rig.counters().flush_timeouts.get(), 1);
}

#[test]
fn a_peer_that_does_not_close_after_the_last_bytes_is_closed_on() {
    let mut rig = Rig::new(script(), &options(64));
    let (mut client, key) = rig.connect();
    rig.script().send(key, Pieces(vec![b"bye".to_vec()]));
    rig.script().actions.push_back(Action::Close(key, CloseMode::Flush));
    let mut received = [0; 3];
    (0..20).for_each(|_| rig.turn());
    client.read_exact(&mut received).expect("it was sent");
    assert_eq!(client.read(&mut received).expect("an end"), 0, "the peer is told at once");
    assert_eq!(rig.script().closed, []);
    rig.ring_loop.clock.advance(crate::base::limits::CLOSE_LINGER_MAX);
    rig.turn_until("the close", |script| script.closed == [key]);
}

#[test]
fn closing_now_waits_for_nobody_and_releases_what_is_in_flight() {
    let mut rig = Rig::new(Script { send_buffer: Some(16_384), ..script() }, &options(64));
    let (mut client, key) = rig.connect();
    rig.script().send(key, Pieces(vec![pattern(1, 1_000_000)]));
    (0..20).for_each(|_| rig.turn());
    assert!(rig.script().client(key).buffer_out, "a send is under way");
    rig.script().actions.push_back(Action::Close(key, CloseMode::Now));
    rig.turn_until("the close", |script| script.closed == [key]);
    assert!(rig.ring_loop.sendings.is_empty());
    assert!(rig.ring_loop.links.get_mut(key).is_none());
    rig.turn(); // submits the close
    let mut received = Vec::new();
    // Cut short, by an end or a reset.
    let end = client.read_to_end(&mut received);
    assert!(received.len() < 1_000_000);
    assert!(!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
}

#[test]
fn a_thousand_connections_come_and_go_without_leaving_a_descriptor() {
    let mut rig = Rig::new(Script { reading: Reading::Once, echo: true, ..script() }, &options(16));
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count();
    let mut before = None;
    for round in 0..20 {
        let mut clients: Vec<_> = (0..50).map(|_| rig.connect()).collect();
        for (client, key) in &mut clients {
            client.write_all(b"hello").expect("the broker reads");
            let key = *key;
            rig.turn_until("the echo", |script| script.client(key).sent == 5);
            let mode = if key.index() % 2 == 0 { CloseMode::Now } else { CloseMode::Flush };
            rig.script().actions.push_back(Action::Close(key, mode));
        }
        drop(clients);
        rig.turn_until("the closes", |script| script.closed.len() == 50 * (round + 1));
        rig.turn();
        before.get_or_insert_with(descriptors);
    }
    // Other tests of this process come and go meanwhile, but none holds a thousand.
    assert!(descriptors() < before.expect("there were rounds") + 500);
    assert_eq!(rig.counters().stale_completions.get(), 0);
}

#[test]
fn a_connection_moves_to_another_loop_with_its_unsent_and_unread_bytes() {
    let mut from =
        Rig::new(Script { reading: Reading::Once, send_buffer: Some(16_384), ..script() }, &options(64));
    let mut to = Rig::new(Script { echo: true, ..script() }, &options(64));
    let (mut client, key) = from.connect();
    client.write_all(b"connect").expect("the broker reads");
    from.turn_until("the CONNECT", |script| script.client(key).input == b"connect");
    // More than the sockets hold is on its way when the move is asked for.
    let before = pattern(3, 1_000_000);
    from.script().send(key, Pieces(vec![before.clone()]));
    from.turn();
    from.script().actions.push_back(Action::Detach(key));
    (0..10).for_each(|_| from.turn());
    assert!(from.script().detached.is_empty(), "not while a send is in flight");
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; before.len()];
        client.read_exact(&mut received).expect("everything arrives");
        assert!(received == before);
        client.write_all(b"moved").expect("the broker reads");
        client.read_exact(&mut received[..5]).expect("the other loop echoes");
        received[..5] == *b"moved"
    });
    from.turn_until("the move", |script| !script.detached.is_empty());
    let socket = from.script().detached[0].1;
    assert!(from.ring_loop.links.get_mut(key).is_none());

    let moved = to.script().insert(Client::default());
    to.script().actions.extend([Action::Attach(moved, socket), Action::Read(moved)]);
    to.turn_until("the close", |script| script.closed == [moved]);
    assert!(reader.join().expect("the client does not panic"));
}
