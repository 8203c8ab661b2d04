//! Judges the `takeover` scenario: who speaks for the contested session, and whether its messages stay whole.
//!
//! The client cannot see the broker's clock, only what has arrived. So the caller reads in sweeps: it reads every open
//! connection until nothing is there, and again as long as that brought news. Connections whose CONNACKs turned up in one sweep
//! have no known order; a connection whose CONNACK a whole sweep did not yet show is certainly later. Over loopback bytes
//! arrive in the order in which they are sent, so after its sweep a connection with an older CONNACK must get no PUBLISH.

use crate::limits::EXAMPLES_MAX;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What went wrong, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Breaches {
    /// PUBLISHes on a connection after another one's later CONNACK.
    pub overlaps: u64,
    /// CONNECTs that were neither answered nor closed within the limit.
    pub unanswered: u64,
    /// Connections that were taken over and not closed within the limit.
    pub not_closed: u64,
    /// CONNACKs without the session.
    pub session_lost: u64,
    /// Messages that no connection ever got.
    pub lost: u64,
    /// Messages that came again without DUP, or twice on one connection.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Messages that are not what was published, or where none may come.
    pub corrupt: u64,
    /// Messages published and never acknowledged.
    pub unacknowledged: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl Breaches {
    /// Whether nothing at all went wrong.
    pub fn is_clean(&self) -> bool {
        *self == Breaches::default()
    }

    /// Keeps one more example while there are few.
    pub fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Breaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "overlaps {}, unanswered {}, ", self.overlaps, self.unanswered)?;
        write!(f, "not closed {}, session lost {}, ", self.not_closed, self.session_lost)?;
        write!(f, "lost {}, duplicated {}, out of order {}, ", self.lost, self.duplicated, self.reordered)?;
        write!(f, "corrupt {}, unacknowledged {}", self.corrupt, self.unacknowledged)?;
        self.examples.iter().try_for_each(|example| write!(f, "; {example}"))
    }
}

/// An open connection that has its CONNACK.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// The sweep that showed its CONNACK.
    rank: u64,
    superseded: bool,
    /// Its last message.
    last: Option<u64>,
    received_in_sweep: bool,
}

/// The state of the contest.
#[derive(Debug, Default)]
pub struct Contest {
    claims: BTreeMap<u64, Claim>,
    sweep: u64,
    /// The highest rank, and how many connections had it; they may have ended since.
    newest: (u64, u32),
    /// The one of several connections of the highest rank that last got a message, while that is certain.
    last_receiver: Option<u64>,
    /// The lowest message that nobody has got, apart from `missing`.
    next: u64,
    /// Messages jumped over; at most the publisher's window.
    missing: BTreeSet<u64>,
    redelivered: u64,
    breaches: Breaches,
}

impl Contest {
    /// Connection `connection` has its CONNACK.
    pub fn connected(&mut self, connection: u64) {
        let others = if self.newest.0 == self.sweep { self.newest.1 } else { 0 };
        self.newest = (self.sweep, others + 1);
        let claim = Claim { rank: self.sweep, superseded: false, last: None, received_in_sweep: false };
        self.claims.insert(connection, claim);
    }

    /// Connection `connection` has ended.
    pub fn closed(&mut self, connection: u64) {
        self.claims.remove(&connection);
    }

    /// Whether another connection got its CONNACK certainly later.
    pub fn is_superseded(&self, connection: u64) -> bool {
        self.claims.get(&connection).is_some_and(|claim| claim.superseded)
    }

    /// Whether the order of the latest CONNACKs is unknown, so that a PUBLISH is news, too.
    pub fn is_contested(&self) -> bool {
        self.claims.values().filter(|claim| !claim.superseded).count() > 1
    }

