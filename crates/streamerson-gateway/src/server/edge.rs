//! What is done to every request and response, whatever the route.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header},
    middleware::Next,
    response::Response,
};
use streamerson_core::{MessageId, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    cors::Cors,
    exchange::{Exchange, FromConnection},
    metrics::{RouteMetrics, exchange_of},
    stage::Stage,
};
use crate::http::{Outcome, head_too_large, respond, strip_hop_by_hop};

/// What a request is called, by the client or by us.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that a client may give its request.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Where one line for each request goes, at the level debug.
const ACCESS_LOG: &str = "streamerson_gateway::access";

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) head_bytes_max: usize,
    pub(super) cors: Option<Cors>,
    /// Requests of one HTTP/2 connection that may be under way.
    pub(super) connection_requests_max: usize,
    /// A permit for each request that may be under way, its response included.
    pub(super) room: Arc<Semaphore>,
    /// Counts what never gets to a route.
    pub(super) unrouted: Arc<RouteMetrics>,
    pub(super) stage: watch::Receiver<Stage>,
}

/// A bound that keeps a request out.
#[derive(Debug, Clone, Copy)]
enum Overload {
    Requests,
    /// This many requests of one connection may be under way.
    Connection(usize),
    ResponseBytes,
}

/// A layer around all routes.
pub(super) async fn guard(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    // The request id names the response, also where the client's `Connection` names the header: a proxy may have set it.
    let (version, named) = (request.version(), request_id(request.headers()));
    // A head beyond its bound is refused below, and nothing else is done with it.
    if head_len(&request) <= edge.head_bytes_max {
        strip_hop_by_hop(&mut request);
    }
    let origin = edge.cors.as_ref().and_then(|cors| cors.allowed(request.headers()));
    let asked = Asked::of(&request, named.as_ref());
    let exchange = exchange_of(&request);
    let exchange = exchange.as_deref();
    let mut response = match (edge.answer(&request), edge.admit(exchange)) {
        (Some(response), _) => edge.unrouted.count(exchange, async { response }).await,
        (None, Ok(permit)) => {
            // The permit lasts as long as the response does, and not only until there is one.
            let _permit = match exchange {
                Some(exchange) => {
                    exchange.hold_permit(permit);
                    None
                }
                None => Some(permit),
            };
            let mut response = next.run(request).await;
            if edge.cors.is_some() {
                Cors::overrule(response.headers_mut());
            }
            response
        }
        (None, Err(overload)) => edge.unrouted.count(exchange, async { overload.response() }).await,
    };
    name(&mut response, named);
    if let Some(cors) = &edge.cors {
        cors.stamp(response.headers_mut(), origin);
    }
    // The client learns with its last response that the connection ends, and not by sending the next request into it.
    // HTTP/2 has a frame for that.
    if version < Version::HTTP_2 && (*edge.stage.borrow() >= Stage::Draining || is_last(&response)) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(mut asked) = asked {
        asked.log(Some(&response));
    }
    response
}

impl Edge {
    /// The response to what is not for a route.
    fn answer(&self, request: &Request) -> Option<Response> {
        if head_len(request) > self.head_bytes_max {
            return Some(respond(head_too_large(), &MessageId::unique(), Outcome("head-too-large")));
        }
        if !names_one_host(request) {
            let problem = Problem::new(StatusCode::BAD_REQUEST).with_detail("there must be one header Host");
            return Some(respond(problem, &MessageId::unique(), Outcome("no-host")));
        }
        if !is_only_chunked(request.headers()) {
            let problem = Problem::new(StatusCode::NOT_IMPLEMENTED);
            let problem = problem.with_detail("of transfer codings there is chunked, once");
            return Some(respond(problem, &MessageId::unique(), Outcome("transfer-coding")));
        }
        self.cors.as_ref().and_then(|cors| cors.preflight(request))
    }

    /// Lets a request in while there is room for it and for its response, and its connection has room for it.
    fn admit(&self, exchange: Option<&Exchange>) -> Result<OwnedSemaphorePermit, Overload> {
        if exchange.is_some_and(|exchange| !exchange.has_room()) {
            return Err(Overload::ResponseBytes);
        }
        let open = exchange.and_then(Exchange::open_on_connection);
        if open.is_some_and(|open| open > self.connection_requests_max) {
            return Err(Overload::Connection(self.connection_requests_max));
        }
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| Overload::Requests)
    }
}

