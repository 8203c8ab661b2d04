//! Assembly: what a broker is made of on this machine, its start and its stop.

pub mod machine;
pub mod placement;
