//! What operators see: readiness, metrics, and a start without a broker.

use streamerson_test::{RedisServer, eventually};

use super::scene::{Gateway, Worker, write};
use crate::support::{Scene, assert_fails, run};

const CONFIG: &str = r#"
[admin]
listen = "127.0.0.1:0"

[[route]]
method = "GET"
path = "/ask/{case}"
topic = "orders"
event = "order.get"

[[route]]
method = "POST"
path = "/tell"
topic = "views"
event = "page.viewed"
mode = "emit"
"#;

const SECRETS: &str = r#"
[admin]
listen = "127.0.0.1:0"

[[route]]
method = "POST"
path = "/keys/{case}"
topic = "orders"
event = "order.new"
forward_headers = ["authorization", "cookie"]
[route.idempotency]
principal = "authorization"
"#;

impl Gateway {
    /// Waits until it is ready, or until it is not.
    async fn is_ready(&self, wanted: bool) -> serde_json::Value {
        eventually("readiness to change", async || {
            let answer = self.admin().await.exchange("GET /readyz", &[], "").await.ok()?;
            let readiness = answer.json();
            let is_ready = readiness["ready"] == true;
            assert_eq!(answer.status, if is_ready { 200 } else { 503 });
            assert_eq!(answer.header("retry-after"), (!is_ready).then_some("1"));
            (readiness["ready"] == wanted).then_some(readiness)
        })
        .await
    }
}

