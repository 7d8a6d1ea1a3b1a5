//! What all routes have in common: a topic, an event type and settings.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    extract::Request,
    http::{Extensions, HeaderName, header},
};
use bytes::Bytes;
use streamerson_core::{EventType, Headers, Topic, client::Client, mark_budget::MarkBudget, shards::Shards};
use tokio::time::Instant;

use super::{
    allow_list::AllowList,
    body::{self, Check, Payload},
    forward,
    hop_by_hop::{self, HeaderUse},
    idempotency::{Idempotency, Key, KeyedRequests},
    refusal::Refusal,
    shard_key::ShardKey,
};
use crate::gateway::{Gateway, valid};

/// Longest body unless a route says otherwise, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Where a timeout ends that is longer than the clock goes.
pub(super) const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// An axum handler that hands HTTP requests to the consumers of a topic, made by a [`Gateway`](crate::Gateway).
///
/// `K` is what it does with them: [`Calls<C>`](crate::Calls), [`Requests`](crate::Requests),
/// [`HttpRequests`](crate::HttpRequests) or [`Emits`](crate::Emits).
///
/// # What is forwarded
///
/// The body becomes the payload. The message's headers are `http.method`, `http.path` and `http.query` as they came
/// (the whole path, also under `nest`), `http.param.<name>` for each path parameter, percent-decoded and with its name in
/// lower case, `content-type`, `traceparent` and `tracestate`, and `http.header.<name>` for those that
/// [`Route::forward_headers`] names.
///
/// From [`HttpRequests`](crate::HttpRequests) there are no parameters, as the service has a router of its own, and every
/// HTTP header goes that is neither a credential nor of the connection.
///
/// # What comes back
///
/// From [`Emits`](crate::Emits), 202 with the message's id. From the others, the reply: the consumer's status, never
/// another; without one 200, or 204 for an empty reply. Its payload, as
/// `application/json` unless its `content-type` says otherwise, and those of its `http.header.<name>` that
/// [`Route::reply_headers`] names. To [`HttpRequests`](crate::HttpRequests) a reply is a whole response: all headers that
/// are neither a credential nor of the connection pass, and it has no content type where it names none.
///
/// Where there is no reply, a problem document with the message's `id`:
///
/// | status | |
/// |---|---|
/// | 400 | the body is not the JSON that its content type says it is, or was cut short; a parameter or header is not UTF-8; the key of a [sharded](Route::sharded) route is missing; `Connection` names a header that the route needs |
/// | 409, 422 | a request with this key [is under way](crate::Idempotency), or was another |
/// | 408 | the body did not arrive within the timeout |
/// | 413 | the body is larger than [`Route::body_bytes_max`] |
/// | 415 | the body's type is not one of [`Route::content_types`], or not the JSON that a contract asks for |
/// | 422 | the body is JSON but not what a contract asks for |
/// | 431 | what is forwarded beside the body takes more than 16 KiB |
/// | 502 | a reply came that breaks the protocol |
/// | 503 | the broker is down, the backlog full, no consumer there, or no room for another [idempotency key](crate::Idempotency); with `Retry-After` |
/// | 504 | no reply came in time; the request may still run |
///
/// A client that hangs up is forgotten at once: the response's future is dropped, and the pending call with it.
#[must_use = "a route does nothing until it is mounted in a Router"]
pub struct Route<K> {
    pub(super) settings: Arc<Settings>,
    kind: PhantomData<fn() -> K>,
}

/// One allocation for each route, shared by the requests that it handles.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) client: Client,
    pub(super) keyed_requests: KeyedRequests,
    pub(super) topic: Topic,
    shards: Option<(Shards, ShardKey)>,
    pub(super) event: EventType,
    pub(super) timeout: Duration,
    pub(super) fail_fast: bool,
    /// Whether the whole request goes and a whole response comes back.
    pub(super) whole: bool,
    pub(super) reply_headers: AllowList,
    pub(super) idempotency: Option<Idempotency>,
    /// The bound of the marks of requests with a key, made with the first of them.
    pub(super) marks: Arc<OnceLock<MarkBudget>>,
    forward_headers: AllowList,
    body_bytes_max: usize,
    content_types: Option<Arc<[Box<str>]>>,
}

/// What a route does that waits for a reply: [`Requests`](crate::Requests), [`Calls<C>`](crate::Calls) and
/// [`HttpRequests`](crate::HttpRequests).
pub trait Answered: sealed::Sealed {}

pub(super) mod sealed {
    pub trait Sealed {}
}

