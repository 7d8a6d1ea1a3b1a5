//! Gateways, workers and a Redis, each a process of its own: under load, and with everything that goes wrong.
//!
//! `STREAMERSON_REQUESTS=100000 cargo test --release -p hello --test system processes -- --nocapture --test-threads 1`
//! sends more of them, and prints how long they took.

// The accounts are for whoever runs a test alone.
#![allow(clippy::print_stdout)]

mod fleet;
mod garbage;
mod http;
mod load;
mod outage;
mod processes;
mod startup;
