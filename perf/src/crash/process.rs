//! The broker's process: started, cut short, waited for.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};

/// How the broker's life ends in a round.
#[derive(Clone, Debug)]
pub enum Cut {
    /// SIGKILL.
    Kill,
    /// This command takes its disk away; the broker has to end by itself with exit code 1.
    Command(String),
}

/// The broker as a child of the ledger.
pub struct Broker {
    command: Vec<String>,
    log: File,
    child: Option<Child>,
}

impl Broker {
    /// Not started yet; what it says goes to `log`.
    pub fn new(command: Vec<String>, log: File) -> Broker {
        Broker { command, log, child: None }
    }

    /// Starts it.
    pub fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        command.stdout(self.log.try_clone()?).stderr(self.log.try_clone()?);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Its exit status, when it has ended by itself.
    pub fn has_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?; // which does nothing to one that has ended
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop.
    pub fn terminate(&self) -> io::Result<()> {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), Signal::TERM)?;
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Starts a shell command that runs beside the traffic.
pub fn begin(command: &str) -> io::Result<Child> {
    Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).spawn()
}

/// Runs a shell command to its end.
pub fn run(command: &str) -> io::Result<()> {
    let status = begin(command)?.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command}: {status}"))) }
}
