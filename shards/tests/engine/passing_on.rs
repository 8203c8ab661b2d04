//! Messages of shared groups that go on to another shard, since nobody where they arrive can take them, over a crash at each record.

use crate::verbs::*;
use crate::world::{Client, World};

const PUBLISHER: usize = 0;
const PASSING: usize = 1;
const TAKING: usize = 2;

/// A broker in which a message to these groups is on its way to a shard whose last member has just left, while an offline one waits elsewhere.
fn on_its_way(filters: &[&str]) -> (World, Client) {
    let mut w = World::durable(3);
    let taker = w.connect(TAKING, durable(V5, "taker"));
    filters.iter().for_each(|filter| w.subscribe(taker, filter, Q2));
    w.vanish(taker);
    let leaver = w.connect(PASSING, durable(V5, "leaver"));
    filters.iter().for_each(|filter| w.subscribe(leaver, filter, Q2));
    let publisher = w.connect(PUBLISHER, durable(V5, "publisher"));
    w.places[PASSING].frozen = true;
    w.unsubscribe(leaver, filters);
    w.publish(publisher, message_2(1, "t", "x"));
    (w, publisher)
}

fn copies_of(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with(r#"t "x" q2"#)).count()
}

#[test]
fn a_message_of_several_groups_goes_on_to_a_member_of_each_whatever_the_log_has_of_it() {
    let filters = ["$share/a/t", "$share/b/t", "$share/c/t"];
    for left in 0..12 {
        let (mut w, publisher) = on_its_way(&filters);
        assert_eq!(w.read(publisher), ["PUBREC #1"], "it is logged where it was published");
        w.places[PASSING].frozen = false;
        w.places[PASSING].log_held = true;
        w.places[TAKING].frozen = true;
        w.run();
        let uncommitted = w.uncommitted(PASSING);
        assert!((4..12).contains(&uncommitted), "{uncommitted}");
        w.crash_leaving(&[0, left, 0]);
        let (_, said) = w.connect_and_read(TAKING, durable(V5, "taker"));
        assert_eq!(copies_of(&said), filters.len(), "{left} of {uncommitted} left: {said:?}");
    }
}
