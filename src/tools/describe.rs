//! A record in one line, for `shardmq log dump`. Payloads are told by their length.

use shardmq_shards::base::kept::ParkedId;
use shardmq_shards::base::lsn::Lsn;
use shardmq_shards::log::{
    BodyId, BodyRecord, Cause, CopyEntry, CopyState, Destination, MessageRecord, Occasion, Origin,
    ParkedRecord, Record, SessionRecord,
};
use std::fmt::{Display, Formatter, Result, Write};

/// A record's number as INCARNATION.SEQUENCE.
pub struct Number(pub Lsn);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let incarnation = self.0.incarnation();
        write!(f, "{}.{}", incarnation.0, self.0.0 - Lsn::before(incarnation).0)
    }
}

/// What is parked: the number of its record, and which of the record's groups it is for.
struct Name(ParkedId);

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Number(self.0.record).fmt(f)?;
        if self.0.nth == 0 { Ok(()) } else { write!(f, "/{}", self.0.nth) }
    }
}

/// What a record says, its kind first.
pub struct Described<'a, 'r>(pub &'a Record<'r>);

impl Display for Described<'_, '_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Record::Start(start) => {
                f.write_str("start")?;
                start.ended.iter().try_for_each(|(_, last)| write!(f, " ended={}", Number(*last)))
            }
            Record::Stopped => f.write_str("stopped"),
            Record::Message(message) => describe_message(f, message),
            Record::Copies(more) => {
                write!(f, "copies body={}", Number(more.body.0))?;
                more.parked.iter().try_for_each(|parked| write!(f, " parked={}", Name(*parked)))?;
                describe_copies(f, &more.copies)?;
                f.write_str(if more.last { " last" } else { "" })
            }
            Record::Mark { source, lsn } => write!(f, "mark source={source} lsn={}", Number(*lsn)),
            Record::Parked(parked) => describe_parked(f, parked),
            Record::Unparked { parked } => write!(f, "unparked parked={}", Name(*parked)),
            Record::Retained(body) => {
                f.write_str("retained")?;
                describe_body(f, body)
            }
            Record::RetainedCleared { topic } => write!(f, "retained-cleared topic={topic:?}"),
            Record::Body { body, origin, content } => {
                write!(f, "body body={}", Number(body.0))?;
                describe_origin(f, *origin)?;
                describe_body(f, content)
            }
            Record::Outbox { lsn, content, destinations } => {
                write!(f, "outbox lsn={}", Number(*lsn))?;
                describe_body(f, content)?;
                describe_destinations(f, destinations)
            }
            of_session => describe_session(f, of_session),
        }
    }
}

fn describe_session(f: &mut Formatter<'_>, record: &Record<'_>) -> Result {
    match record {
        Record::Session(head) => describe_head(f, head),
        Record::Offline(offline) => {
            write!(f, "offline session={} since={:?}", offline.session.0, offline.since)?;
            write!(f, " expiry={}s", offline.expiry_seconds)?;
            f.write_str(if offline.will_forgotten { " will-forgotten" } else { "" })
        }
        Record::SessionEnded { session } => write!(f, "session-ended session={}", session.0),
        Record::Subscribed(subscribed) => {
            write!(f, "subscribed session={} filter={:?}", subscribed.session.0, subscribed.filter)?;
            write!(f, " qos={}", subscribed.options.qos as u8)?;
            if let Some(identifier) = subscribed.identifier {
                write!(f, " identifier={identifier}")?;
            }
            f.write_str(if subscribed.exclusive { " exclusive" } else { "" })
        }
        Record::Unsubscribed { session, filter } => {
            write!(f, "unsubscribed session={} filter={filter:?}", session.0)
        }
        Record::Started { session, copy, packet_id } => {
            write!(f, "started session={} copy={} packet-id={}", session.0, copy.0, packet_id.get())
        }
        Record::Arrived { session, copy, packet_id } => {
            write!(f, "arrived session={} copy={} packet-id={}", session.0, copy.0, packet_id.get())
        }
        Record::Finished { session, copies } => {
            write!(f, "finished session={} copies=", session.0)?;
            describe_list(f, copies.iter().map(|copy| copy.0))
        }
        Record::Received { session, packet_id } => {
            write!(f, "received session={} packet-id={}", session.0, packet_id.get())
        }
        Record::Released { session, packet_id } => {
            write!(f, "released session={} packet-id={}", session.0, packet_id.get())
        }
        Record::Queue { session, from, through, copies } => {
            write!(f, "queue session={} from={} through={} copies=", session.0, from.0, through.0)?;
            let copy = |(body, copy): &(BodyId, CopyEntry)| {
                format!("{}{}:{}", copy.number.0, state(copy.state), Number(body.0))
            };
            describe_list(f, copies.iter().map(copy))
        }
        _ => unreachable!("the other kinds are described above"),
    }
}

