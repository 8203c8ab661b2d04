//! What a checker says when a promise is broken.

use std::fmt;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The checker that saw it.
    pub checker: &'static str,
    /// What it saw.
    pub detail: String,
}

/// What a checker returns.
pub type Checked = Result<(), Failure>;

/// The promise that `checker` watches is broken.
pub fn fail<T>(checker: &'static str, detail: String) -> Result<T, Failure> {
    Err(Failure { checker, detail })
}

/// Fails unless `holds`.
pub fn ensure(holds: bool, checker: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { fail(checker, detail()) }
}

/// A failing run: with its seed it happens again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunFailure {
    /// The run.
    pub seed: u64,
    /// The step in which it was seen.
    pub step: u64,
    /// What.
    pub failure: Failure,
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { checker, detail } = &self.failure;
        write!(f, "seed {} step {}: checker `{checker}`: {detail}", self.seed, self.step)
    }
}
