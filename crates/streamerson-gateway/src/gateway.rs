//! What an application makes its routes with.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use streamerson_core::{Call, EventType, Topic, client::Client};

use crate::http::{Calls, Emits, HttpRequests, KeyedRequests, Requests, Route};

/// Makes routes that hand HTTP requests to the consumers of a topic. Cheap to clone.
///
/// Every route owns a clone of the client, so the router's own state stays free for the application. Any number of
/// gateways can share a broker: each client reads the replies to its own requests and no others.
///
/// Topics and event types are the programmer's, never a caller's. As with a path that axum cannot parse, one that
/// breaks its rule panics where the route is made, before anything is served; a program that reads them from a file
/// parses them into [`Topic`] and [`EventType`] first, and what is parsed cannot panic.
#[derive(Debug, Clone)]
pub struct Gateway {
    client: Client,
    keyed_requests: KeyedRequests,
}

impl Gateway {
    /// A gateway that sends with this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, keyed_requests: KeyedRequests::default() }
    }

    /// A route for the requests of a contract.
    ///
    /// The body is checked here, before anything is sent: 415 when its media type is not JSON, 400 when it is not
    /// JSON, 422 when it is not a `C`. What is sent is the body as it came, byte for byte.
    ///
    /// ```
    /// # use axum::{Router, routing::{get, post}};
    /// # use streamerson_core::{Call, Topic, broker::memory::Memory, client::Client};
    /// # use streamerson_gateway::Gateway;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamerson_core::InvalidName> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// #[derive(serde::Deserialize)]
    /// struct Greet {
    ///     name: String,
    /// }
    ///
    /// impl Call for Greet {
    ///     const TOPIC: &'static str = "greetings";
    ///     const EVENT: &'static str = "greet";
    ///     type Reply = String;
    /// }
    ///
    /// let app: Router = Router::new().route("/greet", post(gateway.call::<Greet>()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When [`Call::TOPIC`] is no topic or [`Call::EVENT`] no event type.
    #[track_caller]
    pub fn call<C: Call + DeserializeOwned>(&self) -> Route<Calls<C>> {
        self.call_on(&valid(Topic::new(C::TOPIC)))
    }

    /// A route for the requests of a contract on this topic, and not on the one that the contract names; otherwise as
    /// [`Gateway::call`]. For a contract that several topics speak: one in the original's format beside one in ours, say.
    ///
    /// ```
    /// # use axum::{Router, routing::post};
    /// # use streamerson_core::{Call, Topic, broker::memory::Memory, client::Client, wire::WireFormat};
    /// # use streamerson_gateway::Gateway;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamerson_core::InvalidName> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// # #[derive(serde::Deserialize)]
    /// # struct Greet {}
    /// # impl Call for Greet {
    /// #     const TOPIC: &'static str = "greetings";
    /// #     const EVENT: &'static str = "greet";
    /// #     type Reply = String;
    /// # }
    /// let theirs = Topic::new(Greet::TOPIC)?.with_wire(WireFormat::Js);
    /// let app: Router = Router::new()
    ///     .route("/greet", post(gateway.call::<Greet>()))
    ///     .route("/old/greet", post(gateway.call_on::<Greet>(&theirs)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When [`Call::EVENT`] is no event type.
    #[track_caller]
    pub fn call_on<C: Call + DeserializeOwned>(&self, topic: &Topic) -> Route<Calls<C>> {
        Route::new(self, topic.clone(), event_type(C::EVENT))
    }

    /// A route that sends each request to a topic and answers with the reply.
    ///
    /// ```
    /// # use axum::{Router, routing::{get, post}};
    /// # use streamerson_core::{Call, Topic, broker::memory::Memory, client::Client};
    /// # use streamerson_gateway::Gateway;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamerson_core::InvalidName> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// let orders = Topic::new("shop:orders")?;
    /// let app: Router = Router::new()
    ///     .route("/orders/{id}", get(gateway.request(&orders, "order.get").fail_fast(true)))
    ///     .route("/orders", post(gateway.request(&orders, "order.new").content_types(["application/json"])));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When `event` is no event type or one that the protocol reserves.
    #[track_caller]
    pub fn request<E>(&self, topic: &Topic, event: E) -> Route<Requests>
    where
        E: TryInto<EventType, Error: Display>,
    {
        Route::new(self, topic.clone(), event_type(event))
    }

    /// A route that emits each request to a topic as an event and answers 202 with the message's id.
    ///
    /// ```
    /// # use axum::{Router, routing::{get, post}};
    /// # use streamerson_core::{Call, Topic, broker::memory::Memory, client::Client};
    /// # use streamerson_gateway::Gateway;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamerson_core::InvalidName> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// let views = Topic::new("views")?;
    /// let app: Router = Router::new().route("/views", post(gateway.emit(&views, "page.viewed").body_bytes_max(4096)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When `event` is no event type or one that the protocol reserves.
    #[track_caller]
    pub fn emit<E>(&self, topic: &Topic, event: E) -> Route<Emits>
    where
        E: TryInto<EventType, Error: Display>,
    {
        Route::new(self, topic.clone(), event_type(event))
    }

    /// A route that sends each HTTP request whole to a topic, where a service that speaks HTTP answers it:
    /// `Consumer::serve_http` of the consumer crate, or anything that keeps to the protocol.
    ///
    /// Method, path, query, headers and body go as they came, as an event of the type [`EventType::HTTP`], and the
    /// response is the service's. So the path is the whole one, also under `nest`; nothing is asked of the body but its
    /// size; and the status that says a path or a method is not there is the service's own. Credentials are the
    /// exception: they pass once [`Route::forward_headers`] and [`Route::reply_headers`] name them. Responses come as one
    /// piece, and connections cannot be upgraded.
    ///
    /// ```
    /// # use axum::{Router, routing::any};
    /// # use streamerson_core::{Topic, broker::memory::Memory, client::Client};
    /// # use streamerson_gateway::Gateway;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamerson_core::InvalidName> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// let shop = Topic::new("shop")?;
    /// let shop = gateway.http(&shop).forward_headers(["*", "cookie"]).reply_headers(["*", "set-cookie"]);
    /// // `{*rest}` needs a rest, so what is above it is a path of its own, with and without a slash.
    /// let app: Router = ["/shop", "/shop/", "/shop/{*rest}"]
    ///     .into_iter()
    ///     .fold(Router::new(), |app, path| app.route(path, any(shop.clone())));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// As the fallback of a router it takes whatever is not served otherwise, so that a service can move piece by piece:
    /// `Router::new().route("/shop/cart", post(cart)).fallback(gateway.http(&shop))`.
    pub fn http(&self, topic: &Topic) -> Route<HttpRequests> {
        Route::of_whole_requests(self, topic.clone())
    }

    /// The client that the routes send with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns once no request with an [`Idempotency-Key`](crate::Idempotency) is under way, those included whose clients
    /// have hung up. To be awaited between the end of the server and [`Client::close`], or their replies would not be
    /// kept, and the bytes that are kept for them not counted. It takes two seconds more than the longest timeout of a route at
    /// most.
    pub async fn finished(&self) {
        self.keyed_requests.finished().await;
        self.keyed_requests.flush().await;
    }

    pub(crate) fn keyed_requests(&self) -> &KeyedRequests {
        &self.keyed_requests
    }
}

#[track_caller]
fn event_type<E: TryInto<EventType, Error: Display>>(event: E) -> EventType {
    let event = valid(event.try_into());
    valid(EventType::for_user(event.into_text()))
}

/// What the programmer wrote, or a panic that says which rule it breaks.
#[track_caller]
pub(crate) fn valid<T, E: Display>(parsed: Result<T, E>) -> T {
    // A closure would not be tracked to the caller.
    match parsed {
        Ok(valid) => valid,
        Err(error) => panic!("{error}"),
    }
}
