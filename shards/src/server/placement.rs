//! Which core a shard's thread runs on.

use rustix::thread::CpuSet;
use std::fmt;
use std::path::Path;

/// How shards are spread over cores. Pinning is a setting to measure, not a dogma (DESIGN.md section 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Placement {
    /// The scheduler decides.
    None,
    /// One shard per core, in the order of the core numbers.
    Cores,
    /// One shard per physical core; its other hyper-threads stay free.
    Physical,
    /// One shard per core of these NUMA nodes, in this order.
    Nodes(Vec<u16>),
}

/// Why shards cannot be placed as asked.
#[derive(Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// More shards than cores to pin them to.
    TooFewCores {
        /// Shards asked for.
        shards: usize,
        /// Cores that the placement offers and the process may use.
        cores: usize,
    },
    /// A NUMA node that the machine does not have.
    NoSuchNode(u16),
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlacementError::TooFewCores { shards, cores } => write!(
                f,
                "placement: {shards} shards, but this placement has {cores} cores that the process may use; \
                 ask for fewer shards or for `placement: none`"
            ),
            PlacementError::NoSuchNode(node) => {
                write!(f, "placement: this machine has no NUMA node {node} (see /sys/devices/system/node)")
            }
        }
    }
}

impl std::error::Error for PlacementError {}

/// One core that the process may run on, with what it shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core {
    /// Its number.
    pub cpu: usize,
    /// The lowest core number among the hyper-threads of its physical core.
    pub first_sibling: usize,
    /// Its NUMA node; 0 where the kernel tells of none.
    pub node: u16,
}

/// The cores that the process may use, in the order of their numbers, as the kernel tells.
pub fn usable_cores() -> Vec<Core> {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let nodes = numa_nodes(Path::new("/sys/devices/system/node"));
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .map(|cpu| {
            let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            let siblings = std::fs::read_to_string(topology).map(|list| core_list(&list)).unwrap_or_default();
            let node = nodes.iter().find(|(_, cores)| cores.contains(&cpu)).map_or(0, |(node, _)| *node);
            Core { cpu, first_sibling: siblings.first().copied().unwrap_or(cpu), node }
        })
        .collect()
}

fn numa_nodes(root: &Path) -> Vec<(u16, Vec<usize>)> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut nodes: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let cores = std::fs::read_to_string(entry.path().join("cpulist")).ok()?;
            Some((node, core_list(&cores)))
        })
        .collect();
    nodes.sort();
    nodes
}

/// The cores of a kernel list such as `0-3,8,10-11`.
fn core_list(text: &str) -> Vec<usize> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
        })
        .flatten()
        .collect()
}

impl Placement {
    /// The cores that this placement offers among `usable`, in the order in which shards take them.
    fn offered(&self, usable: &[Core]) -> Result<Vec<usize>, PlacementError> {
        let all = || usable.iter().map(|core| core.cpu);
        Ok(match self {
            Placement::None | Placement::Cores => all().collect(),
            Placement::Physical => {
                let mut seen = Vec::new();
                usable
                    .iter()
                    .filter(|core| {
                        let first = !seen.contains(&core.first_sibling);
                        seen.push(core.first_sibling);
                        first
                    })
                    .map(|core| core.cpu)
                    .collect()
            }
            Placement::Nodes(nodes) => {
                let mut cores = Vec::new();
                for node in nodes {
                    let of_node = usable.iter().filter(|core| core.node == *node).map(|core| core.cpu);
                    let before = cores.len();
                    cores.extend(of_node);
                    if cores.len() == before {
                        return Err(PlacementError::NoSuchNode(*node));
                    }
                }
                cores
            }
        })
    }

    /// The core of each shard (`None`: not pinned). Without a count there is one shard per core offered, at most `shards_max`.
    pub fn plan(
        &self,
        shards: Option<usize>,
        shards_max: usize,
        usable: &[Core],
    ) -> Result<Vec<Option<usize>>, PlacementError> {
        let offered = self.offered(usable)?;
        if *self == Placement::None {
            // A CPU quota of a container leaves less than the cores it may run on.
            let quota = std::thread::available_parallelism().map_or(1, usize::from);
            return Ok(vec![None; shards.unwrap_or(quota.min(shards_max))]);
        }
        let shards = shards.unwrap_or(offered.len().min(shards_max));
        if shards > offered.len() {
            return Err(PlacementError::TooFewCores { shards, cores: offered.len() });
        }
        Ok(offered.into_iter().take(shards).map(Some).collect())
    }
}

/// Pins the calling thread to one core.
pub fn pin_this_thread(cpu: usize) -> std::io::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &only)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes of two physical cores with two hyper-threads each, numbered as Linux does; core 6 is not ours.
    fn machine() -> Vec<Core> {
        let core = |cpu: usize| Core { cpu, first_sibling: cpu % 4, node: (cpu % 4 / 2) as u16 };
        [0, 1, 2, 3, 4, 5, 7].map(core).to_vec()
    }

    fn plan(placement: Placement, shards: Option<usize>) -> Result<Vec<usize>, PlacementError> {
        let plan = placement.plan(shards, 64, &machine())?;
        Ok(plan.into_iter().map(|core| core.expect("pinned")).collect())
    }

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(core_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(core_list("\n"), [] as [usize; 0]);
    }

    #[test]
    fn shards_take_the_cores_that_the_placement_offers() {
        assert_eq!(plan(Placement::Cores, None), Ok(vec![0, 1, 2, 3, 4, 5, 7]));
        assert_eq!(plan(Placement::Cores, Some(2)), Ok(vec![0, 1]));
        assert_eq!(plan(Placement::Physical, None), Ok(vec![0, 1, 2, 3]));
        assert_eq!(plan(Placement::Nodes(vec![1]), None), Ok(vec![2, 3, 7]));
        assert_eq!(plan(Placement::Nodes(vec![1, 0]), Some(4)), Ok(vec![2, 3, 7, 0]));
    }

    #[test]
    fn what_the_machine_does_not_have_is_refused() {
        assert_eq!(
            plan(Placement::Physical, Some(5)),
            Err(PlacementError::TooFewCores { shards: 5, cores: 4 })
        );
        assert_eq!(plan(Placement::Nodes(vec![0, 2]), None), Err(PlacementError::NoSuchNode(2)));
    }

    #[test]
    fn unpinned_shards_may_be_more_than_cores() {
        assert_eq!(Placement::None.plan(Some(9), 64, &machine()), Ok(vec![None; 9]));
    }

    #[test]
    fn this_machine_is_read_and_a_thread_can_be_pinned() {
        let cores = usable_cores();
        let last = cores.last().expect("the process runs somewhere").cpu;
        std::thread::spawn(move || {
            pin_this_thread(last).expect("a core of our own mask");
            assert_eq!(usable_cores().iter().map(|core| core.cpu).collect::<Vec<_>>(), [last]);
        })
        .join()
        .expect("pinned");
    }
}
