//! Spoiled at random: nobody knows what must follow, but some things must never.

use super::samples::{from_clients, from_servers};
use super::{
    CASES_PER_WORLD, Case, Expect, When, all, are_untouched, arrive, bystanders, judge_in, playground,
};

use crate::world::World;
use shardmq_shards::base::random::Random;
use shardmq_shards::shard::Event;
use shardmq_shards::wire::Version;

/// One to four bytes changed, taken out or put in, at places where a bit counts.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.next_u64() % 4 {
        let at = random.next_u64() as usize % bytes.len();
        match random.next_u64() % 5 {
            0 => bytes[at] ^= 1 << (random.next_u64() % 8),
            1 => bytes[at] = random.next_u64() as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.next_u64() as usize % 5],
            3 if bytes.len() > 2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.next_u64() as u8),
        }
    }
}

/// A connection is either as good as before, or closed and the log says why; nobody panics, and nobody else notices.
fn survives(w: &mut World, version: Version, when: When, bytes: &[u8]) {
    let client = arrive(w, version, when);
    w.events.clear();
    w.send_bytes(client, bytes);
    w.run();
    let closed = w.wires[client.0].closed;
    // DISCONNECT of whatever kind is what a client may close with, and no event of ours.
    let left =
        bytes.first().is_some_and(|first| first >> 4 == 14) || bytes.windows(2).any(|two| two[0] == 0xe0);
    let explained = w.events.iter().any(|event| {
        matches!(event, Event::Violation { peer, .. } | Event::Refused { peer, .. } | Event::TimedOut { peer, .. }
            | Event::NotAuthenticated { peer, .. } if *peer == client.address())
    });
    assert!(!closed || left || explained, "closed without a reason: {version} {when:?} {bytes:02x?}");
    assert!(
        closed || w.events.iter().all(|event| !matches!(event, Event::Violation { .. })),
        "a breach closes"
    );
    if !closed {
        w.vanish(client);
    }
}

#[test]
fn packets_spoiled_at_random_harm_nobody() {
    let mut random = Random::from_seed(20_261_120);
    for version in Version::ALL {
        let packets: Vec<Vec<u8>> = [from_clients(version), from_servers(version)]
            .concat()
            .iter()
            .map(|packet| packet.bytes())
            .collect();
        let whens: &[When] = if version.is_v5() {
            &[When::First, When::Connected, When::Challenged, When::Authenticated]
        } else {
            &[When::First, When::Connected]
        };
        let mut w = playground();
        w.read_bytes_max = 7;
        let bystanders = bystanders(&mut w);
        for round in 0..CASES_PER_WORLD * 3 {
            let mut bytes = packets[round % packets.len()].clone();
            bytes.extend_from_slice(&packets[random.next_u64() as usize % packets.len()]);
            spoil(&mut bytes, &mut random);
            survives(&mut w, version, whens[round % whens.len()], &bytes);
        }
        for bystander in &bystanders {
            assert!(w.read(*bystander).is_empty());
        }
        are_untouched(&mut w, &bystanders);
    }
}

/// Every ninth case again, in reads of a single byte: where the bytes are cut does not matter.
#[test]
fn a_byte_at_a_time_says_the_same() {
    let all = all();
    let cases: Vec<Case> = all
        .into_iter()
        .step_by(9)
        .filter(|case| case.bytes.len() < 200 && case.expect != Expect::Ends)
        .collect();
    assert!(cases.len() > 1_500);
    let world = || {
        let mut w = playground();
        w.read_bytes_max = 1;
        w
    };
    judge_in(world, &cases);
}
