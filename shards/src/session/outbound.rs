//! Towards the client: what is in flight, what waits, and what is dropped when a limit is met.
//!
//! A copy goes straight to the write buffer when nothing of its kind waits before it and there is room; else it waits, bounded by count and
//! bytes. QoS 0 waits for the socket only, QoS 1 and 2 for the socket and the client's acknowledgements, so they wait apart: the order
//! that is promised is per QoS [MQTT-4.6.0-5].

use super::in_flight::{InFlight, Resend, UnknownPacketId};
use super::waiting::{Gone, Waiting, WaitingRoom};
use super::{DropReason, Encoded, Identifiers, Incoming, PagedCopy, PendingCopy, Writer};
use crate::base::kept::{CopyNumber, KeptCopy};
use crate::base::limits::Limits;
use crate::base::planted::{Bug, Planted};
use crate::base::time::Time;
use crate::topics::GroupId;
use crate::wire::{Ack, Packet, PacketId, QoS};

/// One copy for one session.
pub struct Offer<'o, 'i> {
    /// The message.
    pub incoming: &'o mut Incoming<'i>,
    /// When it is offered.
    pub now: Time,
    /// The same, encoded for this copy's class; filled whenever the session has a connection.
    pub encoded: &'o Encoded,
    /// The copy's QoS.
    pub qos: QoS,
    /// The copy's retain flag.
    pub retain: bool,
    /// The matching subscriptions' identifiers.
    pub identifiers: &'o [u32],
    /// The shared group that it is for.
    pub group: Option<GroupId>,
    /// What the log calls it, if it is to have it.
    pub kept: Option<KeptCopy>,
}

impl Offer<'_, '_> {
    fn keep(&mut self) -> PendingCopy {
        PendingCopy {
            message: self.incoming.message().clone(),
            identifiers: Identifiers::from(self.identifiers),
            qos: self.qos,
            retain: self.retain,
            group: self.group,
            kept: self.kept,
        }
    }
}

/// What became of an [`Offer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// QoS 0, in the write buffer: delivered as far as MQTT knows.
    Written,
    /// In the write buffer and in flight.
    InFlight,
    /// In flight, and sent when the log has what it, or one before it, waits for.
    Held(PacketId),
    /// Waits.
    Queued,
    /// Waits without its message, which is to be read from the log when its turn comes.
    Paged,
    /// Not delivered.
    Dropped(DropReason),
}

/// What one [`Outbound::pump`] did with waiting copies.
#[derive(Default, Debug)]
pub struct Pumped {
    /// PUBLISH packets written, repeated ones included.
    pub published: u32,
    /// QoS 0 copies among them: delivered by that.
    pub delivered: u32,
    /// Copies whose expiry passed while they waited.
    pub expired: u32,
    /// Copies larger than the client takes.
    pub too_large: u32,
    /// Those that the log has among the expired and the too large.
    pub finished: Vec<KeptCopy>,
    /// Copies that are in flight now, and held until the log has their packet ids.
    pub started: Vec<(KeptCopy, PacketId)>,
}

/// The outbound half of a session.
#[derive(Debug)]
pub struct Outbound {
    pub(super) in_flight: InFlight,
    pub(super) in_flight_bytes: usize,
    window: u16,
    /// Boxed: nearly every session has nothing waiting nearly always.
    pub(super) waiting: Option<Box<Waiting>>,
}

impl Outbound {
    /// Towards a client that takes `window` messages in flight.
    pub fn new(window: u16) -> Outbound {
        Outbound { in_flight: InFlight::default(), in_flight_bytes: 0, window, waiting: None }
    }

    /// A new connection: everything in flight is to be sent again, `window` at a time.
    pub fn resume(&mut self, window: u16) {
        self.window = window;
        self.in_flight.restart();
    }

    /// Whether a copy offered now would not have to wait behind others of the session.
    pub fn can_start(&self, limits: &Limits) -> bool {
        self.waiting.is_none() && self.may_start(limits)
    }

    fn may_start(&self, limits: &Limits) -> bool {
        self.in_flight.is_open(self.window)
            && (self.in_flight.is_empty() || self.in_flight_bytes < limits.queue_bytes_max as usize)
    }

    fn start(&mut self, copy: PendingCopy) -> (PacketId, bool) {
        self.in_flight_bytes += copy.message.memory_bytes();
        self.in_flight.start(copy)
    }

