//! The broker seen from outside: CPU time and memory from /proc.

use crate::error::BenchError;
use std::fs;

/// CPU time of a process so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Sum over its live threads, by the scheduler's own nanoseconds.
    pub scheduled_ns: u64,
    /// User time by /proc/PID/stat, in steps of a clock tick.
    pub user_ns: u64,
    /// System time by /proc/PID/stat, in steps of a clock tick.
    pub system_ns: u64,
}

impl CpuTime {
    /// What was used since `earlier`.
    pub fn since(self, earlier: CpuTime) -> CpuTime {
        CpuTime {
            scheduled_ns: self.scheduled_ns.saturating_sub(earlier.scheduled_ns),
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }

    /// The better of both accounts: the scheduler's is exact but forgets threads that ended, which the ticks remember.
    pub fn best_ns(self) -> u64 {
        let ticks_ns = self.user_ns + self.system_ns;
        // A tenth more than the exact account is more than rounding can explain.
        if ticks_ns > self.scheduled_ns + self.scheduled_ns / 10 + 100_000_000 {
            ticks_ns
        } else {
            self.scheduled_ns
        }
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

    fn scheduled(&self) -> Result<u64, BenchError> {
        let path = format!("{}/task", self.directory);
        let tasks =
            fs::read_dir(&path).map_err(|error| BenchError::system(format!("reading {path}"), error))?;
        let mut sum_ns = 0;
        for task in tasks.flatten() {
            // A thread may end between the listing and the read.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum_ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum_ns)
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
        while own.cpu_time().unwrap().since(before).best_ns() < 30_000_000 {
            sum += block.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
        assert!(own.resident_bytes().unwrap() >= resident + (30 << 20), "{sum}");
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
