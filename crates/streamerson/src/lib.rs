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
//! # Beside the TypeScript package
//!
//! A topic may speak the format of the package `@streamerson/core`, so that its clients ask these consumers, and these clients
//! and gateways ask its workers. [`Topic::with_wire`] makes it; all that takes a topic takes such a one. A contract names a
//! topic and no format: `client.topic(&topic).call(…)` and `gateway.call_on::<C>(&topic)` send it where you say, so that one
//! contract serves both while you move from one to the other.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use streamerson::{Call, Client, Consumer, Json, Topic, core::wire::WireFormat};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Find {
//!     id: u64,
//! }
//!
//! impl Call for Find {
//!     const TOPIC: &'static str = "shop:orders";
//!     const EVENT: &'static str = "order.get";
//!     type Reply = String;
//! }
//!
//! async fn find(Json(find): Json<Find>) -> Json<String> {
//!     Json(format!("order {}", find.id))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let broker = streamerson::connect("memory://").await?;
//! # let (stop, stopped) = tokio::sync::watch::channel(());
//! let ours = Topic::new(Find::TOPIC)?;
//! let theirs = ours.with_wire(WireFormat::Js); // new Topic({ namespace: "shop", topic: "orders" })
//! # let mut workers = Vec::new();
//! for topic in [&ours, &theirs] {
//!     let consumer = Consumer::new(topic.clone()).answer(find);
//! #   let mut stopped = stopped.clone();
//! #   let shutdown = async move { _ = stopped.changed().await };
//! #   let worker =
//!     tokio::spawn(consumer.run(broker.clone(), shutdown));
//! #   workers.push(worker);
//! }
//!
//! let client = Client::new(broker);
//! assert_eq!(client.call(Find { id: 7 }).await?, "order 7");
//! assert_eq!(client.topic(&theirs).call(Find { id: 8 }).await?, "order 8");
//! # drop(stop);
//! # for worker in workers {
//! #     worker.await??;
//! # }
//! # Ok(()) }
//! ```
//!
//! Its workers know no status, no deadline and no word that takes a request back, and nobody can tell whether any of them is
//! there. `PROTOCOL.md` has the whole list, and how to move from one to the other.
//!
//! # Pipelines
//!
//! [`subscribe`](core::broker) gives a `Stream` of entries and `publisher` a `Sink` of messages, so a pipeline is
//! `subscribe → map → forward`. With a [`Member`](core::group::Member) of a group as its source it survives crashes.
//!
//! # What it does, in numbers
//!
//! One [`Metrics`] is given to whatever is to be watched, and served as a page that Prometheus reads, here beside a
//! worker. `docs/metrics.md` lists what is on it.
//!
//! ```
//! use axum::{Router, http::header::CONTENT_TYPE, routing::get};
//! use streamerson::{Consumer, Json, Metrics, Topic};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn price(Json(item): Json<u64>) -> Json<u64> { Json(item) }
//! let metrics = Metrics::new();
//! let broker = streamerson::connect_with_metrics("memory://", &metrics).await?;
//! let consumer = Consumer::new(Topic::new("prices")?).on("price", price).metrics(&metrics);
//!
//! let page = async move || ([(CONTENT_TYPE, Metrics::MEDIA_TYPE)], metrics.scrape().await);
//! let admin: Router = Router::new().route("/metrics", get(page));
//! # let address = "127.0.0.1:0";
//! let listener = tokio::net::TcpListener::bind(address).await?; // one that only operators reach
//! tokio::spawn(async move { axum::serve(listener, admin).await });
//!
//! # let shutdown = async {};
//! consumer.run(broker, shutdown).await?;
//! # Ok(()) }
//! ```
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

pub use connect::{connect, connect_with_metrics};
pub use streamerson_consumer::{self as consumer, Consumer, Json, State};
pub use streamerson_core::{
    self as core, BrokerError, Call, Client, Message, Metrics, Problem, Reply, SharedBroker, Topic, client::CallError,
};
#[cfg(feature = "gateway")]
pub use streamerson_gateway::{self as gateway, Gateway};
#[cfg(feature = "redis")]
pub use streamerson_redis as redis;
