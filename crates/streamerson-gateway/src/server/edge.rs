//! What is done to every request and response, whatever the route.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use streamerson_core::{MessageId, Problem};
use tokio::sync::watch;

use super::{cors::Cors, metrics::RouteMetrics, stage::Stage};
use crate::http::{Outcome, head_too_large, respond};

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) head_bytes_max: usize,
    pub(super) cors: Option<Cors>,
    /// Counts what never gets to a route.
    pub(super) unrouted: Arc<RouteMetrics>,
    pub(super) stage: watch::Receiver<Stage>,
}

/// A layer around all routes.
pub(super) async fn guard(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let origin = edge.cors.as_ref().and_then(|cors| cors.allowed(request.headers()));
    let mut response = match edge.answer(&request) {
        Some(response) => edge.unrouted.count(async { response }).await,
        None => next.run(request).await,
    };
    if let Some(cors) = &edge.cors {
        cors.stamp(response.headers_mut(), origin);
    }
    // The client learns with its last response that the connection ends, and not by sending the next request into it.
    if *edge.stage.borrow() >= Stage::Draining {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Edge {
    /// The response to what is not for a route.
    fn answer(&self, request: &Request) -> Option<Response> {
        if head_len(request) > self.head_bytes_max {
            return Some(respond(head_too_large(), &MessageId::unique(), Outcome("head-too-large")));
        }
        self.cors.as_ref().and_then(|cors| cors.preflight(request))
    }
}

/// About as long as it was on the wire.
fn head_len(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    // Two for the colon and the space, two for the end of the line.
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.method().as_str().len() + target + headers.sum::<usize>()
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
