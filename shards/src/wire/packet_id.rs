//! Packet identifiers.

use std::fmt;
use std::num::NonZeroU16;

/// The identifier that ties an exchange together within one connection and direction (section 2.2.1); never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The identifier `id`; `None` for 0.
    #[inline]
    pub const fn new(id: u16) -> Option<PacketId> {
        match NonZeroU16::new(id) {
            Some(id) => Some(PacketId(id)),
            None => None,
        }
    }

    /// The first identifier.
    pub const MIN: PacketId = PacketId(NonZeroU16::MIN);

    /// The identifier `steps` after this one; after 65,535 comes 1.
    #[inline]
    pub const fn plus(self, steps: usize) -> PacketId {
        let index = (self.get() as usize - 1 + steps) % u16::MAX as usize;
        match PacketId::new(index as u16 + 1) {
            Some(id) => id,
            None => unreachable!(),
        }
    }

    /// How many steps lead from `first` to this one, 0 to 65,534.
    #[inline]
    pub const fn distance_from(self, first: PacketId) -> usize {
        (self.get() as usize + u16::MAX as usize - first.get() as usize) % u16::MAX as usize
    }

    /// Its number, 1 to 65,535.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Debug for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
