//! Record after record: what each changes.
//!
//! Recovery begins at the first segment that anything live needs, in the middle of a history. So records may speak of sessions that began before,
//! whose state cleaning has written again further on: until then what is known of them is a part of the truth, which the records of cleaning
//! complete. That is why every record may come twice, why one that speaks of something unknown is passed over, and why no message is dropped
//! before the last record: a queue that is written again names messages that came before it.

use super::{Away, SessionImage, ShardImage, SubscriptionImage, WillImage};
use crate::base::kept::{CopyNumber, SessionNumber, Written};
use crate::base::lsn::{Incarnation, Lsn};
use crate::log::record::{
    CopyState, OfflineRecord, Origin, Record, SessionRecord, SubscribedRecord, WillRecord,
};
use crate::wire::PacketId;

impl ShardImage {
    /// Takes the record `lsn` in. Records come in the order of their numbers. [`ShardImage::settle`] is due after the last.
    pub fn apply(&mut self, lsn: Lsn, record: &Record<'_>) {
        self.reach(lsn);
        self.stopped = matches!(record, Record::Stopped);
        match record {
            Record::Start(start) => start.ended.iter().for_each(|(of, last)| self.note_end(*of, *last)),
            Record::Stopped => {}
            Record::Session(head) => self.begin_session(head),
            Record::Offline(offline) => self.change(offline.session, |session| session.go_offline(offline)),
            Record::SessionEnded { session } => {
                if self.sessions.remove(session).is_none() {
                    self.oddities.unknown_sessions += 1;
                }
            }
            Record::Subscribed(subscribed) => {
                self.change(subscribed.session, |session| session.subscribe(subscribed));
            }
            Record::Unsubscribed { session, filter } => {
                self.change(*session, |session| session.unsubscribe(filter));
            }
            Record::Message(message) => self.apply_message(lsn, message),
            Record::Copies(more) => self.add_late_copies(more),
            Record::Started { session, copy, packet_id } => {
                self.set_state(*session, *copy, CopyState::Started(*packet_id));
            }
            Record::Arrived { session, copy, packet_id } => {
                self.set_state(*session, *copy, CopyState::Arrived(*packet_id));
            }
            Record::Finished { session, copies } => self.finish(*session, copies),
            Record::Received { session, packet_id } => {
                self.change(*session, |session| session.receive(*packet_id));
            }
            Record::Released { session, packet_id } => {
                self.change(*session, |session| session.received.retain(|id| id != packet_id));
            }
            Record::Mark { source, lsn } => self.arrive(Origin::Peer { source: *source, lsn: *lsn }),
            Record::Parked(parked) => self.park(lsn, parked),
            Record::Unparked { parked } => drop(self.parked.remove(parked)),
            Record::Retained(body) => self.retain(&body.to_message(), body.publisher),
            Record::RetainedCleared { topic } => drop(self.retained.remove(&**topic)),
            Record::Body { body, origin, content } => self.keep_body(*body, *origin, content),
            Record::Outbox { lsn, content, destinations } => self.send_again(*lsn, content, destinations),
            Record::Queue { session, from, through, copies } => {
                self.change(*session, |session| session.replace_copies(*from, *through, copies));
            }
        }
    }

    /// The log goes on with `lsn`: where that is of a later incarnation, what came before is the end of the earlier.
    fn reach(&mut self, lsn: Lsn) {
        debug_assert!(lsn > self.newest, "records come in the order of their numbers");
        if self.newest != Lsn::NONE && lsn.incarnation() > self.newest.incarnation() {
            self.note_end(self.newest.incarnation(), self.newest);
        }
        if self.oldest == Lsn::NONE {
            self.oldest = lsn;
        }
        self.newest = lsn;
    }

    /// Nothing of `incarnation` beyond `last` ever happened, said by the incarnation that follows. It knows better than the records seen: those
    /// may include what was cut off then.
    fn note_end(&mut self, incarnation: Incarnation, last: Lsn) {
        match self.ended.binary_search_by_key(&incarnation, |(of, _)| *of) {
            Ok(at) => self.ended[at].1 = last,
            Err(at) => self.ended.insert(at, (incarnation, last)),
        }
    }

