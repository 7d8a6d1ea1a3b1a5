//! `streamerson gateway`.

mod check;
mod drain;
mod http;
mod operators;
mod scene;
mod statuses;
