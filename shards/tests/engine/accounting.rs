//! What must hold at the end of every test: every copy is accounted for, nothing spins, nothing is left behind.

use crate::crash::check_logs;
use crate::world::World;
use shardmq_shards::shard::End;
use std::time::Duration;

/// Promise 6, for every shard.
pub fn check_copies(world: &World) {
    for place in &world.places {
        let shard = &place.seat.shard;
        let statistics = shard.statistics();
        let counters = statistics.counters;
        let (queued, in_flight) = shard.copies_waiting();
        let accounted = counters.delivered
            + queued
            + in_flight
            + counters.expired
            + statistics.dropped_total()
            + counters.moved;
        assert_eq!(
            counters.copies, accounted,
            "copies = {} delivered + {queued} queued + {in_flight} in flight + {} expired + {:?} dropped \
             + {} moved",
            counters.delivered, counters.expired, statistics.dropped, counters.moved
        );
    }
}

/// Nothing of messages is kept that nobody needs any more.
fn check_kept(world: &mut World) {
    // Marks are told at the end of a turn, and read in the next.
    world.turn_once();
    for place in &world.places {
        let sizes = place.seat.shard.sizes();
        assert_eq!((sizes.outbox, sizes.held_copies), (0, 0), "{sizes:?}");
        assert!(sizes.bodies == 0 || sizes.sessions > 0, "{sizes:?}");
    }
}

/// Promise 8: a quiet shard sleeps and has nothing to poll.
pub fn check_quiet(world: &mut World) {
    let turns: Vec<u64> = world.places.iter().map(|place| place.turns).collect();
    for place in &mut world.places {
        let shard = &mut place.seat.shard;
        assert!(!shard.has_work(), "a quiet shard has no work left");
        assert_eq!(shard.poll_action(), None);
        assert_eq!(shard.poll_flush(), None);
        assert!(shard.poll_deadline().is_none_or(|at| at > world.now), "what is due is done");
    }
    world.run();
    assert!(world.places.iter().map(|place| place.turns).eq(turns), "nobody wakes for nothing");
}

/// Ends a world: all sockets close, the sessions that end do, and what is left is what must be left.
pub fn settle(world: &mut World) {
    for shard in 0..world.places.len() {
        world.places[shard].frozen = false;
        if world.places[shard].log_held {
            world.commit(shard);
        }
    }
    world.run();
    check_copies(world);
    check_quiet(world);
    check_logs(world);
    for wire in &mut world.wires {
        wire.ended.get_or_insert(End::Failed);
    }
    world.pass(Duration::from_secs(3 * 3_600));
    check_copies(world);
    check_quiet(world);
    check_logs(world);
    let coordinator = world.places[0].seat.coordinator.as_ref().expect("shard 0 has the coordinator");
    assert_eq!(coordinator.coordinator().connections(), 0, "every connection was counted back");
    let held: u64 = world.places.iter().map(|place| place.seat.shard.statistics().gauges.exclusive).sum();
    assert_eq!(coordinator.coordinator().exclusive_subscriptions() as u64, held);
    let ids = coordinator.coordinator().client_ids();
    let known: usize = world.places.iter().map(|place| place.seat.shard.sizes().identities).sum();
    assert_eq!(ids, known, "coordinator and shards know the same client ids");
    for place in &world.places {
        let sizes = place.seat.shard.sizes();
        assert_eq!(sizes.connections, 0, "{sizes:?}");
        assert_eq!(sizes.half_open, 0, "{sizes:?}");
        let retained = place.seat.shard.statistics().gauges.retained > 0;
        let timers_max = sizes.sessions + usize::from(retained) + usize::from(sizes.delayed > 0);
        assert!(sizes.timers <= timers_max, "only sessions and what expires have timers: {sizes:?}");
        assert_eq!(
            (sizes.parked, sizes.cursor_messages, sizes.unsent, sizes.held_replies, sizes.interest_waiters),
            (0, 0, 0, 0, 0),
            "{sizes:?}"
        );
        assert_eq!(sizes.between_members, 0, "{sizes:?}");
        if sizes.sessions == 0 {
            assert_eq!((sizes.filters, sizes.replays, sizes.identities), (0, 0, 0), "{sizes:?}");
            assert_eq!(place.seat.shard.statistics().gauges.exclusive, 0);
        }
    }
    check_kept(world);
    let filters: usize = world.places.iter().map(|place| place.seat.shard.sizes().filters).sum();
    if filters == 0 {
        assert!(world.places.iter().all(|place| place.seat.shard.sizes().remote_interest == 0));
    }
}
