//! The races that DESIGN.md names, one by one: as they should go, and with the bug that would lose them.

use shardmq_shards::base::planted::Bug;
use shardmq_shards::drivers::sim::Scenario;
use shardmq_shards::wire::QoS;

/// Tells the same story twice: every promise holds, and with `bug` in the engine `checker` sees one broken.
fn told_with_and_without(bug: Bug, checker: &str, story: impl Fn(Option<Bug>) -> Option<&'static str>) {
    assert_eq!(story(None), None);
    if cfg!(debug_assertions) {
        assert_eq!(story(Some(bug)), Some(checker), "{bug:?}");
    }
}

#[test]
fn claims_arrive_in_reverse_order() {
    told_with_and_without(Bug::StaleClaimAccepted, "one owner", |bug| {
        let mut story = Scenario::new(3, 1, bug);
        story.connects(0, 0).rest();
        // The first claim is granted to a shard that then takes its time, the second overtakes it.
        story.connects(0, 1).turn(1).coordinator();
        story.connects(0, 2).turn(2).coordinator().turn(2).turn(2).turn(0);
        story.turn(1).turn(1).turn(0).rest();
        assert_eq!(story.counters(0).stale_claims, u64::from(bug.is_none()));
        story.finish()
    });
}

#[test]
fn a_release_is_overtaken_by_a_claim() {
    told_with_and_without(Bug::StaleReleaseObeyed, "one owner", |bug| {
        let mut story = Scenario::new(3, 1, bug);
        story.is_transient(0).connects(0, 0).rest();
        // The new claim is granted while the old session has not ended yet; then its release comes.
        story.connects(0, 1).turn(1).coordinator();
        story.turn(1).turn(1).turn(0);
        story.connects(0, 2).turn(2).coordinator();
        story.turn(0).coordinator();
        assert!(story.stale_releases() > 0 || bug.is_some());
        story.connects(0, 1).turn(1).coordinator().turn(1).turn(1);
        story.finish()
    });
}

#[test]
fn two_filters_share_a_fingerprint() {
    told_with_and_without(Bug::FingerprintNotCounted, "suback", |bug| {
        let mut story = Scenario::with_profile(2, 4, bug, |profile| profile.fingerprint_bits = 1);
        for (client, shard) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
            story.connects(client, shard);
        }
        story.rest();
        // Three filters, one bit: two of them are one to the other shard.
        story.subscribes(0, "t/0", QoS::AtLeastOnce).subscribes(1, "t/1", QoS::AtLeastOnce);
        story.subscribes(2, "t/2", QoS::AtLeastOnce).rest();
        for (client, filter) in [(0, "t/0"), (1, "t/1")] {
            story.unsubscribes(client, filter).rest();
            for topic in ["t/0", "t/1", "t/2"] {
                story.publishes(3, topic, QoS::AtLeastOnce);
            }
            story.rest();
        }
        story.finish()
    });
}

#[test]
fn a_suback_waits_for_the_transition_of_another_client() {
    told_with_and_without(Bug::SubackIgnoresForeignTransition, "suback", |bug| {
        let mut story = Scenario::new(2, 3, bug);
        story.connects(0, 0).connects(1, 0).connects(2, 1).rest();
        story.blind(1, 0);
        story.subscribes(0, "t/0", QoS::AtLeastOnce).turn(0).turn(0);
        story.subscribes(1, "t/0", QoS::AtLeastOnce).turn(0).turn(0).reads(1);
        assert_eq!(story.is_answered(1), bug.is_some(), "the other shard has not seen the filter yet");
        story.publishes(2, "t/0", QoS::AtLeastOnce).turn(1).rest();
        assert_eq!(story.counters(0).foreign_interest_waits, 1);
        story.finish()
    });
}

#[test]
fn a_sleeper_looks_again() {
    told_with_and_without(Bug::SleepWithoutRecheck, "wedge", |bug| {
        let mut story = Scenario::new(2, 2, bug);
        story.connects(0, 0).connects(1, 1).rest();
        story.subscribes(0, "t/0", QoS::AtLeastOnce).rest();
        // Shard 0 has found nothing to do; before it says that it sleeps, something is sent to it.
        story.turn_until_sleepy(0);
        story.publishes(1, "t/0", QoS::AtLeastOnce).turn(1);
        let before = story.sleep_refused(0);
        story.turn(0);
        assert_eq!(story.sleep_refused(0) - before, u64::from(bug.is_none()));
        story.rest();
        assert_eq!(story.received(0), usize::from(bug.is_none()));
        story.finish()
    });
}

#[test]
fn a_parked_publisher_goes_on() {
    told_with_and_without(Bug::ParkedNeverResumed, "wedge", |bug| {
        let mut story = Scenario::with_profile(2, 2, bug, |profile| profile.lane_slots = 2);
        story.connects(0, 0).connects(1, 1).rest();
        story.subscribes(0, "t/+", QoS::AtLeastOnce).rest();
        story.blind(0, 1);
        for _ in 0..10 {
            story.publishes(1, "t/0", QoS::AtLeastOnce);
        }
        story.turn(1).turn(1);
        assert_eq!(story.counters(1).parked_for_lane, 1, "two slots, ten messages");
        story.rest();
        assert!(story.received(0) == 10 || bug.is_some());
        story.finish()
    });
}

#[test]
fn a_qos_2_message_survives_a_takeover() {
    told_with_and_without(Bug::ResumeForgetsInFlight, "in flight", |bug| {
        let mut story = Scenario::new(2, 2, bug);
        story.connects(0, 0).connects(1, 1).rest();
        story.subscribes(0, "t/0", QoS::ExactlyOnce).rest();
        for _ in 0..3 {
            story.publishes(1, "t/0", QoS::ExactlyOnce);
        }
        story.turn(1).turn(1).turn(0).turn(0).reads(0);
        assert_eq!(story.received(0), 3);
        // PUBREC is lost with the old connection.
        story.connects(0, 1).rest();
        assert_eq!(story.received(0), 3);
        assert_eq!(story.counters(0).taken_over, 1);
        story.finish()
    });
}

