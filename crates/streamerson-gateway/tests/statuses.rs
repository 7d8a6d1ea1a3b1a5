//! Every status that can come back, and what comes with it.

mod support;

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode},
    routing::{any, get, post},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use streamerson_core::{
    Call, Message, Problem, Reply, SharedBroker,
    broker::memory::Memory,
    client::{Client, ClientConfig},
};
use streamerson_gateway::Gateway;

use self::support::{Answer, Bench, echo, get as get_from, post as post_to, send};

const JSON: Option<&str> = Some("application/json");

/// Replies of every shape, picked by the path.
fn scripted(message: &Message) -> Option<Message> {
    let reply = match message.headers.get("http.param.case")? {
        "silent" => return None,
        "json" => Reply::new("{}"),
        "empty" => Reply::new(""),
        "empty-typed" => Reply::new("").with_status(StatusCode::OK).with_content_type("text/plain"),
        "text" => Reply::new("short").with_status(StatusCode::IM_A_TEAPOT).with_content_type("text/plain"),
        "created" => Reply::new("[]").with_status(StatusCode::CREATED).with_header("http.header.location", "/7"),
        "redirect" => Reply::new("").with_status(StatusCode::SEE_OTHER).with_header("http.header.location", "/8"),
        "no-content" => Reply::new("dropped").with_status(StatusCode::NO_CONTENT),
        "reset" => Reply::new("dropped").with_status(StatusCode::RESET_CONTENT),
        "not-modified" => {
            Reply::new("dropped").with_status(StatusCode::NOT_MODIFIED).with_header("http.header.etag", "\"1\"")
        }
        "headers" => Reply::new("{}")
            .with_header("http.header.etag", "evil\r\nset-cookie: a=1")
            .with_header("http.header.cache-control", "no-store, max-age=0")
            .with_header("http.header.set-cookie", "a=1")
            .with_header("http.header.transfer-encoding", "chunked")
            .with_header("http.header.content-length", "9999")
            .with_header("location", "/no-http-header")
            .with_content_type("text/\nhtml"),
        "problem" => Problem::new(StatusCode::NOT_FOUND).with_detail("no order 7").into(),
        "failed" => Problem::new(StatusCode::BAD_GATEWAY).into(),
        "unavailable" => Problem::new(StatusCode::SERVICE_UNAVAILABLE).into(),
        "error-open" => error_without_status("{\"status\":409}"),
        "error-odd" => error_without_status("{\"status\":200}"),
        bad_status => {
            return Some(Reply::new("").into_message(message.id.clone()).with_header("status", bad_status));
        }
    };
    Some(reply.into_message(message.id.clone()))
}

fn error_without_status(payload: &'static str) -> Reply {
    let mut reply = Reply::new(payload);
    reply.is_error = true;
    reply
}

#[tokio::test(start_paused = true)]
async fn the_reply_decides_and_a_reply_that_cannot_be_used_is_502() {
    let bench = Bench::new();
    let _messages = bench.consume(scripted).await;
    let app = Router::new().route("/{case}", any(bench.gateway.request(&bench.topic, "order.get")));
    let problem = Some(Problem::MEDIA_TYPE);

    for (case, status, content_type, body) in [
        ("json", 200, JSON, Some("{}")),
        ("empty", 204, None, Some("")),
        ("empty-typed", 200, Some("text/plain"), Some("")),
        ("text", 418, Some("text/plain"), Some("short")),
        ("created", 201, JSON, Some("[]")),
        ("redirect", 303, None, Some("")),
        ("no-content", 204, None, Some("")),
        ("reset", 205, None, Some("")),
        ("not-modified", 304, None, Some("")),
        ("headers", 200, Some("application/octet-stream"), Some("{}")),
        ("problem", 404, problem, None),
        ("failed", 502, problem, None),
        ("unavailable", 503, problem, None),
        ("error-open", 409, JSON, None),
        ("error-odd", 500, JSON, None),
        ("999", 502, problem, None),
        ("101", 502, problem, None),
        ("abc", 502, problem, None),
        ("silent", 504, problem, None),
    ] {
        let answer = get_from(&app, &format!("/{case}")).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (status, content_type), "{case}");
        if let Some(body) = body {
            assert_eq!(answer.body, body, "{case}");
        }
        // Only the gateway's own 503 says when to come back; a worker's is left alone.
        assert_eq!(answer.header("retry-after"), None, "{case}");
    }
    assert_eq!(bench.gateway.client().pending(), 0);
}

