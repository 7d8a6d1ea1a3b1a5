//! Every status that the gateway has, on the wire.
//!
//! | status | whose | where |
//! |---|---|---|
//! | 200, 201, 204, 4xx | the worker's | `the_worker_writes_the_status_and_the_gateway_passes_it_on` |
//! | 202 | the gateway's | `an_event_is_202_with_the_id_that_it_is_stored_under` |
//! | 400, 404, 405, 408, 413, 415, 431, 501, 503, 504 | the gateway's | `what_the_gateway_answers_itself` |
//! | 400, 431 without a document | the gateway's | `what_is_no_request_is_answered_without_a_document` |
//! | 400, 409, 422 of a key | the gateway's | `idempotency.rs` |
//! | 400, 415, 422, 501, 502 | the worker's | `what_a_worker_of_this_project_answers_for_itself` |
//! | 502 | the gateway's, of a reply that cannot be used | `the_worker_writes_the_status_and_the_gateway_passes_it_on` |
//! | 503 | the gateway's, while the broker is away | `operators.rs` |

use http::StatusCode;
use streamerson::consumer::{Consumer, Json};
use streamerson::core::{Problem, Topic};
use streamerson_test::RedisServer;
use tokio::sync::oneshot;

use super::{
    http::Answer,
    scene::{Gateway, Worker},
};
use crate::support::Scene;

const CONFIG: &str = r#"
[cors]
origins = ["https://shop.example"]

[topic.full]
backlog_max = 0

[[route]]
method = "POST"
path = "/ask/{case}"
topic = "orders"
event = "order.update"
timeout = "15s"
body_bytes_max = 100

[[route]]
method = "GET"
path = "/ask/{case}"
topic = "orders"
event = "order.get"

[[route]]
method = "POST"
path = "/hurry/{case}"
topic = "orders"
event = "order.update"
timeout = "300ms"
forward_headers = ["x-big"]
content_types = ["application/json"]

[[route]]
method = "POST"
path = "/tell"
topic = "views"
event = "page.viewed"
mode = "emit"
timeout = "300ms"
body_bytes_max = 100
content_types = ["application/json"]

[[route]]
method = "GET"
path = "/alone"
topic = "alone"
event = "order.get"
fail_fast = true

[[route]]
method = "GET"
path = "/lonely"
topic = "alone"
event = "order.get"
timeout = "300ms"

[[route]]
method = "POST"
path = "/typed/{event}"
topic = "typed"
event = "order.new"

[[route]]
method = "POST"
path = "/unknown"
topic = "typed"
event = "order.unknown"

[[route]]
method = "POST"
path = "/full/ask"
topic = "full"
event = "order.update"

[[route]]
method = "POST"
path = "/full/tell"
topic = "full"
event = "order.seen"
mode = "emit"
"#;

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");

/// One of the gateway's own errors: a problem document with an id, and nothing internal.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("retry-after"), (status == 503).then_some("1"), "{what}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{what}");
    assert!(problem["id"].as_str().is_some_and(|id| id.len() == 26), "{what}: {problem}");
    assert!(!answer.text().contains("redis"), "{what}: {problem}");
}

