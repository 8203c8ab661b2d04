//! The loops that own sockets, time and threads, and drive the sans-IO core. The only layer that may be `unsafe`.

#![allow(unsafe_code)] // each block names why it is sound

pub mod board;
pub mod eventfd;
pub mod socket;
pub mod turn;
