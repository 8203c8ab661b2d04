//! Planted bugs of what the log is told: records that are numbered and not written, and parts that are left out of others.

use super::record::{Cause, Record};
use crate::base::planted::{Bug, Planted};

/// What a planted bug makes of a record.
pub(super) enum Spoiled {
    /// Nothing.
    No,
    /// It is not written.
    Skipped,
    /// It is written otherwise.
    Changed(Box<Record<'static>>),
}

impl Spoiled {
    /// What the planted bug makes of `record`, if it is about such records.
    #[inline]
    pub(super) fn of(planted: Planted, record: &Record<'_>) -> Spoiled {
        match planted.is_any() {
            true => spoil(planted, record),
            false => Spoiled::No,
        }
    }
}

fn spoil(planted: Planted, record: &Record<'_>) -> Spoiled {
    let skipped = match record {
        Record::Subscribed(_) => planted.is(Bug::SubscribedSkipped),
        Record::Unsubscribed { .. } => planted.is(Bug::UnsubscribedSkipped),
        Record::SessionEnded { .. } => planted.is(Bug::SessionEndSkipped),
        Record::Received { .. } => planted.is(Bug::ReceivedIdSkipped),
        Record::Released { .. } => planted.is(Bug::ReleasedSkipped),
        Record::Started { .. } => planted.is(Bug::StartedSkipped),
        Record::Arrived { .. } => planted.is(Bug::ArrivedSkipped),
        _ => false,
    };
    if skipped {
        return Spoiled::Skipped;
    }
    match record.clone().into_owned() {
        Record::Message(mut message) => {
            match message.cause {
                Cause::Received(..) if planted.is(Bug::ReceivedIdSkipped) => message.cause = Cause::None,
                Cause::Will(_) if planted.is(Bug::WillStaysLogged) => message.cause = Cause::None,
                _ => {}
            }
            if planted.is(Bug::OutboxSkipped) {
                message.destinations = Default::default();
            }
            if planted.is(Bug::ExpirySkipped) {
                message.body.expires_at = None;
            }
            message.retained &= !planted.is(Bug::RetainedSkipped);
            Spoiled::Changed(Box::new(Record::Message(message)))
        }
        Record::Parked(mut parked) if planted.is(Bug::WillStaysLogged) => {
            parked.cause = Cause::None;
            Spoiled::Changed(Box::new(Record::Parked(parked)))
        }
        Record::Session(mut head) if planted.is(Bug::WillSkipped) => {
            head.will = None;
            Spoiled::Changed(Box::new(Record::Session(head)))
        }
        _ => Spoiled::No,
    }
}
