//! Every packet type with every field wrong, by table: what is sent, and what the specification says must follow.
//!
//! Nothing here asks ShardMQ's decoder: the packets are put together from their fields (`samples`), each case is made by spoiling one, and the rule that
//! says what must follow stands beside it, in the specification's words.

mod authenticating;
mod fields;
mod frames;
mod mutations;
mod offers;
mod properties;
mod samples;
mod sequences;

use crate::authenticating::{CONTINUE, auth, with_method};
use crate::toy::toys;
use crate::verbs::*;
use crate::world::{Client, Settings, World};
use shardmq_shards::shard::Event;
use shardmq_shards::wire::{Connect, Packet, ReasonCode, Version};
use std::collections::HashSet;

/// When the bytes come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum When {
    /// As the first of the connection.
    First,
    /// After a CONNECT with an authentication method, to which the server has answered with AUTH.
    Challenged,
    /// After a CONNECT that was accepted.
    Connected,
    /// After a CONNECT with an authentication method that was accepted in the end.
    Authenticated,
}

impl When {
    /// Whether CONNACK has been sent.
    fn is_accepted(self) -> bool {
        matches!(self, When::Connected | When::Authenticated)
    }
}

/// What must follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    /// Nothing is wrong: the connection goes on.
    Open,
    /// As `Open`, with a packet that has this in its line (see `spoken`).
    Answered(&'static str),
    /// The client took its leave and broke no rule.
    Ends,
    /// No rule is broken, but the CONNECT is refused with this code.
    Refused(u8),
    /// A breach: v5 is told this code in CONNACK or DISCONNECT, v3 only what CONNACK has a return code for.
    Breach(u8),
    /// A breach before the server knows that it is talked to in MQTT 5: nobody is told anything (MQTT-3.14.0-1).
    Unheard,
}

const MALFORMED: Expect = Expect::Breach(0x81);
const PROTOCOL_ERROR: Expect = Expect::Breach(0x82);

struct Case {
    name: String,
    version: Version,
    when: When,
    bytes: Vec<u8>,
    expect: Expect,
}

fn case(
    name: impl Into<String>,
    version: Version,
    when: When,
    bytes: impl Into<Vec<u8>>,
    expect: Expect,
) -> Case {
    Case { name: name.into(), version, when, bytes: bytes.into(), expect }
}

/// Cases in one world: a world of its own for each would cost a hundred times as much.
const CASES_PER_WORLD: usize = 1_000;

/// Plays all cases and tells those that went otherwise.
#[track_caller]
fn judge(cases: &[Case]) {
    judge_in(playground, cases);
}

/// As [`judge`], in another world than that of the default settings.
#[track_caller]
fn judge_in(world: impl Fn() -> World, cases: &[Case]) {
    let mut wrong = Vec::new();
    for cases in cases.chunks(CASES_PER_WORLD) {
        let mut w = world();
        let bystanders = bystanders(&mut w);
        for case in cases {
            let outcome = play(&mut w, case, &bystanders);
            wrong.extend(outcome.err().map(|outcome| {
                let Case { name, version, when, expect, bytes } = case;
                format!("{version} {when:?} {name}: {expect:?} but {outcome} for {bytes:02x?}")
            }));
        }
        are_untouched(&mut w, &bystanders);
    }
    let shown = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {} cases:\n{shown}", wrong.len(), cases.len());
}

/// Where clients may authenticate, and need not.
fn playground() -> World {
    World::with(Settings { shards: 2, authentication: toys(false), ..Settings::default() })
}

/// A subscriber of each version.
fn bystanders(w: &mut World) -> [Client; 3] {
    let bystanders = [w.join(1, V5, "five"), w.join(0, V311, "four"), w.join(1, V31, "three")];
    for bystander in bystanders {
        w.subscribe(bystander, "to all", Q0);
    }
    bystanders
}

