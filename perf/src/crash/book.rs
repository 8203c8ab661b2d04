//! The ledger of messages: what was sent, what was acknowledged, who received it.
//!
//! A publisher owns streams; a message is a stream and a sequence number in it, and both stand in its payload. An audience is a durable
//! subscription, or a shared group of them: what it has to receive, and what it has received.

use super::limits::{FILLER_BYTES_LONG, FILLER_BYTES_MAX, LONG_ONE_IN};
use super::verdict::{Fault, Verdict};
use shardmq_shards::wire::QoS;
use std::collections::BTreeSet;
use std::ops::Range;

/// Which subscriptions a stream's messages go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Ordinary messages.
    Data,
    /// Wills.
    Will,
    /// Messages published with `$delayed/…`.
    Delayed,
}

impl Class {
    /// The beginning of the topics.
    pub fn topic_prefix(self) -> &'static str {
        match self {
            Class::Data => "k/d",
            Class::Will => "k/v",
            Class::Delayed => "k/y",
        }
    }
}

/// A stream's place in the book.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId(usize);

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MessageId {
    /// Whose.
    pub stream: StreamId,
    /// The how many-th, from 0.
    pub sequence: usize,
}

/// An audience's place in the book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudienceId(usize);

/// What has to become of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It may arrive or not.
    Open,
    /// It has to arrive.
    Due,
    /// It must not arrive any more.
    Prevented,
}

struct Stream {
    class: Class,
    qos: QoS,
    topic: String,
    fates: Vec<Fate>,
    /// The first messages behind a publisher that came back without a session: order is promised within one connection, or session, only.
    anew: Vec<usize>,
}

/// Who listens, and what has arrived there.
struct Audience {
    name: String,
    class: Class,
    qos: QoS,
    is_shared: bool,
    /// By stream and sequence: how often it arrived.
    arrivals: Vec<Vec<u8>>,
    /// By stream: the latest that arrived.
    latest: Vec<Option<usize>>,
    missing: BTreeSet<MessageId>,
}

/// What an arriving message looked like.
pub struct Copy<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: QoS,
}

/// The book. It lives in the ledger's process, which outlives the broker's.
#[derive(Default)]
pub struct Book {
    streams: Vec<Stream>,
    audiences: Vec<Audience>,
    /// Messages acknowledged by the broker (wills that became due included).
    pub acknowledged: u64,
    /// Copies received, QoS 1 repetitions included.
    pub received: u64,
    /// Copies of QoS 1 received again, which is allowed.
    pub repeated: u64,
}

impl Book {
    /// Opens a stream.
    pub fn open_stream(&mut self, class: Class, qos: QoS) -> StreamId {
        let id = StreamId(self.streams.len());
        let topic = format!("{}/{}", class.topic_prefix(), id.0);
        self.streams.push(Stream { class, qos, topic, fates: Vec::new(), anew: Vec::new() });
        id
    }

    /// Opens an audience of all streams of a class, subscribed at `qos`.
    pub fn open_audience(&mut self, name: &str, class: Class, qos: QoS, is_shared: bool) -> AudienceId {
        let audience = Audience {
            name: name.into(),
            class,
            qos,
            is_shared,
            arrivals: Vec::new(),
            latest: Vec::new(),
            missing: BTreeSet::new(),
        };
        self.audiences.push(audience);
        AudienceId(self.audiences.len() - 1)
    }

    /// Topic and QoS of a stream.
    pub fn stream(&self, stream: StreamId) -> (&str, QoS) {
        let stream = &self.streams[stream.0];
        (&stream.topic, stream.qos)
    }

    /// The next message of a stream, which may arrive from now on.
    pub fn next(&mut self, stream: StreamId) -> MessageId {
        let fates = &mut self.streams[stream.0].fates;
        fates.push(Fate::Open);
        MessageId { stream, sequence: fates.len() - 1 }
    }

    /// The stream's publisher has given up what it had not got acknowledged: what comes from now on may overtake what came before.
    pub fn begin_anew(&mut self, stream: StreamId) {
        let stream = &mut self.streams[stream.0];
        stream.anew.push(stream.fates.len());
    }

    /// The message has to arrive at every audience of its class.
    pub fn make_due(&mut self, message: MessageId) {
        let stream = &mut self.streams[message.stream.0];
        if stream.fates[message.sequence] == Fate::Due {
            return;
        }
        stream.fates[message.sequence] = Fate::Due;
        self.acknowledged += 1;
        for audience in &mut self.audiences {
            if audience.class == stream.class && audience.count(message) == 0 {
                audience.missing.insert(message);
            }
        }
    }

    /// Where the message has not arrived it must not arrive any more.
    pub fn prevent(&mut self, message: MessageId) {
        self.streams[message.stream.0].fates[message.sequence] = Fate::Prevented;
    }

    /// Whether any audience has the message.
    pub fn has_arrived(&self, message: MessageId) -> bool {
        self.audiences.iter().any(|audience| audience.count(message) > 0)
    }