impl<K> Route<K> {
    pub(crate) fn new(gateway: &Gateway, topic: Topic, event: EventType) -> Self {
        let client = gateway.client().clone();
        let settings = Settings {
            timeout: client.timeout(),
            client,
            keyed_requests: gateway.keyed_requests().clone(),
            topic,
            shards: None,
            event,
            fail_fast: false,
            whole: false,
            reply_headers: AllowList::of_replies(),
            idempotency: None,
            marks: Arc::default(),
            forward_headers: AllowList::default(),
            body_bytes_max: BODY_BYTES_MAX,
            content_types: None,
        };
        Self { settings: Arc::new(settings), kind: PhantomData }
    }

    /// One that passes requests on as they are.
    pub(crate) fn of_whole_requests(gateway: &Gateway, topic: Topic) -> Self {
        Self::new(gateway, topic, EventType::HTTP).set(|settings| {
            settings.whole = true;
            settings.forward_headers = AllowList::of_the_rest();
            settings.reply_headers = AllowList::of_the_rest();
        })
    }

    /// How long the whole request may take, the arrival of its body included; the client's own timeout by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|settings| {
            settings.timeout = timeout;
            // The bytes of a request's marks are counted for as long.
            settings.marks = Arc::default();
        })
    }

    /// The HTTP headers that consumers get to see, instead of none; for [`HttpRequests`](crate::HttpRequests), instead of
    /// `*`.
    ///
    /// `*` stands for all but credentials, which are `authorization` and `cookie`: `["*", "cookie"]` is all with cookies.
    /// Whatever passes is kept in the broker for a while, and in dead letters for longer.
    ///
    /// What a layer puts into the request passes as well, so that an application tells consumers who is asking:
    ///
    /// ```
    /// # use axum::{Router, extract::Request, middleware, routing::get, http::HeaderValue};
    /// # use streamerson_core::{Topic, broker::memory::Memory, client::Client};
    /// # use streamerson_gateway::Gateway;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamerson_core::InvalidName> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// async fn identify(mut request: Request) -> Request {
    ///     // Whatever the client says of itself is overwritten.
    ///     request.headers_mut().insert("x-user", HeaderValue::from_static("ann"));
    ///     request
    /// }
    ///
    /// let orders = Topic::new("orders")?;
    /// let route = gateway.request(&orders, "order.get").forward_headers(["x-user", "accept-language"]);
    /// let app: Router = Router::new().route("/orders/{id}", get(route)).layer(middleware::map_request(identify));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Repeated ones are [joined](streamerson_core::http_header::join). Cookies and credentials pass when they are named.
    /// A value that is not UTF-8 is answered with 400, and so is a request whose `Connection` names one of these headers, or
    /// `traceparent` or `tracestate` that it has: a client could have a header removed that a proxy or a layer has set.
    ///
    /// # Panics
    ///
    /// When a name is no header name, or one that belongs to the connection: `Connection`, `Keep-Alive`, `TE`, `Trailer`,
    /// `Transfer-Encoding`, `Upgrade`, `Proxy-*`, `Content-Length`, `Expect`.
    #[track_caller]
    pub fn forward_headers<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = valid(AllowList::parse(names));
        self.set(|settings| settings.forward_headers = names)
    }

    /// Longest body, in bytes; 262,144 by default. The topic's own bound on payloads holds as well.
    pub fn body_bytes_max(self, bytes: usize) -> Self {
        self.set(|settings| settings.body_bytes_max = bytes)
    }

    /// The media types that a body may have, as `type/subtype`; any by default. A request without a body needs none.
    pub fn content_types<T: AsRef<str>>(self, types: impl IntoIterator<Item = T>) -> Self {
        let types = types.into_iter().map(|media_type| essence(media_type.as_ref()).into()).collect();
        self.set(|settings| settings.content_types = Some(types))
    }

    /// Handles requests with the same `Idempotency-Key` once, and answers them alike. By default the header means nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use axum::{Router, routing::post};
    /// # use streamerson_core::{Topic, broker::memory::Memory, client::Client};
    /// # use streamerson_gateway::{Gateway, Idempotency};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamerson_core::InvalidName> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// let orders = Topic::new("orders")?;
    /// let once = Idempotency::within(Duration::from_secs(3600)).principal("authorization").required(true);
    /// let app: Router = Router::new().route("/orders", post(gateway.request(&orders, "order.new").idempotent(once)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotent(self, idempotency: Idempotency) -> Self {
        self.set(|settings| {
            settings.idempotency = Some(idempotency);
            // A route that this one was cloned from may have another bound.
            settings.marks = Arc::default();
        })
    }

    /// Sends each request to the shard of its key, of a topic that is in so many.
    ///
    /// A request without that key is answered with 400. All producers and consumers of the topic have to mean the same
    /// number; [`Shards::agree`] says whether they do, before anything is sent.
    ///
    /// ```
    /// # use axum::{Router, routing::post};
    /// # use streamerson_core::{Topic, broker::memory::Memory, client::Client};
    /// # use streamerson_gateway::{Gateway, ShardKey};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let gateway = Gateway::new(Client::new(Memory::new()));
    /// use streamerson_core::shards::Shards;
    ///
    /// let orders = Topic::new("orders")?;
    /// let route = gateway.request(&orders, "order.new").sharded(Shards::new(orders.clone(), 16)?, ShardKey::param("customer"));
    /// let app: Router = Router::new().route("/customers/{customer}/orders", post(route));
    /// # Ok(())
    /// # }
    /// ```
    pub fn sharded(self, shards: Shards, key: ShardKey) -> Self {
        self.set(|settings| {
            settings.topic = shards.topic().clone();
            settings.shards = Some((shards, key));
            settings.marks = Arc::default();
        })
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<K: Answered> Route<K> {
    /// The HTTP headers that replies may set, instead of `location`, `etag`, `cache-control`, `retry-after` and
    /// `last-modified`; for [`HttpRequests`](crate::HttpRequests), instead of `*`.
    ///
    /// `*` stands for all but credentials, which here are `set-cookie`: `["*", "set-cookie"]` lets replies set cookies.
    ///
    /// # Panics
    ///
    /// As [`Route::forward_headers`].
    #[track_caller]
    pub fn reply_headers<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = valid(AllowList::parse(names));
        self.set(|settings| settings.reply_headers = names)
    }

    /// Whether to answer 503 at once while no consumer is there, rather than wait for one until the timeout.
    /// Not on topics in the [original's format](streamerson_core::wire::WireFormat::Js), where nobody can tell.
    pub fn fail_fast(self, fail_fast: bool) -> Self {
        self.set(|settings| settings.fail_fast = fail_fast)
    }
}

