//! The real binary as a process of its own, on ports of its own choice.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Small: each start writes several full of zeros.
const SEGMENT: &str = "log_segment: \"1 MiB\",";

/// What the broker waits with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    Epoll,
    Glommio,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Driver::Epoll => "epoll",
            Driver::Glommio => "glommio",
        })
    }
}

/// A broker to be started.
pub struct Setup {
    driver: Driver,
    shards: usize,
    listeners: Vec<String>,
    fields: Vec<String>,
    placement: &'static str,
    config: Option<PathBuf>,
    descriptors: Option<u32>,
    data: Option<Arc<DataFolder>>,
}

/// The broker's standard error, as far as it has been read.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

/// A running broker, ended when it is dropped.
pub struct Broker {
    child: Child,
    log: Arc<Log>,
    addresses: Vec<SocketAddr>,
    config: Option<PathBuf>,
    data: Arc<DataFolder>,
}

/// A data directory of a test's own, removed with the last who has it.
pub struct DataFolder(PathBuf);

impl DataFolder {
    pub fn new() -> Arc<DataFolder> {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("data-{}-{number}", std::process::id());
        Arc::new(DataFolder(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)))
    }

    /// One at a place of the caller's.
    pub fn at(path: PathBuf) -> Arc<DataFolder> {
        Arc::new(DataFolder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // Not there: its broker never came so far.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Setup {
    /// Two shards on one port, all versions.
    pub fn new(driver: Driver) -> Setup {
        Setup {
            driver,
            shards: 2,
            listeners: vec!["(address: \"127.0.0.1:0\")".to_owned()],
            fields: Vec::new(),
            placement: "none",
            config: None,
            descriptors: None,
            data: None,
        }
    }

    pub fn shards(mut self, shards: usize) -> Setup {
        self.shards = shards;
        self
    }

    /// One more field of the configuration, as RON.
    pub fn with(mut self, field: &str) -> Setup {
        self.fields.push(field.to_owned());
        self
    }

    /// Which core a shard runs on, as RON; `none` unless said.
    pub fn placement(mut self, placement: &'static str) -> Setup {
        self.placement = placement;
        self
    }

    /// These listeners instead, as RON.
    pub fn listeners(mut self, listeners: &[&str]) -> Setup {
        self.listeners = listeners.iter().map(|listener| (*listener).to_owned()).collect();
        self
    }

    /// A configuration file as it is; only the command line says listener, shards and driver.
    pub fn profile(mut self, name: &str) -> Setup {
        self.config =
            Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(format!("{name}.ron")));
        self
    }

    /// Keeps its state there, with what is there already; else in a fresh folder of its own.
    pub fn data(mut self, data: &Arc<DataFolder>) -> Setup {
        self.data = Some(data.clone());
        self
    }

    /// The hard limit of open files that the broker finds.
    pub fn descriptors(mut self, descriptors: u32) -> Setup {
        self.descriptors = Some(descriptors);
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> Broker {
        let mut arguments = Vec::new();
        let mut written = None;
        match &self.config {
            Some(profile) => {
                arguments.extend(["--config", profile.to_str().expect("UTF-8")].map(str::to_owned));
                arguments.extend(["--listen", "127.0.0.1:0"].map(str::to_owned));
            }
            None => {
                let text = format!(
                    "(listeners: [{}], placement: {}, {SEGMENT} {})",
                    self.listeners.join(", "),
                    self.placement,
                    self.fields.join(", ")
                );
                let file = write_config(&text);
                arguments.extend(["--config", file.to_str().expect("UTF-8")].map(str::to_owned));
                written = Some(file);
            }
        }
        arguments.extend(["--shards".to_owned(), self.shards.to_string()]);
        arguments.extend(["--io".to_owned(), self.driver.to_string()]);
        arguments.extend(["--log-level", "debug"].map(str::to_owned));
        let data = self.data.unwrap_or_else(DataFolder::new);
        let mut broker = Broker::spawn_on(&data, &arguments, self.descriptors);
        broker.config = written;
        broker.addresses = broker.wait_until_ready();
        broker
    }
}

/// Writes `text` to a file of its own.
pub fn write_config(text: &str) -> PathBuf {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let name = format!("end-to-end-{}-{number}.ron", std::process::id());
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, text).expect("the target folder can be written");
    file
}

/// The broker's threads: their ids and names, from /proc.
pub fn thread_names(broker: &Broker) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("it runs");
    tasks
        .flatten()
        .filter_map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            Some((task.file_name().into_string().ok()?, name.trim().to_owned()))
        })
        .collect()
}

/// The binary under test with these arguments, without an RUST_LOG of ours.
pub fn shardmq(arguments: &[impl AsRef<str>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardmq"));
    command.args(arguments.iter().map(AsRef::as_ref)).env_remove("RUST_LOG");
    command
}

impl Broker {
    /// Starts the binary with these arguments, without waiting for anything.
    pub fn spawn(arguments: &[impl AsRef<str>], descriptors: Option<u32>) -> Broker {
        Broker::spawn_on(&DataFolder::new(), arguments, descriptors)
    }

    /// The same, with this data directory.
    pub fn spawn_on(
        data: &Arc<DataFolder>,
        arguments: &[impl AsRef<str>],
        descriptors: Option<u32>,
    ) -> Broker {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let arguments = [&arguments[..], &["--data-dir", data.path().to_str().expect("UTF-8")]].concat();
        let mut command = match descriptors {
            None => shardmq(&arguments),
            Some(limit) => {
                // A shell lowers its own limit and becomes the broker: the process id stays.
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"]);
                shell.arg(env!("CARGO_BIN_EXE_shardmq")).args(&arguments);
                shell.env_remove("RUST_LOG");
                shell
            }
        };
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary can be run");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let reader = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                reader.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                reader.grew.notify_all();
            }
        });
        Broker { child, log, addresses: Vec::new(), config: None, data: data.clone() }
    }

    fn wait_until_ready(&mut self) -> Vec<SocketAddr> {
        self.wait_for_log("the broker to be ready", |line| line.contains("ready").then_some(()));
        let lines = self.log();
        lines
            .iter()
            .filter_map(|line| line.split_once("listening on ")?.1.split_whitespace().next()?.parse().ok())
            .collect()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where its listeners listen, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub fn kill(mut self) {
        // The id is our own child's: not yet waited for, so nobody else has it.
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// Where it keeps its state.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `find` makes of the first log line, old or new, that it knows.
    pub fn wait_for_log<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.wait_for_log_after(0, what, find)
    }

    /// As [`Broker::wait_for_log`], from the line numbered `from` on.
    pub fn wait_for_log_after<T>(&self, from: usize, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = from;
        loop {
            while seen < lines.len() {
                if let Some(found) = find(&lines[seen]) {
                    return found;
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; the log:\n{}", lines.join("\n"));
            lines = self.log.grew.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends a signal to this very process.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a child has an id");
        rustix::process::kill_process(pid, signal).expect("the child is ours and not waited for");
    }

    /// Waits until it ends by itself.
    pub fn wait_for_exit(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "still running; the log:\n{}", self.log().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(rustix::process::Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(6);
            while let Ok(None) = self.child.try_wait() {
                if Instant::now() > deadline {
                    // The id is our own child's: not yet waited for, so nobody else has it.
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the broker's log\n{}", self.log().join("\n"));
        }
        if let Some(file) = &self.config {
            let _ = std::fs::remove_file(file);
        }
    }
}
