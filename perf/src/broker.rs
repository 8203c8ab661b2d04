//! The broker seen from outside: CPU time and memory from /proc.

use crate::error::BenchError;
use std::collections::BTreeMap;
use std::fs;

/// CPU time of a process so far, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Of each live thread, by the scheduler's own account.
    scheduled_ns: BTreeMap<u32, u64>,
    /// User time by /proc/PID/stat, in steps of a clock tick.
    pub user_ns: u64,
    /// System time by /proc/PID/stat, in steps of a clock tick.
    pub system_ns: u64,
}

impl CpuTime {
    /// What was used since `earlier`. A thread that has ended since takes nothing away from what the others used.
    pub fn since(self, earlier: &CpuTime) -> CpuTime {
        let before = |thread: &u32| earlier.scheduled_ns.get(thread).copied().unwrap_or(0);
        let used = |(thread, ns): (&u32, &u64)| (*thread, ns.saturating_sub(before(thread)));
        CpuTime {
            scheduled_ns: self.scheduled_ns.iter().map(used).collect(),
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }

    /// The better of both accounts: the scheduler's is exact but forgets threads that ended, which the ticks remember.
    pub fn best_ns(&self) -> u64 {
        let ticks_ns = self.user_ns + self.system_ns;
        let scheduled_ns: u64 = self.scheduled_ns.values().sum();
        // A tenth more than the exact account is more than rounding can explain.
        if ticks_ns > scheduled_ns + scheduled_ns / 10 + 100_000_000 { ticks_ns } else { scheduled_ns }
    }
}

/// A thread of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How often it has gone to sleep of its own accord; it woke up as often.
    pub sleeps: u64,
}

/// A process watched through /proc.
#[derive(Clone, Debug)]
pub struct Process {
    directory: String,
    tick_ns: u64,
}

impl Process {
    /// Watches `pid`; fails when there is no such process.
    pub fn watch(pid: u32) -> Result<Process, BenchError> {
        let process = Process {
            directory: format!("/proc/{pid}"),
            tick_ns: 1_000_000_000 / rustix::param::clock_ticks_per_second(),
        };
        process.cpu_time()?;
        Ok(process)
    }

    /// Its CPU time so far.
    pub fn cpu_time(&self) -> Result<CpuTime, BenchError> {
        let (user_ns, system_ns) = self.ticks()?;
        Ok(CpuTime { scheduled_ns: self.scheduled()?, user_ns, system_ns })
    }

    /// Its resident memory in bytes: exact from smaps_rollup where that may be read, else the kernel's running count.
    pub fn resident_bytes(&self) -> Result<u64, BenchError> {
        let exact = fs::read_to_string(format!("{}/smaps_rollup", self.directory)).ok();
        if let Some(bytes) = exact.as_deref().and_then(|text| kilobytes(text, "Rss:")) {
            return Ok(bytes);
        }
        self.resident_bytes_about()
    }

    /// Its resident memory in bytes by the kernel's running count: some hundred KiB off, but read without stopping the process.
    pub fn resident_bytes_about(&self) -> Result<u64, BenchError> {
        kilobytes(&self.read("status")?, "VmRSS:").ok_or_else(|| self.strange("status"))
    }

    /// Bytes that it has given the disk; `None` where that may not be read.
    pub fn written_bytes(&self) -> Option<u64> {
        let text = self.read("io").ok()?;
        text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
    }

    /// Its live threads.
    pub fn threads(&self) -> Result<Vec<Thread>, BenchError> {
        let path = format!("{}/task", self.directory);
        let tasks =
            fs::read_dir(&path).map_err(|error| BenchError::system(format!("reading {path}"), error))?;
        let read = |task: fs::DirEntry| {
            let id = task.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(task.path().join("status")).ok()?; // it may have ended
            let of = |field| status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
            let sleeps = of("voluntary_ctxt_switches:")?.parse().ok()?;
            Some(Thread { id, name: of("Name:")?.to_string(), sleeps })
        };
        Ok(tasks.flatten().filter_map(read).collect())
    }

    fn scheduled(&self) -> Result<BTreeMap<u32, u64>, BenchError> {
        let path = format!("{}/task", self.directory);
        let tasks =
            fs::read_dir(&path).map_err(|error| BenchError::system(format!("reading {path}"), error))?;
        let read = |task: fs::DirEntry| {
            let thread = task.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?; // it may have ended
            Some((thread, text.split(' ').next()?.parse().ok()?))
        };
        Ok(tasks.flatten().filter_map(read).collect())
    }

    fn ticks(&self) -> Result<(u64, u64), BenchError> {
        let stat = self.read("stat")?;
        // The command name, in parentheses, may hold anything; the fields after it are fixed (proc(5): utime is 14, stime 15).
        let after_name = stat.rsplit_once(") ").ok_or_else(|| self.strange("stat"))?.1;
        let mut fields = after_name.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
        match (fields.next().flatten(), fields.next().flatten()) {
            (Some(user), Some(system)) => Ok((user * self.tick_ns, system * self.tick_ns)),
            _ => Err(self.strange("stat")),
        }
    }

    fn read(&self, file: &str) -> Result<String, BenchError> {
        let path = format!("{}/{file}", self.directory);
        fs::read_to_string(&path).map_err(|error| BenchError::system(format!("reading {path}"), error))
    }

    fn strange(&self, file: &str) -> BenchError {
        BenchError::Usage(format!("{}/{file} does not look like Linux's", self.directory))
    }
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cpu_time_and_memory_grow() {
        let own = Process::watch(std::process::id()).unwrap();
        let (before, resident) = (own.cpu_time().unwrap(), own.resident_bytes().unwrap());
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        let mut sum = 0u64;
        while own.cpu_time().unwrap().since(&before).best_ns() < 30_000_000 {
            sum += block.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
        assert!(own.resident_bytes().unwrap() >= resident + (30 << 20), "{sum}");
    }

    #[test]
    fn a_thread_that_ends_takes_no_cpu_time_back() {
        let time = |threads: &[(u32, u64)]| CpuTime {
            scheduled_ns: threads.iter().copied().collect(),
            user_ns: 0,
            system_ns: 0,
        };
        let used = time(&[(1, 700), (3, 50)]).since(&time(&[(1, 500), (2, 9_000)]));
        assert_eq!(used.best_ns(), 250);
    }

    #[test]
    fn a_thread_that_sleeps_is_counted() {
        let own = Process::watch(std::process::id()).unwrap();
        let sleeper = std::thread::Builder::new().name("sleeper".into());
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let sleeper = sleeper
            .spawn(move || {
                for _ in 0..20 {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                let _ = told.recv(); // until it has been looked at
            })
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let threads = own.threads().unwrap();
        let seen = threads.iter().find(|thread| thread.name == "sleeper").unwrap();
        assert!(seen.sleeps >= 20, "{threads:?}");
        drop(tell);
        sleeper.join().unwrap();
    }

    #[test]
    fn a_missing_process_is_an_error() {
        assert!(Process::watch(u32::MAX - 1).is_err());
    }
}