    /// How many due messages the audience lacks.
    pub fn missing(&self, audience: AudienceId) -> usize {
        self.audiences[audience.0].missing.len()
    }

    /// Counts what the audience lacks as lost, and forgets it.
    pub fn write_off(&mut self, audience: AudienceId, verdict: &mut Verdict) {
        let audience = &mut self.audiences[audience.0];
        let fault = if audience.class == Class::Will { Fault::WillLost } else { Fault::Lost };
        for message in std::mem::take(&mut audience.missing) {
            verdict.fault(fault, || {
                let (stream, sequence) = (message.stream.0, message.sequence);
                format!("{} lacks {stream}/{sequence} of {}", audience.name, audience.last_of(message.stream))
            });
        }
    }

    /// Counts the will as lost where it has not arrived.
    pub fn write_off_everywhere(&mut self, message: MessageId, verdict: &mut Verdict) {
        for audience in &mut self.audiences {
            if audience.missing.remove(&message) {
                let name = &audience.name;
                verdict.fault(Fault::WillLost, || {
                    format!("{name} lacks {}/{}", message.stream.0, message.sequence)
                });
            }
        }
    }

    /// Enters what arrived at an audience.
    pub fn enter(&mut self, audience: AudienceId, copy: &Copy<'_>, verdict: &mut Verdict) {
        self.received += 1;
        let audience = &mut self.audiences[audience.0];
        let Some(message) = name_in(copy.payload) else {
            return verdict.fault(Fault::Corrupt, || format!("{} got a payload without name", audience.name));
        };
        let what = || format!("{} got {}/{}", audience.name, message.stream.0, message.sequence);
        let Some(stream) = self.streams.get(message.stream.0) else {
            return verdict.fault(Fault::Corrupt, || format!("{}, a stream that nobody opened", what()));
        };
        let Some(&fate) = stream.fates.get(message.sequence) else {
            return verdict.fault(Fault::Corrupt, || format!("{}, which nobody sent", what()));
        };
        let qos = stream.qos.min(audience.qos);
        if copy.topic != stream.topic || copy.payload != payload(message) || copy.qos != qos {
            return verdict.fault(Fault::Corrupt, || {
                format!("{} on {} at {:?} with {} bytes", what(), copy.topic, copy.qos, copy.payload.len())
            });
        }
        let count = audience.count(message);
        if count > 0 {
            match qos {
                QoS::ExactlyOnce => verdict.fault(Fault::Duplicated, || format!("{} again", what())),
                _ => self.repeated += 1,
            }
        } else if fate == Fate::Prevented {
            verdict.fault(Fault::WillLeft, what);
        }
        let is_ordered = !audience.is_shared && stream.class == Class::Data;
        let end = stream.anew.iter().find(|&&first| first > message.sequence);
        let end = end.copied().unwrap_or(stream.fates.len());
        let overtaken_by = audience.last_within(message.stream, message.sequence + 1..end);
        if count == 0
            && is_ordered
            && let Some(latest) = overtaken_by
        {
            verdict.fault(Fault::Reordered, || format!("{} after {latest}", what()));
        }
        audience.enter(message);
    }
}

impl Audience {
    fn count(&self, message: MessageId) -> u8 {
        let counts = self.arrivals.get(message.stream.0);
        counts.and_then(|counts| counts.get(message.sequence)).copied().unwrap_or(0)
    }

    /// The last of these messages that arrived.
    fn last_within(&self, stream: StreamId, mut sequences: Range<usize>) -> Option<usize> {
        let latest = self.latest(stream)?;
        sequences.end = sequences.end.min(latest + 1);
        sequences.rev().find(|&sequence| self.count(MessageId { stream, sequence }) > 0)
    }

    fn latest(&self, stream: StreamId) -> Option<usize> {
        self.latest.get(stream.0).copied().flatten()
    }

    fn last_of(&self, stream: StreamId) -> String {
        self.latest(stream)
            .map_or("a stream without arrival".into(), |latest| format!("a stream known to {latest}"))
    }

    fn enter(&mut self, message: MessageId) {
        let (stream, sequence) = (message.stream.0, message.sequence);
        if self.arrivals.len() <= stream {
            self.arrivals.resize(stream + 1, Vec::new());
            self.latest.resize(stream + 1, None);
        }
        let counts = &mut self.arrivals[stream];
        if counts.len() <= sequence {
            counts.resize(sequence + 1, 0);
        }
        counts[sequence] = counts[sequence].saturating_add(1);
        self.latest[stream] = self.latest[stream].max(Some(sequence));
        self.missing.remove(&message);
    }
}

