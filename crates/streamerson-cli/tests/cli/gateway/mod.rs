//! `streamerson gateway`.

mod certificates;
mod check;
mod drain;
mod habits;
mod hang_ups;
mod http;
mod metrics;
mod http2;
mod idempotency;
mod operators;
mod scene;
mod statuses;
mod tls;
