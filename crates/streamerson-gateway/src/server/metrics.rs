//! What is counted, and how Prometheus reads it.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::http::Outcome;

/// Upper bounds of the histogram's buckets, in seconds; one more holds the rest.
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The counters of one route.
#[derive(Debug)]
pub(super) struct RouteMetrics {
    /// `route="…",method="…"`, written once.
    labels: String,
    in_flight: AtomicU64,
    // Held for a few additions, once for each request.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_status: BTreeMap<u16, u64>,
    by_outcome: BTreeMap<&'static str, u64>,
    /// How many took longer than the bucket before, and no longer than this one.
    by_bucket: [u64; BUCKETS.len()],
    requests: u64,
    total: Duration,
}

impl RouteMetrics {
    pub(super) fn new(route: &str, method: &str) -> Arc<Self> {
        let labels = format!("route={},method={}", quoted(route), quoted(method));
        Arc::new(Self { labels, in_flight: AtomicU64::new(0), counts: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Numbers are whole whatever panics elsewhere.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request by what comes of answering it.
    pub(super) async fn count(&self, answer: impl Future<Output = Response>) -> Response {
        let mut observed = Observed::begin(self);
        let response = answer.await;
        observed.answered = Some((response.status().as_u16(), outcome(&response)));
        response
    }

    /// How many requests are being answered.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// A layer that counts what goes through it.
pub(super) async fn observe(State(route): State<Arc<RouteMetrics>>, request: Request, next: Next) -> Response {
    route.count(next.run(request)).await
}

fn outcome(response: &Response) -> &'static str {
    match response.extensions().get::<Outcome>() {
        Some(outcome) => outcome.as_str(),
        None => "passed-on",
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
        route.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { route, since: Instant::now(), answered: None }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        self.route.in_flight.fetch_sub(1, Ordering::Relaxed);
        let took = self.since.elapsed();
        let mut counts = self.route.lock();
        let Some((status, outcome)) = self.answered else {
            // There is no status and no latency of what was not answered.
            *counts.by_outcome.entry("hung-up").or_default() += 1;
            return;
        };
        *counts.by_status.entry(status).or_default() += 1;
        *counts.by_outcome.entry(outcome).or_default() += 1;
        counts.requests += 1;
        counts.total += took;
        if let Some(bucket) = BUCKETS.iter().position(|bound| took.as_secs_f64() <= *bound) {
            counts.by_bucket[bucket] += 1;
        }
    }
}

/// A page in the text format of Prometheus, version 0.0.4.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a metric; its samples follow.
    pub(super) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl fmt::Display) {
        match labels {
            "" => self.line(format_args!("{name} {value}")),
            labels => self.line(format_args!("{name}{{{labels}}} {value}")),
        }
    }

    /// All that is known of the routes.
    pub(super) fn routes(&mut self, routes: &[Arc<RouteMetrics>]) {
        const REQUESTS: &str = "streamerson_gateway_requests_total";
        self.metric(REQUESTS, "counter", "Requests answered, by route, method and status.");
        for route in routes {
            for (status, requests) in &route.lock().by_status {
                self.sample(REQUESTS, &format!("{},status=\"{status}\"", route.labels), requests);
            }
        }
        const OUTCOMES: &str = "streamerson_gateway_outcomes_total";
        self.metric(
            OUTCOMES,
            "counter",
            "What became of requests: passed-on, hung-up, or why the gateway answered itself.",
        );
        for route in routes {
            for (outcome, requests) in &route.lock().by_outcome {
                self.sample(OUTCOMES, &format!("{},outcome=\"{outcome}\"", route.labels), requests);
            }
        }
        const IN_FLIGHT: &str = "streamerson_gateway_requests_in_flight";
        self.metric(IN_FLIGHT, "gauge", "Requests that are being answered.");
        for route in routes {
            self.sample(IN_FLIGHT, &route.labels, route.in_flight());
        }
        const DURATION: &str = "streamerson_gateway_request_duration_seconds";
        self.metric(DURATION, "histogram", "Time from the head of a request to the head of its response.");
        for route in routes {
            self.histogram(DURATION, route);
        }
    }

    fn histogram(&mut self, name: &str, route: &RouteMetrics) {
        let (labels, counts) = (&route.labels, route.lock());
        let (bucket, mut so_far) = (format!("{name}_bucket"), 0);
        for (bound, requests) in BUCKETS.iter().zip(&counts.by_bucket) {
            so_far += requests;
            self.sample(&bucket, &format!("{labels},le=\"{bound}\""), so_far);
        }
        self.sample(&bucket, &format!("{labels},le=\"+Inf\""), counts.requests);
        self.sample(&format!("{name}_sum"), labels, counts.total.as_secs_f64());
        self.sample(&format!("{name}_count"), labels, counts.requests);
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        _ = writeln!(self.0, "{text}");
    }
}

/// The value of a label, as the format wants it.
pub(super) fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_everything_in_the_text_format() {
        let route = RouteMetrics::new("/a\\\"b\n", "GET");
        for answered in [Some((200, "passed-on")), Some((504, "timed-out")), None] {
            let mut observed = Observed::begin(&route);
            observed.answered = answered;
        }
        let under_way = Observed::begin(&route);
        let mut page = Page::default();
        page.routes(std::slice::from_ref(&route));
        drop(under_way);
        let text = page.into_text();
        let labels = r#"route="/a\\\"b\n",method="GET""#;
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
