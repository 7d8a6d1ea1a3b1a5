//! Processes that are killed, frozen and cut off from a Redis that is killed too; and an account of every message.
//!
//! `cargo xtask faults` does it at full length and prints the figures; without that each takes some seconds.

// The accounts are for whoever runs them.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod account;
mod fleet;
mod frozen;
mod killed;
mod load;
mod order;
mod poison;

use std::env;

/// How much of everything: as much as is promised, or enough to see that it holds.
fn scaled(full: usize, brief: usize) -> usize {
    if env::var_os("STREAMERSON_FAULTS").is_some_and(|length| length == "full") { full } else { brief }
}
