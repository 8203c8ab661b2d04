//! What the machine allows: file descriptors, locked memory, the kernel's listen queue.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a shard besides its connections and listeners: epoll or the rings, the bell, files.
const DESCRIPTORS_PER_SHARD: u64 = 20;
/// Descriptors of the process besides its shards: standard streams, signals, libraries.
const DESCRIPTORS_OF_PROCESS: u64 = 64;
/// Locked memory that a shard's rings may need where the kernel counts them (before 5.12, and for registered buffers).
const LOCKED_BYTES_PER_SHARD: u64 = 1024 * 1024;

/// What limits at start were found, and what the operator should change about them.
#[derive(Debug)]
pub struct Capacity {
    /// Connections that the broker will take: what was asked for, or what the descriptors carry.
    pub connections_max: u32,
    /// One sentence each: what is too low and how to change it.
    pub advice: Vec<String>,
}

/// The demands of a configuration on the machine.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Connections over all shards.
    pub connections_max: u32,
    /// Shards, a thread each.
    pub shards: usize,
    /// Listeners, a socket per shard each.
    pub listeners: usize,
    /// Whether rings are used.
    pub rings: bool,
}

/// Raises the soft limits to the hard ones and tells how far they carry `demand`.
pub fn prepare(demand: Demand) -> Capacity {
    let descriptors = raise(Resource::Nofile);
    let locked = if demand.rings { raise(Resource::Memlock) } else { u64::MAX };
    let backlog = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(u64::MAX);
    weigh(demand, descriptors, locked, backlog)
}

/// Raises the soft limit as far as the hard one allows; returns what holds from now on.
fn raise(resource: Resource) -> u64 {
    let limit = getrlimit(resource);
    if limit.current == limit.maximum {
        return limit.current.unwrap_or(u64::MAX);
    }
    match setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        // Seen under sandboxes that forbid prlimit: the soft limit then holds.
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

fn weigh(demand: Demand, descriptors: u64, locked: u64, backlog: u64) -> Capacity {
    let shards = demand.shards as u64;
    let own = DESCRIPTORS_OF_PROCESS + shards * (DESCRIPTORS_PER_SHARD + demand.listeners as u64);
    let wanted = u64::from(demand.connections_max) + own;
    let mut capacity = Capacity { connections_max: demand.connections_max, advice: Vec::new() };
    if descriptors < wanted {
        // One connection is kept even on a hopeless machine: its accept fails with a clear error of its own.
        let carried = descriptors.saturating_sub(own).max(1);
        capacity.connections_max =
            u32::try_from(carried).expect("it is less than max_connections, which has 32 bits");
        capacity.advice.push(format!(
            "max_connections lowered from {} to {carried}: the hard limit of open files is {descriptors}; raise it to at \
             least {wanted} (systemd: LimitNOFILE={wanted}; shell: ulimit -Hn {wanted}; and the sysctl fs.nr_open)",
            demand.connections_max
        ));
    }
    let locked_wanted = shards * LOCKED_BYTES_PER_SHARD;
    if demand.rings && locked < locked_wanted {
        capacity.advice.push(format!(
            "the limit of locked memory is {} KiB, which may not carry {shards} rings; raise it to {} KiB if the start \
             fails (systemd: LimitMEMLOCK=infinity; shell: ulimit -l unlimited) or use --io epoll",
            locked / 1024,
            locked_wanted / 1024
        ));
    }
    let backlog_wanted = crate::drivers::socket::BACKLOG as u64;
    if backlog < backlog_wanted {
        capacity.advice.push(format!(
            "net.core.somaxconn is {backlog}: when all clients reconnect at once more than that wait a second and try again; \
             sysctl -w net.core.somaxconn={backlog_wanted}"
        ));
    }
    capacity
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Demand = Demand { connections_max: 10_000, shards: 2, listeners: 1, rings: true };

    #[test]
    fn a_machine_that_carries_all_gets_no_advice() {
        let capacity = weigh(SMALL, 20_000, 64 << 20, 4_096);
        assert_eq!(capacity.connections_max, 10_000);
        assert_eq!(capacity.advice, [] as [String; 0]);
    }

    #[test]
    fn too_few_descriptors_lower_the_connections_and_say_what_to_change() {
        let capacity = weigh(SMALL, 1_024, 64 << 20, 4_096);
        assert_eq!(capacity.connections_max, 1_024 - 106);
        assert!(capacity.advice[0].contains("from 10000 to 918"), "{:?}", capacity.advice);
        assert!(capacity.advice[0].contains("LimitNOFILE=10106"), "{:?}", capacity.advice);
        assert_eq!(weigh(SMALL, 50, u64::MAX, 4_096).connections_max, 1);
    }

    #[test]
    fn locked_memory_counts_only_for_rings() {
        assert!(weigh(SMALL, 20_000, 64 << 10, 4_096).advice[0].contains("locked memory is 64 KiB"));
        assert!(weigh(Demand { rings: false, ..SMALL }, 20_000, 64 << 10, 4_096).advice.is_empty());
    }

    #[test]
    fn a_short_listen_queue_is_explained() {
        assert!(weigh(SMALL, 20_000, 64 << 20, 128).advice[0].contains("sysctl -w net.core.somaxconn=4096"));
    }

    #[test]
    fn soft_limits_are_raised() {
        prepare(SMALL);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
