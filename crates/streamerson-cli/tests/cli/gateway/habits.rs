//! What users of any gateway take for granted.

use super::{
    http::Connection,
    scene::{Gateway, Worker, write},
    tls::Authority,
};
use crate::support::{Scene, assert_fails, run};

const CONFIG: &str = r#"
[[route]]
method = "GET"
path = "/ask/{case}"
topic = "orders"
event = "order.get"
forward_headers = ["x-request-id"]

[[route]]
method = "OPTIONS"
path = "/optional"
topic = "orders"
event = "order.options"

[[route]]
method = "*"
path = "/shop/{*rest}"
topic = "orders"
mode = "http"
"#;

#[tokio::test]
async fn head_is_get_without_a_body_and_options_says_what_there_is() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "head", CONFIG).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let get = gateway.ask("GET /ask/teapot", &[], "").await;
    let mut connection = gateway.connect().await;
    connection.send("HEAD /ask/teapot", &[("connection", "close")], "").await.unwrap();
    let head = String::from_utf8(connection.closed().await).unwrap();
    assert!(head.starts_with("HTTP/1.1 418 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("content-length: 5\r\n") && head.contains("content-type: text/plain\r\n"), "{head}");
    assert_eq!(get.text(), "short");
    let mut nowhere = gateway.connect().await;
    nowhere.send("HEAD /nowhere", &[("connection", "close")], "").await.unwrap();
    let nowhere = String::from_utf8(nowhere.closed().await).unwrap();
    assert!(nowhere.starts_with("HTTP/1.1 404 ") && nowhere.ends_with("\r\n\r\n"), "{nowhere}");

    for line in ["OPTIONS /ask/echo", "POST /ask/echo", "PURGE /ask/echo", "get /ask/echo"] {
        let answer = gateway.ask(line, &[], "").await;
        let allow = answer.header("allow").map(|allow| allow.replace(' ', ""));
        assert_eq!((answer.status, allow.as_deref()), (405, Some("GET,HEAD")), "{line}");
    }
    assert_eq!(gateway.ask("OPTIONS /optional", &[], "").await.status, 204);
    assert_eq!(gateway.ask("OPTIONS *", &[], "").await.status, 404);
    worker.stop().await;
    gateway.process.terminate().await;
}

#[tokio::test]
async fn requests_have_names_and_the_access_log_has_a_line_for_each() {
    let scene = Scene::new().await;
    let path = write(&scene.server, "log", &format!("listen = \"127.0.0.1:0\"\n{CONFIG}"));
    let gateway = Gateway::run(&scene.server, &path, None, "info,streamerson_gateway::access=debug").await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let long = "x".repeat(129);
    for (given, echoed) in [("abc-1", true), ("a b", false), ("é", false), ("", false), (long.as_str(), false)] {
        let answer = gateway.ask("GET /ask/teapot?token=secret", &[("x-request-id", given)], "").await;
        let named = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(named == given, echoed, "{given}: {named}");
        assert!(echoed || named.len() == 26, "{named}");
    }
    // A problem has the name of the message, and so has its document.
    let nowhere = gateway.ask("GET /nowhere", &[], "").await;
    assert_eq!(nowhere.header("x-request-id"), nowhere.json()["id"].as_str());
    let line = gateway.process.stderr_line("/nowhere").await;
    for part in [
        "DEBUG",
        "streamerson_gateway::access",
        "client=127.0.0.1:",
        "method=GET",
        "status=404",
        "outcome=\"not-found\"",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(line.contains(nowhere.header("x-request-id").unwrap()), "{line}");
    let line = gateway.process.stderr_line("/ask/teapot").await;
    assert!(line.contains("status=418") && line.contains("request_id=\"abc-1\""), "{line}");
    // The message's id is there as well, and a client that names no request, or in a way that cannot be repeated, gets no field.
    assert!(line.contains(" id=\""), "{line}");
    assert_eq!(gateway.process.stderr().matches("request_id=").count(), 1, "{}", gateway.process.stderr());
    assert!(!gateway.process.stderr().contains("secret"));
    let mut hung_up = gateway.connect().await;
    hung_up.send("GET /ask/slow", &[("x-request-id", "gone-1")], "").await.unwrap();
    streamerson_test::eventually("it to be handled", async || {
        (scene.pending_and_lag("orders", "orders").await == Some((1, Some(0)))).then_some(())
    })
    .await;
    drop(hung_up);
    let line = gateway.process.stderr_line("outcome=\"hung-up\"").await;
    assert!(line.contains("path=\"/ask/slow\"") && line.contains("request_id=\"gone-1\""), "{line}");
    worker.stop().await;
    gateway.process.terminate().await;
}

/// By default nothing is said of requests, and nothing of clients that fail.
#[tokio::test]
async fn a_quiet_log_stays_quiet() {
    let scene = Scene::new().await;
    let gateway = Gateway::start_tls(&scene.server, "quiet", CONFIG, &Authority::new()).await;
    let before = gateway.process.stderr().lines().count();
    for _ in 0..5 {
        gateway.ask("GET /nowhere", &[], "").await;
        let mut odd = Connection::open(&gateway.address).await.unwrap();
        odd.write("no TLS at all\r\n\r\n").await.unwrap();
        odd.closed().await;
        let mut odd = gateway.connect().await;
        odd.write("no HTTP at all\r\n\r\n").await.unwrap();
        odd.closed().await;
        gateway.connect_http2().await.exchange("GET /nowhere", "").await.unwrap();
    }
    assert_eq!(gateway.process.stderr().lines().count(), before, "{}", gateway.process.stderr());
    gateway.process.terminate().await;
}

#[tokio::test]
async fn garbage_behind_a_request_ends_the_connection_and_nothing_else() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "garbage", CONFIG).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let mut other = gateway.connect().await;
    let mut odd = gateway.connect().await;
    odd.write("GET /ask/teapot HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nokGARBAGE\r\n\r\n").await.unwrap();
    assert_eq!(odd.receive().await.unwrap().status, 418);
    assert!(String::from_utf8_lossy(&odd.closed().await).starts_with("HTTP/1.1 400 "));
    assert_eq!(other.exchange("GET /ask/teapot", &[], "").await.unwrap().status, 418);
    worker.stop().await;
    gateway.process.terminate().await;
}

#[tokio::test]
async fn it_listens_on_ipv6() {
    let scene = Scene::new().await;
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let path = write(&scene.server, "six", &format!("listen = \"[::1]:0\"\n{CONFIG}"));
    let gateway = Gateway::run(&scene.server, &path, None, "").await;
    assert!(gateway.address.starts_with("[::1]:"), "{}", gateway.address);
    assert_eq!(gateway.ask("GET /nowhere", &[], "").await.status, 404);
    gateway.process.terminate().await;
    let path = write(&scene.server, "odd", &format!("listen = \"::1:8080\"\n{CONFIG}"));
    let finished = run(&format!("gateway --check --config {} --broker redis://x", path.display())).await;
    assert_fails(&finished, 1, &["odd.toml:1: listen: \"::1:8080\" is not an address", "[::1]:8080"]);
}
