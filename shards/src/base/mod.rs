//! The floor: limits, time, dense storage, timers, queues, hashing. Knows nothing of MQTT.

pub mod hash;
pub mod kept;
pub mod limits;
pub mod lsn;
pub mod parted;
pub mod planted;
pub mod random;
pub mod rising_map;
pub mod secret;
pub mod shard_set;
pub mod slab;
pub mod time;
pub mod wheel;
