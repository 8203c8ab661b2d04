//! Enhanced authentication (MQTT 5 section 4.12): the exchange of AUTH between CONNECT and the claim, and again while messages flow.
//!
//! ```text
//! CONNECT with method ─► Exchange ⇄ AUTH 0x18 ─► success: claim, CONNACK with method and last data
//! AUTH 0x19 when connected ─► Exchange ⇄ AUTH 0x18 ─► success: AUTH 0x00
//!                                └─► failure: CONNACK or DISCONNECT 0x87, and the end
//! ```

use super::connection::Phase;
use super::input::Flow;
use super::{CloseMode, ConnectionKey, Event, Shard};
use crate::base::limits::{AUTH_DATA_BYTES_MAX, AUTH_STEPS_MAX};
use crate::base::time::Time;
use crate::session::{
    Authenticated, AuthenticationExchange, AuthenticationMethod, AuthenticationStep, ExchangeSeed,
};
use crate::wire::{
    Auth, AuthProperties, Connect, Disconnect, Frame, PacketType, ReasonCode, Split, Violation, split,
};
use std::sync::Arc;

/// An authentication that is going on. At most one of a connection.
pub(super) struct Exchange {
    method: Arc<dyn AuthenticationMethod>,
    steps: Box<dyn AuthenticationExchange>,
    /// Data that the client has sent.
    taken: u32,
    /// The CONNECT that waits for it; empty when the client authenticates again.
    connect: Vec<u8>,
}

impl Exchange {
    fn start(method: &Arc<dyn AuthenticationMethod>, seed: ExchangeSeed, connect: Vec<u8>) -> Exchange {
        Exchange { method: method.clone(), steps: method.clone().start(seed), taken: 0, connect }
    }

    fn step(&mut self, data: Option<&[u8]>) -> Result<AuthenticationStep, Violation> {
        if data.is_some_and(|data| data.len() > AUTH_DATA_BYTES_MAX) {
            return Err(Violation::AuthDataTooLarge);
        }
        if self.taken == AUTH_STEPS_MAX {
            return Ok(AuthenticationStep::Failure("the exchange does not come to an end"));
        }
        self.taken += 1;
        Ok(self.steps.step(data))
    }
}

/// What an AUTH must be, whatever its data say.
fn check_auth(auth: &Auth<'_>, method: &dyn AuthenticationMethod) -> Result<(), Violation> {
    match auth.properties.authentication_method {
        None => Err(Violation::AuthMethodMissing),
        Some(name) if name != method.name() => Err(Violation::AuthMethodChanged),
        Some(_) => Ok(()),
    }
}

impl Shard {
    /// Lets the client of a CONNECT in, refuses it, or starts the exchange that decides. `None`: it may claim its client id.
    pub(super) fn authenticate(
        &mut self,
        now: Time,
        key: ConnectionKey,
        frame: Frame<'_>,
        connect: &Connect<'_>,
    ) -> Option<Flow> {
        let Some(name) = connect.properties.authentication_method else {
            if !self.authentication.required {
                return None;
            }
            self.refuse_stranger(now, key, connect);
            return Some(Flow::Stop);
        };
        let Some(method) = self.authentication.method(name) else {
            self.refuse(now, key, ReasonCode::BadAuthenticationMethod);
            return Some(Flow::Stop);
        };
        let seed = [self.random.next_u64(), self.random.next_u64()];
        let exchange = Exchange::start(method, seed, frame.to_bytes());
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        connection.extra_mut().exchange = Some(exchange);
        connection.phase = Phase::Authenticating;
        Some(self.step_before_connack(now, key, connect.properties.authentication_data))
    }

    /// A client that does not say who it is, in a way that can be checked, where it must.
    fn refuse_stranger(&mut self, now: Time, key: ConnectionKey, connect: &Connect<'_>) {
        let tried = connect.username.is_some() || connect.password.is_some();
        let reason = if tried { ReasonCode::BadUserNameOrPassword } else { ReasonCode::NotAuthorized };
        let why = if tried {
            "user name and password without authentication method"
        } else {
            "no authentication method"
        };
        self.not_authenticated(key, why);
        let methods: Vec<_> = self.authentication.methods.iter().map(|method| method.name()).collect();
        self.refuse_because(now, key, reason, &format!("authenticate with {}", methods.join(" or ")));
    }

    /// A packet between CONNECT and CONNACK of a client that authenticates.
    pub(super) fn handle_while_authenticating(
        &mut self,
        now: Time,
        key: ConnectionKey,
        frame: Frame<'_>,
    ) -> Flow {
        let auth = match frame.packet_type() {
            PacketType::Disconnect => Disconnect::decode(frame, crate::wire::Version::V5).map(|_| None),
            PacketType::Auth => Auth::decode(frame).map(Some),
            _ => Err(Violation::PacketBeforeConnack),
        };
        let auth = auth.and_then(|auth| {
            let Some(auth) = auth else { return Ok(None) };
            check_auth(&auth, &*self.exchange_mut(key).method)?;
            let due = auth.reason == ReasonCode::ContinueAuthentication;
            if due { Ok(Some(auth)) } else { Err(Violation::AuthOutOfTurn) }
        });
        match auth {
            Ok(Some(auth)) => self.step_before_connack(now, key, auth.properties.authentication_data),
            Ok(None) => {
                self.close_broken(now, key, CloseMode::Now);
                Flow::Stop
            }
            Err(violation) => {
                self.refuse_violation(now, key, violation);
                Flow::Stop
            }
        }
    }

