//! What the log is told of durable sessions: their heads, their connections' ends, their own ends, their subscriptions. Each change is one record,
//! appended when it is made; what a client, or the coordinator, is told of it waits until that is committed.

use super::Shard;
use super::peers::News;
use super::session::{Session, SessionKey};
use crate::base::limits::{FILTER_RECORD_BYTES, HEAD_RECORDS};
use crate::base::lsn::Lsn;
use crate::log::{BodyRecord, Log, OfflineRecord, Record, SessionRecord, SubscribedRecord, WillRecord};
use crate::session::Will;
use crate::topics::TopicFilter;
use crate::wire::SubscriptionOptions;
use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

/// The address of an author whom nobody was going to ask about when the will came.
const NOBODYS_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Shard {
    /// The head of a durable session as its CONNECT has made or changed it. `fresh`: the log has had nothing of it.
    pub(super) fn log_head(&mut self, key: SessionKey, fresh: bool) -> Lsn {
        let at = self.log.written();
        let session = self.sessions.get_mut(key).expect("the caller has it");
        if fresh {
            session.written = at;
        }
        let head = head(session, fresh);
        if !fresh {
            return self.log.append(&Record::Session(head));
        }
        let lsn = append_whole(&mut self.log, head);
        self.weigh_head(key);
        lsn
    }

    /// Its connection has ended, or its will is gone.
    pub(super) fn log_offline(&mut self, key: SessionKey) -> Lsn {
        let session = self.sessions.get(key).expect("the caller has it");
        self.log.append(&Record::Offline(OfflineRecord {
            session: session.number,
            since: session.offline_since,
            will_forgotten: session.will.is_none(),
            expiry_seconds: session.expiry_seconds,
        }))
    }

    /// The session's will is gone, without a record of its own: it is worth none, or nobody is to get it.
    pub(super) fn log_will_lost(&mut self, key: SessionKey) {
        if self.sessions.get(key).is_some_and(Session::is_durable) {
            self.log_offline(key);
        }
    }

    /// The session is no more, or outlives its connection no longer.
    pub(super) fn log_end(&mut self, session: &Session) -> Lsn {
        if session.is_durable() {
            self.cleaning.session_bytes -= u64::from(session.record_bytes);
            self.log.append(&Record::SessionEnded { session: session.number })
        } else {
            Lsn::NONE
        }
    }

    /// A durable session has this subscription.
    pub(super) fn log_subscribed(
        &mut self,
        key: SessionKey,
        filter: TopicFilter<'_>,
        granted: (SubscriptionOptions, Option<NonZeroU32>),
        exclusive: bool,
    ) {
        let session = self.sessions.get(key).expect("the caller has it");
        if session.is_durable() {
            let (options, identifier) = granted;
            let session = session.number;
            let filter = Cow::Borrowed(filter.as_str());
            self.log.append(&Record::Subscribed(SubscribedRecord {
                session,
                filter,
                options,
                identifier,
                exclusive,
            }));
        }
    }

    /// A session has this subscription no more. What waits for the record.
    pub(super) fn log_unsubscribed(&mut self, key: SessionKey, filter: TopicFilter<'_>) -> Lsn {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        if !session.is_durable() {
            return Lsn::NONE;
        }
        let bytes = (FILTER_RECORD_BYTES as u32 + filter.as_str().len() as u32).min(session.record_bytes);
        session.record_bytes -= bytes;
        self.cleaning.session_bytes -= u64::from(bytes);
        let filter = Cow::Borrowed(filter.as_str());
        self.log.append(&Record::Unsubscribed { session: session.number, filter })
    }

    /// The newest record, if there is one since `before` and the session is one that the log has: what an answer to its client waits for.
    pub(super) fn logged_since(&self, before: Lsn, key: SessionKey) -> Lsn {
        let newest = self.log.newest();
        let durable = self.sessions.get(key).is_some_and(Session::is_durable);
        if durable && newest > before { newest } else { Lsn::NONE }
    }

    /// Tells the coordinator once `lsn` is committed, and what comes later never earlier.
    pub(super) fn tell(&mut self, lsn: Lsn, news: News) {
        let early = self.planted.is(crate::base::planted::Bug::ReleaseBeforeDeletion);
        if early || self.gate.is_committed(lsn) && self.coordination.uncommitted.is_empty() {
            self.coordination.add(news);
        } else {
            self.coordination.uncommitted.hold(lsn, news);
        }
    }

    /// A session that outlived its connections was resumed by a CONNECT that wants it to end with this one: the log forgets it, and the other
    /// shards learn that nothing of what it subscribes has to survive.
    pub(super) fn becomes_volatile(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key).expect("the caller has it");
        self.cleaning.session_bytes -= u64::from(std::mem::take(&mut session.record_bytes));
        self.log.append(&Record::SessionEnded { session: session.number });
        session.outbound.forget_kept().into_iter().for_each(|kept| self.bodies.release(kept.body));
        let filters: Vec<Box<str>> = self.topics.filters(&session.filters).map(Into::into).collect();
        for text in &filters {
            let filter = TopicFilter::new(text).expect("it is subscribed");
            let held = self.topics.subscription(key, filter).expect("it is subscribed");
            let (options, identifier) = (held.options, held.identifier());
            self.topics.subscribe(key, filter, options, identifier, false, &mut session.filters);
        }
        self.work.charge(filters.len());
        self.interest_changed();
    }
}

/// Appends a head with which the whole of its session begins: twice, as it alone says whose the session is, and damage to one record is not to take
/// along all that others say of it.
pub(super) fn append_whole(log: &mut Log, head: SessionRecord<'_>) -> Lsn {
    let head = Record::Session(head);
    (0..HEAD_RECORDS).fold(Lsn::NONE, |_, _| log.append(&head))
}

/// The head of a session as a CONNECT makes it.
pub(super) fn head(session: &Session, fresh: bool) -> SessionRecord<'_> {
    SessionRecord {
        session: session.number,
        fresh,
        client_id: Cow::Borrowed(&session.client_id),
        user: session.user.as_deref().map(Cow::Borrowed),
        epoch: session.epoch,
        expiry_seconds: session.expiry_seconds,
        offline_since: None,
        will: session.will.as_deref().map(will),
        received: Cow::Borrowed(&[]),
        next_copy: session.next_copy,
    }
}

fn will(will: &Will) -> WillRecord<'_> {
    let author = will.author().map(|author| author.as_author());
    WillRecord {
        body: BodyRecord::of(will.message(), None),
        delay_seconds: will.delay_seconds(),
        expiry_seconds: will.expiry_seconds(),
        user_name: author.and_then(|author| author.user_name).map(Cow::Borrowed),
        peer: author.map_or(NOBODYS_ADDRESS, |author| author.peer),
    }
}
