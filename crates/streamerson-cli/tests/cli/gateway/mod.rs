//! `streamerson gateway`.

mod check;
mod drain;
mod http;
mod metrics;
mod operators;
mod scene;
mod statuses;
