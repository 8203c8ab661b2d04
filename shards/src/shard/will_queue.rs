//! Messages that nobody's connection publishes: wills that are due, and how they and delayed messages go out.
//!
//! The log has the will of a durable session with the session, until it is due: then it is parked under a number of its own, in the same record that
//! takes it from the session, and from there its publication uses it up. So it is published once, whatever falls between.

use super::Shard;
use super::peers::LaneWaiter;
use super::publish::Publisher;
use super::session::SessionKey;
use crate::base::kept::{ParkedId, Written};
use crate::base::shard_set::ShardId;
use crate::base::time::Time;
use crate::log::{BodyRecord, Cause, Occasion, Origin, ParkedRecord, Record};
use crate::mesh::Keep;
use crate::session::Incoming;
use crate::topics::TopicName;
use crate::wire::{Message, QoS};
use std::collections::VecDeque;

/// What became of a [`KeptMessage`] whose time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    /// It went out.
    Published,
    /// The lane to this shard has no slot for it.
    NoSlot(ShardId),
    /// The fan-out cursors are full: they are worked off by themselves.
    NoCursor,
}

/// Wills that are due. At most one per session.
#[derive(Default)]
pub(super) struct WillQueue {
    pub(super) due: VecDeque<KeptMessage>,
    /// Stands among the waiters of a lane, or for the end of recovery.
    pub(super) waiting: bool,
}

/// A message kept for its time: a will, or a delayed one.
#[derive(Clone)]
pub(super) struct KeptMessage {
    pub(super) message: Message,
    /// Whom it speaks for; a session may have ended.
    pub(super) of: Publisher,
    /// How it is to be retained.
    pub(super) keep: Option<Keep>,
    /// What its publication uses up: the number under which the log has it.
    pub(super) cause: Cause,
    /// Where the last record of that lies.
    pub(super) written: Written,
}

impl KeptMessage {
    /// Whether it is worth a record: what is promised to nobody and not retained is not.
    pub(super) fn is_logged(message: &Message) -> bool {
        message.qos() > QoS::AtMostOnce || message.retain()
    }
}

impl Shard {
    /// The will of the session `of`, which is still there, is to be published.
    pub(super) fn will_is_due(&mut self, message: Message, of: SessionKey) {
        let will = self.keep_message(message, of);
        let will = self.park_will(will, of, Occasion::Slot);
        // Of a broker that stops the next run publishes it (section 3.1.2.5), if the log has it.
        if !self.is_stopping() || !self.log.keeps() || will.cause == Cause::None {
            self.wills.due.push_back(will);
        }
    }

    /// The log takes a will from its session, and keeps it for `occasion`. That of a session which the log does not have is parked only when nobody
    /// else will publish it: the broker stops.
    pub(super) fn park_will(
        &mut self,
        will: KeptMessage,
        of: SessionKey,
        occasion: Occasion<'_>,
    ) -> KeptMessage {
        let session = self.sessions.get(of).expect("a will is due while its session is there");
        let left_over = self.is_stopping() && self.log.keeps();
        let logged = KeptMessage::is_logged(&will.message) || left_over;
        if session.is_durable() && !logged {
            self.log_will_lost(of);
            return will;
        }
        let delayed = matches!(occasion, Occasion::At(_));
        if !logged || !(session.is_durable() || delayed || left_over) {
            return will;
        }
        let cause = if session.is_durable() { Cause::Will(session.number) } else { Cause::None };
        self.log_parked(will, occasion, cause)
    }

    /// The log has the message from here on.
    pub(super) fn log_parked(
        &mut self,
        kept: KeptMessage,
        occasion: Occasion<'_>,
        cause: Cause,
    ) -> KeptMessage {
        let publisher = self.mark_of(kept.of);
        let body = BodyRecord::of(&kept.message, publisher);
        let record =
            ParkedRecord { origin: Origin::Own, occasion, cause, taken_from: None, body, parked: None };
        let written = self.log.written();
        let parked = self.log.append(&Record::Parked(record));
        KeptMessage { cause: Cause::Parked(ParkedId::alone(parked)), written, ..kept }
    }

    /// What was parked is gone without having been published.
    pub(super) fn log_unparked(&mut self, cause: Cause) {
        if let Cause::Parked(parked) = cause {
            self.log.append(&Record::Unparked { parked });
        }
    }

    /// Keeps a message of the session `of`, which is still there, for its time.
    pub(super) fn keep_message(&self, message: Message, of: SessionKey) -> KeptMessage {
        let keep = message.retain().then(|| self.keep_for(of, false));
        KeptMessage {
            message,
            of: Publisher::Session(of),
            keep,
            cause: Cause::None,
            written: Written::default(),
        }
    }

    /// Publishes the wills that are due, as far as the slots last.
    pub(super) fn publish_wills(&mut self, now: Time) {
        while !self.wills.waiting && !self.work.is_exhausted() {
            let Some(will) = self.wills.due.front().cloned() else { return };
            if !self.may_publish_kept(&will) {
                return;
            }
            match self.publish_kept(now, &will) {
                Kept::Published => {
                    self.wills.due.pop_front();
                }
                Kept::NoSlot(lane) => {
                    self.wills.waiting = true;
                    return self.peers[lane].waiters.push_back(LaneWaiter::Wills);
                }
                Kept::NoCursor => return,
            }
        }
    }

    /// Publishes a message that was kept for its time, if there are slots for it.
    pub(super) fn publish_kept(&mut self, now: Time, kept: &KeptMessage) -> Kept {
        let KeptMessage { message, of, keep, cause, .. } = kept;
        let topic = TopicName::new(message.topic()).expect("checked when it was kept");
        let plan = self.plan(topic, *of, *keep);
        if let Some(lane) = self.peers.blocked(plan.targets(self.id), self.fan_out.resumed) {
            return Kept::NoSlot(lane);
        }
        if self.needs_cursor(message.topic(), &plan.routes) && !self.fan_out.has_room() {
            return Kept::NoCursor;
        }
        self.publish(now, &mut Incoming::owned(message), &plan, (*of, *cause));
        Kept::Published
    }

    pub(super) fn wills_can_go(&self) -> bool {
        let first = self.wills.due.front();
        !self.wills.waiting && first.is_some_and(|first| self.may_publish_kept(first))
    }
}
