//! The `streamerson` command as a user runs it: the real program, against a real server.

// The lint knows test functions, and not the helpers of a test.
#![allow(clippy::unwrap_used)]

mod arguments;
mod bench;
mod completions;
mod dead;
mod demo;
mod doctor;
mod echo;
mod emit;
mod gateway;
mod groups;
mod hostile_text;
mod man;
mod packaging;
mod request;
mod rights;
mod scheduled;
mod support;
mod tail;
mod terminal;
mod topics;
mod wire;
