//! Copies of one message for this shard's receivers: encoded once per class, appended where they can go, kept where they must wait.

use super::Shard;
use super::connection::Phase;
use super::publish::Publisher;
use super::session::SessionKey;
use crate::base::kept::KeptCopy;
use crate::base::planted::Bug;
use crate::base::time::Time;
use crate::session::{DropReason, Encoded, Incoming, Offer, Offered};
use crate::topics::{GroupId, Receiver, Routes};
use crate::wire::{QoS, Version};

/// One encoding per class of receivers (v3 or v5, QoS, retain), and one for copies with subscription identifiers.
#[derive(Default)]
pub(super) struct Encodings {
    classes: [Encoded; 12],
    filled: u16,
    single: Encoded,
}

impl Encodings {
    /// For the next message.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    #[inline]
    fn get(
        &mut self,
        incoming: &mut Incoming<'_>,
        now: Time,
        version: Version,
        copy: &CopyHead<'_>,
    ) -> &Encoded {
        if !copy.identifiers.is_empty() && version.is_v5() {
            self.single.fill(incoming, now, version, (copy.qos, copy.retain), copy.identifiers);
            return &self.single;
        }
        let class = usize::from(version.is_v5()) * 6 + copy.qos as usize * 2 + usize::from(copy.retain);
        if self.filled >> class & 1 == 0 {
            self.classes[class].fill(incoming, now, version, (copy.qos, copy.retain), &[]);
            self.filled |= 1 << class;
        }
        &self.classes[class]
    }
}

/// What distinguishes one receiver's copy.
#[derive(Clone, Copy)]
pub(super) struct CopyHead<'a> {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: &'a [u32],
    /// Neither from the retained store nor of a shared subscription: a replay of an older retained message must not follow it.
    pub(super) live: bool,
    /// The shared group that it is for.
    pub(super) group: Option<GroupId>,
}

impl Shard {
    /// Delivers to `receivers`, a part of those of `routes`. Whether one of them is a durable session that is to keep the message.
    pub(super) fn deliver(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        routes: &Routes<SessionKey>,
        receivers: &[Receiver<SessionKey>],
        publisher: Publisher,
    ) -> bool {
        self.encodings.clear();
        let (message_qos, message_retain) = (incoming.qos(), incoming.retain());
        let mut durable = false;
        for receiver in receivers {
            let own = publisher == Publisher::Session(receiver.key());
            let mut copy = if own && !self.planted.is(Bug::NoLocalIgnored) {
                let Some(qos) = receiver.for_publisher() else { continue };
                CopyHead {
                    qos: qos.min(message_qos),
                    retain: message_retain && receiver.retain_as_published_for_publisher(),
                    identifiers: routes.identifiers_for_publisher(receiver),
                    live: true,
                    group: None,
                }
            } else {
                CopyHead {
                    qos: receiver.qos().min(message_qos),
                    retain: message_retain && receiver.retain_as_published(),
                    identifiers: routes.identifiers_of(receiver),
                    live: true,
                    group: None,
                }
            };
            copy.retain |= message_retain && self.planted.is(Bug::RetainFlagKept);
            if copy.identifiers.len() > 1 && self.planted.is(Bug::OverlapGrantsLess) {
                copy.qos = QoS::AtMostOnce;
            }
            if self.planted.is(Bug::IdentifiersForgotten) {
                copy.identifiers = &copy.identifiers[..copy.identifiers.len().min(1)];
            }
            durable |= self.deliver_copy(now, incoming, receiver.key(), &copy);
        }
        durable
    }

    /// One copy for one session. Whether that session is durable and the copy is to be acknowledged.
    #[inline]
    pub(super) fn deliver_copy(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        key: SessionKey,
        copy: &CopyHead<'_>,
    ) -> bool {
        self.counters.copies += 1;
        let Some(session) = self.sessions.get_mut(key) else {
            self.drop_copies(DropReason::SessionEnded, 1);
            return false;
        };
        if copy.live && incoming.retain() && !session.replays.is_empty() {
            self.retained.went_live(&session.replays, incoming.topic());
        }
        // It may have waited on a lane or in a cursor (MQTT 5 section 3.3.2.3.3).
        if incoming.expires_at().is_some_and(|at| at < now) {
            self.counters.expired += 1;
            return false;
        }
        let durable = session.is_durable() && copy.qos > QoS::AtMostOnce;
        let offered = self.offer(now, incoming, key, copy);
        self.count_offered(offered);
        durable
    }

    /// Offers one copy to a session that is there. Nothing is counted but what expired to make room.
    #[inline]
    pub(super) fn offer(
        &mut self,
        now: Time,
        incoming: &mut Incoming<'_>,
        key: SessionKey,
        copy: &CopyHead<'_>,
    ) -> Offered {
        let session = self.sessions.get_mut(key).expect("a copy is offered to a session that is there");
        let is_kept = copy.qos > QoS::AtMostOnce && session.is_durable() && self.log.keeps();
        let kept = is_kept.then(|| {
            let body = self.draft.body(&mut self.bodies, incoming.message());
            KeptCopy { number: session.next_copy, body }
        });
        let connection = session.connection.and_then(|key| Some((key, self.connections.get_mut(key)?)));
        let mut connection = connection.filter(|(_, connection)| connection.phase == Phase::Connected);
        let encoded = match &connection {
            Some((_, connection)) => self.encodings.get(incoming, now, connection.version, copy),
            None => &self.encodings.single,
        };
        let offer = Offer {
            incoming,
            now,
            encoded,
            qos: copy.qos,
            retain: copy.retain,
            identifiers: copy.identifiers,
            group: copy.group,
            kept,
        };
        let writer = connection.as_mut().map(|(_, connection)| connection.writer(&mut self.buffers));
        let offered = session.outbound.offer(offer, writer, &self.limits, self.planted);
        if let Some((key, connection)) = connection {
            self.outputs.flush(key, connection);
        }
        if matches!(offered, Offered::Queued | Offered::Paged | Offered::Dropped(_)) {
            let gone = session.outbound.take_expired();
            self.counters.expired += u64::from(gone.copies);
            self.finish_copies(key, &gone.kept);
            self.finish_paged(key, &gone.paged);
        }
        if let Some(kept) = kept {
            self.draft_copy(key, kept, copy, offered);
        }
        offered
    }

    /// Counts what became of a copy.
    #[inline]
    pub(super) fn count_offered(&mut self, offered: Offered) {
        match offered {
            Offered::Written => {
                self.counters.messages_out += 1;
                self.counters.delivered += 1;
            }
            Offered::InFlight => self.counters.messages_out += 1,
            Offered::Queued | Offered::Paged | Offered::Held(_) => {}
            Offered::Dropped(_) if self.planted.is(Bug::DropNotCounted) => {}
            Offered::Dropped(reason) => self.drop_copies(reason, 1),
        }
    }
}