    pub(super) fn change(&mut self, session: SessionNumber, change: impl FnOnce(&mut SessionImage)) {
        match self.sessions.get_mut(&session) {
            Some(session) => change(session),
            None => self.oddities.unknown_sessions += 1,
        }
    }

    fn begin_session(&mut self, head: &SessionRecord<'_>) {
        if head.fresh {
            self.sessions.remove(&head.session);
        }
        let at = self.written();
        let unknown = || SessionImage { written: at, again: at, ..SessionImage::unknown() };
        let image = self.sessions.entry(head.session).or_insert_with(unknown);
        image.head = at;
        image.client_id = (&*head.client_id).into();
        image.user = head.user.as_deref().map(Into::into);
        image.epoch = head.epoch;
        image.expiry_seconds = head.expiry_seconds;
        image.offline_since = head.offline_since;
        if head.offline_since.is_none() {
            image.away = Away::default();
        }
        image.will = head.will.as_ref().map(WillImage::of);
        image.next_copy = head.next_copy;
        // A CONNECT names none and changes none; cleaning names all.
        if !head.received.is_empty() {
            image.received = head.received.to_vec();
            image.received.sort_unstable();
        }
    }

    fn set_state(&mut self, session: SessionNumber, copy: CopyNumber, state: CopyState) {
        let mut known = true;
        self.change(session, |session| match session.copies.get_mut(&copy) {
            Some((_, entry)) => entry.state = state,
            None => known = false,
        });
        self.oddities.unknown_copies += u64::from(!known);
    }

    fn finish(&mut self, session: SessionNumber, copies: &[CopyNumber]) {
        let mut unknown = 0;
        self.change(session, |session| {
            unknown = copies.iter().filter(|number| session.copies.remove(number).is_none()).count();
        });
        self.oddities.unknown_copies += unknown as u64;
    }
}

impl SessionImage {
    /// One of which nothing is known yet.
    fn unknown() -> SessionImage {
        SessionImage {
            client_id: "".into(),
            user: None,
            epoch: crate::mesh::Epoch(0),
            expiry_seconds: 0,
            offline_since: None,
            will: None,
            subscriptions: Default::default(),
            received: Vec::new(),
            copies: Default::default(),
            next_copy: CopyNumber::default(),
            written: Written::default(),
            head: Written::default(),
            again: Written::default(),
            away: Away::default(),
        }
    }

    fn go_offline(&mut self, offline: &OfflineRecord) {
        self.offline_since = Some(offline.since);
        self.expiry_seconds = offline.expiry_seconds;
        self.away = Away(Some(self.next_copy));
        if offline.will_forgotten {
            self.will = None;
        }
    }

    fn subscribe(&mut self, subscribed: &SubscribedRecord<'_>) {
        let SubscribedRecord { options, identifier, exclusive, .. } = *subscribed;
        let image = SubscriptionImage { options, identifier, exclusive };
        match self.subscriptions.get_mut(&*subscribed.filter) {
            Some(there) => *there = image,
            None => {
                self.subscriptions.insert((&*subscribed.filter).into(), image);
            }
        }
    }

    fn unsubscribe(&mut self, filter: &str) {
        self.subscriptions.remove(filter);
    }

    pub(super) fn receive(&mut self, packet_id: PacketId) {
        if let Err(at) = self.received.binary_search(&packet_id) {
            self.received.insert(at, packet_id);
        }
    }
}

impl WillImage {
    fn of(record: &WillRecord<'_>) -> WillImage {
        WillImage {
            message: record.body.to_message(),
            delay_seconds: record.delay_seconds,
            expiry_seconds: record.expiry_seconds,
            user_name: record.user_name.as_deref().map(Into::into),
            peer: record.peer,
        }
    }
}
