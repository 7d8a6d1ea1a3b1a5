//! Headers, paths and what they may carry, both ways.

use streamerson_core::Reply;

use crate::scene::{Scene, post};

/// The headers that the worker saw.
fn seen(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<serde_json::Value>(body).unwrap_or_else(|error| panic!("{error} in {answer}"))["headers"]
        .clone()
}

#[tokio::test]
async fn what_is_of_the_connection_stays_there() {
    let scene = Scene::new().await;
    let hops = [
        "connection: close, keep-alive, TE, upgrade, HTTP2-Settings",
        "http2-settings: secret",
        "keep-alive: timeout=5",
        "te: trailers",
        "trailer: x-t",
        "upgrade: h2c, websocket",
        "proxy-authorization: Basic secret",
        "proxy-connection: keep-alive",
        "authorization: Bearer secret",
        "cookie: a=secret",
        "x-a: 1",
    ];
    for path in ["/ask/1", "/shop/1"] {
        let answer = scene.exchange(post(path, &hops, "1")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let headers = seen(&answer);
        assert_eq!(headers["http.header.x-a"], "1", "{path}");
        let shown = headers.to_string();
        for never in [
            "secret",
            "http2-settings",
            "keep-alive",
            "http.header.te",
            "trailer",
            "upgrade",
            "proxy-",
            "content-length",
        ] {
            assert!(!shown.contains(never), "{path}: {never} in {shown}");
        }
    }
}

/// A client that names a header in `Connection` could have it removed although a proxy in front has set it: where the route
/// needs the header, the request is refused; elsewhere the header is removed before anything reads it.
#[tokio::test]
async fn a_header_that_a_route_needs_cannot_be_removed_by_the_client() {
    let mut scene = Scene::new().await;
    for (path, named) in [
        ("/ask/1", "X-A"),
        ("/ask/1", "content-type"),
        ("/shop/1", "x-user"),
        ("/shop/1", "host"),
        ("/principal", "X-User"),
        ("/principal", "idempotency-key"),
        ("/sharded", "x-customer"),
    ] {
        for (what, lines) in [
            ("alone", vec![format!("connection: close, {named}")]),
            ("after others", vec!["connection: close".into(), format!("connection: keep-alive,, \t{named} ")]),
            ("after a name that is none", vec![format!("connection: \u{fc}, {named}, close")]),
        ] {
            let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
            lines.extend(["x-user: ann", "x-a: 1", "x-customer: 7", "content-type: text/plain", "idempotency-key: k"]);
            let mut raw = scene.connect().await;
            raw.send(post(path, &lines, "1")).await;
            let answer = raw.response().await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{path} {named} {what}: {answer}");
            if named != "host" {
                let lower = named.to_ascii_lowercase();
                assert!(answer.contains(&format!("the header Connection names {lower}")), "{path} {named}: {answer}");
            }
        }
    }
    // A header that no route looks at ends here.
    let lines = ["connection: close, x-other", "x-other: secret", "x-a: 1"];
    let answer = scene.exchange(post("/ask/1", &lines, "last")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("secret"), "{answer}");
    // Nothing that was refused came to the worker.
    scene.worker_gets("last").await;
}

/// Every route forwards trace context, and a request id names the response and the line in the access log: a proxy in front
/// that sets them relies on that.
#[tokio::test]
async fn trace_context_and_a_request_id_cannot_be_removed_by_the_client() {
    const SENT: [&str; 3] = [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=1",
        "x-request-id: mine",
    ];
    let mut scene = Scene::new().await;
    let asked = async |scene: &Scene, path, connection: &str, sent: &[&str]| {
        let connection = format!("connection: close, {connection}");
        scene.exchange(post(path, &[&[connection.as_str()], sent].concat(), "\"last\"")).await
    };
    for path in ["/ask/1", "/shop/1", "/principal", "/sharded-by-host"] {
        for named in ["TraceParent", "tracestate"] {
            let answer = asked(&scene, path, named, &SENT).await;
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains("x-request-id: mine\r\n"),
                "{path}: {answer}"
            );
            let detail = format!("the header Connection names {}", named.to_ascii_lowercase());
            assert!(answer.contains(&detail), "{path}: {answer}");
        }
    }
    // Nothing that was refused came to the worker. Headers that the request does not have cannot be removed from it.
    let answer = asked(&scene, "/ask/1", "traceparent, tracestate", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    scene.worker_gets("\"last\"").await;

    for (path, status) in [("/ask/1", 200), ("/shop/1", 400), ("/nowhere", 404)] {
        let answer = asked(&scene, path, "x-request-id", &SENT).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("x-request-id: mine\r\n"), "{path}: {answer}");
        assert_eq!(answer.matches("mine").count(), 1, "it goes to no worker: {answer}");
    }
}

