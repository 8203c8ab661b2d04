//! Records of every kind, made from a seed: for the tests of the codec and of what is built on it.

use super::*;
use crate::base::kept::{CopyNumber, ParkedId, SessionNumber};
use crate::base::lsn::Lsn;
use crate::base::random::Random;
use crate::base::shard_set::{SHARDS_MAX, ShardId};
use crate::base::time::Time;
use crate::log::record::{
    BodyRecord, Cause, CopiesRecord, CopyEntry, CopyState, Destination, MessageRecord, Occasion,
    OfflineRecord, Origin, ParkedRecord, SessionRecord, SubscribedRecord, WillRecord,
};
use crate::mesh::Epoch;
use crate::topics::retained::PublisherMark;
use crate::wire::{PacketId, QoS, RetainHandling, SubscriptionOptions};
use std::num::{NonZeroU32, NonZeroU64};

/// Makes up records.
pub(in crate::log) struct Scribe {
    random: Random,
}

impl Scribe {
    pub(in crate::log) fn new(seed: u64) -> Scribe {
        Scribe { random: Random::from_seed(seed) }
    }

    pub(in crate::log) fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Of all sizes, the small ones more often.
    fn number(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        self.random.next_u64().checked_shr(64 - bits).unwrap_or(0)
    }

    fn u32(&mut self) -> u32 {
        (self.number() >> 32) as u32
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Scribe) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    pub(super) fn list<T>(&mut self, below: u64, mut make: impl FnMut(&mut Scribe) -> T) -> Vec<T> {
        (0..self.below(below)).map(|_| make(self)).collect()
    }

    fn owned<T: Clone + 'static>(&mut self, make: impl FnMut(&mut Scribe) -> T) -> Cow<'static, [T]> {
        Cow::Owned(self.list(5, make))
    }

