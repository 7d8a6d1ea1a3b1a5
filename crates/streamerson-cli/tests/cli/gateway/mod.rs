//! `streamerson gateway`.

mod certificates;
mod check;
mod drain;
mod habits;
mod hang_ups;
mod http;
mod http2;
mod idempotency;
mod isolation;
mod metrics;
mod operators;
mod rolling;
mod scene;
mod shards;
mod statuses;
mod tls;