/// They have seen nothing, and still get what they subscribe.
fn are_untouched(w: &mut World, bystanders: &[Client]) {
    let publisher = w.join(0, V5, "publisher");
    w.publish(publisher, message("to all", "still there"));
    for bystander in bystanders {
        assert_eq!(w.read(*bystander), [r#"to all "still there""#]);
    }
    w.leave(publisher, ReasonCode::Success);
}

/// A connection of which `when` is true.
fn arrive(w: &mut World, version: Version, when: When) -> Client {
    let client = w.arrive(0, 0, version);
    let connect = Connect::new(version, "c", true);
    match when {
        When::First => {}
        When::Connected => {
            w.send(client, Packet::Connect(connect));
            assert!(w.read(client)[0].starts_with("CONNACK 00"));
        }
        When::Challenged | When::Authenticated => {
            w.send(client, Packet::Connect(with_method(connect, "toy", "c")));
            assert_eq!(w.read(client), [r#"AUTH 18 toy "riddle""#]);
        }
    }
    if when == When::Authenticated {
        w.send(client, auth(CONTINUE, "toy", "c knows"));
        assert!(w.read(client)[0].starts_with("CONNACK 00"));
    }
    client
}

/// Plays one case on a connection of its own.
fn play(w: &mut World, case: &Case, bystanders: &[Client]) -> Result<(), String> {
    let client = arrive(w, case.version, case.when);
    w.events.clear();
    w.send_bytes(client, &case.bytes);
    let goes_on = matches!(case.expect, Expect::Open | Expect::Answered(_));
    if goes_on {
        w.send(client, Packet::Pingreq);
    }
    let lines = w.read(client);
    let clauses: Vec<&str> = w.events.iter().filter_map(|event| clause_against(event, client)).collect();
    if !w.wires[client.0].closed {
        w.vanish(client);
    }
    for bystander in bystanders {
        let seen = w.read_now(*bystander);
        if !seen.is_empty() {
            return Err(format!("a bystander sees {seen:?}"));
        }
    }
    let told = told(case);
    let in_order = if goes_on {
        let answered = match case.expect {
            Expect::Answered(part) => lines.iter().any(|line| line.contains(part)),
            _ => true,
        };
        let accepted =
            case.when.is_accepted() || lines.first().is_some_and(|line| line.starts_with("CONNACK 00"));
        // What waits for the log or another shard may come behind it.
        answered && accepted && lines.iter().any(|line| line == "PINGRESP") && !w.wires[client.0].closed_told
    } else {
        let ends = lines.iter().rposition(|line| !line.starts_with(&*told.0) && line != "closed");
        let tail = &lines[ends.map_or(0, |position| position + 1)..];
        tail.len() == told.1 && tail.last().is_some_and(|line| line == "closed")
    };
    let accused = matches!(case.expect, Expect::Breach(_) | Expect::Unheard);
    if !in_order
        || lines.iter().any(|line| line.starts_with("DISCONNECT")) != told.0.starts_with("DISCONNECT")
    {
        return Err(format!("{lines:?}"));
    }
    match clauses[..] {
        [] if !accused => Ok(()),
        [clause] if accused && clause_exists(clause) => Ok(()),
        _ => Err(format!("the log names {clauses:?}")),
    }
}

/// What the last lines begin with, and how many they are with `closed`.
fn told(case: &Case) -> (String, usize) {
    match (case.expect, case.when, case.version.is_v5()) {
        (Expect::Breach(code), when, true) if when.is_accepted() => (format!("DISCONNECT {code:02x}"), 2),
        (Expect::Breach(code), _, true) => (format!("CONNACK {code:02x}"), 2),
        // The return codes 1 and 2.
        (Expect::Breach(code @ (0x84 | 0x85)), When::First, false) => (format!("CONNACK {code:02x}"), 2),
        (Expect::Refused(code), _, _) => (format!("CONNACK {code:02x}"), 2),
        _ => ("closed".into(), 1),
    }
}

/// The clause that the log says `client` has broken.
fn clause_against(event: &Event, client: Client) -> Option<&'static str> {
    match event {
        Event::Violation { peer, violation } if *peer == client.address() => Some(violation.clause()),
        Event::Violation { peer, violation } => panic!("{peer} is accused: {violation}"),
        _ => None,
    }
}

/// A statement of one of the specifications, or the number of a section.
fn clause_exists(clause: &str) -> bool {
    let lists = [
        include_str!("../conformance/statements_v5.txt"),
        include_str!("../conformance/statements_v311.txt"),
    ];
    let (list, clause) = match clause.strip_prefix("3.1.1: ") {
        Some(clause) => (lists[1], clause),
        None => (lists[0], clause),
    };
    let is_section = clause.split('.').all(|number| number.parse::<u8>().is_ok());
    is_section || list.lines().any(|line| line.split(' ').next() == Some(clause))
}

fn all() -> Vec<Case> {
    let mut all = frames::cases();
    all.extend(properties::cases());
    all.extend(fields::cases());
    all.extend(sequences::cases());
    all.extend(authenticating::cases());
    all
}

#[test]
fn there_are_more_than_a_thousand_different_cases() {
    let all = all();
    let different: HashSet<_> = all.iter().map(|case| (case.version, case.when, &case.bytes)).collect();
    let breaches =
        all.iter().filter(|case| matches!(case.expect, Expect::Breach(_) | Expect::Unheard)).count();
    assert!(
        different.len() > 1_000 && breaches > 1_000,
        "{} different, {breaches} breaches",
        different.len()
    );
    println!("{} cases, {} different, {breaches} breaches", all.len(), different.len());
}

#[test]
fn every_violation_names_a_clause_that_exists() {
    use shardmq_shards::wire::Violation;
    let unknown: Vec<_> =
        Violation::ALL.iter().filter(|violation| !clause_exists(violation.clause())).collect();
    assert_eq!(unknown, [] as [&Violation; 0]);
    assert!(
        !clause_exists("MQTT-1.2.3-4")
            && !clause_exists("3.1.1: MQTT-3.3.4-9")
            && !clause_exists("somewhere")
    );
}
