//! An authentication method for tests: two steps, and one word for each thing that can go otherwise.

use shardmq_shards::session::{
    Authentication, AuthenticationExchange, AuthenticationMethod, AuthenticationStep, ExchangeSeed,
};
use std::sync::Arc;

/// The client says its name, is asked a riddle, answers with its name and "knows", and is welcomed. Other first words:
///
/// - `at-once:NAME` succeeds without a riddle and without data
/// - `again` asks for ever
/// - `lengthy` is asked a riddle of 1,000 bytes
/// - no data at all: is asked for a name first
#[derive(Debug)]
pub struct Toy(pub &'static str);

/// Clients must authenticate by `toy`, and may by `other` too.
pub fn toys(required: bool) -> Authentication {
    Authentication { methods: vec![Arc::new(Toy("toy")), Arc::new(Toy("other"))], required }
}

impl AuthenticationMethod for Toy {
    fn name(&self) -> &str {
        self.0
    }

    fn start(self: Arc<Self>, _: ExchangeSeed) -> Box<dyn AuthenticationExchange> {
        Box::new(ToyExchange { user: None })
    }
}

struct ToyExchange {
    user: Option<String>,
}

impl AuthenticationExchange for ToyExchange {
    fn step(&mut self, data: Option<&[u8]>) -> AuthenticationStep {
        let Some(data) = data else { return AuthenticationStep::Continue(b"who?".to_vec()) };
        let said = String::from_utf8_lossy(data);
        match (&self.user, &*said) {
            (_, "again") => AuthenticationStep::Continue(b"again?".to_vec()),
            (_, "lengthy") => AuthenticationStep::Continue(vec![b'?'; 1_000]),
            (Some(user), answer) if answer == format!("{user} knows") => {
                AuthenticationStep::Success { user: user.as_str().into(), data: Some(b"welcome".to_vec()) }
            }
            (Some(_), _) => AuthenticationStep::Failure("wrong answer"),
            (None, said) => match said.strip_prefix("at-once:") {
                Some(user) => AuthenticationStep::Success { user: user.into(), data: None },
                None => {
                    self.user = Some(said.into());
                    AuthenticationStep::Continue(b"riddle".to_vec())
                }
            },
        }
    }
}
