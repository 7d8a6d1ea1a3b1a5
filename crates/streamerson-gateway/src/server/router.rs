//! From a configuration to a router.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    handler::Handler,
    http::HeaderName,
    middleware::from_fn_with_state,
    routing::{MethodRouter, on},
};
use streamerson_core::client::Client;
use tokio::sync::watch;

use super::{
    config::{Config, Mode, RouteConfig},
    cors::Cors,
    edge::{Edge, guard, method_not_allowed, not_found},
    metrics::{RouteMetrics, observe},
    stage::Stage,
};
use crate::{Gateway, Route, http::REPLY_HEADERS};

/// The router of all routes, and the counters of each. There is one client for each upstream, in their order.
///
/// Nothing in it panics, since the configuration was read by the rules of the router and of the routes.
pub(super) fn router<B: fmt::Display>(
    config: &Config<B>,
    clients: &[Client],
    stage: watch::Receiver<Stage>,
) -> (Router, Vec<Arc<RouteMetrics>>) {
    let mut router = Router::new();
    let mut metrics = Vec::new();
    for route in &config.routes {
        let counted = RouteMetrics::new(&route.path, route.method.as_str());
        let handler = handler(route, &clients[route.upstream]).layer(from_fn_with_state(counted.clone(), observe));
        router = router.route(&route.path, handler);
        metrics.push(counted);
    }
    // Paths that are no route's are the world's to invent, so they share one set of counters.
    let unrouted = RouteMetrics::new("(none)", "(any)");
    let count = || from_fn_with_state(unrouted.clone(), observe);
    let router =
        router.fallback(not_found.layer(count())).method_not_allowed_fallback(method_not_allowed.layer(count()));
    let edge = Edge {
        head_bytes_max: config.limits.head_bytes_max,
        cors: config.cors_origins.clone().map(|origins| cors(origins, &config.routes)),
        unrouted: unrouted.clone(),
        stage,
    };
    metrics.push(unrouted);
    (router.layer(from_fn_with_state(Arc::new(edge), guard)), metrics)
}

fn handler(route: &RouteConfig, client: &Client) -> MethodRouter {
    let gateway = Gateway::new(client.clone());
    match &route.mode {
        Mode::Request { reply_headers, fail_fast } => {
            let mut made = set_up(gateway.request(&route.topic, route.event.clone()), route).fail_fast(*fail_fast);
            if let Some(names) = reply_headers {
                made = made.reply_headers(names);
            }
            on(route.filter, made)
        }
        Mode::Emit => on(route.filter, set_up(gateway.emit(&route.topic, route.event.clone()), route)),
    }
}

/// What all modes have in common.
fn set_up<K>(made: Route<K>, route: &RouteConfig) -> Route<K> {
    let made = made.timeout(route.timeout).forward_headers(&route.forward_headers).body_bytes_max(route.body_bytes_max);
    match &route.content_types {
        Some(types) => made.content_types(types),
        None => made,
    }
}

fn cors(origins: Vec<axum::http::HeaderValue>, routes: &[RouteConfig]) -> Cors {
    let reply_headers = routes.iter().flat_map(|route| match &route.mode {
        Mode::Request { reply_headers: Some(names), .. } => names.clone(),
        Mode::Request { reply_headers: None, .. } => REPLY_HEADERS.iter().map(HeaderName::to_string).collect(),
        Mode::Emit => Vec::new(),
    });
    Cors::new(origins, routes.iter().map(|route| &route.method), reply_headers)
}
