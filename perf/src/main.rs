//! `shardmq-bench`: the load generator behind PEERS.md's columns.
//!
//! One thread, one epoll loop, packets encoded once. A scenario is laid out by [`plan`] (or has its own loop: [`churn`], [`idle`], [`takeover`]);
//! [`exchange`] decides without sockets what is published and what an arriving packet means, [`ledger`] judges every
//! copy, [`traffic`] moves the bytes, [`report`] tells. [`stall`], [`burst`] and [`retained`] are a load with a [`control`] pair beside it.
//! [`durable`] and [`recover`] are about what is [`kept`] for sessions that are away, [`cleaning`] about what keeping it does to others.
//! [`disk`] has no broker at all: bare logs, what durability could cost at least. A new scenario is a new arm of [`cli::Scenario`] and a plan.

mod arena;
mod broker;
mod burst;
mod churn;
mod cleaning;
mod cli;
mod clock;
mod connection;
mod contest;
mod control;
mod dial;
mod disk;
mod durable;
mod error;
mod exchange;
mod filters;
mod frame;
mod handshake;
mod idle;
mod kept;
mod ledger;
mod limits;
mod plan;
mod poller;
mod publisher;
mod recover;
mod report;
mod retained;
mod segment;
mod stall;
mod stamp;
mod takeover;
mod traffic;

use burst::BurstPlan;
use clap::Parser;
use cli::{Arguments, Scenario};
use error::BenchError;
use idle::IdlePlan;
use plan::Plan;
use report::Report;
use retained::RetainedPlan;
use stall::StallPlan;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = match run(&arguments) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("shardmq-bench: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    if arguments.shared.json {
        println!("{}", serde_json::to_string(&report).expect("reports hold only numbers and text"));
    } else {
        println!("{report}");
    }
    match report.failure() {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            eprintln!("shardmq-bench: FAILED: {failure}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, BenchError> {
    let shared = &arguments.shared;
    match arguments.scenario {
        Scenario::Conn { parallel } => Ok(Report::Conn(churn::run(shared, parallel)?)),
        Scenario::Idle { connections, own_filter, settle, touch_mib } => {
            let plan = IdlePlan { connections, own_filter, settle, touch_mib };
            Ok(Report::Idle(idle::run(shared, plan)?))
        }
        Scenario::Takeover { race } => Ok(Report::Takeover(takeover::run(shared, race)?)),
        Scenario::Stall { mib, mib_per_second, reading, rounds, control_rate } => {
            let plan = StallPlan { mib, mib_per_second, reading, rounds, control_rate };
            Ok(Report::Stall(stall::run(shared, plan)?))
        }
        Scenario::Burst { subscribers, messages, rounds, control_rate } => {
            let plan = BurstPlan { subscribers, messages, rounds, control_rate };
            Ok(Report::Burst(burst::run(shared, plan)?))
        }
        Scenario::Filters { filters, wildcards } => {
            Ok(Report::Filters(filters::run(shared, filters, wildcards)?))
        }
        Scenario::Durable { publishers, outstanding } => {
            Ok(Report::Durable(durable::run(shared, publishers, outstanding)?))
        }
        Scenario::Cleaning(ref plan) => Ok(Report::Cleaning(cleaning::run(shared, plan)?)),
        Scenario::Recover(ref plan) => Ok(Report::Recover(recover::run(shared, plan)?)),
        Scenario::Disk(ref plan) => Ok(Report::Disk(disk::run(shared, plan)?)),
        Scenario::Retained { messages, rounds, control_rate } => {
            let plan = RetainedPlan { messages, rounds, control_rate };
            Ok(Report::Retained(retained::run(shared, plan)?))
        }
        ref scenario => {
            let plan = Plan::of(scenario, &shared.prefix).expect("every other scenario has messages");
            Ok(Report::Traffic(traffic::run(shared, &plan)?))
        }
    }
}