#[tokio::test]
async fn it_starts_without_its_broker_and_is_ready_once_that_is_there() {
    let mut server = RedisServer::builder().password("secret").spawn().await;
    server.stop().await;
    let gateway = Gateway::start(&server, "late", CONFIG).await;
    let readiness = gateway.is_ready(false).await;
    let unreachable = readiness["unreachable"][0].as_str().unwrap();
    assert!(unreachable.contains(&server.address().to_string()) && !unreachable.contains("secret"), "{readiness}");
    let answer = gateway.ask("GET /ask/echo", &[], "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert_eq!(gateway.ask("POST /tell", &[], "").await.status, 503);
    assert_eq!(gateway.admin().await.exchange("GET /healthz", &[], "").await.unwrap().status, 200);

    server.start().await;
    gateway.is_ready(true).await;
    assert_eq!(gateway.ask("POST /tell", &[], "").await.status, 202);

    server.stop().await;
    gateway.is_ready(false).await;
    let metrics = gateway.admin().await.exchange("GET /metrics", &[], "").await.unwrap().text();
    assert!(metrics.contains("streamerson_broker_up{broker=") && !metrics.contains("secret"), "{metrics}");
    assert_eq!(gateway.process.terminate().await.status.code(), Some(0));
}

/// Neither at the most talkative level, nor in metrics, nor in the server's list of clients: passwords, credentials, payloads
/// and queries do not show.
#[tokio::test]
async fn secrets_show_nowhere() {
    let server = RedisServer::builder().password("5ecret").spawn().await;
    let broker = streamerson::connect(&server.url()).await.expect("a server that answers");
    let path = write(&server, "secrets", &format!("listen = \"127.0.0.1:0\"\n{SECRETS}"));
    // The libraries of HTTP/2 log frames, unless `RUST_LOG` leaves them at their default.
    let gateway = Gateway::run(&server, &path, None, "trace,h2=trace,hyper=trace").await;
    let worker = Worker::start(&broker, "orders").await;
    let headers = [
        ("authorization", "Bearer 5ecret"),
        ("cookie", "session=5ecret"),
        ("x-5ecret", "5ecret"),
        ("idempotency-key", "5ecret"),
        ("content-type", "application/json"),
    ];
    let mut http2 = gateway.connect_http2().await;
    for (line, body, status) in [
        ("POST /keys/echo?token=5ecret", "\"5ecret\"", 200),
        ("POST /keys/echo?token=5ecret", "\"another 5ecret\"", 422),
        ("POST /keys/echo", "{5ecret", 400),
        ("POST /nowhere?5ecret", "5ecret", 404),
    ] {
        assert_eq!(gateway.ask(line, &headers, body).await.status, status, "{line}");
        let answer = http2.exchange_with(line, &headers, body).await.expect("a connection that takes requests");
        assert_eq!(answer.status, status, "HTTP/2: {line}");
    }
    let clients = server.command(["CLIENT", "LIST"]).await.text().to_owned();
    assert!(clients.contains("name=streamerson:gateway"), "{clients}");
    let metrics = gateway.admin().await.exchange("GET /metrics", &[], "").await.unwrap().text();
    worker.stop().await;
    let logged = gateway.process.terminate().await;
    for told in ["TRACE", "h2::codec", "streamerson_gateway"] {
        assert!(logged.stderr.contains(told), "no {told} in {}", logged.stderr);
    }
    for (place, text) in [("log", logged.stderr), ("metrics", metrics), ("clients", clients)] {
        let line = text.lines().find(|line| line.contains("5ecret"));
        assert_eq!(line, None, "{place}");
    }
}

#[tokio::test]
async fn a_refused_login_and_a_taken_address_end_it() {
    let server = RedisServer::builder().password("right").spawn().await;
    let url = server.url().replace("right", "wrong");
    let path = write(&server, "login", &format!("listen = \"127.0.0.1:0\"\n{CONFIG}"));
    let finished = run(&format!("gateway --config {} --broker {url}", path.display())).await;
    assert_fails(&finished, 2, &["cannot be used as it is named", "caused by: "]);
    assert!(!finished.stderr.contains("wrong@"), "{}", finished.stderr);

    let gateway = Gateway::start(&server, "first", CONFIG).await;
    let arguments = format!("gateway --config {} --broker {}", path.display(), server.url());
    let finished = run(&format!("{arguments} --listen {}", gateway.address)).await;
    assert_fails(&finished, 1, &[&format!("cannot listen on {}", gateway.address), "caused by: "]);
    gateway.process.terminate().await;
}

#[tokio::test]
async fn metrics_tell_what_became_of_requests() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "metrics", CONFIG).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    for (line, status) in
        [("GET /ask/echo", 204), ("GET /ask/teapot", 418), ("POST /tell", 202), ("GET /none", 404), ("PUT /tell", 405)]
    {
        assert_eq!(gateway.ask(line, &[], "").await.status, status, "{line}");
    }
    let mut under_way = gateway.connect().await;
    under_way.send("GET /ask/never", &[], "").await.unwrap();
    let route = r#"route="/ask/{case}",method="GET",event="order.get""#;
    let in_flight = format!("streamerson_gateway_requests_in_flight{{{route}}} 1");
    let metrics = eventually("the request to be under way", async || {
        let answer = gateway.admin().await.exchange("GET /metrics", &[], "").await.ok()?;
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = answer.text();
        let is_pending =
            text.lines().any(|line| line.starts_with("streamerson_gateway_pending_calls{") && line.ends_with(" 1"));
        (text.contains(&in_flight) && is_pending).then_some(text)
    })
    .await;
    for line in [
        format!("streamerson_gateway_requests_total{{{route},status=\"418\"}} 1"),
        format!("streamerson_gateway_request_duration_seconds_count{{{route}}} 2"),
        format!("streamerson_gateway_outcomes_total{{{route},outcome=\"passed-on\"}} 2"),
        r#"streamerson_gateway_requests_total{route="/tell",method="POST",event="page.viewed",status="202"} 1"#.into(),
        r#"streamerson_gateway_outcomes_total{route="(none)",method="(any)",event="(none)",outcome="not-found"} 1"#.into(),
        r#"streamerson_gateway_outcomes_total{route="(none)",method="(any)",event="(none)",outcome="method-not-allowed"} 1"#.into(),
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in:\n{metrics}");
    }
    drop(under_way);
    let hung_up = format!("streamerson_gateway_outcomes_total{{{route},outcome=\"hung-up\"}} 1");
    eventually("the hang-up to be counted", async || {
        let answer = gateway.admin().await.exchange("GET /metrics", &[], "").await.ok()?;
        answer.text().contains(&hung_up).then_some(())
    })
    .await;
    // The worker still has the request, and ends with the test.
    drop(worker);
    gateway.process.terminate().await;
}