#[tokio::test]
async fn the_worker_writes_the_status_and_the_gateway_passes_it_on() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "statuses", CONFIG).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let mut connection = gateway.connect().await;
    for (line, body, status, media_type, answered) in [
        ("POST /ask/echo", "{\"n\":1}", 200, Some("application/json"), "{\"n\":1}"),
        ("POST /ask/empty", "{}", 204, None, ""),
        ("POST /ask/created", "{}", 201, Some("application/json"), "{}"),
        ("GET /ask/teapot", "", 418, Some("text/plain"), "short"),
    ] {
        let answer = connection.exchange(line, &[JSON], body).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (status, answered), "{line}");
        assert_eq!(answer.header("content-type"), media_type, "{line}");
        assert_eq!(answer.header("location"), (status == 201).then_some("/7"), "{line}");
    }
    let refused = connection.exchange("GET /ask/refused", &[], "").await.unwrap();
    assert_eq!((refused.status, refused.json()["detail"].as_str()), (409, Some("sold out")));
    for (line, reason) in [("GET /ask/panic", None), ("GET /ask/unusable", Some("invalid-reply"))] {
        let answer = connection.exchange(line, &[], "").await.unwrap();
        assert_problem(&answer, 502, line);
        assert_eq!(answer.json()["reason"].as_str(), reason, "{line}");
    }
    worker.stop().await;
    assert_eq!(gateway.process.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn what_the_gateway_answers_itself() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "refusals", CONFIG).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let (long, huge) = ("x".repeat(101), "x".repeat(40_000));
    let forwarded = "x".repeat(17_000);
    for (line, headers, body, status) in [
        ("GET /nowhere", &[] as &[_], "", 404),
        ("GET /ask", &[], "", 404),
        ("DELETE /ask/echo", &[], "", 405),
        ("GET /tell", &[], "", 405),
        ("POST /ask/echo", &[JSON], "{", 400),
        ("POST /ask/echo", &[("content-type", "application/ld+json")], "nope", 400),
        ("GET /ask/%FF", &[], "", 400),
        ("POST /tell", &[JSON], "{", 400),
        ("POST /ask/echo", &[TEXT], &long, 413),
        ("POST /tell", &[JSON], &long, 413),
        ("POST /hurry/echo", &[TEXT], "x", 415),
        ("POST /tell", &[TEXT], "x", 415),
        ("POST /hurry/echo", &[JSON, ("x-big", &forwarded)], "{}", 431),
        ("GET /ask/echo", &[("x-unknown", &huge)], "", 431),
        ("POST /hurry/never", &[JSON], "{}", 504),
        ("GET /alone", &[], "", 503),
        ("GET /lonely", &[], "", 503),
        ("POST /ask/echo", &[("host", "another")], "", 400),
        ("POST /ask/echo", &[("transfer-encoding", "gzip, chunked")], "0\r\n\r\n", 501),
        ("POST /full/ask", &[], "", 503),
        ("POST /full/tell", &[], "", 503),
    ] {
        let answer = gateway.ask(line, headers, body).await;
        assert_problem(&answer, status, line);
        let allow = match line {
            "DELETE /ask/echo" => Some(vec!["GET", "HEAD", "POST"]),
            "GET /tell" => Some(vec!["POST"]),
            _ => None,
        };
        let allowed = answer.header("allow").map(|methods| {
            let mut methods: Vec<_> = methods.split(',').collect();
            methods.sort_unstable();
            methods
        });
        assert_eq!(allowed, allow, "{line}");
    }
    // Farther beyond the bound than the gateway reads.
    assert_eq!(gateway.ask("GET /ask/echo", &[("x", &"x".repeat(100_000))], "").await.status, 431);
    let mut stalled = gateway.connect().await;
    stalled
        .write("POST /tell HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
        .await
        .unwrap();
    assert_problem(&stalled.receive().await.unwrap(), 408, "a body that stalls");
    worker.stop().await;
    gateway.process.terminate().await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_without_a_document() {
    let server = RedisServer::spawn().await;
    let gateway = Gateway::start(&server, "bare", CONFIG).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(66_000));
    let huge = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(1_000_000));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (bytes, status) in [("no HTTP\r\n\r\n", "400"), (&long, "431"), (&huge, "431"), (&many, "431")] {
        let mut connection = gateway.connect().await;
        _ = connection.write(bytes).await;
        let answer = String::from_utf8(connection.closed().await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    gateway.process.terminate().await;
}

#[derive(serde::Deserialize)]
struct Order {
    count: u32,
}

async fn typed(Json(order): Json<Order>) -> Result<Json<u32>, Problem> {
    match order.count {
        500 => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail("the shop is closed")),
        503 => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE)),
        count => Ok(Json(count)),
    }
}

