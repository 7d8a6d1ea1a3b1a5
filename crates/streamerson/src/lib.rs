#![cfg_attr(docsrs, feature(doc_cfg))]
//! End HTTP at the edge, and let every service behind it be a function over a stream.
//!
//! A gateway appends each request to a topic's stream, any member of a consumer group handles it, and the reply comes back
//! to the socket that asked. Over `memory://` all of it runs in one process; over `redis://` the same code runs as many.
//!
//! # A service
//!
//! A contract names a request, where it goes and what answers it. A handler is a plain async function; one that answers
//! with another type does not compile.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use streamerson::{Call, Client, Consumer, Json, Topic};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! impl Call for Greet {
//!     const TOPIC: &'static str = "greetings";
//!     const EVENT: &'static str = "greet";
//!     type Reply = Greeting;
//! }
//!
//! async fn greet(Json(greet): Json<Greet>) -> Json<Greeting> {
//!     Json(Greeting { text: format!("Hello, {}!", greet.name) })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = streamerson::connect("memory://").await?; // or redis://127.0.0.1:6379
//!
//! let consumer = Consumer::new(Topic::new(Greet::TOPIC)?).answer(greet);
//! # let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! # let shutdown = async { _ = stopped.await };
//! let worker = tokio::spawn(consumer.run(broker.clone(), shutdown));
//!
//! let greeting = Client::new(broker).call(Greet { name: "Ada".into() }).await?;
//! assert_eq!(greeting.text, "Hello, Ada!");
//! # drop(stop);
//! # worker.await??;
//! # Ok(()) }
//! ```
//!
//! # Behind HTTP
//!
//! With the feature `gateway`, [`Gateway`] makes handlers for any axum router:
//! `Router::new().route("/greet", post(gateway.call::<Greet>()))`.
//!
//! # A service that exists
//!
//! An axum router, or any tower service that speaks HTTP, moves behind a topic as it is: with the feature `http`,
//! `Consumer::serve_http(router)` takes the place of `axum::serve(listener, router)`, and `gateway.http(&topic)` passes
//! whole requests on to it. Its scaling moves with it: as many workers as there is work, and none has an address.
//!
#![cfg_attr(all(feature = "gateway", feature = "http"), doc = "```")]
#![cfg_attr(not(all(feature = "gateway", feature = "http")), doc = "```ignore")]
//! use axum::{Router, extract::Path, routing::{any, get}};
//! use streamerson::{Client, Consumer, Gateway, Topic};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (broker, topic) = (streamerson::connect("memory://").await?, Topic::new("shop")?);
//! # let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! # let shutdown = async { _ = stopped.await };
//!
//! let service = Router::new().route("/shop/items/{id}", get(async |Path(id): Path<u64>| format!("item {id}")));
//! let worker = tokio::spawn(Consumer::new(topic.clone()).serve_http(service).run(broker.clone(), shutdown));
//!
//! let gateway = Gateway::new(Client::new(broker));
//! let edge: Router = Router::new().route("/shop/{*rest}", any(gateway.http(&topic)));
//! # let request = axum::http::Request::get("/shop/items/7").body(axum::body::Body::empty())?;
//! # let response = tower::ServiceExt::oneshot(edge, request).await?;
//! # assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, "item 7");
//! # drop(stop);
//! # worker.await??;
//! # Ok(()) }
//! ```
//!
//! # Pipelines
//!
//! [`subscribe`](core::broker) gives a `Stream` of entries and `publisher` a `Sink` of messages, so a pipeline is
//! `subscribe → map → forward`. With a [`Member`](core::group::Member) of a group as its source it survives crashes.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | handlers, extractors, replies, what becomes of a message | [`consumer`] |
//! | calls, requests and events, their errors and bounds | [`core::client`] |
//! | streams, groups, cursors, the broker port | [`core`] |
//! | HTTP routes and statuses | [`gateway`] |
//! | testing a consumer, crashes and outages included | [`mod@test`] |
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `redis` | `redis://` | yes |
//! | `redis-tls` | `rediss://`; needs a C compiler to build | |
//! | `gateway` | handlers for an axum router | |
//! | `gateway-server` | the standalone gateway, as `streamerson gateway` runs it | |
//! | `http` | consumers that serve an axum router, or any tower service that speaks HTTP | |
//! | `test` | a test bed for consumers; for `[dev-dependencies]` | |
//!
//! Features only add: any two go together.

mod connect;
#[cfg(feature = "test")]
pub mod test;

pub use connect::connect;
pub use streamerson_consumer::{self as consumer, Consumer, Json, State};
pub use streamerson_core::{
    self as core, BrokerError, Call, Client, Message, Problem, Reply, SharedBroker, Topic, client::CallError,
};
#[cfg(feature = "gateway")]
pub use streamerson_gateway::{self as gateway, Gateway};
#[cfg(feature = "redis")]
pub use streamerson_redis as redis;
