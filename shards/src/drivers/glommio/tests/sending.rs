//! Sending to sockets that take only a part, in one piece and in many.

use super::*;
use std::io::{Read, Write};

fn slow_reader(output: Pieces) -> Rig {
    let mut rig = Rig::new(Script { send_buffer: Some(16_384), ..script() }, &options(64));
    let (mut client, key) = rig.connect();
    let expected = output.0.concat();
    rig.script().send(key, output);
    // The client reads nothing yet: its receive buffer and our small send buffer fill up.
    (0..20).for_each(|_| rig.turn());
    assert!(rig.script().client(key).sent < expected.len(), "the sockets cannot hold it all");
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; expected.len()];
        client.read_exact(&mut received).expect("everything arrives");
        (client, received == expected)
    });
    rig.turn_until("the buffer back", |script| !script.client(key).buffer_out);
    assert!(reader.join().expect("reading does not panic").1, "in order and unchanged");
    assert!(rig.counters().partial_sends.get() > 0, "{:?}", rig.counters());
    rig
}

#[test]
fn a_partial_send_goes_on_where_it_stopped() {
    let rig = slow_reader(Pieces(vec![pattern(1, 1_000_000)]));
    assert_eq!(rig.counters().gathered_sends.get(), 0);
}

#[test]
fn a_partial_send_of_many_pieces_goes_on_in_mid_piece() {
    let rig = slow_reader(Pieces((0..300).map(|piece| pattern(piece, 4_000 + piece)).collect()));
    assert!(rig.counters().gathered_sends.get() > 300 / 64);
}

#[test]
fn more_sends_than_the_submission_queue_holds_all_go_out() {
    let mut rig = Rig::new(script(), &options(4));
    assert_eq!(rig.counters().submission_entries.get(), 4);
    let mut clients: Vec<_> = (0..50).map(|_| rig.connect()).collect();
    for (number, (_, key)) in clients.iter().enumerate() {
        rig.script().send(*key, Pieces(vec![pattern(number, 300)]));
    }
    rig.turn_until("all sent", |script| {
        script.slots.iter().flat_map(|(_, client)| client).all(|c| c.sent == 300)
    });
    for (number, (client, _)) in clients.iter_mut().enumerate() {
        let mut received = vec![0; 300];
        client.read_exact(&mut received).expect("it was sent");
        assert!(received == pattern(number, 300), "connection {number}");
    }
    assert!(rig.counters().sq_full.get() > 0, "{:?}", rig.counters());
}

#[test]
fn a_send_to_a_peer_that_is_gone_ends_the_connection_once() {
    let mut rig = Rig::new(Script { close_on_end: false, ..script() }, &options(64));
    let (client, key) = rig.connect();
    // A reset, not an end: the client closes with input unread.
    rig.script().send(key, Pieces(vec![pattern(1, 100)]));
    rig.turn_until("the send", |script| script.client(key).sent == 100);
    drop(client);
    for _ in 0..10 {
        rig.script().send(key, Pieces(vec![pattern(1, 100)]));
        rig.turn();
    }
    rig.turn_until("the end", |script| script.client(key).end.is_some());
    rig.script().actions.push_back(Action::Close(key, crate::shard::CloseMode::Now));
    rig.turn_until("the close", |script| script.closed == [key]);
}

#[test]
fn messages_cost_the_driver_no_allocation() {
    let mut rig = Rig::new(script(), &options(64));
    let (mut client, key) = rig.connect();
    // Everything that the script itself needs is there before, and the first messages fill the driver's tables.
    rig.script().client(key).input.reserve(10_000);
    let mut exchange = |messages: usize| {
        let whole = (0..messages).map(|piece| Pieces(vec![pattern(piece, 100)]));
        let cut = (0..messages).map(|piece| Pieces(vec![pattern(piece, 50), pattern(piece, 50)]));
        whole.chain(cut).for_each(|output| rig.script().client(key).output.push_back(output));
        rig.script().flushes.push_back(key);
        let (sent, received) = (rig.script().client(key).sent, rig.script().client(key).input.len());
        let measured = allocation_counter::measure(|| {
            for _ in 0..messages {
                client.write_all(b"12345678").expect("the broker reads");
                rig.turn();
            }
            rig.turn_until("everything", |script| {
                let client = script.client(key);
                client.sent == sent + 200 * messages && client.input.len() == received + 8 * messages
            });
        });
        measured.count_total
    };
    exchange(10);
    assert_eq!(exchange(200), 0);
}
