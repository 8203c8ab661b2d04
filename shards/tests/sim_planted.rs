//! Every checker is seen to fail: each planted bug is caught, by the checker that is there for it.
//!
//! The same list stands in ARCHITECTURE.md.

#![cfg(debug_assertions)] // release builds have no planted bugs

mod planted;

use planted::caught_by;
use shardmq_shards::base::planted::Bug;
use shardmq_shards::drivers::sim::{Flavor, run};

/// Steps of each run.
const STEPS: u64 = 4_000;

macro_rules! planted {
    ($($name:ident: $bug:ident in $flavor:ident is caught by $checker:literal;)*) => {
        $(#[test]
        fn $name() {
            caught_by($checker, Bug::$bug, |seed| run(seed, Some(Flavor::$flavor), STEPS, Some(Bug::$bug)));
        })*

        #[test]
        fn every_planted_bug_is_tried() {
            let tried = [$(Bug::$bug),*];
            let forgotten: Vec<_> = Bug::ALL.iter().filter(|bug| !tried.contains(bug)).collect();
            assert!(forgotten.is_empty(), "{forgotten:?}");
        }
    };
}

planted! {
    a_suback_that_does_not_wait: SubackWithoutInterest in Interest is caught by "suback";
    a_suback_that_ignores_foreign_transitions: SubackIgnoresForeignTransition in Interest is caught by "suback";
    a_fingerprint_that_is_not_counted: FingerprintNotCounted in Interest is caught by "suback";
    a_stale_claim_that_is_accepted: StaleClaimAccepted in Takeover is caught by "one owner";
    a_stale_release_that_is_obeyed: StaleReleaseObeyed in Takeover is caught by "one owner";
    a_takeover_that_keeps_the_old: TakeoverKeepsOld in Takeover is caught by "one owner";
    a_sleeper_that_does_not_look_again: SleepWithoutRecheck in Mixed is caught by "wedge";
    a_parked_publisher_that_is_forgotten: ParkedNeverResumed in Roomy is caught by "wedge";
    a_repeated_publish_that_is_not_recognised: DuplicateNotRecognised in Takeover is caught by "exactly once";
    a_resume_that_forgets: ResumeForgetsInFlight in Takeover is caught by "in flight";
    a_cursor_that_is_overtaken: CursorOvertaken in FanOut is caught by "order";
    input_that_overtakes_while_parked: ParkedInputReordered in Roomy is caught by "protocol";
    a_drop_that_is_not_counted: DropNotCounted in Mixed is caught by "accounting";
    a_queue_without_bound: QueueUnbounded in Mixed is caught by "bounds";
    an_acknowledgement_before_the_log: AckBeforeCommit in Retained is caught by "acknowledged is kept";
    a_retained_query_that_is_too_early: RetainedQueryTooEarly in Retained is caught by "retained";
    a_will_that_is_forgotten: WillForgotten in Mixed is caught by "will";
    a_timer_that_spins: IdleTimerSpins in Mixed is caught by "idle";
    own_messages_that_come_back: NoLocalIgnored in Mixed is caught by "unwanted";
    a_retain_flag_for_everybody: RetainFlagKept in Mixed is caught by "retain flag";
    a_retain_handling_that_is_ignored: RetainHandlingIgnored in Mixed is caught by "retain flag";
    identifiers_that_are_forgotten: IdentifiersForgotten in Mixed is caught by "identifiers";
    an_overlap_that_grants_less: OverlapGrantsLess in Mixed is caught by "overlap";
    an_expiry_that_stands_still: ExpiryStandsStill in Mixed is caught by "expiry";
    a_content_type_that_is_forgotten: ContentTypeForgotten in Mixed is caught by "properties";
    a_refusal_that_is_ignored: RefusalIgnored in Mixed is caught by "refusal";
    an_alias_that_keeps_its_topic: AliasKeepsTopic in Mixed is caught by "integrity";
    a_will_that_is_too_early: WillTooEarly in Mixed is caught by "will";
    what_is_sent_after_its_unsuback: UnsubscribedStillSent in Interest is caught by "unsubscribed";
    a_redispatch_that_is_made_twice: RedispatchedTwice in Shared is caught by "shared once";
    a_redispatch_that_is_lost: TakenBackLost in Shared is caught by "shared lost";
    a_leaver_that_keeps_what_waits: LeaverKeepsWaiting in Shared is caught by "shared leave";
    a_qos_2_message_that_changes_its_member: StartedQos2Moves in Shared is caught by "shared once";
    a_turn_that_stands_still: ShareTurnStandsStill in Shared is caught by "shared fair";
    a_disconnect_whose_expiry_is_ignored: DisconnectExpiryIgnored in Mixed is caught by "session";
    a_hash_that_is_ignored: ShareHashIgnored in Shared is caught by "shared hash";
}
