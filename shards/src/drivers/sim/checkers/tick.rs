//! What must hold at every step: one owner, bounds, accounting, and no well-behaved client accused.

use crate::base::limits::{CURSOR_MESSAGES_MAX, HELD_INPUT_BYTES_MAX, WRITE_BUFFER_BYTES_MAX};
use crate::drivers::sim::driver::READ_BYTES_MAX;
use crate::drivers::sim::failure::{Checked, ensure, fail};
use crate::drivers::sim::world::World;
use crate::shard::Event;
use crate::wire::Violation;
use std::collections::BTreeSet;

/// Bytes of the largest packet that model clients send, and of replies that pile up on a connection.
const SLACK_BYTES: usize = 16 * 1024;

impl World {
    pub(in crate::drivers::sim) fn check_tick(&mut self, thread: usize) -> Checked {
        self.check_events(thread)?;
        self.check_one_owner()?;
        self.check_accounting(thread)?;
        self.check_bounds(thread)
    }

    /// Promise 2: at any time at most one connection speaks for a client id.
    fn check_one_owner(&self) -> Checked {
        let mut speaking = BTreeSet::new();
        for shard in &self.loops {
            for (key, client_id) in shard.seat.shard.speakers() {
                ensure(speaking.insert(client_id), "one owner", || {
                    format!("{client_id:?}: {key:?} on shard {} is its second connection", shard.id())
                })?;
            }
        }
        Ok(())
    }

    /// Promise 6: copies = delivered + queued + in flight + expired + dropped + moved.
    fn check_accounting(&self, thread: usize) -> Checked {
        let shard = &self.loops[thread].seat.shard;
        let statistics = shard.statistics();
        let counters = statistics.counters;
        let (queued, in_flight) = shard.copies_waiting();
        let dropped = statistics.dropped_total();
        let found = counters.delivered + queued + in_flight + counters.expired + dropped + counters.moved;
        ensure(counters.copies == found, "accounting", || {
            format!(
                "shard {thread}: {} copies, but {} delivered + {queued} queued + {in_flight} in flight + {} expired + {dropped} dropped",
                counters.copies, counters.delivered, counters.expired
            )
        })
    }

    /// Promise 5: every queue and buffer within its limit.
    fn check_bounds(&self, thread: usize) -> Checked {
        let running = &self.loops[thread];
        let limits = &self.profile.limits;
        // Nothing is dropped while sessions move: what was on its way is more than the limit, perhaps.
        let moved = self.generation > 1;
        for view in running.seat.shard.sessions() {
            let window = usize::from(limits.in_flight_max);
            ensure(moved || view.queued <= limits.queue_messages_max as usize, "bounds", || {
                format!("{:?} has {} messages waiting", view.client_id, view.queued)
            })?;
            ensure(view.in_flight <= window, "bounds", || {
                format!("{:?} has {} messages in flight", view.client_id, view.in_flight)
            })?;
        }
        let sizes = running.seat.shard.sizes();
        let bounded = sizes.unread_bytes_max <= HELD_INPUT_BYTES_MAX + READ_BYTES_MAX + SLACK_BYTES
            && sizes.output_bytes_max <= WRITE_BUFFER_BYTES_MAX + SLACK_BYTES
            && sizes.cursor_messages <= CURSOR_MESSAGES_MAX
            && sizes.timers <= 2 * sizes.connections + sizes.sessions + 1 // one for retained messages that expire
            && (!running.is_between_turns() || sizes.unsent == 0);
        ensure(bounded, "bounds", || format!("shard {thread}: {sizes:?}"))
    }

    /// Model clients keep to the protocol: whoever is accused of a breach is not at fault.
    fn check_events(&mut self, thread: usize) -> Checked {
        for event in std::mem::take(&mut self.loops[thread].events) {
            self.trace(|| format!("s{thread} reports {event:?}"));
            let Event::Violation { peer, violation } = &event else { continue };
            let socket = usize::from(peer.port()) - 1024;
            let link = &self.links[socket];
            // Who publishes behind CONNECT cannot know how many of its messages are still unreleased.
            let early = self.links.iter().any(|other| other.client == link.client && other.early)
                && *violation == Violation::ReceiveMaximumExceeded;
            if !link.hostile && !early {
                return fail("protocol", format!("link {socket} is accused: {violation}"));
            }
            if self.links[socket].hostile {
                self.coverage.reach("a hostile client is closed");
            }
        }
        Ok(())
    }
}
