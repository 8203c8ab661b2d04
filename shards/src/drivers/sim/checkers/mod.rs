//! One checker per promise of DESIGN.md section 1, by when it can be asked: at every step, or when all is quiet.

mod rest;
mod shared;
mod tick;
