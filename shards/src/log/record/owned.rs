//! Records that outlive what they were made of.

use super::{
    BodyRecord, CopiesRecord, Destination, MessageRecord, Occasion, ParkedRecord, Record, SessionRecord,
    StartRecord, SubscribedRecord, WillRecord,
};
use std::borrow::Cow;

fn own<T: ToOwned + ?Sized + 'static>(borrowed: Cow<'_, T>) -> Cow<'static, T> {
    Cow::Owned(borrowed.into_owned())
}

impl Record<'_> {
    /// The same record, with everything that it borrowed copied.
    pub fn into_owned(self) -> Record<'static> {
        match self {
            Record::Start(start) => Record::Start(StartRecord { ended: own(start.ended) }),
            Record::Stopped => Record::Stopped,
            Record::Session(head) => Record::Session(head.into_owned()),
            Record::Offline(offline) => Record::Offline(offline),
            Record::SessionEnded { session } => Record::SessionEnded { session },
            Record::Subscribed(subscribed) => {
                Record::Subscribed(SubscribedRecord { filter: own(subscribed.filter), ..subscribed })
            }
            Record::Unsubscribed { session, filter } => Record::Unsubscribed { session, filter: own(filter) },
            Record::Message(message) => Record::Message(message.into_owned()),
            Record::Copies(more) => Record::Copies(CopiesRecord { copies: own(more.copies), ..more }),
            Record::Started { session, copy, packet_id } => Record::Started { session, copy, packet_id },
            Record::Arrived { session, copy, packet_id } => Record::Arrived { session, copy, packet_id },
            Record::Finished { session, copies } => Record::Finished { session, copies: own(copies) },
            Record::Received { session, packet_id } => Record::Received { session, packet_id },
            Record::Released { session, packet_id } => Record::Released { session, packet_id },
            Record::Mark { source, lsn } => Record::Mark { source, lsn },
            Record::Parked(parked) => Record::Parked(parked.into_owned()),
            Record::Unparked { parked } => Record::Unparked { parked },
            Record::Retained(body) => Record::Retained(body.into_owned()),
            Record::RetainedCleared { topic } => Record::RetainedCleared { topic: own(topic) },
            Record::Body { body, origin, content } => {
                Record::Body { body, origin, content: content.into_owned() }
            }
            Record::Outbox { lsn, content, destinations } => {
                let (content, destinations) = (content.into_owned(), own_all(destinations));
                Record::Outbox { lsn, content, destinations }
            }
            Record::Queue { session, from, through, copies } => {
                Record::Queue { session, from, through, copies: own(copies) }
            }
        }
    }
}

fn own_all(destinations: Cow<'_, [Destination<'_>]>) -> Cow<'static, [Destination<'static>]> {
    Cow::Owned(destinations.iter().map(Destination::to_static).collect())
}

impl SessionRecord<'_> {
    fn into_owned(self) -> SessionRecord<'static> {
        SessionRecord {
            client_id: own(self.client_id),
            user: self.user.map(own),
            will: self.will.map(WillRecord::into_owned),
            received: own(self.received),
            ..self
        }
    }
}

impl WillRecord<'_> {
    fn into_owned(self) -> WillRecord<'static> {
        WillRecord { body: self.body.into_owned(), user_name: self.user_name.map(own), ..self }
    }
}

impl MessageRecord<'_> {
    fn into_owned(self) -> MessageRecord<'static> {
        MessageRecord {
            body: self.body.into_owned(),
            destinations: own_all(self.destinations),
            copies: own(self.copies),
            groups: Cow::Owned(self.groups.iter().cloned().map(own).collect()),
            ..self
        }
    }
}

impl ParkedRecord<'_> {
    fn into_owned(self) -> ParkedRecord<'static> {
        ParkedRecord { occasion: self.occasion.to_static(), body: self.body.into_owned(), ..self }
    }
}

impl BodyRecord<'_> {
    /// The same body, with everything that it borrowed copied.
    pub fn into_owned(self) -> BodyRecord<'static> {
        BodyRecord {
            topic: own(self.topic),
            properties: own(self.properties),
            payload: own(self.payload),
            ..self
        }
    }
}

impl Destination<'_> {
    /// The same destination, borrowing from this one.
    pub fn borrow(&self) -> Destination<'_> {
        let groups = self.groups.iter().map(|(filter, spread)| (Cow::Borrowed(&**filter), *spread));
        Destination { groups: groups.collect(), ..*self }
    }

    /// The same destination, with everything that it borrows copied.
    pub fn to_static(&self) -> Destination<'static> {
        let group = |(filter, spread): &(Cow<'_, str>, u64)| (own(filter.clone()), *spread);
        Destination { groups: Cow::Owned(self.groups.iter().map(group).collect()), ..*self }
    }
}

impl Occasion<'_> {
    /// The same occasion, with everything that it borrows copied.
    pub fn to_static(&self) -> Occasion<'static> {
        match self {
            Occasion::At(due) => Occasion::At(*due),
            Occasion::Slot => Occasion::Slot,
            Occasion::Member { group, sent_on } => {
                Occasion::Member { group: own(group.clone()), sent_on: *sent_on }
            }
            Occasion::FanOut { done, body } => Occasion::FanOut { done: own(done.clone()), body: *body },
        }
    }
}