    /// Takes one copy: writes it, keeps it, or drops it. `writer` is there while the session has a connection.
    #[inline]
    pub fn offer(
        &mut self,
        mut offer: Offer<'_, '_>,
        writer: Option<Writer<'_>>,
        limits: &Limits,
        planted: Planted,
    ) -> Offered {
        let Some(mut writer) = writer else {
            if offer.qos == QoS::AtMostOnce {
                return Offered::Dropped(DropReason::Offline);
            }
            return self.wait(offer.keep(), offer.now, limits, planted);
        };
        if offer.encoded.wire_bytes() > writer.packet_bytes_max as usize {
            return Offered::Dropped(DropReason::PacketTooLarge);
        }
        let waiting = self.waiting.as_deref();
        if offer.qos == QoS::AtMostOnce {
            if writer.has_room() && waiting.is_none_or(|waiting| waiting.has_no_unacknowledged()) {
                writer.append(&mut offer, None);
                return Offered::Written;
            }
        } else if writer.has_room()
            && waiting.is_none_or(|waiting| waiting.has_no_acknowledged())
            && self.may_start(limits)
        {
            let (packet_id, is_sent) = self.start(offer.keep());
            if !is_sent {
                return Offered::Held(packet_id);
            }
            writer.append(&mut offer, Some(packet_id));
            return Offered::InFlight;
        }
        self.wait(offer.keep(), offer.now, limits, planted)
    }

    fn wait(&mut self, copy: PendingCopy, now: Time, limits: &Limits, planted: Planted) -> Offered {
        let waiting = self.waiting.get_or_insert_default();
        let mut room = waiting.room(&copy, limits);
        if room == WaitingRoom::None {
            waiting.drop_expired(now);
            room = waiting.room(&copy, limits);
        }
        match room {
            WaitingRoom::Memory => waiting.push(copy),
            WaitingRoom::None if planted.is(Bug::QueueUnbounded) => waiting.push(copy),
            WaitingRoom::None => return Offered::Dropped(DropReason::QueueFull),
            WaitingRoom::Disk => {
                waiting.push_paged(PagedCopy::of(&copy).expect("there is no such room for any other"));
                return Offered::Paged;
            }
        }
        Offered::Queued
    }

    /// What was dropped as expired to make room for what was offered.
    pub fn take_expired(&mut self) -> Gone {
        self.waiting.as_deref_mut().map(|waiting| std::mem::take(&mut waiting.expired)).unwrap_or_default()
    }