    /// The last read of a sweep is done. `settled`: it brought no news on any connection.
    pub fn end_sweep(&mut self, settled: bool) {
        for claim in self.claims.values_mut() {
            claim.superseded |= claim.rank < self.newest.0;
        }
        self.judge_contested(settled);
        self.claims.values_mut().for_each(|claim| claim.received_in_sweep = false);
        self.sweep += 1;
    }

    /// Among connections of one rank, the one whose rival gets messages after it did has lost the session.
    fn judge_contested(&mut self, settled: bool) {
        let claims = self.claims.iter().filter(|(_, claim)| !claim.superseded && claim.received_in_sweep);
        let receivers: Vec<u64> = claims.map(|(&connection, _)| connection).collect();
        match receivers[..] {
            [] => {}
            [receiver] if settled => {
                let before = self.last_receiver.replace(receiver).filter(|&before| before != receiver);
                if let Some(claim) = before.and_then(|before| self.claims.get_mut(&before)) {
                    claim.superseded = true;
                }
            }
            _ => self.last_receiver = None,
        }
    }

    /// Connection `connection` got message `sequence`; true when nobody had got it before.
    ///
    /// The caller has checked that it was published.
    pub fn received(&mut self, connection: u64, sequence: u64, dup: bool) -> bool {
        let next = self.next;
        let text =
            |what| move || format!("{what}: message {sequence} on connection {connection}, next is {next}");
        let Some(claim) = self.claims.get_mut(&connection) else {
            self.breaches.corrupt += 1;
            self.breaches.example(text("before CONNACK"));
            return false;
        };
        claim.received_in_sweep = true;
        if claim.superseded {
            self.breaches.overlaps += 1;
            self.breaches.example(text("overlap"));
        }
        match claim.last.replace(sequence).map(|last| sequence.cmp(&last)) {
            Some(std::cmp::Ordering::Equal) => {
                self.breaches.duplicated += 1;
                self.breaches.example(text("twice on one connection"));
            }
            Some(std::cmp::Ordering::Less) => {
                self.breaches.reordered += 1;
                self.breaches.example(text("back"));
            }
            _ => {}
        }
        // Read behind a newer connection's CONNACK, a copy may well be the first that was sent.
        let is_latest = (claim.rank, 1) == self.newest;
        self.enter(connection, sequence, dup || !is_latest)
    }

    /// Over all connections together: first copies in order, further ones with DUP or another excuse.
    fn enter(&mut self, connection: u64, sequence: u64, excused: bool) -> bool {
        let next = self.next;
        if sequence >= next {
            if sequence > next {
                self.breaches.example(|| format!("gap: message {sequence}, expected {next}"));
                self.missing.extend(next..sequence);
            }
            self.next = sequence + 1;
            return true;
        }
        if self.missing.remove(&sequence) {
            self.breaches.reordered += 1;
            self.breaches.example(|| format!("late: message {sequence}, next is {next}"));
            return true;
        }
        self.redelivered += 1;
        if !excused {
            self.breaches.duplicated += 1;
            self.breaches.example(|| {
                format!("again without DUP: message {sequence} on connection {connection}, next is {next}")
            });
        }
        false
    }

    /// Something else went wrong; `kind` picks its count.
    #[cold]
    pub fn breach(&mut self, kind: impl FnOnce(&mut Breaches) -> &mut u64, text: impl FnOnce() -> String) {
        *kind(&mut self.breaches) += 1;
        self.breaches.example(text);
    }

    /// Messages that came again, with or without DUP.
    pub fn redelivered(&self) -> u64 {
        self.redelivered
    }

