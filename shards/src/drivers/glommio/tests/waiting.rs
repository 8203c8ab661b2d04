//! What ends a wait: a completion, a bell, a deadline, a signal.

use super::*;
use std::io::{Read, Write};

#[test]
fn every_ring_of_the_bell_ends_a_wait_without_a_deadline() {
    let mut rig = Rig::new(Script { wait_most: None, ..script() }, &options(64));
    for round in 0..200 {
        let bell = rig.bell.clone();
        let ringer = std::thread::spawn(move || {
            // Now and then while the loop turns, now and then once it sleeps.
            std::thread::sleep(Duration::from_micros(round * 10));
            bell.ring();
        });
        rig.turn();
        ringer.join().expect("ringing does not panic");
    }
}

#[test]
fn an_answered_message_costs_one_enter() {
    let mut rig = Rig::new(Script { echo: true, wait_most: Some(PATIENCE), ..script() }, &options(64));
    let (mut client, key) = rig.connect();
    let talker = std::thread::spawn(move || {
        let mut back = [0; 4];
        for _ in 0..500 {
            client.write_all(b"ping").expect("the broker reads");
            client.read_exact(&mut back).expect("the broker echoes");
        }
        client
    });
    rig.turn_until("the last ping", |script| script.client(key).input.len() == 2_000);
    // Submits the last echo, without which the talker does not end.
    rig.turn();
    drop(talker.join().expect("talking does not panic"));
    // The client answers within the time for which sends are held, mostly: the machine may be busy.
    let enters = rig.counters().enters.get();
    assert!((500..800).contains(&enters), "{enters} enters for 500 messages");
}

#[test]
fn sends_that_something_waits_for_end_the_wait() {
    let mut rig = Rig::new(script(), &options(64));
    let (_client, key) = rig.connect();
    let mut held_after = |output: usize, action: Option<Action>| {
        rig.script().send(key, Pieces(vec![pattern(1, output)]));
        rig.ring_loop.turn();
        rig.script().actions.extend(action);
        rig.ring_loop.turn();
        let held = std::mem::take(&mut rig.ring_loop.queued_sends).not_waited_for();
        rig.turn();
        held
    };
    assert_eq!(held_after(100, None), 1, "nobody waits for a small packet's completion");
    assert_eq!(held_after(40_000, None), 0, "a bulk has more behind it");
    assert_eq!(
        held_after(100, Some(Action::Close(key, crate::shard::CloseMode::Flush))),
        0,
        "the close goes on"
    );
}

#[test]
fn a_wait_lasts_until_its_deadline_and_costs_no_turns() {
    let mut rig = Rig::new(Script { wait_most: Some(Duration::from_millis(50)), ..script() }, &options(64));
    rig.turn();
    let start = Instant::now();
    (0..4).for_each(|_| rig.turn());
    assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
}

#[test]
fn a_signal_ends_a_wait_and_nothing_else() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, and no other test uses the signal. No SA_RESTART: waits end with EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let mut rig = Rig::new(script(), &options(64));
    let (mut client, key) = rig.connect();
    rig.script().wait_most = Some(Duration::from_secs(5));
    // SAFETY: it names the calling thread, which outlives the signaller: it is joined below.
    let this = unsafe { libc::pthread_self() };
    let signaller = std::thread::spawn(move || {
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(20));
            // SAFETY: the thread lives.
            assert_eq!(unsafe { libc::pthread_kill(this, libc::SIGUSR1) }, 0);
        }
        client.write_all(b"after the signals").expect("the broker reads");
        client
    });
    rig.turn_until("the input", |script| script.client(key).input == b"after the signals");
    drop(signaller.join().expect("signalling does not panic"));
    assert!(rig.counters().interrupted.get() >= 1, "{:?}", rig.counters());
}