/// The one payload of a message: its name, then bytes that follow from it.
pub fn payload(message: MessageId) -> Vec<u8> {
    let (stream, sequence) = (message.stream.0, message.sequence);
    let mut bytes = format!("{stream} {sequence} ").into_bytes();
    let mix = (stream as u64 * 1_000_003 + sequence as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let length =
        if mix.is_multiple_of(LONG_ONE_IN) { mix % FILLER_BYTES_LONG } else { mix % FILLER_BYTES_MAX };
    bytes.extend((0..length).map(|at| (mix ^ at.wrapping_mul(31)) as u8));
    bytes
}

/// The message that a payload claims to be.
fn name_in(payload: &[u8]) -> Option<MessageId> {
    let mut parts = payload.splitn(3, |&byte| byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    Some(MessageId { stream: StreamId(number()?), sequence: number()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        book: Book,
        audience: AudienceId,
        stream: StreamId,
        verdict: Verdict,
    }

    impl Case {
        fn new(class: Class, qos: QoS) -> Case {
            let mut book = Book::default();
            let stream = book.open_stream(class, qos);
            let audience = book.open_audience("a", class, QoS::ExactlyOnce, false);
            Case { book, audience, stream, verdict: Verdict::default() }
        }

        fn send(&mut self, is_acknowledged: bool) -> MessageId {
            let message = self.book.next(self.stream);
            if is_acknowledged {
                self.book.make_due(message);
            }
            message
        }

        fn arrive(&mut self, message: MessageId) {
            let (topic, qos) = self.book.stream(self.stream);
            let topic = topic.to_string();
            let copy = Copy { topic: &topic, payload: &payload(message), qos };
            self.book.enter(self.audience, &copy, &mut self.verdict);
        }

        fn faults(mut self) -> Vec<Fault> {
            self.book.write_off(self.audience, &mut self.verdict);
            Fault::ALL.into_iter().filter(|&fault| self.verdict.count(fault) > 0).collect()
        }
    }

    #[test]
    fn only_what_was_acknowledged_has_to_arrive() {
        let mut case = Case::new(Class::Data, QoS::ExactlyOnce);
        let [first, _unacknowledged, last] = [true, false, true].map(|acknowledged| case.send(acknowledged));
        case.arrive(first);
        assert_eq!(case.book.missing(case.audience), 1);
        case.arrive(last);
        assert_eq!(case.faults(), []);

        let mut case = Case::new(Class::Data, QoS::AtLeastOnce);
        case.send(true);
        assert_eq!(case.faults(), [Fault::Lost]);
    }

    #[test]
    fn a_second_copy_is_a_fault_at_qos_2_only() {
        for (qos, faults) in [(QoS::AtLeastOnce, vec![]), (QoS::ExactlyOnce, vec![Fault::Duplicated])] {
            let mut case = Case::new(Class::Data, qos);
            let message = case.send(false);
            case.arrive(message);
            case.arrive(message);
            assert_eq!(case.faults(), faults);
        }
    }

    #[test]
    fn the_first_copies_come_in_order() {
        let mut case = Case::new(Class::Data, QoS::AtLeastOnce);
        let [first, second] = [true, true].map(|acknowledged| case.send(acknowledged));
        for message in [first, second, first, second] {
            case.arrive(message);
        }
        assert_eq!(case.faults(), [], "both again, as after a crash");

        let mut case = Case::new(Class::Data, QoS::AtLeastOnce);
        let [first, second] = [true, true].map(|acknowledged| case.send(acknowledged));
        for message in [second, first] {
            case.arrive(message);
        }
        assert_eq!(case.faults(), [Fault::Reordered]);
    }

    #[test]
    fn a_publisher_that_came_back_without_its_session_may_overtake_itself() {
        for (anew, faults) in [(true, vec![]), (false, vec![Fault::Reordered])] {
            let mut case = Case::new(Class::Data, QoS::AtLeastOnce);
            let before = case.send(true);
            if anew {
                case.book.begin_anew(case.stream);
            }
            let behind = case.send(true);
            case.arrive(behind);
            case.arrive(before);
            assert_eq!(case.faults(), faults);
        }
    }

    #[test]
    fn a_prevented_will_and_a_will_that_never_came_are_faults() {
        let mut case = Case::new(Class::Will, QoS::ExactlyOnce);
        let will = case.send(false);
        case.book.prevent(will);
        case.arrive(will);
        assert_eq!(case.faults(), [Fault::WillLeft]);

        let mut case = Case::new(Class::Will, QoS::ExactlyOnce);
        case.send(true);
        assert_eq!(case.faults(), [Fault::WillLost]);
    }

    #[test]
    fn a_changed_payload_and_a_message_that_nobody_sent_are_corrupt() {
        let mut case = Case::new(Class::Data, QoS::ExactlyOnce);
        let message = case.send(false);
        let mut bytes = payload(message);
        *bytes.last_mut().expect("there is a name") ^= 1;
        let topic = case.book.stream(case.stream).0.to_string();
        let copy = Copy { topic: &topic, payload: &bytes, qos: QoS::ExactlyOnce };
        case.book.enter(case.audience, &copy, &mut case.verdict);
        assert_eq!(case.faults(), [Fault::Corrupt]);

        let mut case = Case::new(Class::Data, QoS::ExactlyOnce);
        let message = MessageId { stream: case.stream, sequence: 7 };
        case.arrive(message);
        assert_eq!(case.faults(), [Fault::Corrupt]);
    }
}
