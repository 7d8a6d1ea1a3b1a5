//! The `streamerson` command: topics from the terminal.

mod args;
mod bench;
mod broker;
mod completions;
mod confirm;
mod dead;
mod demo;
mod doctor;
mod duration;
mod echo;
mod emit;
mod failure;
mod gateway;
mod groups;
mod hints;
mod human;
mod line;
mod logging;
mod man;
mod moment;
mod output;
mod payload;
mod pending;
mod progress;
mod request;
mod scheduled;
mod screen;
mod shown;
mod stop;
mod table;
mod tail;
mod topics;

use std::process::ExitCode;

use clap::Parser;

use self::{
    args::{Cli, Command},
    failure::Failure,
};

/// A message is made by one thread and freed by another, for which the system's allocator takes locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(instead) => return failure::of_arguments(&instead),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[tokio::main]
async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { common, command } = cli;
    logging::start(common.log_format, command.log_default());
    match command {
        Command::Demo(demo) => demo.run(&common).await,
        Command::Emit(emit) => emit.run(&common).await,
        Command::Request(request) => request.run(&common).await,
        Command::Tail(tail) => tail.run(&common).await,
        Command::Echo(echo) => echo.run(&common).await,
        Command::Topics(topics) => topics.run(&common).await,
        Command::Groups(groups) => groups.run(&common).await,
        Command::Pending(pending) => pending.run(&common).await,
        Command::Dead(dead) => dead.run(&common).await,
        Command::Scheduled(scheduled) => scheduled.run(&common).await,
        Command::Doctor(doctor) => doctor.run(&common).await,
        Command::Bench(bench) => bench.run(&common).await,
        Command::Completions(completions) => completions.run(&common),
        Command::Man(man) => man.run(&common),
        Command::Gateway(gateway) => gateway.run(&common).await,
    }
}
