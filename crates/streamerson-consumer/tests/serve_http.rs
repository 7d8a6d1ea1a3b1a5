//! Services that speak HTTP, behind a topic.
#![allow(clippy::unwrap_used)] // A test may unwrap.

mod common;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderValue},
    response::IntoResponse,
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use streamerson_consumer::{
    ConfigError, Incoming, RequestBody, RunError,
    extract::{Attempt, Cancelled, Deadline, Emitter},
};
use streamerson_core::{EventType, Headers, MessageId, Reply, client, dead_letter::Reason, group::MemberConfig};
use tokio::sync::Notify;
use tower::{BoxError, ServiceBuilder, timeout::TimeoutLayer, util::BoxCloneService};

use self::common::{Running, consumer, messages, status, topic};

/// A request as a gateway sends it.
fn http(method: &str, target: &str, body: impl Into<String>) -> client::Request {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut request = common::request("http", &body.into());
    request.headers.set(Headers::HTTP_METHOD, method);
    request.headers.set(Headers::HTTP_PATH, path);
    if let Some(query) = query {
        request.headers.set(Headers::HTTP_QUERY, query);
    }
    request
}

fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.payload).expect("text")
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.payload).expect("JSON")
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(&format!("http.header.{name}"))
}

/// What a service was asked, as it saw it.
async fn echo(request: Request) -> Json<Value> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), Value::from(value))
    });
    Json(json!({
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "authority": parts.uri.authority().is_some(),
        "version": format!("{:?}", parts.version),
        "headers": headers.collect::<serde_json::Map<_, _>>(),
        "body": String::from_utf8_lossy(&body),
    }))
}

