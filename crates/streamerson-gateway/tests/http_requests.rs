//! Whole requests: what reaches a service that speaks HTTP, and what of its response comes back.

mod support;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode},
    routing::{any, get},
};
use serde_json::json;
use streamerson_core::{Message, Problem, Reply};

use self::support::{Bench, echo, get as get_from, post as post_to, send};

fn empty(method: &str, uri: &str) -> Request<Body> {
    Request::builder().method(method).uri(uri).body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn the_request_goes_as_it_came() {
    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let app = Router::new().route("/shop/{*rest}", any(bench.gateway.http(&bench.topic)));

    let request = Request::patch("/shop/a%2Fb/%FF//c%20?x=1&y=%20&x")
        .header("host", "shop.example")
        .header("content-type", "application/json")
        .header("accept", "text/html")
        .header("accept", "*/*;q=0.1")
        .header("accept-encoding", "gzip")
        .header("range", "bytes=0-3")
        .header("expect", "100-continue")
        .header("te", "trailers")
        .header("connection", "te, close")
        .header("authorization", "Bearer secret")
        .header("cookie", "session=secret")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(Body::from("{ not json"))
        .unwrap();
    let answer = send(&app, request).await;
    assert_eq!(answer.status, 200, "what a body may be is for the service to say");
    let expected = json!({
        "event": "http",
        "payload": "{ not json",
        "headers": {
            "http.method": "PATCH",
            "http.path": "/shop/a%2Fb/%FF//c%20",
            "http.query": "x=1&y=%20&x",
            "content-type": "application/json",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "http.header.host": "shop.example",
            "http.header.accept": "text/html, */*;q=0.1",
            "http.header.accept-encoding": "gzip",
            "http.header.range": "bytes=0-3",
        },
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn every_method_goes_with_and_without_a_body_or_a_query() {
    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let app = Router::new().fallback(bench.gateway.http(&bench.topic));

    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
        let answer = send(&app, empty(method, "/?")).await.json();
        assert_eq!((&answer["headers"]["http.method"], &answer["payload"]), (&json!(method), &json!("")));
        assert_eq!(answer["headers"]["http.query"], "", "an empty query is a query");
    }
    let answer = get_from(&app, "http://login@shop.example:81/a").await.json();
    assert_eq!(
        answer["headers"],
        json!({"http.method": "GET", "http.path": "/a", "http.header.host": "shop.example:81"})
    );
}

#[tokio::test]
async fn it_lives_beside_other_routes_nested_or_as_their_fallback() {
    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let shop = Router::new().route("/new", get(async || "local")).fallback(bench.gateway.http(&bench.topic));
    let app: Router = Router::new().nest("/shop", shop).route("/other", get(async || "other"));

    for path in ["/shop", "/shop/a", "/shop/a/b/"] {
        assert_eq!(get_from(&app, path).await.json()["headers"]["http.path"], path, "{path}");
    }
    assert_eq!(get_from(&app, "/shop/new").await.body, "local");
    assert_eq!(get_from(&app, "/other").await.body, "other");
    assert_eq!(get_from(&app, "/shopping").await.status, 404);
}

#[tokio::test]
async fn lists_let_credentials_pass_or_let_less_pass() {
    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let route = bench.gateway.http(&bench.topic);
    let app = Router::new()
        .route("/more", any(route.clone().forward_headers(["*", "Cookie", "authorization"])))
        .route("/less", any(route.forward_headers(["accept"])));
    let headers = async |path: &str| {
        let request = Request::get(path)
            .header("accept", "*/*")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("authorization", "Basic x")
            .header("x-other", "1");
        let answer = send(&app, request.body(Body::empty()).unwrap()).await.json();
        let headers = answer["headers"].as_object().unwrap().clone();
        headers.into_iter().filter(|(name, _)| name.starts_with("http.header.")).collect::<serde_json::Map<_, _>>()
    };
    let more = json!({
        "http.header.accept": "*/*",
        "http.header.authorization": "Basic x",
        "http.header.cookie": "a=1; b=2",
        "http.header.x-other": "1",
    });
    assert_eq!(json!(headers("/more").await), more);
    assert_eq!(json!(headers("/less").await), json!({"http.header.accept": "*/*"}));
}

/// Responses of every shape, picked by the path.
fn scripted(message: &Message) -> Option<Message> {
    let reply = match message.headers.get("http.path")? {
        "/typed" => Reply::new("{}").with_status(StatusCode::OK).with_content_type("application/json"),
        "/untyped" => Reply::new("bytes").with_status(StatusCode::OK),
        "/empty" => Reply::new("").with_status(StatusCode::OK),
        "/not-modified" => Reply::new("dropped")
            .with_status(StatusCode::NOT_MODIFIED)
            .with_header("http.header.etag", "\"1\"")
            .with_header("http.header.vary", "accept, origin"),
        "/redirect" => Reply::new("").with_status(StatusCode::FOUND).with_header("http.header.location", "../a?b"),
        "/head" => Reply::new("")
            .with_status(StatusCode::OK)
            .with_content_type("text/html")
            .with_header("http.header.content-length", "1234"),
        "/cookies" => Reply::new("")
            .with_status(StatusCode::OK)
            .with_header("http.header.set-cookie", "a=1; expires=Thu, 01 Jan 2032 00:00:00 GMT\nb=2\nc=3\r\nx-evil: 1"),
        "/odd" => Reply::new("x")
            .with_status(StatusCode::OK)
            .with_header("http.header.x-fine", "1")
            .with_header("http.header.x evil\r\n", "1")
            .with_header("http.header.x-evil", "1\r\nx-worse: 1")
            .with_header("http.header.transfer-encoding", "chunked")
            .with_header("http.header.connection", "upgrade, X-Hop")
            .with_header("http.header.x-hop", "1")
            .with_header("http.header.upgrade", "websocket")
            .with_header("http.header.proxy-authenticate", "Basic")
            .with_header("http.header.content-length", "9999")
            .with_header("http.header.content-type", "text/html"),
        "/problem" => Problem::new(StatusCode::BAD_GATEWAY).into(),
        "/open" => Reply::new(""),
        _ => return None,
    };
    Some(reply.into_message(message.id.clone()))
}

#[tokio::test]
async fn the_response_comes_as_it_is() {
    let bench = Bench::new();
    let _messages = bench.consume(scripted).await;
    let app = Router::new().fallback(bench.gateway.http(&bench.topic));

    for (path, status, headers, body) in [
        ("/typed", 200, &[("content-length", "2"), ("content-type", "application/json")][..], "{}"),
        ("/untyped", 200, &[("content-length", "5")], "bytes"),
        ("/empty", 200, &[("content-length", "0")], ""),
        ("/not-modified", 304, &[("content-length", "0"), ("etag", "\"1\""), ("vary", "accept, origin")], ""),
        ("/redirect", 302, &[("content-length", "0"), ("location", "../a?b")], ""),
        ("/cookies", 200, &[("content-length", "0")], ""),
        ("/odd", 200, &[("content-length", "1"), ("x-fine", "1")], "x"),
        ("/open", 204, &[("content-length", "0")], ""),
    ] {
        let answer = get_from(&app, path).await;
        let mut all: Vec<_> =
            answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        all.sort_unstable();
        assert_eq!((answer.status.as_u16(), &all[..], &answer.body[..]), (status, headers, body.as_bytes()), "{path}");
    }
    let answer = get_from(&app, "/problem").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (502, Some(Problem::MEDIA_TYPE)));
    let answer = send(&app, empty("HEAD", "/head")).await;
    assert_eq!((answer.header("content-length"), answer.header("content-type")), (Some("1234"), Some("text/html")));
    assert!(answer.body.is_empty());
    assert_eq!(send(&app, empty("HEAD", "/empty")).await.header("content-length"), None, "nobody knows how long it is");
    assert_eq!(
        get_from(&app, "/head").await.header("content-length"),
        Some("0"),
        "only HEAD has a length without a body"
    );
}

#[tokio::test]
async fn cookies_are_set_where_they_are_named_and_lists_let_less_pass() {
    let bench = Bench::new();
    let _messages = bench.consume(scripted).await;
    let route = bench.gateway.http(&bench.topic);
    let app = Router::new()
        .route("/cookies", any(route.clone().reply_headers(["*", "set-cookie"])))
        .route("/not-modified", any(route.reply_headers(["etag"])));
    let answer = get_from(&app, "/cookies").await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    // What follows a line break is a cookie too, and nothing else; what ends in half of one is nothing.
    assert_eq!(cookies, ["a=1; expires=Thu, 01 Jan 2032 00:00:00 GMT", "b=2", "x-evil: 1"]);
    assert_eq!(answer.header("x-evil"), None);
    let answer = get_from(&app, "/not-modified").await;
    assert_eq!((answer.header("etag"), answer.header("vary")), (Some("\"1\""), None));
}

#[tokio::test]
async fn what_cannot_travel_is_refused_before_anything_is_appended() {
    let bench = Bench::new();
    let route = bench.gateway.http(&bench.topic).body_bytes_max(10);
    let app = Router::new().fallback(route.content_types(["text/plain"]));
    let latin1 = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    for (what, request, status) in [
        ("a large body", post_to("/", "text/plain", "x".repeat(11)), 413),
        ("a type that is not listed", post_to("/", "text/html", "x"), 415),
        ("large headers", Request::get("/").header("x-big", "x".repeat(17_000)).body(Body::empty()).unwrap(), 431),
        ("a long path", empty("GET", &format!("/{}", "x".repeat(17_000))), 431),
        ("a header that is no text", Request::get("/").header("x-name", latin1).body(Body::empty()).unwrap(), 400),
    ] {
        let answer = send(&app, request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (status, Some(Problem::MEDIA_TYPE)),
            "{what}"
        );
    }
    assert_eq!(bench.appended().await, 0);
}
