//! The `streamerson` command as a user runs it: the real program, against a real server.

// The lint knows test functions, and not the helpers of a test.
#![allow(clippy::unwrap_used)]

mod arguments;
mod completions;
mod dead;
mod demo;
mod echo;
mod emit;
mod gateway;
mod groups;
mod request;
mod support;
mod tail;
mod topics;
mod wire;