#[test]
fn a_will_waits_for_its_delay_and_not_for_a_client_that_came_back() {
    told_with_and_without(Bug::WillForgotten, "will", |bug| {
        let mut story = Scenario::new(2, 2, bug);
        story.connects(1, 1).rest();
        story.subscribes(1, "w/+", QoS::AtLeastOnce).rest();
        story.connects_with_will(0, 0, 30).rest().is_reset(0).seconds_pass(10);
        story.connects_with_will(0, 1, 30).rest().seconds_pass(40);
        assert_eq!(story.received(1), 0, "it came back within the delay");
        story.is_reset(0).seconds_pass(10);
        assert_eq!(story.received(1), 0, "the delay has not passed");
        story.seconds_pass(40);
        assert_eq!(story.received(1), usize::from(bug.is_none()));
        story.finish()
    });
}

#[test]
fn a_will_is_published_at_a_takeover() {
    let mut story = Scenario::new(2, 2, None);
    story.connects(1, 1).rest();
    story.subscribes(1, "w/+", QoS::AtLeastOnce).rest();
    story.connects_with_will(0, 0, 0).rest().connects(0, 1).rest();
    assert_eq!(story.received(1), 1);
    assert_eq!(story.finish(), None);
}

#[test]
fn a_retained_update_comes_between_query_and_answer() {
    told_with_and_without(Bug::RetainedQueryTooEarly, "retained", |bug| {
        let mut story = Scenario::new(3, 2, bug);
        let topic = story.topic_kept_by(2).expect("one of three topics is kept there, with this key");
        story.connects(0, 0).connects(1, 1).rest();
        story.publishes(1, topic, QoS::AtLeastOnce).rest();
        // The partition does not hear of the update, but of the subscription that comes after it.
        story.blind(2, 1);
        story.publishes(1, topic, QoS::AtLeastOnce).turn(1);
        story.subscribes(0, topic, QoS::AtLeastOnce);
        for _ in 0..4 {
            story.turn(0).turn(1).turn(2);
        }
        assert!(story.counters(2).retained_waits > 0 || bug.is_some());
        story.rest();
        story.finish()
    });
}

#[test]
fn later_messages_queue_behind_an_open_cursor() {
    told_with_and_without(Bug::CursorOvertaken, "order", |bug| {
        let mut story = Scenario::with_profile(1, 4, bug, |profile| profile.limits.fan_out_batch = 1);
        for client in 0..4 {
            story.connects(client, 0);
        }
        story.rest();
        for client in 0..3 {
            story.subscribes(client, "t/0", QoS::AtLeastOnce);
        }
        story.rest();
        for _ in 0..3 {
            story.publishes(3, "t/0", QoS::AtLeastOnce);
        }
        story.turn(0).turn(0).rest();
        assert_eq!(story.counters(0).cursors, 1);
        assert!((0..3).all(|client| story.received(client) == 3) || bug.is_some());
        story.finish()
    });
}

#[test]
fn a_slow_reader_drops_for_itself_alone() {
    told_with_and_without(Bug::QueueUnbounded, "bounds", |bug| {
        let mut story = Scenario::with_profile(1, 3, bug, |profile| {
            profile.limits.queue_messages_max = 5;
            profile.limits.in_flight_max = 3;
        });
        story.connects(0, 0).connects(1, 0).connects(2, 0).rest();
        story.subscribes(0, "t/0", QoS::AtLeastOnce).subscribes(1, "t/0", QoS::AtLeastOnce).rest();
        for _ in 0..15 {
            story.publishes(2, "t/0", QoS::AtLeastOnce).turn(0).turn(0);
            story.reads(1).answers(1).reads(2);
        }
        story.turn(0);
        assert!(story.dropped(0)[0] == 15 - 3 - 5 || bug.is_some());
        story.rest();
        assert!((story.received(0), story.received(1)) == (8, 15) || bug.is_some());
        story.finish()
    });
}

#[test]
fn packets_arrive_byte_by_byte_with_nothing_in_between() {
    let mut story = Scenario::new(2, 2, None);
    story.byte_by_byte(0).byte_by_byte(1).connects(0, 0).connects(1, 1).rest();
    story.subscribes(0, "#", QoS::ExactlyOnce).rest();
    for qos in QoS::ALL {
        story.publishes(1, "a/b", qos).publishes(0, "a/c", qos);
    }
    story.rest();
    assert_eq!(story.received(0), 6);
    assert_eq!(story.finish(), None);
}

#[test]
fn a_broker_that_keeps_nothing_begins_anew_after_a_crash() {
    let mut story = Scenario::new(3, 3, None);
    for client in 0..3 {
        story.is_transient(client).connects(client, client);
    }
    story.rest();
    story.subscribes(0, "t/0", QoS::ExactlyOnce).rest();
    story.publishes(1, "t/0", QoS::ExactlyOnce).publishes(1, "t/0", QoS::AtLeastOnce).turn(1).crashes();
    for client in 0..3 {
        story.connects(client, 0);
    }
    story.rest();
    story.subscribes(0, "t/0", QoS::AtLeastOnce).rest();
    story.publishes(2, "t/0", QoS::AtLeastOnce).rest();
    assert_eq!((story.received(0), story.counters(0).copies), (1, 1), "and counts from the start");
    assert_eq!(story.finish(), None);
}