#[tokio::test]
async fn of_a_reply_s_headers_only_the_allowed_and_valid_pass() {
    let bench = Bench::new();
    let _messages = bench.consume(scripted).await;
    let route = bench.gateway.request(&bench.topic, "order.get");
    let app = Router::new()
        .route("/default/{case}", any(route.clone()))
        .route("/cookies/{case}", any(route.reply_headers(["set-cookie"])));

    let answer = get_from(&app, "/default/headers").await;
    let names: Vec<_> =
        answer.headers.keys().map(|name| name.as_str()).filter(|name| *name != "content-length").collect();
    assert_eq!(names, ["cache-control", "content-type"]);
    assert_eq!(answer.header("cache-control"), Some("no-store, max-age=0"));
    assert_eq!(get_from(&app, "/default/created").await.header("location"), Some("/7"));
    assert_eq!(get_from(&app, "/default/not-modified").await.header("etag"), Some("\"1\""));

    let answer = get_from(&app, "/cookies/headers").await;
    assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), (Some("a=1"), None));
}

#[derive(Deserialize)]
struct Order {
    #[expect(dead_code, reason = "what matters is whether it can be read")]
    count: u32,
}

impl Call for Order {
    const TOPIC: &'static str = "orders";
    const EVENT: &'static str = "order.new";
    type Reply = ();
}

/// Nothing is appended for a request that the gateway refuses.
#[tokio::test]
async fn requests_are_refused_before_anything_is_appended() {
    let bench = Bench::new();
    let open = bench.gateway.request(&bench.topic, "order.get").forward_headers(["x-big"]).body_bytes_max(100);
    let listed = open.clone().content_types(["application/json", "Text/CSV; header=present"]);
    let app = Router::new()
        .route("/open/{id}", any(open))
        .route("/listed", any(listed))
        .route("/typed", post(bench.gateway.call::<Order>()))
        .route("/events", post(bench.gateway.emit(&bench.topic, "order.seen").body_bytes_max(100)));

    let chunks = |len: usize| Body::from_stream(stream::iter((0..len).map(|_| Ok::<_, Infallible>("x"))));
    let cut = Body::from_stream(stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))]));
    let latin1 = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let announced = Request::post("/open/1").header("content-length", "101").body(Body::empty());
    let big_header = Request::get("/open/1").header("x-big", "x".repeat(17_000)).body(Body::empty());
    let bad_header = Request::get("/open/1").header("x-big", latin1.clone()).body(Body::empty());
    let bad_type = Request::post("/open/1").header("content-type", latin1).body(Body::from("x"));
    let no_type = Request::post("/listed").body(Body::from("x"));
    let no_type_typed = Request::post("/typed").body(Body::from("{\"count\":1}"));
    for (what, request, status) in [
        ("no JSON", post_to("/open/1", "application/json", "{"), 400),
        ("no JSON, by suffix", post_to("/open/1", "application/cloudevents+json; charset=utf-8", "nope"), 400),
        ("no JSON at all", post_to("/open/1", "application/json", ""), 400),
        ("no UTF-8", post_to("/open/1", "application/json", &b"\"\xff\""[..]), 400),
        ("a path that is not UTF-8", Request::get("/open/%FF").body(Body::empty()).unwrap(), 400),
        ("a header that is not UTF-8", bad_header.unwrap(), 400),
        ("a content type that is not UTF-8", bad_type.unwrap(), 400),
        ("a body cut short", post_to("/open/1", "text/plain", cut), 400),
        ("a body too large", post_to("/open/1", "text/plain", "x".repeat(101)), 413),
        ("a body too large, unannounced", post_to("/open/1", "text/plain", chunks(101)), 413),
        ("a body too large, announced only", announced.unwrap(), 413),
        ("a type not listed", post_to("/listed", "text/plain", "x"), 415),
        ("no type where they are listed", no_type.unwrap(), 415),
        ("headers too large", big_header.unwrap(), 431),
        (
            "a query too large",
            Request::get(format!("/open/1?{}", "q".repeat(17_000))).body(Body::empty()).unwrap(),
            431,
        ),
        ("no JSON for a contract", post_to("/typed", "application/json", "{\"count\":"), 400),
        ("nothing for a contract", post_to("/typed", "application/json", ""), 400),
        ("another type than JSON for a contract", post_to("/typed", "text/plain", "{\"count\":1}"), 415),
        ("no type for a contract", no_type_typed.unwrap(), 415),
        ("other JSON than the contract", post_to("/typed", "application/json", "{\"count\":\"many\"}"), 422),
        ("no JSON in an event", post_to("/events", "application/json", "{"), 400),
        ("an event too large", post_to("/events", "text/plain", "x".repeat(101)), 413),
    ] {
        assert_problem(&send(&app, request).await, status, what);
    }
    assert_eq!(bench.appended().await, 0);
    assert_eq!(bench.gateway.client().pending(), 0);
}

