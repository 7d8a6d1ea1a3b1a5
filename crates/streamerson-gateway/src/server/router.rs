//! From a configuration to a router.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    handler::Handler,
    http::HeaderName,
    middleware::from_fn_with_state,
    routing::{MethodRouter, any, on},
};
use tokio::sync::{Semaphore, watch};

use super::{
    config::{Config, Methods, Mode, RouteConfig},
    cors::Cors,
    edge::{Edge, guard, method_not_allowed, not_found},
    metrics::{RouteMetrics, observe},
    stage::Stage,
};
use crate::{
    Answered, Gateway, Route,
    http::{REPLY_HEADERS, THE_REST},
};

/// The router of all routes, and the counters of each. There is one gateway for each upstream, in their order.
///
/// Nothing in it panics, since the configuration was read by the rules of the router and of the routes.
pub(super) fn router<B: fmt::Display>(
    config: &Config<B>,
    gateways: &[Gateway],
    stage: watch::Receiver<Stage>,
) -> (Router, Vec<Arc<RouteMetrics>>) {
    let mut router = Router::new();
    let mut metrics = Vec::new();
    for route in &config.routes {
        let counted = RouteMetrics::new(&route.path, route.methods.as_str(), &route.event);
        let handler = handler(route, &gateways[route.upstream]).layer(from_fn_with_state(counted.clone(), observe));
        for path in std::iter::once(&route.path).chain(&route.also) {
            router = router.route(path, handler.clone());
        }
        metrics.push(counted);
    }
    // Paths that are no route's are the world's to invent, so they share one set of counters.
    let unrouted = RouteMetrics::new("(none)", "(any)", "(none)");
    let count = || from_fn_with_state(unrouted.clone(), observe);
    let router =
        router.fallback(not_found.layer(count())).method_not_allowed_fallback(method_not_allowed.layer(count()));
    let edge = Edge {
        head_bytes_max: config.limits.head_bytes_max,
        cors: config.cors_origins.clone().map(|origins| cors(origins, &config.routes)),
        connection_requests_max: connection_requests_max(config.limits.http2.streams_max),
        unrouted: unrouted.clone(),
        room: Arc::new(Semaphore::new(config.limits.requests_max.min(Semaphore::MAX_PERMITS))),
        stage,
    };
    metrics.push(unrouted);
    (router.layer(from_fn_with_state(Arc::new(edge), guard)), metrics)
}

/// Requests of one HTTP/2 connection that may be under way, where it may have this many streams.
///
/// Twice as many, since a request outlives its stream when that is reset: with an idempotency key until it ends, and else for
/// a moment, within which a client may reset all of its streams and open as many others.
fn connection_requests_max(streams_max: u32) -> usize {
    usize::try_from(streams_max).unwrap_or(usize::MAX).saturating_mul(2)
}

fn handler(route: &RouteConfig, gateway: &Gateway) -> MethodRouter {
    let event = || route.event.clone();
    match &route.mode {
        Mode::Request { reply_headers, fail_fast } => {
            let made = set_up(gateway.request(&route.topic, event()), route);
            take(&route.methods, set_up_reply(made, reply_headers.as_deref(), *fail_fast))
        }
        Mode::Emit => take(&route.methods, set_up(gateway.emit(&route.topic, event()), route)),
        Mode::Http { reply_headers, fail_fast } => {
            let made = set_up(gateway.http(&route.topic), route);
            take(&route.methods, set_up_reply(made, reply_headers.as_deref(), *fail_fast))
        }
    }
}

/// What all modes have in common.
fn set_up<K>(made: Route<K>, route: &RouteConfig) -> Route<K> {
    let made = made.timeout(route.timeout).body_bytes_max(route.body_bytes_max);
    let made = match &route.forward_headers {
        Some(names) => made.forward_headers(names),
        None => made,
    };
    let made = match &route.content_types {
        Some(types) => made.content_types(types),
        None => made,
    };
    let made = match &route.sharded {
        Some((shards, key)) => made.sharded(shards.clone(), key.clone()),
        None => made,
    };
    match &route.idempotency {
        Some(idempotency) => made.idempotent(idempotency.clone()),
        None => made,
    }
}

/// What all modes that wait for a reply have in common.
fn set_up_reply<K: Answered>(made: Route<K>, reply_headers: Option<&[String]>, fail_fast: bool) -> Route<K> {
    let made = made.fail_fast(fail_fast);
    match reply_headers {
        Some(names) => made.reply_headers(names),
        None => made,
    }
}

fn take<K>(methods: &Methods, made: Route<K>) -> MethodRouter
where
    Route<K>: Handler<(), ()>,
    K: 'static,
{
    match methods {
        Methods::One(_, filter) => on(*filter, made),
        Methods::Any => any(made),
    }
}

