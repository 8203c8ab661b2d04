use super::*;

/// RFC 7677 section 3.
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn method() -> Arc<ScramSha256> {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("the example's");
    let users = BTreeMap::from([
        ("user".to_owned(), Verifier::of_password("pencil", &salt, 4_096)),
        ("Ⅸ ann".to_owned(), Verifier::of_password("other", &salt[..12], 5_000)),
    ]);
    let users = users.into_iter().map(|(name, verifier)| (prepare_name(&name).expect("a name"), verifier));
    Arc::new(ScramSha256::new(users.collect(), [7; HASH_BYTES]))
}

fn example() -> Exchange {
    Exchange { method: method(), nonce: SERVER_NONCE.to_owned(), state: State::Name }
}

fn said(step: AuthenticationStep) -> String {
    match step {
        AuthenticationStep::Continue(data) => String::from_utf8(data).expect("SCRAM is text"),
        other => panic!("a challenge was due: {other:?}"),
    }
}

fn refused(step: AuthenticationStep) -> &'static str {
    match step {
        AuthenticationStep::Failure(why) => why,
        other => panic!("must be refused: {other:?}"),
    }
}

#[test]
fn the_example_of_rfc_7677() {
    let mut exchange = example();
    assert_eq!(said(exchange.step(Some(CLIENT_FIRST.as_bytes()))), SERVER_FIRST);
    assert_eq!(
        exchange.step(Some(CLIENT_FINAL.as_bytes())),
        AuthenticationStep::Success { user: "user".into(), data: Some(SERVER_FINAL.into()) }
    );
    assert_eq!(refused(exchange.step(Some(CLIENT_FINAL.as_bytes()))), "SCRAM: the exchange is over");
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked() {
    let mut exchange = example();
    assert_eq!(said(exchange.step(None)), "");
    assert_eq!(said(exchange.step(Some(CLIENT_FIRST.as_bytes()))), SERVER_FIRST);
    assert_eq!(refused(exchange.step(None)), "SCRAM: no proof");
}

#[test]
fn whatever_is_changed_in_the_last_message_is_refused() {
    let refusal = |last: &str| {
        let mut exchange = example();
        said(exchange.step(Some(CLIENT_FIRST.as_bytes())));
        refused(exchange.step(Some(last.as_bytes())))
    };
    assert_eq!(refusal(&CLIENT_FINAL.replace("p=dH", "p=eH")), "SCRAM: wrong password");
    assert_eq!(refusal(&CLIENT_FINAL.replace("k0,", "k0,x=1,")), "SCRAM: wrong password");
    assert_eq!(refusal(&CLIENT_FINAL.replace("k0,", "k1,")), "SCRAM: another exchange's nonce");
    assert_eq!(
        refusal(&CLIENT_FINAL.replace("biws", "eSws")),
        "SCRAM: the channel binding has changed on the way"
    );
    assert_eq!(refusal(&CLIENT_FINAL.replace("dVQ=", "d?Q=")), "SCRAM: not base64");
    let short = format!("{}p=AAEC", CLIENT_FINAL.split("p=").next().expect("the part before"));
    assert_eq!(refusal(&short), "SCRAM: a proof of another length");
    for at in 0..CLIENT_FINAL.len() {
        let mut bytes = CLIENT_FINAL.as_bytes().to_vec();
        bytes[at] ^= 1;
        let mut exchange = example();
        said(exchange.step(Some(CLIENT_FIRST.as_bytes())));
        refused(exchange.step(Some(&bytes)));
    }
}

#[test]
fn a_name_that_nobody_has_cannot_be_told_from_one_that_somebody_has() {
    let ask = |method: &Arc<ScramSha256>, name: &str, seed| {
        let mut exchange = method.clone().start(seed);
        let ours = said(exchange.step(Some(format!("n,,n={name},r=abc").as_bytes())));
        let fields: Vec<String> = ours.split(',').map(str::to_owned).collect();
        (fields[0].clone(), fields[1].clone(), fields[2].clone())
    };
    let (method, restarted) = (method(), method());
    let mut shapes = std::collections::BTreeSet::new();
    for number in 0..20 {
        let name = format!("nobody-{number}");
        let (nonce, salt, iterations) = ask(&method, &name, [number, 1]);
        let (again, same_salt, same_iterations) = ask(&restarted, &name, [number, 2]);
        assert_eq!((&salt, &iterations), (&same_salt, &same_iterations), "the same each time");
        assert_ne!(nonce, again);
        shapes.insert((salt.len(), iterations));
    }
    let real = ["user", "IX ann"].map(|name| ask(&method, name, [0, 0])).map(|(_, salt, i)| (salt.len(), i));
    assert_eq!(shapes, real.into_iter().collect(), "salts and iterations like those of real users");
    let mut exchange = method.start([0, 3]);
    let ours = said(exchange.step(Some(b"n,,n=nobody,r=abc")));
    let nonce = ours.split(',').next().expect("the nonce");
    let last = format!("c=biws,{nonce},p={}", BASE64.encode([0; HASH_BYTES]));
    assert_eq!(refused(exchange.step(Some(last.as_bytes()))), "SCRAM: unknown user");
}

#[test]
fn names_are_compared_prepared() {
    assert_eq!(prepare_name("Ⅸ ann").as_deref(), Some("IX ann"));
    assert_eq!(prepare_name("soft\u{ad}hyphen").as_deref(), Some("softhyphen"));
    for wrong in ["", "\u{ad}", "bell\u{7}"] {
        assert_eq!(prepare_name(wrong), None, "{wrong:?}");
    }
    assert!(method().claimant("Ⅸ\u{a0}ann").exists);
    assert!(!method().claimant("bell\u{7}").exists);
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", method()), "ScramSha256(2 users)");
}