#[tokio::test]
async fn too_many_and_too_large_headers_are_431() {
    let scene = Scene::new().await;
    let many: Vec<_> = (0..200).map(|n| format!("x-{n}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let large = format!("x-unknown: {}", "x".repeat(40_000));
    let huge = format!("x-unknown: {}", "x".repeat(1_000_000));
    let twice = ["x-a: 1"; 90];
    for (what, headers, status) in [
        ("many", &many[..], 431),
        ("one that is large", &[large.as_str()], 431),
        ("one that is huge", &[huge.as_str()], 431),
        ("one that does not fit a message", &[&*format!("x-a: {}", "x".repeat(17_000))], 431),
        ("the same again and again", &twice, 200),
    ] {
        let headers = [headers, &["connection: close"]].concat();
        let answer = scene.exchange(post("/ask/1", &headers, "1")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    }
    let target = format!("GET /ask/1?{} HTTP/1.1\r\nhost: x\r\n\r\n", "q".repeat(70_000));
    let answer = scene.exchange(target).await;
    assert!(["HTTP/1.1 414 ", "HTTP/1.1 431 "].iter().any(|status| answer.starts_with(status)), "{answer}");
}

#[tokio::test]
async fn odd_paths_are_passed_on_as_they_are_or_refused_and_never_resolved() {
    let scene = Scene::new().await;
    for (target, status) in [
        ("/ask/%41", 200),
        ("/ask/%00", 200),
        ("/ask/%0d%0aset-cookie:x", 200),
        ("/ask/%2e%2e", 200),
        ("/ask/..", 200),
        ("/ask/%2F", 200),
        ("/ask/%", 200),
        ("/ask/%zz", 200),
        ("/ask/%FF", 400),
        ("/ask/%C3%28", 400),
        ("/shop/%FF/../%2e", 200),
        ("/shop//x", 200),
        ("/ask/a/b", 404),
        ("//ask/a", 404),
        ("/%61sk/a", 404),
        ("*", 404),
        ("http://evil.example/ask/a", 200),
        ("/ask/a?%FF&'{}|", 200),
        ("/ask/a?<>", 400),
    ] {
        let answer = scene.exchange(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        if status == 200 {
            let path = target.trim_start_matches("http://evil.example").split('?').next().unwrap();
            assert_eq!(seen(&answer)["http.path"], path, "{target}");
        }
        assert!(!answer.contains("\r\nset-cookie"), "{target}: {answer}");
    }
    for (line, status) in [
        ("CONNECT x:80", 404),
        ("CONNECT /ask/1", 405),
        ("TRACE /ask/1", 405),
        ("TRACE /shop/1", 200),
        ("PURGE /shop/1", 200),
        ("GET x:80", 404),
        ("OPTIONS *", 404),
    ] {
        let answer = scene.exchange(format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
    // Bytes beyond ASCII in a target are no URI, though some clients send them.
    let mut raw = scene.connect().await;
    raw.send(b"GET /ask/\xff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 400 "));
    // A header that is passed on must be text; one that is not may be anything that HTTP takes.
    for (header, status) in [(&b"x-a: \xff"[..], 400), (b"x-b: \xff", 200)] {
        let mut raw = scene.connect().await;
        raw.send([b"GET /ask/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", header, b"\r\n\r\n"].concat()).await;
        assert!(raw.rest().await.starts_with(&format!("HTTP/1.1 {status} ")));
    }
}

/// Workers in other languages may put anything into a reply.
#[tokio::test]
async fn a_reply_cannot_split_its_response() {
    let replies = |message: &streamerson_core::Message| {
        let reply = Reply::new("body")
            .with_content_type("text/plain\r\nx-split: 1")
            .with_header("http.header.x-one", "a\r\nx-split: 1")
            .with_header("http.header.x-two", "a\nx-split: 1")
            .with_header("http.header.x-nul", "a\0")
            .with_header("http.header.x split", "1")
            .with_header("http.header.x\r\nx-split", "1")
            .with_header("http.header.transfer-encoding", "chunked")
            .with_header("http.header.content-length", "1")
            .with_header("http.header.connection", "close, X-Hop")
            .with_header("http.header.x-hop", "1")
            .with_header("http.header.set-cookie", "a=1")
            .with_header("http.header.location", "/a\r\n\r\n<html>")
            .with_header("http.header.x-fine", "1");
        Some(reply.into_message(message.id.clone()))
    };
    let scene = Scene::with("", replies).await;
    for path in ["/shop/1", "/ask/1"] {
        let mut raw = scene.connect().await;
        for _ in 0..2 {
            raw.send(post(path, &[], "1")).await;
            let response = raw.response().await;
            assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("\r\n\r\nbody"), "{response}");
            assert!(response.contains("content-length: 4\r\n"), "{response}");
            for never in ["x-split", "x split", "x-nul", "x-one", "x-two", "x-hop", "chunked", "set-cookie", "<html>"] {
                assert!(!response.contains(never), "{path}: {never} in {response}");
            }
            assert_eq!(response.contains("x-fine: 1"), path == "/shop/1", "{response}");
        }
    }
}
