//! How far this shard's log and those of the others are: QoS 2 messages that wait for it, and the marks by which the others know what is logged here.
//!
//! A mark says of one source: all that it sent up to this number is logged here, or need not be. It is told to the source when the record that says so
//! is committed.

use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::lsn::Lsn;
use crate::base::planted::Bug;
use crate::base::shard_set::{ShardId, ShardSet};
use crate::base::time::Time;
use crate::log::{Gate, Log, Origin, Record};
use crate::wire::PacketId;
use std::collections::{BTreeMap, VecDeque};

/// A QoS 2 copy in flight, not sent yet.
struct Held {
    session: SessionKey,
    packet_id: PacketId,
    origin: Origin,
}

/// QoS 2 copies in flight that wait for their own record first, then for that of the message on the shard where it was published: sent before, they
/// could come once more, as another message, when its publisher repeats what was lost.
#[derive(Default)]
pub(super) struct Holds {
    own: Gate<Held>,
    source: BTreeMap<(ShardId, Lsn, u64), (SessionKey, PacketId)>,
    numbered: u64,
}

impl Holds {
    pub(super) fn hold(&mut self, lsn: Lsn, session: SessionKey, packet_id: PacketId, origin: Origin) {
        self.own.hold(lsn, Held { session, packet_id, origin });
    }

    /// Copies held.
    pub(super) fn len(&self) -> usize {
        self.own.len() + self.source.len()
    }
}

/// How far one source's messages are logged here.
#[derive(Default)]
struct Mark {
    /// Numbers of own records, each with what it says of the source; in order.
    logged: VecDeque<(Lsn, Lsn)>,
    /// Consumed, and to be noted by a record at the end of the turn.
    noted: Lsn,
    /// What the source may know.
    committed: Lsn,
}

/// The marks of a shard, by source.
pub(super) struct Marks {
    marks: Box<[Mark]>,
    /// Those with something noted.
    noted: ShardSet,
    /// Those of which the source has to be told.
    news: ShardSet,
}

impl Marks {
    pub(super) fn new(shards: usize) -> Marks {
        let marks = (0..shards).map(|_| Mark::default()).collect();
        Marks { marks, noted: ShardSet::EMPTY, news: ShardSet::EMPTY }
    }

    /// All of `source` up to `lsn` has come, and nothing of that needed a record.
    pub(super) fn note(&mut self, source: ShardId, lsn: Lsn) {
        self.marks[source.index()].noted = lsn;
        self.noted.insert(source);
    }

    /// The own record `own` says so of `source` up to `lsn`.
    pub(super) fn logged(&mut self, source: ShardId, own: Lsn, lsn: Lsn) {
        self.noted.remove(source);
        self.marks[source.index()].logged.push_back((own, lsn));
    }

    /// The source is to know this mark: as it was recovered.
    pub(super) fn tell(&mut self, source: ShardId, lsn: Lsn) {
        self.marks[source.index()].committed = lsn;
        self.news.insert(source);
    }

    /// How far the log, committed or not, says that it has what `source` sent.
    pub(super) fn newest(&self, source: ShardId) -> Lsn {
        let mark = &self.marks[source.index()];
        mark.logged.back().map_or(mark.committed, |(_, lsn)| *lsn)
    }

    fn commit(&mut self, committed: Lsn) {
        for (index, mark) in self.marks.iter_mut().enumerate() {
            while let Some((_, lsn)) = mark.logged.front().copied().filter(|(own, _)| *own <= committed) {
                mark.logged.pop_front();
                mark.committed = lsn;
                self.news.insert(ShardId::new(index));
            }
        }
    }
}

impl Shard {
    /// What its records go into.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether this shard's log keeps anything: else there is no progress to exchange.
    pub fn log_keeps(&self) -> bool {
        self.log.keeps()
    }

    /// How far this shard's log is committed.
    pub fn committed_lsn(&self) -> Lsn {
        self.gate.committed()
    }

    /// A source whose mark is higher than it was told, with the mark.
    pub fn poll_kept(&mut self) -> Option<(ShardId, Lsn)> {
        let source = self.marks.news.iter().next()?;
        self.marks.news.remove(source);
        Some((source, self.marks.marks[source.index()].committed))
    }

    /// The log of `peer` is committed up to `committed`, and has logged what this shard sent it up to `kept`.
    pub fn handle_progress(&mut self, now: Time, peer: ShardId, committed: Lsn, kept: Lsn) {
        if committed > self.peers[peer].committed {
            self.peers[peer].committed = committed;
            self.release_from(now, peer);
        }
        self.outbox.advance(peer, kept, &mut self.bodies);
    }

    /// The peers to which messages went whose records are committed now and were not at `before`: they may hold copies for that.
    pub fn peers_that_wait(&self, before: Lsn) -> ShardSet {
        let mut waiting = ShardSet::EMPTY;
        for peer in self.peers.others().iter().filter(|peer| self.peers[*peer].newest_lsn > before) {
            waiting.insert(peer);
        }
        waiting
    }

    /// Whether the record behind a message is committed where it was published.
    pub(super) fn is_settled(&self, origin: Origin) -> bool {
        match origin {
            Origin::Own => true,
            Origin::Peer { source, lsn } => lsn <= self.peers[source].committed,
        }
    }

    /// The own log is committed up to `lsn`.
    pub(super) fn release_held(&mut self, now: Time, lsn: Lsn) {
        self.marks.commit(lsn);
        self.holds.own.commit(lsn);
        let mut to_pump = Vec::new();
        while let Some(Held { session, packet_id, origin }) = self.holds.own.release() {
            match origin {
                Origin::Peer { source, lsn }
                    if !self.is_settled(origin) && !self.planted.is(Bug::Qos2BeforeSource) =>
                {
                    self.holds.numbered += 1;
                    let number = self.holds.numbered;
                    self.holds.source.insert((source, lsn, number), (session, packet_id));
                }
                _ => self.release_copy(session, packet_id, &mut to_pump),
            }
        }
        to_pump.into_iter().for_each(|key| self.pump(now, key));
    }

    fn release_from(&mut self, now: Time, source: ShardId) {
        let mut to_pump = Vec::new();
        let committed = self.peers[source].committed;
        while let Some(first) = self.holds.source.range((source, Lsn::NONE, 0)..).next() {
            let (&(of, lsn, number), &(session, packet_id)) = first;
            if of != source || lsn > committed {
                break;
            }
            self.holds.source.remove(&(of, lsn, number));
            self.release_copy(session, packet_id, &mut to_pump);
        }
        to_pump.into_iter().for_each(|key| self.pump(now, key));
    }

    fn release_copy(&mut self, session: SessionKey, packet_id: PacketId, to_pump: &mut Vec<ConnectionKey>) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        if !session.outbound.release(packet_id) {
            return;
        }
        if let Some(key) = session.connection.filter(|key| to_pump.last() != Some(key)) {
            to_pump.push(key);
        }
    }

    /// The end of a turn's input: marks that no other record has carried.
    pub(super) fn record_marks(&mut self) {
        for source in std::mem::take(&mut self.marks.noted).iter() {
            let lsn = self.marks.marks[source.index()].noted;
            let own = self.log.append(&Record::Mark { source, lsn });
            self.marks.logged(source, own, lsn);
        }
    }
}