#[tokio::test]
async fn what_is_within_bounds_passes_whatever_it_is() {
    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let open = bench.gateway.request(&bench.topic, "order.get").body_bytes_max(100);
    let listed = open.clone().content_types(["application/json", "Text/CSV; header=present"]);
    let app = Router::new()
        .route("/open", any(open))
        .route("/listed", any(listed))
        .route("/typed", post(bench.gateway.call::<Order>()));

    for (what, request, payload) in [
        ("the largest body", post_to("/open", "text/plain", "x".repeat(100)), "x".repeat(100)),
        ("any type but JSON is opaque", post_to("/open", "text/plain", "{"), "{".into()),
        ("so is no type", Request::post("/open").body(Body::from("{")).unwrap(), "{".into()),
        ("a listed type", post_to("/listed", "text/csv; charset=utf-8", "a,b"), "a,b".into()),
        ("no body needs no type", Request::get("/listed").body(Body::empty()).unwrap(), String::new()),
        (
            "nor does one that turns out to be empty",
            Request::get("/listed").body(Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())).unwrap(),
            String::new(),
        ),
        (
            "a contract's bytes stay as they came",
            post_to("/typed", "application/json", " {\"more\":0, \"count\" : 1}"),
            " {\"more\":0, \"count\" : 1}".into(),
        ),
    ] {
        let answer = send(&app, request).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_eq!(answer.json()["payload"], payload, "{what}");
    }
}

#[tokio::test]
async fn a_limit_around_the_route_holds_too() {
    let bench = Bench::new();
    let limit = |request: axum::extract::Request| async move {
        request.map(|body| Body::new(http_body_util::Limited::new(body, 10)))
    };
    let app = Router::new()
        .route("/", post(bench.gateway.request(&bench.topic, "order.get")))
        .layer(axum::middleware::map_request(limit));
    let body = Body::from_stream(stream::iter((0..11).map(|_| Ok::<_, Infallible>("x"))));
    assert_problem(&send(&app, post_to("/", "text/plain", body)).await, 413, "the layer's limit");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up_at_the_route_s_timeout() {
    let bench = Bench::new();
    let timeout = Duration::from_secs(2);
    let app = Router::new()
        .route("/", post(bench.gateway.request(&bench.topic, "order.get").timeout(timeout)))
        .route("/events", post(bench.gateway.emit(&bench.topic, "order.seen").timeout(timeout)));
    for path in ["/", "/events"] {
        let start = tokio::time::Instant::now();
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        assert_problem(&send(&app, post_to(path, "text/plain", body)).await, 408, path);
        assert_eq!(start.elapsed(), timeout);
    }
    assert_eq!(bench.appended().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_body_takes_is_part_of_the_timeout() {
    let bench = Bench::new();
    let _messages = bench.consume(|_| None).await;
    let route = bench.gateway.request(&bench.topic, "order.get").timeout(Duration::from_secs(3));
    let app = Router::new().route("/", post(route));
    let start = tokio::time::Instant::now();
    let late = stream::once(async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok::<_, Infallible>("x")
    });
    let answer = send(&app, post_to("/", "text/plain", Body::from_stream(late))).await;
    assert_problem(&answer, 504, "no reply");
    assert!(String::from_utf8_lossy(&answer.body).contains("may still run"));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn no_consumers_is_503_at_the_deadline_or_at_once() {
    let bench = Bench::new();
    let route = bench.gateway.request(&bench.topic, "order.get");
    let app = Router::new().route("/wait", get(route.clone())).route("/fail-fast", get(route.fail_fast(true)));
    for (path, waits) in [("/fail-fast", Duration::ZERO), ("/wait", Duration::from_secs(5))] {
        let start = tokio::time::Instant::now();
        let answer = get_from(&app, path).await;
        assert_problem(&answer, 503, path);
        assert_eq!(answer.json()["reason"], "no-consumers");
        assert_eq!(start.elapsed(), waits);
    }
}

#[tokio::test]
async fn a_full_backlog_a_full_broker_and_a_closed_client_are_503() {
    let routes = |client: Client| {
        let bench = Bench::new();
        let gateway = Gateway::new(client);
        Router::new()
            .route("/request", post(gateway.request(&bench.topic, "order.get")))
            .route("/event", post(gateway.emit(&bench.topic, "order.seen")))
    };
    let mut no_backlog = ClientConfig::default();
    no_backlog.backlog_max = 0;
    let full: SharedBroker = Memory::with_bytes_max(10).into();
    for (what, client) in [("backlog", Client::with_config(Memory::new(), no_backlog)), ("broker", Client::new(full))] {
        let app = routes(client);
        for path in ["/request", "/event"] {
            let answer = send(&app, post_to(path, "text/plain", "x".repeat(100))).await;
            assert_problem(&answer, 503, what);
        }
    }
    let closed = Client::new(Memory::new());
    closed.close().await;
    assert_problem(&send(&routes(closed), post_to("/request", "text/plain", "x")).await, 503, "closed");
}

/// One of the gateway's own errors: a problem document with an id, and a word on when to come back where that helps.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some(Problem::MEDIA_TYPE), "{what}");
    assert_eq!(answer.header("retry-after"), (status == 503).then_some("1"), "{what}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(problem["type"], "about:blank", "{what}");
    assert!(problem["id"].as_str().is_some_and(|id| id.len() == 26), "{what}: {problem}");
    assert!(problem["detail"].is_string(), "{what}: {problem}");
}
