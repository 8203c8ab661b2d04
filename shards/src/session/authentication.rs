//! Enhanced authentication (MQTT 5 section 4.12): what a method is to the engine. The methods themselves live above it.
//!
//! A method takes turns with the client: every datum of the client is one [`AuthenticationExchange::step`], which says what goes back. Clocks,
//! sockets and randomness are not its own: what it must draw it makes from the seed that it is started with.

use std::fmt;
use std::sync::Arc;

/// Randomness for one exchange, from the shard's own generator: it does not repeat, but it is no secret. A method that needs what nobody can
/// guess mixes it with a secret of its own.
pub type ExchangeSeed = [u64; 2];

/// One method of authentication. Shared by all shards and never written: what belongs to a client stands in its exchange.
pub trait AuthenticationMethod: Send + Sync + fmt::Debug {
    /// What a client asks for it by: SASL's name where there is one.
    fn name(&self) -> &str;

    /// A new exchange. The client has not been heard yet.
    fn start(self: Arc<Self>, seed: ExchangeSeed) -> Box<dyn AuthenticationExchange>;
}

/// One client's way through a method. Over after the first step that does not say [`AuthenticationStep::Continue`].
pub trait AuthenticationExchange: Send {
    /// What the client sends, first in CONNECT (or in the AUTH that asks to re-authenticate), then in AUTH; `None` where it sends no data.
    /// Bounded work: it is done within a turn of the shard.
    fn step(&mut self, data: Option<&[u8]>) -> AuthenticationStep;
}

/// What one step leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthenticationStep {
    /// The client is to answer this.
    Continue(Vec<u8>),
    /// It is who it says.
    Success {
        /// Who that is: what permissions are given to.
        user: Arc<str>,
        /// What the client is told with the success, so that it can tell who we are.
        data: Option<Vec<u8>>,
    },
    /// It is not. The reason is for the operator's log, the client is not told; it must not name anything secret.
    Failure(&'static str),
}

/// Which clients may connect how. The same for all shards.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    /// What CONNECT may name.
    pub methods: Vec<Arc<dyn AuthenticationMethod>>,
    /// Whether CONNECT must name one.
    pub required: bool,
}

impl Authentication {
    /// The method of that name.
    pub fn method(&self, name: &str) -> Option<&Arc<dyn AuthenticationMethod>> {
        self.methods.iter().find(|method| method.name() == name)
    }
}

/// How a connection has authenticated. Goes with it from the accepting shard to its home.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// By which method: the only one that it may use again [MQTT-4.12.1-1].
    pub method: Arc<dyn AuthenticationMethod>,
    /// As whom.
    pub user: Arc<str>,
    /// The last data of the exchange, for CONNACK.
    pub data: Option<Vec<u8>>,
}
