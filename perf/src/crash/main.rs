//! `shardmq-ledger`: whether a broker keeps what it acknowledges, seen by clients that outlive it.
//!
//! One thread, some thirty clients ([`cast`]) of one [`world`]. [`rounds`] starts the broker ([`process`]), lets traffic run, cuts it short at a
//! random moment and checks after the restart; [`client`] is a correct MQTT client whose session outlives the connection. The ledgers:
//! [`book`] for messages, [`retained`], [`probes`] for subscriptions; [`verdict`] counts what was broken.

mod arguments;
mod book;
mod cast;
mod client;
mod limits;
mod link;
mod mayfly;
mod probes;
mod process;
mod publisher;
mod retained;
mod rounds;
mod subscriber;
mod verdict;
mod wanderer;
mod willer;
mod world;

use arguments::Arguments;
use clap::Parser;
use rounds::Rounds;
use std::process::ExitCode;
use std::time::Instant;
use verdict::Fault;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let begun = Instant::now();
    let mut rounds = match Rounds::new(&arguments) {
        Ok(rounds) => rounds,
        Err(error) => {
            eprintln!("shardmq-ledger: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = rounds.run(arguments.rounds);
    if let Err(error) = &outcome {
        rounds.world.verdict.fault(Fault::Exit, || error.to_string());
    }
    report(&rounds, &arguments, begun.elapsed().as_secs_f64());
    ExitCode::from(u8::from(!rounds.world.verdict.is_clean()))
}

fn report(rounds: &Rounds, arguments: &Arguments, seconds: f64) {
    let world = &rounds.world;
    let acknowledged = world.book.acknowledged + world.retained.acknowledged;
    let restart_ms = rounds.downtime.as_secs_f64() * 1_000.0 / f64::from(world.starts);
    if arguments.json {
        let report = serde_json::json!({
            "rounds": world.round, "starts": world.starts, "seconds": seconds, "seed": arguments.seed,
            "acknowledged": acknowledged, "received": world.book.received, "repeated_qos1": world.book.repeated,
            "subscriptions_answered": world.probes.answered, "restart_ms": restart_ms, "failed_starts": rounds.failed_starts, "verdict": world.verdict.to_json(),
        });
        return println!("{report}");
    }
    println!("{} rounds, {} starts, {seconds:.1} s, seed {}", world.round, world.starts, arguments.seed);
    println!("  acknowledged  {acknowledged} ({} of them retained)", world.retained.acknowledged);
    println!("  received      {} ({} of them QoS 1 again)", world.book.received, world.book.repeated);
    println!("  subscriptions {} made or removed", world.probes.answered);
    println!("  start         {restart_ms:.1} ms to the first CONNACK, {} tried again", rounds.failed_starts);
    println!("  verdict       {}", world.verdict);
}