    /// The verdict, when `published` messages should have arrived.
    pub fn close(mut self, published: u64, unacknowledged: u64) -> Breaches {
        let tail = published - self.next;
        self.breaches.lost = self.missing.len() as u64 + tail;
        self.breaches.unacknowledged = unacknowledged;
        if tail > 0 {
            self.breaches.example(|| format!("end: the last {tail} of {published} messages never came"));
        }
        self.breaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A contest whose connections 1, 2, … got their CONNACKs in this order, one per sweep.
    fn contest(connections: u64) -> Contest {
        let mut contest = Contest::default();
        for connection in 1..=connections {
            contest.connected(connection);
            contest.end_sweep(true);
        }
        contest
    }

    #[test]
    fn a_session_that_moves_on_with_dup_is_clean() {
        let mut contest = contest(1);
        assert!(contest.received(1, 0, false) && contest.received(1, 1, false));
        contest.connected(2);
        assert!(contest.received(1, 2, false), "still the sweep that showed the other's CONNACK");
        contest.end_sweep(true);
        contest.closed(1);
        assert!(!contest.received(2, 1, true));
        assert!(!contest.received(2, 2, true));
        assert!(contest.received(2, 3, true), "its first copy died with the old connection");
        assert_eq!(contest.redelivered(), 2);
        assert!(contest.close(4, 0).is_clean());
    }

    #[test]
    fn an_older_connection_read_after_the_newer_one_needs_no_dup() {
        let mut contest = contest(1);
        contest.connected(2);
        assert!(contest.received(2, 0, true), "read first, though it was sent second");
        assert!(!contest.received(1, 0, false));
        assert!(contest.received(2, 1, false));
        contest.closed(2);
        assert!(!contest.received(1, 1, false), "the newer one may already have ended");
        contest.closed(1);
        contest.end_sweep(true);
        assert!(contest.close(2, 0).is_clean());
    }

    #[test]
    fn a_message_on_the_older_connection_is_an_overlap() {
        let mut contest = contest(2);
        assert!(contest.is_superseded(1) && !contest.is_superseded(2));
        contest.received(2, 0, false);
        contest.received(1, 1, false);
        assert_eq!(contest.close(2, 0).overlaps, 1);
    }

    #[test]
    fn connections_of_unknown_order_may_not_take_turns() {
        let mut contest = contest(0);
        contest.connected(1);
        contest.connected(2);
        contest.end_sweep(true);
        for (connection, sequence) in [(2, 0), (1, 1), (2, 2)] {
            assert!(contest.is_contested() || sequence == 2);
            contest.received(connection, sequence, false);
            contest.end_sweep(true);
        }
        assert_eq!(contest.close(3, 0).overlaps, 1, "only the third shows it: 1 came after 2");
    }

    #[test]
    fn messages_of_one_sweep_tell_no_order() {
        let mut contest = contest(0);
        contest.connected(1);
        contest.connected(2);
        for sequence in 0..10 {
            contest.received(1 + sequence % 2, sequence, false);
        }
        contest.end_sweep(true);
        contest.received(1, 10, false);
        contest.end_sweep(false);
        assert!(contest.close(11, 0).is_clean());
    }

    #[test]
    fn loss_order_and_missing_dup_are_told_apart() {
        let mut lost = contest(1);
        lost.received(1, 1, false);
        let lost = lost.close(3, 1);
        assert_eq!((lost.lost, lost.reordered, lost.unacknowledged), (2, 0, 1));

        let mut swapped = contest(1);
        swapped.received(1, 1, false);
        swapped.received(1, 0, false);
        let swapped = swapped.close(2, 0);
        assert_eq!((swapped.lost, swapped.duplicated), (0, 0));
        assert!(swapped.reordered > 0);

        let mut again = contest(1);
        again.received(1, 0, false);
        again.connected(2);
        again.end_sweep(true);
        again.received(2, 0, false);
        assert_eq!(again.close(1, 0).duplicated, 1);

        let mut twice = contest(1);
        twice.received(1, 0, false);
        twice.received(1, 0, true);
        assert_eq!(twice.close(1, 0).duplicated, 1);
    }

    #[test]
    fn a_message_before_connack_is_corrupt() {
        let mut contest = contest(1);
        contest.received(7, 0, false);
        assert_eq!(contest.close(0, 0).corrupt, 1);
    }
}
