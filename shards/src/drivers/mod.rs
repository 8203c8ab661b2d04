//! The loops that own sockets, time and threads, and drive the sans-IO core. The only layer that may be `unsafe`.

#![allow(unsafe_code)] // each block names why it is sound

pub mod board;
pub mod clock;
pub mod driven;
pub mod epoll;
pub mod eventfd;
pub mod files;
pub mod glommio;
mod log_seat;
pub mod memory;
#[cfg(test)]
mod own_process;
pub mod probe;
pub mod sim;
pub mod socket;
pub mod turn;
