//! Deadlines of a shard: one calendar of ticks, each with a list of timers.
//!
//! A hashed wheel would have to cascade or to rescan long deadlines (a session expires in a week); an ordered map of the ticks in use does
//! neither, costs a lookup among a few thousand ticks, and its first key is the exact next deadline.

use super::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// A set timer; dead once it fired or was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerKey {
    slot: u32,
    generation: u32,
}

struct Timer<E> {
    event: Option<E>,
    tick: u64,
    generation: u32,
    previous: u32,
    next: u32,
}

/// Timers that carry an event `E` each. Deadlines are rounded up to a tick, long ones to a whole second.
pub struct Wheel<E> {
    ticks: BTreeMap<u64, u32>,
    timers: Vec<Timer<E>>,
    free: u32,
    armed: usize,
}

const NONE: u32 = u32::MAX;
/// Finest resolution of a deadline: everything that waits here is counted in seconds by the protocol.
const TICK_MICROS: u64 = 125_000;
/// From this distance on a deadline is rounded to a whole second, so that an idle shard wakes at most once a second.
const COARSE_FROM: Duration = Duration::from_secs(4);

impl<E> Default for Wheel<E> {
    fn default() -> Self {
        Wheel { ticks: BTreeMap::new(), timers: Vec::new(), free: NONE, armed: 0 }
    }
}

impl<E> Wheel<E> {
    /// No timers.
    pub fn new() -> Wheel<E> {
        Wheel::default()
    }

    /// Sets a timer for `at`, never earlier; up to a tick later, or up to a second when it is far off.
    pub fn arm(&mut self, now: Time, at: Time, event: E) -> TimerKey {
        let tick = tick_of(now, at);
        let slot = if self.free == NONE {
            self.timers.push(Timer { event: None, tick: 0, generation: 0, previous: NONE, next: NONE });
            u32::try_from(self.timers.len() - 1)
                .expect("fewer than 2^32 timers: each belongs to a slab record")
        } else {
            let slot = self.free;
            self.free = self.timers[slot as usize].next;
            slot
        };
        let head = self.ticks.insert(tick, slot).unwrap_or(NONE);
        if head != NONE {
            self.timers[head as usize].previous = slot;
        }
        let timer = &mut self.timers[slot as usize];
        timer.event = Some(event);
        timer.tick = tick;
        timer.previous = NONE;
        timer.next = head;
        self.armed += 1;
        TimerKey { slot, generation: timer.generation }
    }

    /// Takes the timer back, with its event; `None` when it fired already.
    pub fn cancel(&mut self, key: TimerKey) -> Option<E> {
        let timer = self.timers.get(key.slot as usize)?;
        if timer.generation != key.generation || timer.event.is_none() {
            return None;
        }
        Some(self.unlink(key.slot))
    }

    fn unlink(&mut self, slot: u32) -> E {
        let timer = &mut self.timers[slot as usize];
        let event = timer.event.take().expect("only armed timers are linked");
        let (tick, previous, next) = (timer.tick, timer.previous, timer.next);
        timer.generation = timer.generation.wrapping_add(1);
        timer.next = self.free;
        self.free = slot;
        self.armed -= 1;
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if previous != NONE {
            self.timers[previous as usize].next = next;
        } else if next != NONE {
            self.ticks.insert(tick, next);
        } else {
            self.ticks.remove(&tick);
        }
        event
    }

    /// The next due event at `now`, if any. Called until `None` or until the caller's bound per turn.
    pub fn expire(&mut self, now: Time) -> Option<E> {
        let (&tick, &slot) = self.ticks.first_key_value()?;
        (tick * TICK_MICROS <= now.as_micros()).then(|| self.unlink(slot))
    }

    /// When the next timer is due: the shard need not wake before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.ticks.first_key_value().map(|(tick, _)| Time::from_micros(tick * TICK_MICROS))
    }

    /// Timers set.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }
}

fn tick_of(now: Time, at: Time) -> u64 {
    let at = at.as_micros().min(u64::MAX - 1_000_000);
    let grain = if at.saturating_sub(now.as_micros()) >= COARSE_FROM.as_micros() as u64 {
        1_000_000
    } else {
        TICK_MICROS
    };
    at.div_ceil(grain) * (grain / TICK_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: f64) -> Time {
        Time::from_micros((n * 1e6) as u64)
    }

    #[test]
    fn fires_in_order_never_early_and_at_most_a_second_late() {
        let mut wheel = Wheel::new();
        let mut random = crate::base::random::Random::from_seed(7);
        for _ in 0..2_000 {
            let at = Time::from_micros(random.below(100_000_000));
            wheel.arm(Time::ZERO, at, at);
        }
        let mut last = Time::ZERO;
        while let Some(deadline) = wheel.next_deadline() {
            assert!(deadline > last || last == Time::ZERO);
            assert_eq!(wheel.expire(deadline - Duration::from_micros(1)), None);
            while let Some(at) = wheel.expire(deadline) {
                assert!(at <= deadline && deadline.since(at) < Duration::from_secs(1));
            }
            last = deadline;
        }
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_cancelled_timer_stays_silent_and_its_key_dies() {
        let mut wheel = Wheel::new();
        let keys: Vec<_> = (0..5).map(|n| wheel.arm(Time::ZERO, secs(1.0), n)).collect();
        assert_eq!(wheel.cancel(keys[2]), Some(2));
        assert_eq!(wheel.cancel(keys[2]), None);
        let replaced = wheel.arm(Time::ZERO, secs(1.0), 9);
        assert_eq!(wheel.cancel(keys[2]), None, "a key does not reach the slot's next tenant");
        assert_eq!(wheel.cancel(replaced), Some(9));
        let mut fired: Vec<_> = std::iter::from_fn(|| wheel.expire(secs(1.0))).collect();
        fired.sort_unstable();
        assert_eq!(fired, [0, 1, 3, 4]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn far_deadlines_share_whole_seconds() {
        let mut wheel = Wheel::new();
        for n in 0..100 {
            wheel.arm(Time::ZERO, secs(60.0 + f64::from(n) / 200.0), n);
        }
        let mut wakes = 0;
        while let Some(deadline) = wheel.next_deadline() {
            while wheel.expire(deadline).is_some() {}
            wakes += 1;
        }
        assert_eq!(wakes, 2);
    }
}
