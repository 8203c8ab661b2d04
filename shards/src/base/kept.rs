//! Names of what the log keeps, carried by layers that know nothing of the log.

/// A durable session in all logs: the epoch of the claim that made it, never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct SessionNumber(pub u64);

/// A copy that a durable session has, among all that it ever had. Rises in the order of queueing; wraps after four billion, when the
/// first are long gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Hash)]
pub struct CopyNumber(pub u32);

/// A message whose body this shard's log has, as the shard's table of bodies names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BodyKey(pub u64);

/// What makes a copy one that the log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptCopy {
    /// Its number in its session.
    pub number: CopyNumber,
    /// Its message.
    pub body: BodyKey,
}