    /// The log has what the PUBLISH of this id waited for: it goes out with the next pump. False: nothing of this id is held.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        self.in_flight.release(packet_id)
    }

    /// Sends again what the new connection has not seen, then what waits, as far as the window and the write buffer allow.
    pub fn pump(&mut self, now: Time, mut writer: Writer<'_>, limits: &Limits) -> Pumped {
        let mut pumped = Pumped::default();
        while writer.has_room() && !self.in_flight.is_resent() {
            match self.in_flight.resend(self.window) {
                None => break,
                Some(Resend::Pubrel(packet_id)) => {
                    Packet::Pubrel(Ack::new(packet_id)).encode(writer.version, writer.out.bytes_mut());
                }
                Some(Resend::Publish { packet_id, copy, dup }) => {
                    // What was started stays started: its expiry does not end it [MQTT-4.4.0-1]. A smaller Maximum Packet Size of the new
                    // connection does, as if the client had it [MQTT-3.1.2-24, MQTT-3.1.2-25].
                    let written = writer.write_started(copy, now, (packet_id, dup));
                    pumped.published += u32::from(written);
                    if !written {
                        let copy = self.in_flight.abandon(packet_id);
                        if let Some(copy) = self.delivered(copy) {
                            pumped.too_large += 1;
                            pumped.finished.extend(copy.kept);
                        }
                    }
                }
            }
        }
        if self.waiting.is_some() {
            self.pump_waiting(now, &mut writer, limits, &mut pumped);
        }
        pumped
    }

    fn pump_waiting(&mut self, now: Time, writer: &mut Writer<'_>, limits: &Limits, pumped: &mut Pumped) {
        while writer.has_room() && self.may_start(limits) {
            let Some(copy) = self.waiting.as_deref_mut().and_then(Waiting::pop_acknowledged) else { break };
            if copy.is_expired(now) {
                pumped.expired += 1;
                pumped.finished.extend(copy.kept);
                continue;
            }
            let bytes = copy
                .delivery(now, Some(PacketId::MIN), false)
                .wire_bytes(writer.version, copy.message.payload().len());
            if bytes > writer.packet_bytes_max as usize {
                pumped.too_large += 1;
                pumped.finished.extend(copy.kept);
                continue;
            }
            let again = self.waiting.as_deref().is_some_and(|waiting| waiting.may_have_been_sent(&copy));
            let (packet_id, is_sent) = self.start(copy.clone());
            if again {
                self.in_flight.note_sent_before(packet_id);
            }
            if is_sent {
                writer.write_started(&copy, now, (packet_id, again));
                pumped.published += 1;
            }
            pumped
                .started
                .extend(copy.kept.filter(|_| copy.is_held_at_first()).map(|kept| (kept, packet_id)));
        }
        while writer.has_room() {
            let Some(copy) = self.waiting.as_deref_mut().and_then(Waiting::pop_unacknowledged) else { break };
            if copy.is_expired(now) {
                pumped.expired += 1;
            } else if writer.write(&copy, now, None) {
                pumped.published += 1;
                pumped.delivered += 1;
            } else {
                pumped.too_large += 1;
            }
        }
        if self.queued() == 0 {
            self.waiting = None;
        }
    }

    /// The connection ended: QoS 0 copies that wait for its socket are not worth keeping. Returns how many those were.
    pub fn disconnected(&mut self) -> usize {
        let Some(waiting) = self.waiting.as_deref_mut() else { return 0 };
        let dropped = waiting.drop_unacknowledged();
        if waiting.len() == 0 {
            self.waiting = None;
        }
        dropped
    }

    /// PUBACK: the copy that is delivered by it. `None`: nothing waits for it.
    pub fn puback(&mut self, packet_id: PacketId) -> Option<PendingCopy> {
        let copy = self.in_flight.puback(packet_id);
        self.delivered(copy)
    }

    /// PUBREC without error: the copy that has arrived by it; `None`: it had before.
    ///
    /// # Errors
    /// Nothing waits for it.
    pub fn pubrec(&mut self, packet_id: PacketId) -> Result<Option<PendingCopy>, UnknownPacketId> {
        let copy = self.in_flight.pubrec(packet_id)?;
        Ok(self.delivered(copy))
    }

    /// PUBREC with an error code: the copy that is dropped. `None`: nothing waits for it.
    pub fn pubrec_refused(&mut self, packet_id: PacketId) -> Option<PendingCopy> {
        let copy = self.in_flight.pubrec_refused(packet_id);
        self.delivered(copy)
    }

    fn delivered(&mut self, copy: Option<PendingCopy>) -> Option<PendingCopy> {
        self.in_flight_bytes -= copy.as_ref().map_or(0, |copy| copy.message.memory_bytes());
        copy
    }

    /// PUBCOMP: what the log calls the copy that is finished by it, if it has it.
    pub fn pubcomp(&mut self, packet_id: PacketId) -> Option<CopyNumber> {
        self.in_flight.pubcomp(packet_id).flatten()
    }

    /// The copies that the log has a body of: not those that have arrived, and not those whose messages are on disk ([`Outbound::paged`]).
    pub fn kept(&self) -> impl Iterator<Item = KeptCopy> {
        let waiting = self.waiting.iter().flat_map(|waiting| waiting.copies());
        self.in_flight.copies().chain(waiting).filter_map(|copy| copy.kept)
    }

    /// The log forgets the session: it has none of the copies from here on. Returns those of which it had a body, but for those whose messages are on
    /// disk: they need their bodies until they are read.
    pub fn forget_kept(&mut self) -> Vec<KeptCopy> {
        let forgotten = self.kept().collect();
        self.in_flight.forget_kept();
        if let Some(waiting) = &mut self.waiting {
            waiting.revise(|copy| {
                copy.kept = None;
                true
            });
        }
        forgotten
    }

    /// Whether a pump could have something to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_none() && self.in_flight.is_resent()
    }

    /// Copies that wait.
    pub fn queued(&self) -> usize {
        self.waiting.as_deref().map_or(0, Waiting::len)
    }

    /// Copies in flight that have not arrived yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.undelivered()
    }
}
