//! Bugs planted on purpose, so that every checker of the simulator is seen to fail once.
//!
//! Compiled out of release builds: without debug assertions [`Planted::is`] is the constant `false`. The list with the checker that
//! catches each stands in ARCHITECTURE.md.

/// A bug that the simulator can switch on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// SUBACK goes out before the peers have applied the interest it depends on.
    SubackWithoutInterest,
    /// SUBACK waits for the subscriber's own transition only, not for another client's that is still on its way.
    SubackIgnoresForeignTransition,
    /// A fingerprint that two filters share is withdrawn when the first of them goes.
    FingerprintNotCounted,
    /// The home shard accepts an arrival whose epoch is below the highest that it saw.
    StaleClaimAccepted,
    /// The coordinator forgets an id on a release that a later claim has overtaken.
    StaleReleaseObeyed,
    /// A takeover leaves the old connection open.
    TakeoverKeepsOld,
    /// The sleeping shard does not look at its lanes again after it set its flag.
    SleepWithoutRecheck,
    /// Freed lane slots are not announced to a sender that waits for them.
    ParkedNeverResumed,
    /// The QoS 2 packet id of a repeated PUBLISH is not recognised.
    DuplicateNotRecognised,
    /// Messages in flight are not sent again when the session resumes.
    ResumeForgetsInFlight,
    /// A message of a topic with an open fan-out cursor is delivered past it.
    CursorOvertaken,
    /// A connection resumed from parking handles the bytes that arrived later first.
    ParkedInputReordered,
    /// A full queue drops without counting.
    DropNotCounted,
    /// A session's queue ignores its limit.
    QueueUnbounded,
    /// A client id is given back to the coordinator before the log has its session's end.
    ReleaseBeforeDeletion,
    /// PUBACK goes out before its log sequence number is committed.
    AckBeforeCommit,
    /// A retained query is answered before the lanes have reached the positions that it names.
    RetainedQueryTooEarly,
    /// The will is dropped when the connection breaks.
    WillForgotten,
    /// A timer is re-armed every second although nothing is due.
    IdleTimerSpins,
    /// A client gets its own messages also where it subscribed with No Local.
    NoLocalIgnored,
    /// Live messages keep their retain flag for everybody.
    RetainFlagKept,
    /// Retained messages are sent at each SUBSCRIBE.
    RetainHandlingIgnored,
    /// A copy carries one subscription identifier at most.
    IdentifiersForgotten,
    /// Overlapping subscriptions with identifiers are granted QoS 0.
    OverlapGrantsLess,
    /// What waits for a client without connection does not grow older.
    ExpiryStandsStill,
    /// The content type is not forwarded.
    ContentTypeForgotten,
    /// A PUBREC with an error is taken for one without.
    RefusalIgnored,
    /// A topic alias keeps the first topic that it stood for.
    AliasKeepsTopic,
    /// A will does not wait for its delay.
    WillTooEarly,
    /// What waits is sent after its UNSUBACK all the same.
    UnsubscribedStillSent,
    /// A copy that a member of a shared group gives back goes out twice.
    RedispatchedTwice,
    /// A copy that a member of a shared group gives back goes nowhere.
    TakenBackLost,
    /// Who leaves a shared group keeps what waits for it.
    LeaverKeepsWaiting,
    /// With the session's end also QoS 2 messages in flight go to another member of their group.
    StartedQos2Moves,
    /// It is always the same member's turn.
    ShareTurnStandsStill,
    /// Shared groups that go by a hash choose anybody.
    ShareHashIgnored,
    /// The session expiry that a DISCONNECT brings is not noted.
    DisconnectExpiryIgnored,
    /// The record of a message leaves out the copies of this shard.
    CopyNotRecorded,
    /// Copies that are gone stay in the log.
    FinishedNotWritten,
    /// PUBREL goes out before the record of its PUBREC is committed.
    PubrelBeforeRecord,
    /// PUBCOMP goes out before the record that forgets the packet id is committed.
    PubcompBeforeRecord,
    /// A QoS 2 PUBLISH goes out when its own record is committed, whatever that of its source is.
    Qos2BeforeSource,
    /// The log says that records are committed while their write is under way.
    CommitBeforeWrite,
    /// The log goes on with the numbers of the incarnation before.
    LsnReused,
    /// One record in 64 is numbered and not written.
    RecordSkipped,
    /// What comes from another shard is logged as if it were published here: it stays when its source has lost it.
    ArrivalTakenForOwn,
    /// The mark of what comes from another shard is a record of its own, before that of the message.
    MarkBeforeMessage,
    /// A source is told of a mark before its record is committed, and trims its outbox: what cleaning then drops of it is nowhere
    /// when the receiver's record is lost.
    MarkToldEarly,
    /// The name of a new segment is not synced: the segment is gone when the broker ends.
    DirectoryNotSynced,
    /// A subscription is not written to the log.
    SubscribedSkipped,
    /// The end of a subscription is not written to the log.
    UnsubscribedSkipped,
    /// The end of a session is not written to the log.
    SessionEndSkipped,
    /// QoS 2 packet ids from clients are not written to the log.
    ReceivedIdSkipped,
    /// That a QoS 2 packet id from a client is forgotten is not written to the log.
    ReleasedSkipped,
    /// Packet ids of QoS 2 messages in flight are not written to the log.
    StartedSkipped,
    /// PUBRECs are not written to the log.
    ArrivedSkipped,
    /// The record of a message does not say where else it has to go.
    OutboxSkipped,
    /// The record of a message does not say that it is retained.
    RetainedSkipped,
    /// The record of a message does not say when it expires.
    ExpirySkipped,
    /// Wills are not written to the log.
    WillSkipped,
    /// The publication of a will leaves it with its session in the log.
    WillStaysLogged,
    /// Claims are numbered from the start again after a restart.
    EpochsForgotten,
    /// Segments are given up before what is written again of them is committed.
    SegmentsGoTooEarly,
    /// Cleaning forgets the messages.
    BodyNotWrittenAgain,
    /// Of the segments that go the newest goes first.
    NewestSegmentGoesFirst,
}

