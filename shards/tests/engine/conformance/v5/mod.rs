//! MQTT 5, a file per chapter. What 3.1.1 says too is a `pub fn` that takes the version; both tests call it.

pub mod acknowledge;
pub mod authenticate;
pub mod connack;
pub mod connect;
pub mod delivery;
pub mod disconnect;
pub mod errors;
pub mod flow;
pub mod packets;
pub mod ping;
pub mod publish;
pub mod publish_properties;
pub mod quality;
pub mod shared;
pub mod state;
pub mod subscribe;
pub mod terms;
pub mod topics;
pub mod unsubscribe;
pub mod values;
pub mod websocket;
pub mod will;
