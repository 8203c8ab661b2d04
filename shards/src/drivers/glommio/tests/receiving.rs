//! Receiving in the states that a busy ring gets into.

use super::*;
use io_uring::opcode;
use std::io::{Read, Write};

use crate::drivers::glommio::tag::{Operation, Tag};
use crate::shard::CloseMode;

#[test]
fn what_is_sent_comes_back_and_the_end_closes() {
    let mut rig = Rig::new(Script { echo: true, ..script() }, &options(64));
    let (mut client, key) = rig.connect();
    for round in 0..50 {
        let message = pattern(round, 1 + round * 37);
        client.write_all(&message).expect("the broker reads");
        rig.turn_until("the echo", |script| {
            let client = script.client(key);
            client.sent == client.input.len() && client.input.ends_with(&message)
        });
        let mut back = vec![0; message.len()];
        client.read_exact(&mut back).expect("the echo was sent");
        assert_eq!(back, message);
    }
    drop(client);
    rig.turn_until("the close", |script| script.closed == [key]);
    let (_client, next) = rig.connect();
    assert_eq!((next.index(), next.generation()), (key.index(), key.generation() + 1));
}

#[test]
fn connections_that_found_no_buffer_get_one_in_turn() {
    // Two buffers of 64 bytes for 40 connections of 20 KB each, and two completions per turn.
    let options = DriverOptions { buffers: Some(2), buffer_bytes: 64, reap_per_turn: Some(2), ..options(64) };
    let mut rig = Rig::new(script(), &options);
    let mut clients: Vec<_> = (0..40).map(|_| rig.connect()).collect();
    for (number, (client, _)) in clients.iter_mut().enumerate() {
        client.write_all(&pattern(number, 20_000)).expect("the kernel buffers it");
    }
    // Nobody is last: while half of all bytes are still to come, every connection has got some of its own.
    rig.turn_until("half of the bytes", |script| total(script) > 400_000);
    assert!(clients.iter().all(|(_, key)| !rig.script().client(*key).input.is_empty()));
    rig.turn_until("all bytes", |script| total(script) == 800_000);
    for (number, (_, key)) in clients.iter().enumerate() {
        assert!(rig.script().client(*key).input == pattern(number, 20_000), "connection {number}");
    }
    assert!(rig.counters().enobufs.get() > 100, "{:?}", rig.counters());
}

fn total(script: &Script) -> usize {
    script.slots.iter().flat_map(|(_, client)| client).map(|client| client.input.len()).sum()
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    let options = DriverOptions { completion_entries: Some(8), buffer_bytes: 64, ..options(8) };
    let mut rig = Rig::new(script(), &options);
    assert_eq!(rig.counters().completion_entries.get(), 8);
    let mut clients: Vec<_> = (0..64).map(|_| rig.connect()).collect();
    for round in 0..20 {
        for (number, (client, _)) in clients.iter_mut().enumerate() {
            client.write_all(&pattern(number + round, 100)).expect("the kernel buffers it");
        }
        rig.turn_until("the round", |script| total(script) == 64 * 100 * (round + 1));
    }
    for (number, (_, key)) in clients.iter().enumerate() {
        let sent: Vec<u8> = (0..20).flat_map(|round| pattern(number + round, 100)).collect();
        assert!(rig.script().client(*key).input == sent, "connection {number}");
    }
    assert!(rig.counters().cq_overflows.get() > 0, "{:?}", rig.counters());
    assert!(rig.counters().rearmed.get() > 0, "{:?}", rig.counters());
}

#[test]
fn a_completion_of_the_former_tenant_does_not_reach_the_new_one() {
    let mut rig = Rig::new(script(), &options(64));
    let (former, old) = rig.connect();
    drop(former);
    rig.turn_until("the close", |script| script.closed == [old]);
    let (mut client, key) = rig.connect();
    assert_eq!(key.index(), old.index());
    for operation in [Operation::Receive, Operation::Send] {
        // Completes with 0: to the connection itself that would be its end.
        let late = Tag::new(operation, old.index(), old.generation());
        // SAFETY: a no-op points to nothing.
        unsafe { rig.ring_loop.ring.push(opcode::Nop::new().build().user_data(late.to_bits())) };
    }
    client.write_all(b"still here").expect("the broker reads");
    rig.turn_until("the input", |script| script.client(key).input == b"still here");
    rig.turn();
    assert_eq!(rig.counters().stale_completions.get(), 2);
    assert_eq!(rig.script().client(key).end, None);
}