impl<K> Clone for Route<K> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Route<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What is sent of a request.
pub(super) struct Accepted {
    /// Where it goes, if not to the topic itself.
    pub(super) shard: Option<Topic>,
    pub(super) headers: Headers,
    pub(super) payload: Bytes,
    /// The extensions of the HTTP request. Layers leave permits and the like there, which must last as long as the work on
    /// the request does, and not only until its client hangs up.
    pub(super) extensions: Extensions,
}

impl Settings {
    /// The idempotency key that a request has, if the route takes keys.
    ///
    /// Headers that `Connection` names are removed here, and `Host` is set to the authority of the target, before any header
    /// is read.
    pub(super) fn key_of(&self, request: &mut Request) -> Result<Option<Key>, Refusal> {
        hop_by_hop::strip(request);
        hop_by_hop::check(request, |header| self.use_of(header))?;
        forward::set_host(request);
        match &self.idempotency {
            Some(idempotency) => idempotency.key_of(request.headers(), &self.topic, &self.event),
            None => Ok(None),
        }
    }

    /// How the route uses a header.
    fn use_of(&self, header: &HeaderName) -> HeaderUse {
        let is_needed = *header == header::CONTENT_TYPE
            || self.forward_headers.names(header)
            || self.idempotency.as_ref().is_some_and(|idempotency| idempotency.relies_on(header))
            || self.shards.as_ref().is_some_and(|(_, key)| key.is_header(header));
        match () {
            () if is_needed => HeaderUse::Needed,
            () if self.forward_headers.takes_unnamed(header) || forward::is_trace_context(header) => {
                HeaderUse::ForwardedIfSent
            }
            () => HeaderUse::Ignored,
        }
    }

    /// When a request that begins now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.timeout).unwrap_or(now + FOR_EVER)
    }

    /// What is sent of a request that passes every check.
    pub(super) async fn accept(&self, request: Request, check: Check) -> Result<Accepted, Refusal> {
        let (mut parts, body) = request.into_parts();
        let shard = match &self.shards {
            Some((shards, key)) => Some(shards.of(key.of(&mut parts).await?)),
            None => None,
        };
        let announced = body::announced_len(&parts.headers, &body);
        let headers = forward::message_headers(&mut parts, &self.forward_headers, !self.whole).await?;
        let media_type = headers.get(Headers::CONTENT_TYPE);
        let bytes = if self.takes(media_type) {
            body::read(body, announced, self.body_bytes_max, self.timeout).await?
        } else {
            // Of a body that is none a type says nothing.
            body::read(body, announced, 0, self.timeout).await.map_err(|refusal| match refusal {
                Refusal::BodyTooLarge => Refusal::MediaType,
                other => other,
            })?
        };
        check(Payload { method: &parts.method, media_type, bytes: &bytes })?;
        Ok(Accepted { shard, headers, payload: bytes, extensions: parts.extensions })
    }

    fn takes(&self, media_type: Option<&str>) -> bool {
        let Some(types) = &self.content_types else { return true };
        let is_listed = |sent: &str| types.iter().any(|listed| listed.eq_ignore_ascii_case(essence(sent)));
        media_type.is_some_and(is_listed)
    }
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}
