//! Signals: the first SIGTERM or SIGINT ends the broker in order, the second at once.

use shardmq_shards::server::Handle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use std::io;
use std::process::ExitCode;

/// Exit code after a second signal: what a shell reports for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// The caught signals; none is lost between this and [`Signals::serve`].
pub struct Signals(signal_hook::iterator::Signals);

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Signals> {
        Ok(Signals(signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGXFSZ])?))
    }

    /// Lets `broker` run until a signal ends it and its last connection is closed.
    pub fn serve(mut self, broker: Handle) -> ExitCode {
        let stopper = broker.stopper();
        let watcher = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut ending = false;
            for signal in self.0.forever() {
                match signal {
                    SIGTERM | SIGINT if ending => std::process::exit(INTERRUPTED),
                    SIGTERM | SIGINT => {
                        ending = true;
                        tracing::info!("signal {signal}: stopping; a second one ends at once");
                        stopper.stop();
                    }
                    // The write that met the limit fails, which is how the log says it, and why the broker ends.
                    SIGXFSZ => {
                        tracing::error!("a file may not grow as large as the broker needs it (ulimit -f)")
                    }
                    // A terminal that goes away or a log rotation must not end a broker; there is nothing to reload yet.
                    _ => tracing::info!("signal {signal} is ignored"),
                }
            }
        });
        if let Err(error) = watcher {
            tracing::error!("cannot start the thread that waits for signals: {error}");
            return ExitCode::FAILURE;
        }
        match broker.wait() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}