impl Bug {
    /// Those that only a crash shows.
    pub const OF_CRASHES: [Bug; 25] = [
        Bug::CopyNotRecorded,
        Bug::FinishedNotWritten,
        Bug::PubrelBeforeRecord,
        Bug::Qos2BeforeSource,
        Bug::ArrivalTakenForOwn,
        Bug::SubscribedSkipped,
        Bug::UnsubscribedSkipped,
        Bug::SessionEndSkipped,
        Bug::ReceivedIdSkipped,
        Bug::ReleasedSkipped,
        Bug::StartedSkipped,
        Bug::ArrivedSkipped,
        Bug::OutboxSkipped,
        Bug::RetainedSkipped,
        Bug::ExpirySkipped,
        Bug::WillSkipped,
        Bug::WillStaysLogged,
        Bug::EpochsForgotten,
        Bug::PubcompBeforeRecord,
        Bug::CommitBeforeWrite,
        Bug::LsnReused,
        Bug::RecordSkipped,
        Bug::DirectoryNotSynced,
        Bug::BodyNotWrittenAgain,
        Bug::SegmentsGoTooEarly,
    ];

    /// All of them, for the test that each is caught.
    pub const ALL: [Bug; 36] = [
        Bug::SubackWithoutInterest,
        Bug::SubackIgnoresForeignTransition,
        Bug::FingerprintNotCounted,
        Bug::StaleClaimAccepted,
        Bug::StaleReleaseObeyed,
        Bug::TakeoverKeepsOld,
        Bug::SleepWithoutRecheck,
        Bug::ParkedNeverResumed,
        Bug::DuplicateNotRecognised,
        Bug::ResumeForgetsInFlight,
        Bug::CursorOvertaken,
        Bug::ParkedInputReordered,
        Bug::DropNotCounted,
        Bug::QueueUnbounded,
        Bug::AckBeforeCommit,
        Bug::RetainedQueryTooEarly,
        Bug::WillForgotten,
        Bug::IdleTimerSpins,
        Bug::NoLocalIgnored,
        Bug::RetainFlagKept,
        Bug::RetainHandlingIgnored,
        Bug::IdentifiersForgotten,
        Bug::OverlapGrantsLess,
        Bug::ExpiryStandsStill,
        Bug::ContentTypeForgotten,
        Bug::RefusalIgnored,
        Bug::AliasKeepsTopic,
        Bug::WillTooEarly,
        Bug::UnsubscribedStillSent,
        Bug::RedispatchedTwice,
        Bug::TakenBackLost,
        Bug::LeaverKeepsWaiting,
        Bug::StartedQos2Moves,
        Bug::ShareTurnStandsStill,
        Bug::ShareHashIgnored,
        Bug::DisconnectExpiryIgnored,
    ];
}

/// The planted bug of this run, if any.
#[derive(Clone, Copy, Default, Debug)]
pub struct Planted {
    #[cfg(debug_assertions)]
    bug: Option<Bug>,
}

impl Planted {
    /// A run with `bug` in it. Without debug assertions there is none.
    pub fn bug(bug: Bug) -> Planted {
        #[cfg(debug_assertions)]
        return Planted { bug: Some(bug) };
        #[cfg(not(debug_assertions))]
        {
            let _ = bug;
            Planted {}
        }
    }

    /// Whether any bug is planted.
    #[inline]
    pub fn is_any(self) -> bool {
        #[cfg(debug_assertions)]
        return self.bug.is_some();
        #[cfg(not(debug_assertions))]
        false
    }

    /// Whether `bug` is planted.
    #[inline]
    pub fn is(self, bug: Bug) -> bool {
        #[cfg(debug_assertions)]
        return self.bug == Some(bug);
        #[cfg(not(debug_assertions))]
        {
            let _ = bug;
            false
        }
    }
}