#[test]
fn a_pause_in_mid_burst_holds_back_what_has_not_arrived_yet() {
    // Few completions per turn: when the pause is asked for, the burst's next ones are there already.
    let options = DriverOptions { buffer_bytes: 64, reap_per_turn: Some(4), ..options(64) };
    let mut rig = Rig::new(Script { pause_on_input: true, ..script() }, &options);
    let (mut client, key) = rig.connect();
    let burst = pattern(1, 60_000);
    client.write_all(&burst).expect("the kernel buffers it");
    rig.turn_until("some input", |script| script.client(key).inputs > 0);
    (0..500).for_each(|_| rig.turn());
    let held = rig.script().client(key).input.len();
    assert!(held < burst.len(), "the pause took effect");
    assert!(rig.counters().held_after_pause.get() > 0, "{:?}", rig.counters());
    (0..20).for_each(|_| rig.turn());
    assert_eq!(rig.script().client(key).input.len(), held, "paused is paused");

    rig.script().actions.push_back(Action::Read(key));
    rig.turn_until("the rest", |script| script.client(key).input.len() == burst.len());
    assert!(rig.script().client(key).input == burst);
}

#[test]
fn a_pause_taken_back_at_once_loses_nothing() {
    let options = DriverOptions { buffer_bytes: 64, ..options(64) };
    let mut rig = Rig::new(script(), &options);
    let (mut client, key) = rig.connect();
    for round in 0..100 {
        client.write_all(&pattern(round, 500)).expect("the broker reads");
        rig.script().actions.extend([Action::Pause(key), Action::Read(key)]);
        rig.turn();
        rig.script().actions.push_back(Action::Pause(key));
        rig.turn();
        rig.script().actions.push_back(Action::Read(key));
    }
    rig.turn_until("everything", |script| script.client(key).input.len() == 50_000);
    let sent: Vec<u8> = (0..100).flat_map(|round| pattern(round, 500)).collect();
    assert!(rig.script().client(key).input == sent);
}

#[test]
fn a_single_read_is_one_read() {
    let options = DriverOptions { buffer_bytes: 64, ..options(64) };
    let mut rig = Rig::new(Script { reading: Reading::Once, ..script() }, &options);
    let (mut client, key) = rig.connect();
    client.write_all(&pattern(1, 200)).expect("the kernel buffers it");
    rig.turn_until("one read", |script| script.client(key).inputs == 1);
    (0..20).for_each(|_| rig.turn());
    assert_eq!(rig.script().client(key).input.len(), 64);
    for reads in 2..=4 {
        rig.script().actions.push_back(Action::ReadOnce(key));
        rig.turn_until("one more", |script| script.client(key).inputs == reads);
    }
    assert!(rig.script().client(key).input == pattern(1, 200));
    // And it may turn into a stream while it is armed.
    rig.script().actions.extend([Action::ReadOnce(key), Action::Read(key)]);
    rig.turn();
    client.write_all(&pattern(2, 1_000)).expect("the kernel buffers it");
    rig.turn_until("the stream", |script| script.client(key).input.len() == 1_200);
}

#[test]
fn a_connection_closed_while_it_waits_for_a_buffer_is_forgotten() {
    let options = DriverOptions { buffers: Some(1), buffer_bytes: 16, reap_per_turn: Some(1), ..options(64) };
    let mut rig = Rig::new(script(), &options);
    let mut clients: Vec<_> = (0..8).map(|_| rig.connect()).collect();
    for (client, _) in &mut clients {
        client.write_all(&pattern(0, 4_000)).expect("the kernel buffers it");
    }
    let start = Instant::now();
    while rig.ring_loop.starving.len() < 4 {
        assert!(start.elapsed() < PATIENCE, "waited in vain for starving connections");
        rig.turn();
    }
    let starving: Vec<_> = rig.ring_loop.starving.iter().copied().collect();
    for key in &starving {
        rig.script().actions.push_back(Action::Close(*key, CloseMode::Now));
    }
    rig.turn_until("the closes", |script| starving.iter().all(|key| script.closed.contains(key)));
    let (mut client, key) = rig.connect();
    client.write_all(b"new tenant").expect("the kernel buffers it");
    rig.turn_until("its input", |script| script.client(key).input == b"new tenant");
    assert!(rig.counters().enobufs.get() > 0);
}
