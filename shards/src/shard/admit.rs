//! What a PUBLISH or a will passes before it is published, where the broker has rules of its own for it; and how one is refused.

use super::input::Flow;
use super::reply::Reply;
use super::session::SessionKey;
use super::{ConnectionKey, Shard};
use crate::base::lsn::Lsn;
use crate::base::time::Time;
use crate::session::{KeptAuthor, Publication, Will};
use crate::wire::{Publish, QoS, ReasonCode, Violation};

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
        let author = self.author_of(key).expect("a connected client has its session");
        if !self.may_publish(author, topic) {
            let author = author.into();
            self.publish_denied(author, topic);
            return self.refuse_publish(now, key, &publish, ReasonCode::NotAuthorized);
        }
        self.publish_from(now, key, publish, topic)
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
            self.gate.append()
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
        let author = will.author().expect("kept where the broker has rules for publishers");
        if !self.may_publish(author.as_author(), message.topic()) {
            return self.publish_denied(author.clone(), message.topic());
        }
        self.will_is_due(message, of);
    }

    /// The author of the will that comes with a CONNECT, where somebody will ask for it.
    pub(super) fn will_author(&self, key: ConnectionKey) -> Option<Box<KeptAuthor>> {
        let asked = self.extensions.concern_publishers();
        asked.then(|| Box::new(KeptAuthor::from(self.author_of(key).expect("the connection is attached"))))
    }
}