impl Overload {
    fn response(self) -> Response {
        let detail = match self {
            Self::Requests => "too many requests are under way".to_owned(),
            Self::Connection(max) => format!(
                "too many requests of this connection are under way: at most {max}, those that run on after their stream was \
                 reset included"
            ),
            Self::ResponseBytes => "too many response bytes are waiting for clients".to_owned(),
        };
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail).with("reason", "overloaded");
        respond(problem, &MessageId::unique(), Outcome("overloaded"))
    }
}

/// Whether nobody knows where the next request begins: this one was answered while it was still under way, or somebody else
/// may understand it in another way.
fn is_last(response: &Response) -> bool {
    let outcome = response.extensions().get::<Outcome>().map(|outcome| outcome.as_str());
    matches!(outcome, Some("body-stalled" | "body-too-large" | "body-cut" | "no-host" | "transfer-coding"))
}

/// About as long as it was on the wire.
fn head_len(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    // Two for the colon and the space, two for the end of the line.
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.method().as_str().len() + target + headers.sum::<usize>()
}

/// Of HTTP/1.1 there must be just one (RFC 9112, section 3.2): with two, programs in front and behind may each believe
/// another. HTTP/2 says it in the target.
fn names_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    match request.version() {
        Version::HTTP_11 => hosts == 1,
        _ => hosts <= 1,
    }
}

/// A coding beside it would have to be undone before anybody could read the body (RFC 9112, section 6.1).
fn is_only_chunked(request: &HeaderMap) -> bool {
    let mut codings = request.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// The name that a client gave its request, if it can be repeated.
fn request_id(request: &HeaderMap) -> Option<HeaderValue> {
    let mut values = request.get_all(REQUEST_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let is_name =
        (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    is_name.then(|| value.clone())
}

/// Says what the request is called, unless the reply does: as the client named it, or as the message is named.
fn name(response: &mut Response, named: Option<HeaderValue>) {
    // What has no message has an id all the same.
    let id = || response.extensions().get().cloned().unwrap_or_else(MessageId::unique);
    if let Some(named) = named.or_else(|| HeaderValue::from_str(id().as_str()).ok()) {
        response.headers_mut().entry(REQUEST_ID).or_insert(named);
    }
}

/// What the access log says of a request, once it was answered or its client has hung up. Queries and headers other than
/// the request id are left out: they hold secrets now and then.
struct Asked {
    client: Option<SocketAddr>,
    method: Method,
    uri: Uri,
    version: Version,
    /// The request id, where the client sent one.
    request_id: Option<HeaderValue>,
    since: Instant,
    is_logged: bool,
}

impl Asked {
    /// `None` when nobody reads the log.
    fn of(request: &Request, request_id: Option<&HeaderValue>) -> Option<Self> {
        tracing::enabled!(target: ACCESS_LOG, tracing::Level::DEBUG).then(|| Self {
            client: request.extensions().get().map(|from: &FromConnection| from.client),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            request_id: request_id.cloned(),
            since: Instant::now(),
            is_logged: false,
        })
    }

    fn log(&mut self, response: Option<&Response>) {
        let extensions = response.map(Response::extensions);
        let outcome =
            extensions.map(|extensions| extensions.get().map_or("passed-on", |outcome: &Outcome| outcome.as_str()));
        tracing::debug!(
            target: ACCESS_LOG,
            client = self.client.map(tracing::field::display),
            method = %self.method,
            path = self.uri.path(),
            version = ?self.version,
            status = response.map(|response| response.status().as_u16()),
            id = extensions.and_then(|extensions| extensions.get()).map(MessageId::as_str),
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            outcome = outcome.unwrap_or("hung-up"),
            took = ?self.since.elapsed(),
            "request"
        );
        self.is_logged = true;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_logged {
            self.log(None);
        }
    }
}

pub(super) async fn not_found() -> Response {
    let problem = Problem::new(StatusCode::NOT_FOUND).with_detail("there is nothing at this path");
    respond(problem, &MessageId::unique(), Outcome("not-found"))
}

/// The router adds `Allow`.
pub(super) async fn method_not_allowed() -> Response {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED).with_detail("this path does not take this method");
    respond(problem, &MessageId::unique(), Outcome("method-not-allowed"))
}