fn describe_head(f: &mut Formatter<'_>, head: &SessionRecord<'_>) -> Result {
    write!(f, "session session={} client-id={:?}", head.session.0, head.client_id)?;
    if let Some(user) = &head.user {
        write!(f, " user={user:?}")?;
    }
    write!(f, " epoch={} expiry={}s next-copy={}", head.epoch.0, head.expiry_seconds, head.next_copy.0)?;
    if let Some(since) = head.offline_since {
        write!(f, " offline-since={since:?}")?;
    }
    if let Some(will) = &head.will {
        write!(f, " will-delay={}s will:", will.delay_seconds)?;
        describe_body(f, &will.body)?;
    }
    if !head.received.is_empty() {
        f.write_str(" received=")?;
        describe_list(f, head.received.iter().map(|id| id.get()))?;
    }
    f.write_str(if head.fresh { " fresh" } else { "" })
}

fn describe_message(f: &mut Formatter<'_>, message: &MessageRecord<'_>) -> Result {
    f.write_str("message")?;
    describe_body(f, &message.body)?;
    describe_origin(f, message.origin)?;
    describe_cause(f, message.cause)?;
    describe_destinations(f, &message.destinations)?;
    describe_copies(f, &message.copies)?;
    message.groups.iter().try_for_each(|group| write!(f, " group={group:?}"))?;
    f.write_str(if message.retained { " retained" } else { "" })?;
    f.write_str(if message.open { " open" } else { "" })
}

fn describe_parked(f: &mut Formatter<'_>, parked: &ParkedRecord<'_>) -> Result {
    f.write_str("parked")?;
    parked.parked.iter().try_for_each(|parked| write!(f, " parked={}", Name(*parked)))?;
    match &parked.occasion {
        Occasion::At(due) => write!(f, " at={due:?}")?,
        Occasion::Slot => f.write_str(" slot")?,
        Occasion::Member { group, sent_on } => write!(f, " group={group:?} sent-on={sent_on}")?,
        Occasion::FanOut { done, body } => {
            write!(f, " fan-out={} done={}", Number(body.0), done.len())?;
        }
    }
    describe_body(f, &parked.body)?;
    describe_origin(f, parked.origin)?;
    describe_cause(f, parked.cause)?;
    match parked.taken_from {
        Some((session, copy)) => write!(f, " taken-from={}/{}", session.0, copy.0),
        None => Ok(()),
    }
}

fn describe_body(f: &mut Formatter<'_>, body: &BodyRecord<'_>) -> Result {
    write!(f, " topic={:?} payload={}B qos={}", body.topic, body.payload.len(), body.qos as u8)?;
    if let Some(at) = body.expires_at {
        write!(f, " expires={at:?}")?;
    }
    f.write_str(if body.retain { " retain" } else { "" })
}

fn describe_origin(f: &mut Formatter<'_>, origin: Origin) -> Result {
    match origin {
        Origin::Own => Ok(()),
        Origin::Peer { source, lsn } => write!(f, " from={source}:{}", Number(lsn)),
    }
}

fn describe_cause(f: &mut Formatter<'_>, cause: Cause) -> Result {
    match cause {
        Cause::None => Ok(()),
        Cause::Received(session, id) => write!(f, " received={}/{}", session.0, id.get()),
        Cause::Will(session) => write!(f, " will-of={}", session.0),
        Cause::Parked(parked) => write!(f, " was-parked={}", Name(parked)),
    }
}

fn describe_destinations(f: &mut Formatter<'_>, destinations: &[Destination<'_>]) -> Result {
    for to in destinations {
        write!(f, " to={}", to.shard)?;
        f.write_str(if to.fan_out { "+fan-out" } else { "" })?;
        f.write_str(if to.store { "+store" } else { "" })?;
        to.groups.iter().try_for_each(|(group, _)| write!(f, "+{group:?}"))?;
    }
    Ok(())
}

fn describe_copies(f: &mut Formatter<'_>, copies: &[CopyEntry]) -> Result {
    if copies.is_empty() {
        return Ok(());
    }
    f.write_str(" copies=")?;
    describe_list(
        f,
        copies.iter().map(|copy| {
            format!("{}/{}{}@{}", copy.session.0, copy.number.0, state(copy.state), copy.qos as u8)
        }),
    )
}

fn state(state: CopyState) -> &'static str {
    match state {
        CopyState::Queued => "",
        CopyState::Started(_) => "(started)",
        CopyState::Arrived(_) => "(arrived)",
    }
}

fn describe_list(f: &mut Formatter<'_>, items: impl Iterator<Item = impl Display>) -> Result {
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}
