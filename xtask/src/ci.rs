//! Everything that must hold before a change goes in.

use std::{
    ffi::OsStr,
    time::{Duration, Instant},
};

use crate::{Failure, advisories, cargo, licences, metadata};

/// What became of a step that did not fail.
pub(crate) enum Outcome {
    Done,
    /// Not possible here, and why. A step whose absence could hide a defect fails instead.
    Skipped(&'static str),
}

use Outcome::{Done, Skipped};

type Step = (&'static str, fn() -> Result<Outcome, Failure>);

/// In order: what fails quickly and often comes first.
const STEPS: [Step; 9] = [
    ("lockfile", lockfile),
    ("format", format),
    ("licences", licences),
    ("advisories", advisories::check),
    ("clippy", clippy),
    ("test", test),
    ("doc", doc),
    ("features", features),
    ("fuzz", fuzz),
];

/// Runs the named steps, or all when none is named, and stops at the first that fails.
pub(crate) fn run(names: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = names.iter().find(|name| !STEPS.iter().any(|(step, _)| step == name)) {
        let known: Vec<&str> = STEPS.iter().map(|(step, _)| *step).collect();
        return Err(format!("no step is called {unknown:?}; there are: {}", known.join(", ")));
    }
    let mut summary = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name)) {
        eprintln!("\n=== {name}");
        let started = Instant::now();
        let outcome = step();
        let took = started.elapsed();
        let line = match outcome {
            Ok(Done) => format!("{name}: ok, {}", seconds(took)),
            Ok(Skipped(why)) => format!("{name}: skipped, {why}"),
            Err(failure) => return Err(format!("{name} failed after {}: {failure}", seconds(took))),
        };
        eprintln!("=== {line}");
        summary.push((line, took));
    }
    let total = summary.iter().map(|(_, took)| *took).sum();
    eprintln!("\n=== all ok, {}", seconds(total));
    for (line, _) in &summary {
        eprintln!("    {line}");
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn lockfile() -> Result<Outcome, Failure> {
    metadata::packages().map(|_| Done)
}

fn format() -> Result<Outcome, Failure> {
    cargo::run(["fmt", "--all", "--check"], &[]).map(|()| Done)
}

fn licences() -> Result<Outcome, Failure> {
    licences::check(&metadata::packages()?).map(|()| Done)
}

fn clippy() -> Result<Outcome, Failure> {
    let strict = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    cargo::run(strict, &[]).map(|()| Done)
}

fn test() -> Result<Outcome, Failure> {
    crate::test(&[]).map(|()| Done)
}

/// Libraries only: the program `streamerson` has the name of a library, and both would write the same page.
fn doc() -> Result<Outcome, Failure> {
    let doc = ["doc", "--workspace", "--lib", "--no-deps", "--all-features"];
    cargo::run(doc, &[("RUSTDOCFLAGS", OsStr::new("-D warnings"))]).map(|()| Done)
}

/// Each feature builds without the others: features only add, and a missing `cfg` shows in no other build.
fn features() -> Result<Outcome, Failure> {
    for package in metadata::packages()?.iter().filter(|package| package.is_ours && !package.features.is_empty()) {
        let features = package.features.iter().filter(|feature| *feature != "default");
        for feature in features.map(String::as_str).chain([""]) {
            let alone = ["clippy", "--package", &package.name, "--no-default-features", "--features", feature];
            cargo::run(alone.into_iter().chain(["--", "-D", "warnings"]), &[])?;
        }
    }
    Ok(Done)
}

/// Fuzzing itself needs a nightly compiler; that the targets still fit the code does not.
fn fuzz() -> Result<Outcome, Failure> {
    if !cargo::root().join("fuzz/Cargo.toml").exists() {
        return Ok(Skipped("there are no fuzz targets"));
    }
    cargo::run(["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"], &[]).map(|()| Done)
}