#[tokio::test(start_paused = true)]
async fn a_router_sees_the_request_as_on_a_socket() {
    let running = Running::start(consumer().serve_http(Router::new().fallback(echo)));
    let request = http("PUT", "/a%2Fb/%ff//c?x=%20&y", "hello")
        .with_header("content-type", "text/plain")
        .with_header("traceparent", "00-1-1-00")
        .with_header("http.header.host", "shop.example")
        .with_header("http.header.x-name", "Zoë")
        .with_header("http.header.content-length", "99")
        .with_header("http.header.transfer-encoding", "chunked")
        .with_header("x-own", "not HTTP's");
    let expected = json!({
        "method": "PUT",
        "uri": "/a%2Fb/%ff//c?x=%20&y",
        "authority": false,
        "version": "HTTP/1.1",
        "headers": {
            "host": "shop.example",
            "x-name": "Zoë",
            "content-type": "text/plain",
            "content-length": "5",
            "traceparent": "00-1-1-00",
        },
        "body": "hello",
    });
    assert_eq!(json(&running.send(request).await), expected);

    for (method, length) in [("GET", None), ("DELETE", None), ("POST", Some("0")), ("OPTIONS", None)] {
        let seen = json(&running.send(http(method, "/?", "")).await);
        assert_eq!((&seen["method"], &seen["uri"]), (&json!(method), &json!("/?")));
        assert_eq!(seen["headers"]["content-length"].as_str(), length, "{method}");
    }
    assert_eq!(json(&running.send(http("OPTIONS", "*", "")).await)["uri"], "*");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_with_state_and_extractors_runs_as_it_is() {
    #[derive(Clone)]
    struct App {
        word: &'static str,
    }
    #[derive(serde::Deserialize)]
    struct Max {
        max: u32,
    }
    async fn item(State(app): State<App>, Path(id): Path<String>, Query(Max { max }): Query<Max>) -> String {
        format!("{} {id} {max}", app.word)
    }
    async fn add(Json(item): Json<Value>) -> impl IntoResponse {
        (StatusCode::CREATED, [("location", "/shop/items/7")], Json(item))
    }
    let items = Router::new().route("/items/{id}", get(item)).route("/items", post(add));
    let app = Router::new().nest("/shop", items).with_state(App { word: "item" });
    let running = Running::start(consumer().serve_http(app));

    let reply = running.send(http("GET", "/shop/items/Zo%C3%AB?max=3", "")).await;
    assert_eq!((status(&reply), text(&reply)), (200, "item Zoë 3"));
    assert_eq!(reply.headers.get("content-type"), Some("text/plain; charset=utf-8"));
    let reply =
        running.send(http("POST", "/shop/items", "{\"a\":1}").with_header("content-type", "application/json")).await;
    assert_eq!((status(&reply), text(&reply), header(&reply, "location")), (201, "{\"a\":1}", Some("/shop/items/7")));
    for (request, refused) in [
        (http("GET", "/shop/items/7?max=many", ""), 400),
        (http("GET", "/none", ""), 404),
        (http("DELETE", "/shop/items", ""), 405),
        (http("POST", "/shop/items", "{}"), 415),
    ] {
        let reply = running.send(request).await;
        assert_eq!((status(&reply), reply.is_error), (refused, false));
    }
    assert_eq!(header(&running.send(http("DELETE", "/shop/items", "")).await, "allow"), Some("POST"));
    assert!(running.dead_letters().await.is_empty(), "the service has answered");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn responses_keep_their_headers() {
    async fn headers() -> impl IntoResponse {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("set-cookie", "a=1; expires=Thu, 01 Jan 2032 00:00:00 GMT"),
            ("set-cookie", "b=2"),
            ("vary", "accept"),
            ("vary", "origin"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }
    async fn not_text() -> impl IntoResponse {
        [("x-name", HeaderValue::from_bytes(b"Zo\xeb").unwrap())]
    }
    let app = Router::new()
        .route("/headers", get(headers))
        .route("/not-text", get(not_text))
        .route("/text", get(async || "hello"))
        .route("/none", get(async || StatusCode::NO_CONTENT));
    let running = Running::start(consumer().serve_http(app));

    let reply = running.send(http("GET", "/headers", "")).await;
    let all: Vec<_> = reply.headers.iter().collect();
    let expected = [
        ("http.header.set-cookie", "a=1; expires=Thu, 01 Jan 2032 00:00:00 GMT\nb=2"),
        ("http.header.vary", "accept, origin"),
    ];
    assert_eq!((status(&reply), &all[..], text(&reply)), (200, &expected[..], ""));
    let reply = running.send(http("HEAD", "/text", "")).await;
    assert_eq!((status(&reply), header(&reply, "content-length"), text(&reply)), (200, Some("5"), ""));
    let reply = running.send(http("GET", "/text", "")).await;
    assert_eq!((header(&reply, "content-length"), text(&reply)), (None, "hello"));
    assert_eq!(status(&running.send(http("GET", "/none", "")).await), 204);

    assert_eq!(status(&running.send(http("GET", "/not-text", "")).await), 502);
    let (letter, _) = running.dead_letter().await;
    assert_eq!(letter.error, "the response's header x-name is not UTF-8");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_service_s_own_answer_and_a_dead_letter() {
    async fn busy() -> impl IntoResponse {
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "3")], "come back later")
    }
    let panics = async || -> () { panic!("no luck") };
    let app =
        Router::new().route("/busy", get(busy)).route("/panics", get(panics)).route("/fine", get(async || "fine"));
    let running = Running::start(consumer().serve_http(app));

    let reply = running.send(http("GET", "/busy", "")).await;
    assert_eq!((status(&reply), text(&reply), header(&reply, "retry-after")), (503, "come back later", Some("3")));
    assert_eq!(status(&running.send(http("GET", "/panics", "")).await), 502);
    assert_eq!(text(&running.send(http("GET", "/fine", "")).await), "fine");
    running.idle().await;
    let letters = running.dead_letters().await;
    let letters: Vec<_> = letters.iter().map(|(letter, _)| (letter.reason, letter.error.as_str())).collect();
    let busy = "the handler answered 503 Service Unavailable";
    assert_eq!(letters, [(Reason::Failed, busy), (Reason::Panicked, "no luck")]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_s_errors_are_failures() {
    let fails = tower::service_fn(async |_: http::Request<RequestBody>| {
        Err::<Response<String>, BoxError>("the wire is cut".into())
    });
    let running = Running::start(consumer().serve_http(fails));
    let reply = running.send(http("GET", "/", "")).await;
    assert_eq!(status(&reply), 502);
    assert!(!text(&reply).contains("wire"));
    let (letter, _) = running.dead_letter().await;
    assert_eq!((letter.reason, letter.error.as_str()), (Reason::Failed, "the wire is cut"));
    running.stop().await;

    let slow = Router::new().fallback(async || std::future::pending::<()>().await);
    let slow = ServiceBuilder::new().layer(TimeoutLayer::new(Duration::from_secs(3))).service(slow);
    let running = Running::start(consumer().serve_http(slow));
    assert_eq!(status(&running.send(http("GET", "/", "")).await), 504);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_ends_within_bounds_or_not_at_all() {
    let pieces = async |Path(pieces): Path<usize>| {
        Body::from_stream(futures_util::stream::iter((0..pieces).map(|_| Ok::<_, Infallible>("0123456789"))))
    };
    let endless = async || Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let cut = async || {
        Body::from_stream(futures_util::stream::iter([Ok("half"), Err(std::io::Error::other("the disk is gone"))]))
    };
    let app =
        Router::new().route("/pieces/{pieces}", get(pieces)).route("/endless", get(endless)).route("/cut", get(cut));
    let mut config = MemberConfig::default();
    config.payload_bytes_max = 1000;
    let running = Running::start(consumer().serve_http(app).member_config(config));

    assert_eq!(running.send(http("GET", "/pieces/100", "")).await.payload.len(), 1000);
    let reply = running.send(http("GET", "/pieces/101", "")).await;
    assert_eq!((status(&reply), json(&reply)["detail"].as_str()), (502, Some("the response is larger than allowed")));
    assert_eq!(status(&running.send(http("GET", "/cut", "")).await), 502);
    let late = http("GET", "/endless", "").with_timeout(Duration::from_secs(5));
    assert!(running.client.request(&topic(), late).await.is_err());
    running.idle().await;
    let errors: Vec<_> = running.dead_letters().await.into_iter().map(|(letter, _)| letter.error).collect();
    assert_eq!(errors.len(), 3);
    for (error, part) in errors.iter().zip(["larger than the 1000 bytes", "the disk is gone", "before the deadline"]) {
        assert!(error.contains(part), "{error}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_request_is_refused() {
    let running = Running::start(consumer().serve_http(Router::new().fallback(echo)));
    let refused = [
        (common::request("http", ""), "it names no method"),
        (http("", "/", ""), "its method is not one"),
        (common::request("http", "").with_header("http.method", "GET"), "it names no path"),
        (http("GET", "http://evil.example/", ""), "its path does not begin with /"),
        (http("GET", "/a b", ""), "its path or query is not valid"),
        (http("GET", "/", "").with_header("http.header.x y", "1"), "the name of a header is not valid"),
        (http("GET", "/", "").with_header("http.header.x", "1\r\ny: 2"), "the value of a header is not valid"),
        (http("GET", "/", "").with_header("content-type", "\n"), "the value of a header is not valid"),
    ];
    for (request, why) in refused {
        let reply = running.send(request).await;
        assert_eq!(status(&reply), 400, "{why}");
        assert_eq!(json(&reply)["detail"], format!("the message is no HTTP request: {why}"));
    }
    assert!(running.dead_letters().await.is_empty());
    running.emit("http", "").await;
    assert_eq!(running.dead_letter().await.0.reason, Reason::Rejected);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_handlers_get_is_in_the_extensions() {
    async fn place(
        Extension(id): Extension<MessageId>,
        Extension(attempt): Extension<Attempt>,
        Extension(deadline): Extension<Deadline>,
        Extension(cancelled): Extension<Cancelled>,
        Extension(emitter): Extension<Emitter>,
        Extension(incoming): Extension<Incoming>,
        Extension(tenant): Extension<&'static str>,
    ) -> String {
        emitter.emit(&streamerson_consumer::Topic::new("invoices").unwrap(), "invoice.due", &7).unwrap();
        let remaining = deadline.remaining().unwrap().as_secs();
        let same = incoming.message().id == id;
        format!("{id} {} {remaining} {} {same} {tenant}", attempt.0, cancelled.is_cancelled())
    }
    let tenant = tower::util::MapRequestLayer::new(|mut incoming: Incoming| {
        incoming.extensions_mut().insert("north");
        incoming
    });
    let app = Router::new().route("/orders", post(place));
    let running = Running::start(consumer().serve_http(app).layer(tenant));
    let request = http("POST", "/orders", "").with_timeout(Duration::from_secs(10));
    let id = request.id.clone();
    let reply = running.send(request).await;
    assert_eq!(text(&reply), format!("{id} 1 10 false true north"));
    let due = messages(&running.broker, streamerson_consumer::Topic::new("invoices").unwrap().inbound()).await;
    assert_eq!((due.len(), &due[0].id), (1, &id.derive(0)));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_stands_beside_handlers_and_only_once() {
    let app = || Router::new().fallback(async || "served");
    let running = Running::start(consumer().on("known", async || "handled").serve_http(app()));
    assert_eq!(text(&running.request("known", "").await), "handled");
    assert_eq!(text(&running.send(http("GET", "/", "")).await), "served");
    assert_eq!(status(&running.request("unknown", "").await), 501);
    running.stop().await;

    for twice in [consumer().serve_http(app()), consumer().on("http", async || ())] {
        let refused = twice.serve_http(app()).run(streamerson_core::broker::memory::Memory::new(), async {}).await;
        let Err(RunError::Config(ConfigError::DuplicateEvent(event))) = refused else { panic!("{refused:?}") };
        assert_eq!(event, EventType::HTTP);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_service_keeps_waiting_past_its_deadline_is_not_served() {
    let (served, free) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let one = {
        let (served, free) = (served.clone(), free.clone());
        async move || {
            served.fetch_add(1, Ordering::SeqCst);
            free.notified().await;
        }
    };
    let one_at_a_time = ServiceBuilder::new().concurrency_limit(1).service(Router::new().route("/", get(one)));
    // A service need not be `Sync`, and this one is not.
    let running = Running::start(consumer().serve_http(BoxCloneService::new(one_at_a_time)));
    let patient = running.send(http("GET", "/", ""));
    let topic = topic();
    let hasty = running.client.request(&topic, http("GET", "/", "").with_timeout(Duration::from_secs(1)));
    let later = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        free.notify_one();
    };
    let (patient, hasty, ()) = tokio::join!(patient, hasty, later);
    assert_eq!(status(&patient), 200);
    assert!(hasty.is_err());
    running.idle().await;
    assert_eq!(served.load(Ordering::SeqCst), 1);
    assert!(running.dead_letters().await.is_empty(), "expired is not failed");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_served_and_only_its_failure_is_kept() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = {
        let served = Arc::clone(&served);
        any(async move |Path(code): Path<u16>| {
            served.fetch_add(1, Ordering::SeqCst);
            let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
            (StatusCode::from_u16(code).unwrap(), body)
        })
    };
    let running = Running::start(consumer().serve_http(Router::new().route("/{code}", count)));
    for path in ["/200", "/404"] {
        let message = streamerson_core::Message::new(EventType::HTTP, "")
            .with_header("http.method", "POST")
            .with_header("http.path", path);
        // Nobody waits for a body that never ends.
        running.client.emit(&topic(), message).await.unwrap();
        running.idle().await;
    }
    assert_eq!(served.load(Ordering::SeqCst), 2);
    let letters = running.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].0.error, "the handler answered 404 Not Found");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn on_shutdown_what_was_begun_ends() {
    let (entered, free) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (entered, free) = (entered.clone(), free.clone());
        async move || {
            entered.notify_one();
            free.notified().await;
            "done"
        }
    };
    let mut running = Running::start(consumer().serve_http(Router::new().route("/", get(slow))));
    let (client, topic) = (running.client.clone(), topic());
    let reply = tokio::spawn(async move { client.request(&topic, http("GET", "/", "")).await.unwrap() });
    entered.notified().await;
    running.tell_to_stop();
    free.notify_one();
    assert_eq!(text(&reply.await.unwrap()), "done");
    running.stopped().await;
}
