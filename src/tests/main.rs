//! End to end: the real binary and its clients as separate processes, every test on both drivers.

mod authentication;
mod broker;
mod cleaning;
mod client;
mod conformance_transport;
mod connections;
mod cross_check;
mod durability;
mod extensions;
mod messages;
mod misbehaviour;
mod paging;
mod permission;
mod sessions;
mod sharing;
mod start;
mod statistics;
mod terms;
mod tools;
mod web_socket;

/// Runs each `fn(Driver)` of the module on both drivers.
#[macro_export]
macro_rules! on_both_drivers {
    ($($name:ident),* $(,)?) => {
        mod epoll {
            $(#[test] fn $name() { super::$name($crate::broker::Driver::Epoll) })*
        }
        mod glommio {
            $(#[test] fn $name() { super::$name($crate::broker::Driver::Glommio) })*
        }
    };
}
