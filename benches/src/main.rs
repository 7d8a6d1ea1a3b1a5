//! Load reports: streamerson beside a bare Redis client and a raw socket loop that send the same commands.
//!
//! Runs by `cargo xtask bench`. `benches/README.md` says what is measured and how to read it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report is for people")]

mod bare;
mod contender;
mod load;
mod measure;
mod message;
mod ours;
mod raw;
mod report;
mod workload;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use crate::{contender::Contender, measure::Sample, report::Report, workload::Workload};

/// What went wrong, for a person to read.
type Failure = Box<dyn Error + Send + Sync>;

/// Threads that a runtime works with: the machines that the figures are compared on have two cores.
const WORKER_THREADS: usize = 2;

/// Measures streamerson beside a bare Redis client and a raw socket loop.
#[derive(Parser)]
struct Options {
    /// How often each is measured; the medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A fiftieth of the work in one round: shows that everything runs, and nothing about speed
    #[arg(long)]
    quick: bool,
    /// One JSON object for each line of the report
    #[arg(long)]
    json: bool,
    /// Only these workloads
    #[arg(long, value_name = "WORKLOAD")]
    only: Vec<Workload>,
    /// Only these contenders
    #[arg(long, value_name = "CONTENDER")]
    contender: Vec<Contender>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?;
    let rounds = if options.quick { 1 } else { options.rounds };
    let workloads = Workload::ALL.into_iter().filter(|workload| chosen(&options.only, workload));
    for workload in workloads {
        let ops = if options.quick { workload.ops() / 50 } else { workload.ops() };
        let mut contenders: Vec<Contender> = workload.contenders().to_vec();
        contenders.retain(|contender| chosen(&options.contender, contender));
        let mut report = Report::new(workload, ops, &contenders);
        for round in 1..=rounds {
            // Round by round, so that a machine that speeds up or slows down does so for all, and each time with
            // another one first.
            for &contender in &contenders {
                let sample: Sample = runtime.block_on(contender.run(workload, ops))?;
                eprintln!("{workload}, round {round} of {rounds}: {contender} {:.0}/s", sample.per_second());
                report.add(contender, sample);
            }
            if let Some(first) = contenders.pop() {
                contenders.insert(0, first);
            }
        }
        if options.json { report.print_json()? } else { report.print_table() }
    }
    Ok(())
}

fn chosen<T: PartialEq>(wanted: &[T], this: &T) -> bool {
    wanted.is_empty() || wanted.contains(this)
}
