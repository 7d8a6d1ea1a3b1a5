//! Consumers in thousands of stories: members come, go and die, the broker is away, questions and answers are lost; and in
//! the end every message is accounted for.
//!
//! `STREAMERSON_SEED=7 cargo test -p streamerson --all-features --test simulation NAME` tells one story again;
//! `STREAMERSON_SCHEDULES=100000` tells so many.

#![allow(clippy::unwrap_used)]

mod alone;
mod ledger;
mod order;
mod repeated;
mod story;
mod work;
