//! What is counted of requests, by the route that they take.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use streamerson_core::metrics::{Buckets, Counter, Histogram, Metric, Page, Source};

use super::exchange::{Exchange, FromConnection};
use crate::http::Outcome;

const REQUESTS: Metric = Metric::counter(
    "streamerson_gateway_requests_total",
    "Requests answered, by route, method, event type and status.",
);
const OUTCOMES: Metric = Metric::counter(
    "streamerson_gateway_outcomes_total",
    "What became of requests: passed-on, hung-up, or why the gateway answered itself.",
);
const IN_FLIGHT: Metric =
    Metric::gauge("streamerson_gateway_requests_in_flight", "Requests whose response was not sent to its end.");
const DURATION: Metric = Metric::histogram(
    "streamerson_gateway_request_duration_seconds",
    "Time from the head of a request to the head of its response.",
);

/// The counters of one route.
#[derive(Debug)]
pub(super) struct RouteMetrics {
    route: String,
    method: String,
    event: String,
    in_flight: AtomicU64,
    duration: Histogram,
    /// From 100 on, as far as a status can go.
    by_status: Box<[Counter]>,
    by_outcome: [OutcomeCounter; OUTCOMES_MAX],
}

/// Words for outcomes, at most: they are this crate's, which has some twenty.
const OUTCOMES_MAX: usize = 40;

/// The counter of one outcome, whose word it has from the first one on.
#[derive(Debug, Default)]
struct OutcomeCounter {
    word: OnceLock<&'static str>,
    requests: Counter,
}

impl RouteMetrics {
    pub(super) fn new(route: &str, method: &str, event: &str) -> Arc<Self> {
        Arc::new(Self {
            route: route.to_owned(),
            method: method.to_owned(),
            event: event.to_owned(),
            in_flight: AtomicU64::new(0),
            duration: Histogram::new(Buckets::LATENCIES),
            by_status: (100..1000).map(|_| Counter::new()).collect(),
            by_outcome: std::array::from_fn(|_| OutcomeCounter::default()),
        })
    }

    fn count_outcome(&self, outcome: &'static str) {
        let counter = self.by_outcome.iter().find(|counter| *counter.word.get_or_init(|| outcome) == outcome);
        if let Some(counter) = counter {
            counter.requests.add_one();
        }
    }

    /// Counts a request by what comes of answering it. It is in flight until its exchange has ended; without one, until
    /// there is a response.
    pub(super) async fn count(
        self: &Arc<Self>,
        exchange: Option<&Exchange>,
        answer: impl Future<Output = Response>,
    ) -> Response {
        let mut observed = Observed::begin(self);
        let in_flight = InFlight::begin(self);
        let _in_flight = match exchange {
            Some(exchange) => {
                exchange.hold_in_flight(in_flight);
                None
            }
            None => Some(in_flight),
        };
        let response = answer.await;
        let response = match exchange {
            Some(exchange) => exchange.bounded(response),
            None => response,
        };
        observed.answered = Some((response.status().as_u16(), outcome(&response)));
        response
    }

    /// How many requests have a response that was not sent to its end.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Source for RouteMetrics {
    fn write(&self, page: &mut Page) {
        let labels = [("route", &*self.route), ("method", &*self.method), ("event", &*self.event)];
        let [route, method, event] = labels;
        for (status, requests) in (100_u16..).zip(&self.by_status).filter(|(_, requests)| requests.get() > 0) {
            page.counter(&REQUESTS, &[route, method, event, ("status", &status.to_string())], requests);
        }
        for OutcomeCounter { word, requests } in &self.by_outcome {
            let Some(word) = word.get() else { break };
            page.counter(&OUTCOMES, &[route, method, event, ("outcome", word)], requests);
        }
        page.sample(&IN_FLIGHT, &labels, self.in_flight());
        page.histogram(&DURATION, &labels, &self.duration);
    }
}

/// A layer that counts what goes through it.
pub(super) async fn observe(State(route): State<Arc<RouteMetrics>>, request: Request, next: Next) -> Response {
    let exchange = exchange_of(&request);
    route.count(exchange.as_deref(), next.run(request)).await
}

/// The exchange that a request belongs to, if it came over a connection.
pub(super) fn exchange_of(request: &Request) -> Option<Arc<Exchange>> {
    request.extensions().get::<FromConnection>().map(|from| Arc::clone(&from.exchange))
}

fn outcome(response: &Response) -> &'static str {
    match response.extensions().get::<Outcome>() {
        Some(outcome) => outcome.as_str(),
        None => "passed-on",
    }
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<RouteMetrics>);

impl InFlight {
    fn begin(route: &Arc<RouteMetrics>) -> Self {
        route.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(route))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request under way; counted when it ends, also when the client hangs up and nothing comes of it.
struct Observed<'a> {
    route: &'a RouteMetrics,
    since: Instant,
    answered: Option<(u16, &'static str)>,
}

impl<'a> Observed<'a> {
    fn begin(route: &'a RouteMetrics) -> Self {
        Self { route, since: Instant::now(), answered: None }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let Some((status, outcome)) = self.answered else {
            // There is no status and no latency of what was not answered.
            return self.route.count_outcome("hung-up");
        };
        self.route.duration.observe_time(self.since.elapsed());
        if let Some(requests) = self.route.by_status.get(usize::from(status).wrapping_sub(100)) {
            requests.add_one();
        }
        self.route.count_outcome(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_tells_all_that_became_of_its_requests() {
        let route = RouteMetrics::new("/a\\\"b\n", "GET", "a.get");
        for answered in [Some((200, "passed-on")), Some((504, "timed-out")), None] {
            let mut observed = Observed::begin(&route);
            observed.answered = answered;
        }
        let in_flight = InFlight::begin(&route);
        let mut page = Page::default();
        route.write(&mut page);
        drop(in_flight);
        assert_eq!(route.in_flight(), 0);
        let text = page.to_string();
        let labels = r#"route="/a\\\"b\n",method="GET",event="a.get""#;
        for line in [
            "# TYPE streamerson_gateway_requests_total counter".to_owned(),
            format!("streamerson_gateway_requests_total{{{labels},status=\"504\"}} 1"),
            format!("streamerson_gateway_outcomes_total{{{labels},outcome=\"hung-up\"}} 1"),
            format!("streamerson_gateway_requests_in_flight{{{labels}}} 1"),
            format!("streamerson_gateway_request_duration_seconds_bucket{{{labels},le=\"10\"}} 2"),
            format!("streamerson_gateway_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
            format!("streamerson_gateway_request_duration_seconds_count{{{labels}}} 2"),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in:\n{text}");
        }
    }
}
