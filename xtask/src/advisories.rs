//! Known vulnerabilities of what we depend on, where a tool and its database are at hand.
//!
//! Checks must run without a network, so nothing is fetched; a machine that keeps the database fresh runs this step.

use std::{env, path::PathBuf};

use crate::{Failure, cargo, ci::Outcome};

/// Asks `cargo deny`, else `cargo audit`.
pub(crate) fn check() -> Result<Outcome, Failure> {
    if cargo::has("deny") && cargo_home().join("advisory-dbs").is_dir() {
        return cargo::run(["deny", "--offline", "check", "advisories"], &[]).map(|()| Outcome::Done);
    }
    if cargo::has("audit") && cargo_home().join("advisory-db").is_dir() {
        return cargo::run(["audit", "--no-fetch"], &[]).map(|()| Outcome::Done);
    }
    Ok(Outcome::Skipped("neither `cargo deny` nor `cargo audit` is here with its database"))
}

fn cargo_home() -> PathBuf {
    let default = || env::home_dir().unwrap_or_default().join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(default, PathBuf::from)
}
