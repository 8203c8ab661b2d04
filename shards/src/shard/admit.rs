//! What a PUBLISH or a will passes before it is published, where the broker has rules of its own for it; and how one is refused.

use super::delayed::{DelayedTopic, delayed_topic};
use super::input::Flow;
use super::reply::Reply;
use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::log::Record;
use crate::session::{KeptAuthor, Publication, Will};
use crate::topics::TopicName;
use crate::wire::{Publish, QoS, ReasonCode, Violation};
use std::time::Duration;

/// Where a message goes, and when.
struct Admitted<'a> {
    topic: &'a str,
    delay: Option<Duration>,
}

/// The topic that permission is about: the one behind the delay.
fn asked_topic<'a>(asked: Option<DelayedTopic<'a>>, topic: &'a str) -> &'a str {
    match asked {
        Some(DelayedTopic::After(_, inner)) => inner,
        _ => topic,
    }
}

/// `None` when it is no topic name, or a delay that is none.
fn admitted(topic: &str, delays: bool) -> Option<Admitted<'_>> {
    match delayed_topic(topic).filter(|_| delays) {
        None => TopicName::new(topic).is_ok().then_some(Admitted { topic, delay: None }),
        Some(DelayedTopic::After(delay, topic)) => Some(Admitted { topic, delay: Some(delay) }),
        Some(DelayedTopic::Invalid) => None,
    }
}

impl Shard {
    /// A PUBLISH under the broker's own rules.
    #[cold]
    pub(super) fn admit_publish(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: Publish<'_>,
        topic: &str,
    ) -> Result<Flow, Violation> {
        let delays = self.extensions.delayed;
        let asked = delayed_topic(topic).filter(|_| delays);
        if let Some(author) = self.author_of(key)
            && !self.may_publish(author, asked_topic(asked, topic))
        {
            let author = author.into();
            self.publish_denied(author, asked_topic(asked, topic));
            return self.refuse_publish(now, key, &publish, ReasonCode::NotAuthorized);
        }
        let rewritten = self.author_of(key).and_then(|author| self.rewrite_topic(author, asked, topic));
        let Some(Admitted { topic, delay }) = admitted(rewritten.as_deref().unwrap_or(topic), delays) else {
            self.counters.topic_refused += 1;
            return self.refuse_or_close(now, key, &publish, ReasonCode::TopicNameInvalid);
        };
        match delay {
            Some(delay) => self.delay_publish(now, key, publish, (delay, topic)),
            None => self.publish_from(now, key, publish, topic),
        }
    }

    /// A PUBLISH that cannot be taken as it is, or not now: v5 is told. v3 is closed: it would take an acknowledgement for the promise that the message
    /// is kept. QoS 0 is promised nothing, so that only a wrong topic closes.
    pub(super) fn refuse_or_close(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Result<Flow, Violation> {
        let v5 = self.connections.get(key).is_some_and(|connection| connection.version.is_v5());
        if v5 || publish.packet_id.is_none() && reason == ReasonCode::QuotaExceeded {
            return self.refuse_publish(now, key, publish, reason);
        }
        self.fail(now, key, reason);
        Ok(Flow::Stop)
    }

    /// A PUBLISH is not published: v5 is told why in the acknowledgement, which ends a QoS 2 flow (section 4.3.3). v3 has no way to be told and
    /// gets the acknowledgement that it waits for. QoS 0 has none.
    pub(super) fn refuse_publish(
        &mut self,
        now: Time,
        key: ConnectionKey,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Result<Flow, Violation> {
        let Some(packet_id) = publish.packet_id else { return Ok(Flow::Continue) };
        let connection = self.connections.get(key).expect("the caller has looked");
        let (v5, session) = (connection.version.is_v5(), connection.session);
        let session = session.and_then(|session| self.sessions.get_mut(session));
        let session = session.expect("a connected client has its session");
        let quota = v5.then_some(self.limits.receive_maximum);
        let mut reason = if v5 { reason } else { ReasonCode::Success };
        if publish.qos < QoS::ExactlyOnce {
            session.inbound.at_least_once(quota)?;
            self.reply(now, key, Lsn::NONE, Reply::Puback(packet_id, reason));
            return self.check_reply_backlog(now, key);
        }
        // What was taken when it came first is not refused when it comes again.
        let repeated = session.inbound.exactly_once(packet_id, quota)? == Publication::Repeated;
        let lsn = if repeated {
            reason = ReasonCode::Success;
            self.newest_lsn()
        } else if v5 {
            session.inbound.release(packet_id);
            Lsn::NONE
        } else if session.is_durable() {
            self.log.append(&Record::Received { session: session.number, packet_id })
        } else {
            Lsn::NONE
        };
        self.reply(now, key, lsn, Reply::Pubrec(packet_id, reason));
        self.check_reply_backlog(now, key)
    }

    /// A will under the broker's own rules. Nobody is left to be told when it is not published.
    #[cold]
    pub(super) fn admit_will(&mut self, now: Time, will: &Will, of: SessionKey) {
        let message = will.publish(now);
        let delays = self.extensions.delayed;
        let asked = delayed_topic(message.topic()).filter(|_| delays);
        let topic = asked_topic(asked, message.topic());
        let mut rewritten = None;
        if let Some(author) = will.author() {
            if !self.may_publish(author.as_author(), topic) {
                self.log_will_lost(of);
                return self.publish_denied(author.clone(), topic);
            }
            rewritten = self.rewrite_topic(author.as_author(), asked, message.topic());
        }
        match admitted(rewritten.as_deref().unwrap_or(message.topic()), delays) {
            None => {
                self.log_will_lost(of);
                self.counters.topic_refused += 1;
            }
            Some(Admitted { topic, delay: Some(delay) }) => {
                self.delay_will(now, &message, of, (delay, topic))
            }
            Some(Admitted { topic, .. }) if topic != message.topic() => {
                self.will_is_due(message.with_topic(topic), of);
            }
            Some(_) => self.will_is_due(message, of),
        }
    }

    /// The author of the will that comes with a CONNECT, where somebody will ask for it.
    pub(super) fn will_author(&self, key: ConnectionKey) -> Option<Box<KeptAuthor>> {
        let asked = self.extensions.ask_for_author();
        asked.then(|| Box::new(KeptAuthor::from(self.author_of(key).expect("the connection is attached"))))
    }
}