    fn text(&mut self) -> Cow<'static, str> {
        let letters = ['a', '/', 'ä', '𝄞', '+', '7'];
        Cow::Owned(self.list(20, |scribe| letters[scribe.below(6) as usize]).into_iter().collect())
    }

    /// Mostly small, now and then longer than a block.
    fn bytes(&mut self) -> Cow<'static, [u8]> {
        let below = if self.below(50) == 0 { 10_000 } else { 60 };
        Cow::Owned(self.list(below, |scribe| scribe.below(256) as u8))
    }

    fn session(&mut self) -> SessionNumber {
        SessionNumber(self.number())
    }

    fn copy(&mut self) -> CopyNumber {
        CopyNumber(self.number())
    }

    fn lsn(&mut self) -> Lsn {
        Lsn(self.number())
    }

    fn shard(&mut self) -> ShardId {
        ShardId::new(self.below(SHARDS_MAX as u64) as usize)
    }

    fn time(&mut self) -> Time {
        Time::from_micros(self.number())
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(self.below(65_535) as u16 + 1).expect("not 0")
    }

    fn qos(&mut self) -> QoS {
        QoS::ALL[self.below(3) as usize]
    }

    fn body(&mut self) -> BodyRecord<'static> {
        BodyRecord {
            topic: self.text(),
            properties: self.bytes(),
            payload: self.bytes(),
            qos: self.qos(),
            retain: self.flag(),
            expires_at: self.some(Scribe::time),
            publisher: self.some(|scribe| {
                PublisherMark::from_bits(NonZeroU64::new(scribe.number()).unwrap_or(NonZeroU64::MIN))
            }),
        }
    }

    fn parked(&mut self) -> ParkedId {
        ParkedId { record: self.lsn(), nth: self.u32() }
    }

    fn origin(&mut self) -> Origin {
        if self.flag() { Origin::Own } else { Origin::Peer { source: self.shard(), lsn: self.lsn() } }
    }

    fn cause(&mut self) -> Cause {
        match self.below(4) {
            0 => Cause::None,
            1 => Cause::Received(self.session(), self.packet_id()),
            2 => Cause::Will(self.session()),
            _ => Cause::Parked(self.parked()),
        }
    }

    fn destinations(&mut self) -> Cow<'static, [Destination<'static>]> {
        self.owned(|scribe| Destination {
            shard: scribe.shard(),
            fan_out: scribe.flag(),
            store: scribe.flag(),
            groups: scribe.owned(|scribe| (scribe.text(), scribe.number())),
        })
    }

    fn entry(&mut self) -> CopyEntry {
        CopyEntry {
            session: self.session(),
            number: self.copy(),
            qos: self.qos(),
            retain: self.flag(),
            group: self.some(|scribe| scribe.text().into()),
            state: match self.below(3) {
                0 => CopyState::Queued,
                1 => CopyState::Started(self.packet_id()),
                _ => CopyState::Arrived(self.packet_id()),
            },
            identifiers: self.list(4, Scribe::u32).into(),
        }
    }

    fn head(&mut self) -> SessionRecord<'static> {
        SessionRecord {
            session: self.session(),
            fresh: self.flag(),
            client_id: self.text(),
            user: self.some(Scribe::text),
            epoch: Epoch(self.number()),
            expiry_seconds: self.u32(),
            offline_since: self.some(Scribe::time),
            will: self.some(|scribe| WillRecord {
                body: scribe.body(),
                delay_seconds: scribe.u32(),
                expiry_seconds: scribe.some(Scribe::u32),
                user_name: scribe.some(Scribe::text),
                peer: scribe.peer(),
            }),
            received: self.owned(Scribe::packet_id),
            next_copy: self.copy(),
        }
    }

    fn peer(&mut self) -> std::net::SocketAddr {
        let (address, port) = (self.number(), self.below(65_536) as u16);
        if self.flag() {
            return (std::net::Ipv4Addr::from(address as u32), port).into();
        }
        let address = std::net::Ipv6Addr::from(u128::from(address) << 17);
        std::net::SocketAddrV6::new(address, port, self.u32(), self.u32()).into()
    }

    fn occasion(&mut self) -> Occasion<'static> {
        match self.below(4) {
            0 => Occasion::At(self.time()),
            1 => Occasion::Slot,
            2 => Occasion::Member { group: self.text(), sent_on: self.flag() },
            _ => Occasion::FanOut { done: self.owned(Scribe::session), body: BodyId(self.lsn()) },
        }
    }

    /// A record of any kind.
    pub(in crate::log) fn record(&mut self) -> Record<'static> {
        let kind = self.below(u64::from(KIND_MAX)) as u8 + 1;
        self.record_of(kind)
    }

    /// A record of `kind`.
    pub(in crate::log) fn record_of(&mut self, kind: u8) -> Record<'static> {
        match kind {
            START => {
                let ended = self.owned(|scribe| (Incarnation(scribe.u32()), scribe.lsn()));
                Record::Start(StartRecord { ended })
            }
            STOPPED => Record::Stopped,
            SESSION => Record::Session(self.head()),
            OFFLINE => Record::Offline(OfflineRecord {
                session: self.session(),
                since: self.time(),
                will_forgotten: self.flag(),
                expiry_seconds: self.u32(),
            }),
            SESSION_ENDED => Record::SessionEnded { session: self.session() },
            SUBSCRIBED => Record::Subscribed(SubscribedRecord {
                session: self.session(),
                filter: self.text(),
                options: SubscriptionOptions {
                    qos: self.qos(),
                    no_local: self.flag(),
                    retain_as_published: self.flag(),
                    retain_handling: RetainHandling::SendIfNew,
                },
                identifier: NonZeroU32::new(self.u32()),
                exclusive: self.flag(),
            }),
            UNSUBSCRIBED => Record::Unsubscribed { session: self.session(), filter: self.text() },
            MESSAGE => Record::Message(MessageRecord {
                origin: self.origin(),
                cause: self.cause(),
                body: self.body(),
                destinations: self.destinations(),
                copies: self.owned(Scribe::entry),
                retained: self.flag(),
                open: self.flag(),
                groups: self.owned(Scribe::text),
            }),
            COPIES => Record::Copies(CopiesRecord {
                body: BodyId(self.lsn()),
                parked: self.some(Scribe::parked),
                copies: self.owned(Scribe::entry),
                last: self.flag(),
            }),
            PARKED => Record::Parked(ParkedRecord {
                occasion: self.occasion(),
                origin: self.origin(),
                cause: self.cause(),
                taken_from: self.some(|scribe| (scribe.session(), scribe.copy())),
                body: self.body(),
                parked: self.some(Scribe::parked),
            }),
            later => self.small_record_of(later),
        }
    }

    fn small_record_of(&mut self, kind: u8) -> Record<'static> {
        let session = self.session();
        match kind {
            STARTED => Record::Started { session, copy: self.copy(), packet_id: self.packet_id() },
            ARRIVED => Record::Arrived { session, copy: self.copy(), packet_id: self.packet_id() },
            FINISHED => Record::Finished { session, copies: self.owned(Scribe::copy) },
            RECEIVED => Record::Received { session, packet_id: self.packet_id() },
            RELEASED => Record::Released { session, packet_id: self.packet_id() },
            MARK => Record::Mark { source: self.shard(), lsn: self.lsn() },
            UNPARKED => Record::Unparked { parked: self.parked() },
            RETAINED => Record::Retained(self.body()),
            RETAINED_CLEARED => Record::RetainedCleared { topic: self.text() },
            BODY => Record::Body { body: BodyId(self.lsn()), origin: self.origin(), content: self.body() },
            OUTBOX => {
                Record::Outbox { lsn: self.lsn(), content: self.body(), destinations: self.destinations() }
            }
            QUEUE => Record::Queue {
                session,
                from: self.copy(),
                through: self.copy(),
                copies: self.owned(|scribe| (BodyId(scribe.lsn()), scribe.entry())),
            },
            none => panic!("no record has the kind {none}"),
        }
    }
}
