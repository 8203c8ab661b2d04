//! Every bug that only a crash shows is caught, by the checker that is there for it. The same list stands in ARCHITECTURE.md.

#![cfg(debug_assertions)] // release builds have no planted bugs

mod planted;

use planted::caught_by;
use shardmq_shards::base::planted::Bug;
use shardmq_shards::drivers::sim::{Coverage, CrashPoint, RunFailure, run_crashing};

/// Steps of each run.
const STEPS: u64 = 2_500;

/// Runs `seed` with a crash at some step of it.
fn run_with(seed: u64, bug: Bug) -> Result<(Coverage, u64), RunFailure> {
    let step = 1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % STEPS;
    run_crashing(seed, STEPS, Some(CrashPoint::Step(step)), Some(bug))
}

macro_rules! planted {
    ($($name:ident: $bug:ident is caught by $checker:literal;)*) => {
        $(#[test]
        fn $name() {
            caught_by($checker, Bug::$bug, |seed| run_with(seed, Bug::$bug));
        })*

        #[test]
        fn every_bug_of_crashes_is_tried() {
            let tried = [$(Bug::$bug),*];
            let forgotten: Vec<_> = Bug::OF_CRASHES.iter().filter(|bug| !tried.contains(bug)).collect();
            assert!(forgotten.is_empty(), "{forgotten:?}");
        }
    };
}

planted! {
    an_acknowledgement_before_its_record: AckBeforeCommit is caught by "suback";
    a_copy_that_is_not_recorded: CopyNotRecorded is caught by "suback";
    copies_that_are_never_finished: FinishedNotWritten is caught by "exactly once";
    a_pubrel_before_its_record: PubrelBeforeRecord is caught by "exactly once";
    a_qos_2_message_before_its_source: Qos2BeforeSource is caught by "exactly once";
    an_arrival_that_never_was: ArrivalTakenForOwn is caught by "exactly once";
    a_mark_before_its_message: MarkBeforeMessage is caught by "suback";
    a_subscription_that_is_not_written: SubscribedSkipped is caught by "suback";
    an_unsubscription_that_is_not_written: UnsubscribedSkipped is caught by "unwanted";
    a_sessions_end_that_is_not_written: SessionEndSkipped is caught by "session";
    a_received_id_that_is_not_written: ReceivedIdSkipped is caught by "exactly once";
    a_release_that_is_not_written: ReleasedSkipped is caught by "suback";
    a_start_that_is_not_written: StartedSkipped is caught by "exactly once";
    an_arrival_that_is_not_written: ArrivedSkipped is caught by "exactly once";
    an_outbox_that_is_not_written: OutboxSkipped is caught by "suback";
    a_retained_message_that_is_not_written: RetainedSkipped is caught by "retained";
    an_expiry_that_is_not_written: ExpirySkipped is caught by "expiry";
    a_will_that_is_not_written: WillSkipped is caught by "will";
    a_will_that_stays: WillStaysLogged is caught by "exactly once";
    epochs_that_begin_again: EpochsForgotten is caught by "one owner";
}