#[tokio::test]
async fn what_a_worker_of_this_project_answers_for_itself() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "typed", CONFIG).await;
    let consumer = Consumer::new(Topic::new("typed").unwrap()).on("order.new", typed);
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = tokio::spawn(consumer.run(scene.broker.clone(), async { _ = stopped.await }));
    let big = "{\"count\":99999999999}";
    for (line, headers, body, status) in [
        ("POST /typed/x", &[JSON][..], "{\"count\":1}", 200),
        ("POST /typed/x", &[TEXT], "{\"count\":1}", 415),
        ("POST /typed/x", &[], "{\"count\":1}", 200),
        ("POST /typed/x", &[JSON], "{}", 422),
        ("POST /typed/x", &[JSON], big, 422),
        ("POST /typed/x", &[JSON], "{\"count\":500}", 500),
        ("POST /typed/x", &[JSON], "{\"count\":503}", 503),
        ("POST /unknown", &[JSON], "{}", 501),
    ] {
        let answer = gateway.ask(line, headers, body).await;
        assert_eq!(answer.status, status, "{line} {body}: {answer:?}");
        if status != 200 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{line} {body}");
        }
        // When to come back is the worker's to say.
        assert_eq!(answer.header("retry-after"), None, "{line} {body}");
    }
    // What the gateway finds out before is never a worker's.
    assert_problem(&gateway.ask("POST /typed/x", &[JSON], "{\"count\":").await, 400, "no JSON");
    _ = stop.send(());
    worker.await.unwrap().unwrap();
    gateway.process.terminate().await;
}

#[tokio::test]
async fn an_event_is_202_with_the_id_that_it_is_stored_under() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "events", CONFIG).await;
    let answer = gateway.ask("POST /tell", &[JSON], "{\"page\":1}").await;
    assert_eq!((answer.status, answer.header("content-type")), (202, Some("application/json")));
    let stored = scene.run("tail views --from start --count 1").await;
    let entry: serde_json::Value = serde_json::from_str(&stored.stdout).unwrap();
    assert_eq!((&entry["id"], &entry["event"]), (&answer.json()["id"], &"page.viewed".into()));
    assert_eq!((&entry["payload"], &entry["inbox"]), (&serde_json::json!({ "page": 1 }), &serde_json::Value::Null));
    gateway.process.terminate().await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_the_answers_and_no_others() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "cors", CONFIG).await;
    let (listed, other) = (("origin", "https://shop.example"), ("origin", "https://evil.example"));
    let wanted = [("access-control-request-method", "POST"), ("access-control-request-headers", "content-type")];

    let preflight = gateway.ask("OPTIONS /tell", &[listed, wanted[0], wanted[1]], "").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some(listed.1)));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type"));
    let answer = gateway.ask("POST /tell", &[JSON, listed], "{}").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (202, Some(listed.1)));
    assert!(answer.header("access-control-expose-headers").is_some_and(|names| names.contains("location")));
    // Errors can be read as well.
    assert_eq!(gateway.ask("GET /nowhere", &[listed], "").await.header("access-control-allow-origin"), Some(listed.1));

    for (line, headers, status) in [("OPTIONS /tell", [other, wanted[0]], 405), ("POST /tell", [other, JSON], 202)] {
        let answer = gateway.ask(line, &headers, if status == 202 { "{}" } else { "" }).await;
        assert_eq!((answer.status, answer.header("vary")), (status, Some("Origin")), "{line}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{line}");
    }
    // An `OPTIONS` that is no preflight is a request like any other.
    assert_problem(&gateway.ask("OPTIONS /tell", &[listed], "").await, 405, "no preflight");
    gateway.process.terminate().await;
}

#[tokio::test]
async fn without_cors_nothing_is_said_of_origins() {
    let server = RedisServer::spawn().await;
    let gateway =
        Gateway::start(&server, "no-cors", &CONFIG.replace("[cors]\norigins = [\"https://shop.example\"]", "")).await;
    let preflight = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
    let answer = gateway.ask("OPTIONS /tell", &preflight, "").await;
    assert_problem(&answer, 405, "a preflight");
    assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control") && name != "vary"), "{answer:?}");
    gateway.process.terminate().await;
}