fn cors(origins: Vec<axum::http::HeaderValue>, routes: &[RouteConfig]) -> Cors {
    let reply_headers = routes.iter().flat_map(|route| match &route.mode {
        Mode::Request { reply_headers: Some(names), .. } | Mode::Http { reply_headers: Some(names), .. } => {
            names.clone()
        }
        Mode::Request { reply_headers: None, .. } => REPLY_HEADERS.iter().map(HeaderName::to_string).collect(),
        // Scripts take the same word for it.
        Mode::Http { reply_headers: None, .. } => vec![THE_REST.to_owned()],
        Mode::Emit => Vec::new(),
    });
    Cors::new(origins, routes.iter().map(|route| &route.methods), reply_headers)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{HeaderMap, HeaderValue, Request},
    };
    use streamerson_core::{broker::memory::Memory, client::Client};
    use tower::ServiceExt;

    use super::*;
    use crate::server::config::Overrides;

    const SERVICE: &str = r#"
        listen = "127.0.0.1:0"
        broker = "redis://a"

        [cors]
        origins = ["https://shop.example"]

        [[route]]
        method = "*"
        path = "/shop/{*rest}"
        topic = "shop"
        mode = "http"
        fail_fast = true

        [[route]]
        method = "POST"
        path = "/shop"
        topic = "orders"
        event = "order.new"
        mode = "emit"

        [[route]]
        method = "POST"
        path = "/shop/orders"
        topic = "orders"
        event = "order.new"
        mode = "emit"
    "#;

    fn served(file: &str) -> Router {
        let config = Config::<String>::parse("g.toml", file, Overrides::default()).unwrap();
        let gateways = vec![Gateway::new(Client::new(Memory::new())); config.upstreams.len()];
        router(&config, &gateways, watch::channel(Stage::Serving).1).0
    }

    async fn ask(app: &Router, method: &str, path: &str, headers: &[(&'static str, &'static str)]) -> (u16, HeaderMap) {
        let mut request = Request::builder().method(method).uri(path).header("host", "shop.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    }

    /// A request that gets to the service finds that there is no worker; one that does not is answered otherwise.
    #[tokio::test]
    async fn a_service_gets_every_path_and_method_that_no_other_route_has() {
        let app = served(SERVICE);
        for (method, path, status) in [
            ("GET", "/shop", 503),
            ("GET", "/shop/", 503),
            ("GET", "/shop/items/7", 503),
            ("HEAD", "/shop/items", 503),
            ("OPTIONS", "/shop/items", 503),
            ("PURGE", "/shop/%FF//x", 503),
            ("POST", "/shop", 202),
            ("POST", "/shop/", 503),
            ("POST", "/shop/orders", 202),
            ("GET", "/shop/orders", 405),
            ("GET", "/shopping", 404),
            ("GET", "/", 404),
        ] {
            assert_eq!(ask(&app, method, path, &[]).await.0, status, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn pages_learn_which_methods_and_headers_a_service_has() {
        let app = served(SERVICE);
        let origin = ("origin", "https://shop.example");
        let preflight = [origin, ("access-control-request-method", "DELETE")];
        let (status, headers) = ask(&app, "OPTIONS", "/shop/items/7", &preflight).await;
        let methods = headers.get("access-control-allow-methods").map(|methods| methods.to_str().unwrap());
        assert_eq!((status, methods), (204, Some("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")));
        let (_, headers) = ask(&app, "GET", "/shop/items/7", &[origin]).await;
        assert_eq!(headers["access-control-expose-headers"], "*");
    }

    #[test]
    fn where_the_gateway_speaks_of_origins_a_service_does_not() {
        let origin = || HeaderValue::from_static("https://shop.example");
        let cors = cors(vec![origin()], &[]);
        for allowed in [None, Some(origin())] {
            let mut response = HeaderMap::new();
            response.insert("access-control-allow-origin", HeaderValue::from_static("*"));
            response.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
            response.insert("access-control-allow-methods", HeaderValue::from_static("DELETE"));
            response.insert("vary", HeaderValue::from_static("accept"));
            Cors::overrule(&mut response);
            cors.stamp(&mut response, allowed.clone());
            assert_eq!(response.get("access-control-allow-origin"), allowed.as_ref());
            assert_eq!(response.get("access-control-allow-credentials"), None);
            assert_eq!(response.get("access-control-allow-methods"), None);
            assert_eq!(response.get_all("vary").iter().collect::<Vec<_>>(), ["accept", "Origin"]);
        }
    }
}
