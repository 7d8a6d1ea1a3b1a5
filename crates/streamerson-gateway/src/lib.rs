//! HTTP at the edge of streamerson: routes to mount in an axum [`Router`](axum::Router).
//!
//! A [`Gateway`] makes [`Route`]s, and a route is an axum handler: it takes an HTTP request, appends it to a topic as a
//! message and answers with the reply of whichever consumer handled it. It mounts beside ordinary handlers, and `nest`,
//! layers and state work as they do for them, for any `Router<S>`.
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::{get, post}};
//! use serde::{Deserialize, Serialize};
//! use streamerson_core::{Call, Topic, broker::memory::Memory, client::Client};
//! use streamerson_gateway::Gateway;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! impl Call for Greet {
//!     const TOPIC: &'static str = "greetings";
//!     const EVENT: &'static str = "greet";
//!     type Reply = String;
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), streamerson_core::InvalidName> {
//! let gateway = Gateway::new(Client::new(Memory::new()));
//! let (orders, views) = (Topic::new("orders")?, Topic::new("views")?);
//!
//! let app: Router = Router::new()
//!     .route("/health", get(|| async { "ok" }))
//!     .route("/greet", post(gateway.call::<Greet>()))
//!     .route("/orders/{id}", get(gateway.request(&orders, "order.get").timeout(Duration::from_secs(2))))
//!     .route("/views", post(gateway.emit(&views, "page.viewed")));
//! # Ok(())
//! # }
//! ```
//!
//! The gateway and the consumers share the protocol and nothing else, so either side may be in another language.

mod gateway;
mod http;
mod log_throttle;
#[cfg(feature = "server")]
pub mod server;

pub use self::{
    gateway::Gateway,
    http::{Answered, Calls, Emits, HttpRequests, Idempotency, InvalidShardKey, Outcome, Requests, Route, ShardKey},
};