    fn exchange_mut(&mut self, key: ConnectionKey) -> &mut Exchange {
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        connection.extra_mut().exchange.as_mut().expect("the phase says that there is one")
    }

    fn step_before_connack(&mut self, now: Time, key: ConnectionKey, data: Option<&[u8]>) -> Flow {
        match self.exchange_mut(key).step(data) {
            Ok(AuthenticationStep::Continue(data)) => {
                let method = self.exchange_mut(key).method.clone();
                if !self.send_auth(key, ReasonCode::ContinueAuthentication, &*method, Some(&data)) {
                    self.refuse(now, key, ReasonCode::PacketTooLarge);
                    return Flow::Stop;
                }
                return Flow::Continue;
            }
            Ok(AuthenticationStep::Success { user, data }) => {
                return self.succeeded_before_connack(now, key, user, data);
            }
            Ok(AuthenticationStep::Failure(why)) => {
                self.not_authenticated(key, why);
                self.refuse(now, key, ReasonCode::NotAuthorized);
            }
            Err(violation) => self.refuse_violation(now, key, violation),
        }
        Flow::Stop
    }

    /// The CONNECT goes back in front of the input: from here on all is as if it had just come.
    fn succeeded_before_connack(
        &mut self,
        now: Time,
        key: ConnectionKey,
        user: Arc<str>,
        data: Option<Vec<u8>>,
    ) -> Flow {
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        let extra = connection.extra_mut();
        let exchange = extra.exchange.take().expect("the phase says that there is one");
        extra.authenticated = Some(Authenticated { method: exchange.method, user, data });
        assert!(connection.unread.is_empty(), "packets are handled with nothing unread before them");
        connection.unread = exchange.connect;
        connection.phase = Phase::Authenticated;
        self.claim_when_written(now, key);
        let refused = self.connections.get(key).is_none_or(|connection| connection.phase == Phase::Closing);
        if refused { Flow::Stop } else { Flow::HoldNext }
    }

    /// An authenticated client claims its id as soon as nothing is on its way to it.
    pub(super) fn claim_when_written(&mut self, now: Time, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase != Phase::Authenticated || !connection.is_drained() {
            return;
        }
        let input = std::mem::take(&mut connection.unread);
        let Ok(Split::Whole(frame)) = split(&input, self.limits.packet_bytes_max as usize) else {
            unreachable!("a whole CONNECT was put in front of the input")
        };
        let connect = Connect::decode(frame).expect("it was valid when the exchange began");
        if let Err(reason) = self.claim(key, &connect) {
            return self.refuse(now, key, reason);
        }
        self.connections.get_mut(key).expect("a claim closes nothing").unread = input;
    }

    /// AUTH from a connected client: it authenticates again, as whom it is already.
    pub(super) fn handle_auth(
        &mut self,
        now: Time,
        key: ConnectionKey,
        auth: &Auth<'_>,
    ) -> Result<(), Violation> {
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        let Some(extra) = connection.extra.as_mut() else { return Err(Violation::AuthUnexpected) };
        let Some(authenticated) = &extra.authenticated else { return Err(Violation::AuthUnexpected) };
        let method = authenticated.method.clone();
        check_auth(auth, &*method)?;
        let user = authenticated.user.clone();
        match (auth.reason, &extra.exchange) {
            (ReasonCode::ContinueAuthentication, Some(_)) => {}
            (ReasonCode::Reauthenticate, None) => {
                let seed = [self.random.next_u64(), self.random.next_u64()];
                extra.exchange = Some(Exchange::start(&method, seed, Vec::new()));
            }
            _ => return Err(Violation::AuthOutOfTurn),
        }
        let (reason, data) = match self.exchange_mut(key).step(auth.properties.authentication_data)? {
            AuthenticationStep::Continue(data) => (ReasonCode::ContinueAuthentication, Some(data)),
            AuthenticationStep::Success { user: again, data } if again == user => {
                self.connections.get_mut(key).expect("still there").extra_mut().exchange = None;
                (ReasonCode::Success, data)
            }
            step => {
                let why = match step {
                    AuthenticationStep::Failure(why) => why,
                    _ => "authenticated again as somebody else",
                };
                self.not_authenticated(key, why);
                self.fail(now, key, ReasonCode::NotAuthorized);
                return Ok(());
            }
        };
        if !self.send_auth(key, reason, &*method, data.as_deref()) {
            self.fail(now, key, ReasonCode::PacketTooLarge);
        }
        Ok(())
    }

    /// Writes AUTH, unless it is larger than the client takes: then false. It never has reason string or user properties.
    fn send_auth(
        &mut self,
        key: ConnectionKey,
        reason: ReasonCode,
        method: &dyn AuthenticationMethod,
        data: Option<&[u8]>,
    ) -> bool {
        let properties = AuthProperties {
            authentication_method: Some(method.name()),
            authentication_data: data,
            ..AuthProperties::default()
        };
        let mut bytes = Vec::new();
        Auth { reason, properties }.encode(&mut bytes);
        let connection = self.connections.get_mut(key).expect("the caller has looked");
        let fits = bytes.len() <= connection.packet_bytes_max as usize;
        if fits {
            self.write(key, |out| out.extend_from_slice(&bytes));
        }
        fits
    }

    fn not_authenticated(&mut self, key: ConnectionKey, why: &'static str) {
        let Some(connection) = self.connections.get(key) else { return };
        let peer = connection.peer;
        self.counters.not_authenticated += 1;
        self.report(Event::NotAuthenticated { peer, why });
    }
}
