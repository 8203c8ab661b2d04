//! Users and their passwords: SCRAM-SHA-256 with a SASL library that is not ours on the client's side.

use crate::broker::{Broker, Driver, Setup, shardmq};
use crate::client::{Arrived, Client, Ended};
use rsasl::config::SASLConfig;
use rsasl::prelude::{Mechname, SASLClient, Session};
use shardmq_shards::wire::{
    Auth, AuthProperties, Connect, ConnectProperties, Packet, QoS, ReasonCode, Version,
};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

crate::on_both_drivers![
    a_foreign_client_proves_its_password_and_proves_it_again,
    sessions_move_and_stay_with_their_user,
    a_wrong_password_and_an_unknown_user_are_refused_alike,
    strangers_are_refused_unless_they_are_allowed,
];

const METHOD: &str = "SCRAM-SHA-256";

/// What `shardmq hash-password` prints for `name`.
fn user_line(name: &str, password: &str) -> String {
    let mut command = shardmq(&["hash-password", name]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary can be run");
    let mut input = child.stdin.take().expect("it is piped");
    writeln!(input, "{password}").expect("it reads its input");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn guarded(driver: Driver) -> Setup {
    let users = [user_line("ann", "secret"), user_line("bob", "pass=word,ü")].join(", ");
    Setup::new(driver).shards(3).with(&format!("authentication: (users: [{users}])"))
}

/// The client's side of one exchange.
struct Scram(Session);

impl Scram {
    fn new(user: &str, password: &str) -> Scram {
        let config = SASLConfig::with_credentials(None, user.into(), password.into()).expect("credentials");
        let method = Mechname::parse(METHOD.as_bytes()).expect("a name");
        Scram(SASLClient::new(config).start_suggested(&[method]).expect("it knows the method"))
    }

    /// What goes to the broker after `data` has come from it.
    fn step(&mut self, data: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        self.0.step(data, &mut out).expect("the broker keeps to SCRAM, and signs with the user's key");
        out
    }
}

fn auth(client: &mut Client, reason: ReasonCode, data: &[u8]) {
    let properties = AuthProperties {
        authentication_method: Some(METHOD),
        authentication_data: Some(data),
        ..AuthProperties::default()
    };
    client.send(&Packet::Auth(Auth { reason, properties }));
}

/// The AUTH that comes next, which must say `reason`.
fn challenge(client: &mut Client, reason: ReasonCode) -> Vec<u8> {
    client.next("AUTH", |arrived| match arrived {
        Arrived::Auth(said, data) if *said == reason => Some(data.clone()),
        _ => None,
    })
}

/// Connects as `user` under `client_id`: the client, whether a session was present, and the reason.
fn connect(broker: &Broker, client_id: &str, user: &str, password: &str) -> (Client, bool, ReasonCode) {
    let mut scram = Scram::new(user, password);
    let first = scram.step(None);
    let properties = ConnectProperties {
        session_expiry: Some(60),
        authentication_method: Some(METHOD),
        authentication_data: Some(&first),
        ..ConnectProperties::default()
    };
    let mut client = Client::open(broker.address(), Version::V5);
    client.send(&Packet::Connect(Connect { properties, ..Connect::new(Version::V5, client_id, false) }));
    let asked = challenge(&mut client, ReasonCode::ContinueAuthentication);
    let proof = scram.step(Some(&asked));
    auth(&mut client, ReasonCode::ContinueAuthentication, &proof);
    let (present, reason, signature) = client.next("CONNACK", |arrived| match arrived {
        Arrived::Connack { session_present, reason, authentication_data } => {
            Some((*session_present, *reason, authentication_data.clone()))
        }
        _ => None,
    });
    if reason == ReasonCode::Success {
        assert_eq!(scram.step(Some(&signature)), b"", "the broker has proven itself, too");
    }
    (client, present, reason)
}

fn connected(broker: &Broker, client_id: &str, user: &str, password: &str) -> (Client, bool) {
    let (client, present, reason) = connect(broker, client_id, user, password);
    assert_eq!(reason, ReasonCode::Success);
    (client, present)
}

fn a_foreign_client_proves_its_password_and_proves_it_again(driver: Driver) {
    let broker = guarded(driver).start();
    let (mut ann, _) = connected(&broker, "a", "ann", "secret");
    let (mut bob, _) = connected(&broker, "b", "bob", "pass=word,ü");
    ann.subscribe("to/ann", QoS::AtLeastOnce);
    for round in 0..3_u8 {
        let mut scram = Scram::new("ann", "secret");
        let first = scram.step(None);
        auth(&mut ann, ReasonCode::Reauthenticate, &first);
        bob.publish("to/ann", &[round], QoS::AtLeastOnce);
        let asked = challenge(&mut ann, ReasonCode::ContinueAuthentication);
        let proof = scram.step(Some(&asked));
        auth(&mut ann, ReasonCode::ContinueAuthentication, &proof);
        let signature = challenge(&mut ann, ReasonCode::Success);
        assert_eq!(scram.step(Some(&signature)), b"");
        assert_eq!(ann.receive().payload, [round]);
    }
    let mut scram = Scram::new("ann", "guess");
    let first = scram.step(None);
    auth(&mut ann, ReasonCode::Reauthenticate, &first);
    let asked = challenge(&mut ann, ReasonCode::ContinueAuthentication);
    let proof = scram.step(Some(&asked));
    auth(&mut ann, ReasonCode::ContinueAuthentication, &proof);
    assert_eq!(ann.end(), Ended::Told(ReasonCode::NotAuthorized));
    bob.ping();
}

fn sessions_move_and_stay_with_their_user(driver: Driver) {
    let broker = guarded(driver).start();
    // The kernel spreads the connections over three shards: most of these arrive at another one than the session's.
    for round in 0..12 {
        let (mut ann, present) = connected(&broker, "a", "ann", "secret");
        assert_eq!(present, round > 0);
        ann.ping();
    }
    let (_bob, present) = connected(&broker, "a", "bob", "pass=word,ü");
    assert!(!present, "another user's session is not resumed");
}

fn a_wrong_password_and_an_unknown_user_are_refused_alike(driver: Driver) {
    let broker = guarded(driver).start();
    for (user, password, why) in [("ann", "guess-1", "wrong password"), ("eve", "guess-2", "unknown user")] {
        let (mut client, _, reason) = connect(&broker, "a", user, password);
        assert_eq!(reason, ReasonCode::NotAuthorized);
        assert_eq!(client.end(), Ended::Silently);
        broker.wait_for_log(why, |line| line.contains(why).then_some(()));
    }
    let secrets = ["secret", "pass=word", "guess", "4096$"];
    let log = broker.log();
    assert!(log.iter().all(|line| !secrets.iter().any(|secret| line.contains(secret))), "{log:?}");
}

fn strangers_are_refused_unless_they_are_allowed(driver: Driver) {
    let broker = guarded(driver).start();
    for version in Version::ALL {
        let nobody = Connect::new(version, "x", true);
        let named = Connect { username: Some("ann"), password: Some(b"secret"), ..nobody };
        for (connect, refusal) in
            [(nobody, ReasonCode::NotAuthorized), (named, ReasonCode::BadUserNameOrPassword)]
        {
            let mut client = Client::open(broker.address(), version);
            assert_eq!(client.introduce(&connect), (false, refusal), "{version}");
            assert_eq!(client.end(), Ended::Silently);
        }
    }
    drop(broker);
    let broker = guarded(driver).with("allow_anonymous: true").start();
    for version in Version::ALL {
        Client::connect(broker.address(), version, "x").ping();
    }
    let (mut ann, _) = connected(&broker, "a", "ann", "secret");
    ann.subscribe("#", QoS::AtMostOnce);
    assert_eq!(ann.receive_within(Duration::from_millis(50)), None);
}

#[test]
fn hash_password_refuses_what_is_no_password() {
    let mut command = shardmq(&["hash-password", "ann"]);
    let output = command.stdin(Stdio::null()).output().expect("the binary can be run");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("first line of the standard input"));
    let output = shardmq(&["hash-password", "ann", "--iterations", "1000"]).output().expect("it can be run");
    assert!(String::from_utf8_lossy(&output.stderr).contains("4096"));
}
