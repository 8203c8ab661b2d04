//! Every bug that only a crash shows is caught, by the checker that is there for it. The same list stands in ARCHITECTURE.md. With logs on tapes what is left
//! out of them is nowhere; on disks the gap in the numbers would be seen first.

#![cfg(debug_assertions)] // release builds have no planted bugs

mod planted;

use planted::caught_by;
use shardmq_shards::base::planted::Bug;
use shardmq_shards::drivers::sim::{Coverage, CrashPoint, Flavor, RunFailure, run_crashing};

/// Steps of each run.
const STEPS: u64 = 2_500;

/// Runs `seed` with a crash at some step of it, or where only that shows the bug right after a segment was given up.
fn run_with(seed: u64, flavor: Flavor, bug: Bug) -> Result<(Coverage, u64), RunFailure> {
    let point = match bug {
        Bug::SegmentsGoTooEarly => CrashPoint::Retired(1 + seed % 4),
        // The record is being written, or the one that it came from.
        Bug::PubcompBeforeRecord => CrashPoint::Pubcomp(1 + seed % 50),
        Bug::Qos2BeforeSource => CrashPoint::Log(1 + seed % 200),
        _ => CrashPoint::Step(1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % STEPS),
    };
    run_crashing(seed, flavor, STEPS, Some(point), Some(bug))
}

macro_rules! planted {
    ($($name:ident: $bug:ident in $flavor:ident is caught by $checker:literal;)*) => {
        $(#[test]
        fn $name() {
            caught_by($checker, Bug::$bug, |seed| run_with(seed, Flavor::$flavor, Bug::$bug));
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
    an_acknowledgement_before_its_record: AckBeforeCommit in Crash is caught by "suback";
    a_copy_that_is_not_recorded: CopyNotRecorded in Crash is caught by "suback";
    copies_that_are_never_finished: FinishedNotWritten in Crash is caught by "exactly once";
    a_pubrel_before_its_record: PubrelBeforeRecord in Crash is caught by "exactly once";
    a_qos_2_message_before_its_source: Qos2BeforeSource in Crash is caught by "exactly once";
    an_arrival_that_never_was: ArrivalTakenForOwn in Crash is caught by "exactly once";
    a_mark_before_its_message: MarkBeforeMessage in Crash is caught by "suback";
    a_subscription_that_is_not_written: SubscribedSkipped in Crash is caught by "suback";
    an_unsubscription_that_is_not_written: UnsubscribedSkipped in Crash is caught by "unwanted";
    a_sessions_end_that_is_not_written: SessionEndSkipped in Crash is caught by "session";
    a_received_id_that_is_not_written: ReceivedIdSkipped in Crash is caught by "exactly once";
    a_release_that_is_not_written: ReleasedSkipped in Crash is caught by "suback";
    a_start_that_is_not_written: StartedSkipped in Crash is caught by "exactly once";
    an_arrival_that_is_not_written: ArrivedSkipped in Crash is caught by "exactly once";
    an_outbox_that_is_not_written: OutboxSkipped in Crash is caught by "suback";
    a_retained_message_that_is_not_written: RetainedSkipped in Crash is caught by "retained";
    an_expiry_that_is_not_written: ExpirySkipped in Crash is caught by "expiry";
    a_will_that_is_not_written: WillSkipped in Crash is caught by "will";
    a_will_that_stays: WillStaysLogged in Crash is caught by "exactly once";
    epochs_that_begin_again: EpochsForgotten in Crash is caught by "one owner";
    a_pubcomp_before_its_record: PubcompBeforeRecord in Disk is caught by "suback";
    a_commit_before_its_write: CommitBeforeWrite in Disk is caught by "suback";
    a_number_for_two_records: LsnReused in Disk is caught by "session";
    a_record_that_is_not_written: RecordSkipped in Disk is caught by "log";
    a_segment_whose_name_is_not_synced: DirectoryNotSynced in Disk is caught by "session";
    messages_that_cleaning_forgets: BodyNotWrittenAgain in Disk is caught by "log";
    segments_that_go_too_early: SegmentsGoTooEarly in Disk is caught by "session";
}
