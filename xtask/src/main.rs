//! Tasks of the project: `cargo xtask test | faults | ci | bench | fuzz-http`.

#![allow(clippy::print_stderr, reason = "a command line tool talks to a person")]

mod advisories;
mod cargo;
mod ci;
mod fuzz_http;
mod licences;
mod metadata;
mod redis;

use std::{env, ffi::OsStr, process::ExitCode};

const USAGE: &str = "\
Tasks of the project

Usage: cargo xtask <task> [arguments]

  test [arguments of cargo test]   all tests and doctests, against a real Redis that is found or installed
  faults [names of tests]          the fault tests at full length, with their accounts; some ten minutes
  ci [steps]                       everything that must hold before a change goes in, or some of it
  bench [arguments of the report]  the load reports, built for release
  fuzz-http [arguments]            schemathesis against the gateway; it is installed under target/, by pip

Redis is $REDIS_SERVER, else `redis-server` on $PATH, else installed by the system's package manager.";

/// What went wrong, for a person to read.
type Failure = String;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let outcome = match task.as_str() {
        "test" => test(&rest),
        "faults" => faults(&rest),
        "ci" => ci::run(&rest),
        "bench" => bench(&rest),
        "fuzz-http" => fuzz_http::run(&rest),
        "help" | "--help" | "-h" => {
            eprintln!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the tests. Further arguments go to `cargo test`; a package among them takes the place of the workspace.
fn test(arguments: &[String]) -> Result<(), Failure> {
    let redis = redis::find_or_install()?;
    let one_package = arguments.iter().any(|argument| argument == "-p" || argument.starts_with("--package"));
    let scope = if one_package { None } else { Some("--workspace") };
    let test = ["test", "--all-features"].into_iter().chain(scope).chain(arguments.iter().map(String::as_str));
    cargo::run(test, &[("REDIS_SERVER", redis.as_os_str())])
}

/// Runs at full length what the tests do in brief: processes that are killed and cut off, outages that last, and consumers
/// in many more stories than one build has time for.
fn faults(arguments: &[String]) -> Result<(), Failure> {
    let redis = redis::find_or_install()?;
    let environment = [
        ("REDIS_SERVER", redis.as_os_str()),
        ("STREAMERSON_FAULTS", OsStr::new("full")),
        ("STREAMERSON_SCHEDULES", OsStr::new("20000")),
    ];
    let runs: [&[&str]; 3] = [
        // One after the other: what they measure is theirs alone.
        &["--package", "faults", "--test", "processes", "--", "--nocapture", "--test-threads", "1"],
        &["--package", "streamerson-redis", "--test", "faults", "--", "--include-ignored"],
        &["--package", "streamerson", "--test", "simulation", "--"],
    ];
    for run in runs {
        let test = ["test", "--release", "--all-features"].into_iter().chain(run.iter().copied());
        cargo::run(test.chain(arguments.iter().map(String::as_str)), &environment)?;
    }
    Ok(())
}

/// Runs the load reports, which start servers of their own.
fn bench(arguments: &[String]) -> Result<(), Failure> {
    let redis = redis::find_or_install()?;
    let bench = ["run", "--release", "--package", "streamerson-benches", "--"];
    cargo::run(bench.into_iter().chain(arguments.iter().map(String::as_str)), &[("REDIS_SERVER", redis.as_os_str())])
}
