//! MQTT 3.1.1, a file per chapter. What 5 says too is a `pub fn` of `v5` that takes the version; both tests call it.

mod acknowledge;
mod connack;
mod connect;
mod delivery;
mod disconnect;
mod errors;
mod packets;
mod ping;
mod publish;
mod quality;
mod state;
mod subscribe;
mod topics;
mod unsubscribe;
mod values;
mod websocket;
mod will;
