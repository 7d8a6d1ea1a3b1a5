//! What operators ask: is it alive, is it ready, what has it done.

use std::sync::{Arc, Weak};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use streamerson_core::{
    Metrics, SharedBroker,
    client::Client,
    metrics::{Metric, Page, Source},
};
use tokio::sync::watch;

use super::{metrics::RouteMetrics, stage::Stage};

const PENDING: Metric = Metric::gauge("streamerson_gateway_pending_calls", "Requests that wait for their reply.");

/// What the answers are made of.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) metrics: Metrics,
    pub(super) brokers: Vec<Arc<WatchedBroker>>,
    pub(super) routes: Vec<Arc<RouteMetrics>>,
    pub(super) stage: watch::Receiver<Stage>,
}

#[derive(Debug)]
pub(super) struct WatchedBroker {
    /// Its address, without a password.
    pub(super) address: String,
    pub(super) broker: SharedBroker,
    /// All that send over it.
    pub(super) clients: Vec<Client>,
}

impl Watched {
    /// How many requests are being answered.
    pub(super) fn in_flight(&self) -> u64 {
        self.routes.iter().map(|route| route.in_flight()).sum()
    }
}

impl WatchedBroker {
    fn is_up(&self) -> bool {
        self.broker.health().borrow().is_up()
    }
}

pub(super) fn router(watched: Arc<Watched>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(watched)
}

/// Whether requests can be passed on: 200, or 503 with what is in the way.
async fn readyz(State(watched): State<Arc<Watched>>) -> Response {
    #[derive(Serialize)]
    struct Readiness<'a> {
        ready: bool,
        draining: bool,
        unreachable: Vec<&'a str>,
    }

    let draining = *watched.stage.borrow() >= Stage::Draining;
    let down = watched.brokers.iter().filter(|broker| !broker.is_up());
    let unreachable: Vec<_> = down.map(|broker| broker.address.as_str()).collect();
    let ready = !draining && unreachable.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Texts and flags always have a JSON form.
    let json = serde_json::to_vec(&Readiness { ready, draining, unreachable }).unwrap_or_default();
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], json).into_response();
    if !ready {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

async fn metrics(State(watched): State<Arc<Watched>>) -> Response {
    ([(header::CONTENT_TYPE, Metrics::MEDIA_TYPE)], watched.metrics.scrape().await).into_response()
}

/// The calls that wait at one broker. Weak, since the broker counts in the same metrics that this is shown by.
#[derive(Debug)]
pub(super) struct PendingCalls(pub(super) Weak<WatchedBroker>);

impl Source for PendingCalls {
    fn write(&self, page: &mut Page) {
        let Some(watched) = self.0.upgrade() else { return };
        let pending: usize = watched.clients.iter().map(Client::pending).sum();
        page.sample(&PENDING, &[("broker", &watched.address)], pending);
    }
}
