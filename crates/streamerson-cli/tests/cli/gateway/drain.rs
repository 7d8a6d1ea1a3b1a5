//! How it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use streamerson_test::{Signal, eventually};

use super::{
    http::Connection,
    scene::{Gateway, Worker},
};
use crate::support::Scene;

const ROUTE: &str = r#"
[[route]]
method = "POST"
path = "/ask/{case}"
topic = "orders"
event = "order.update"
timeout = "15s"
"#;

/// Clients that keep their connections, so busy that a signal always meets requests in every state.
const CLIENTS: usize = 32;

#[tokio::test]
async fn no_request_fails_under_load_when_it_is_told_to_stop() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "load", ROUTE).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (mut connection, answered) = (gateway.connect().await, answered.clone());
        clients.spawn(async move {
            for request in 0.. {
                let body = format!("\"{client} {request}\"");
                let answer = connection.exchange("POST /ask/echo", &[], &body).await.expect("an answer");
                assert_eq!((answer.status, answer.text()), (200, body));
                answered.fetch_add(1, Ordering::Relaxed);
                if answer.is_last() {
                    assert!(connection.closed().await.is_empty());
                    break;
                }
            }
        });
    }
    let busy = CLIENTS * 5;
    eventually("the load to be on", async || (answered.load(Ordering::Relaxed) >= busy).then_some(())).await;
    gateway.process.signal(Signal::Terminate);
    clients.join_all().await;
    assert_eq!(gateway.process.wait().await.status.code(), Some(0));
    let inboxes = scene.server.command(["KEYS", "{default:orders}:re:*"]).await;
    assert!(inboxes.items().is_empty(), "{inboxes:?}");
    worker.stop().await;
}

#[tokio::test]
async fn what_was_begun_is_answered_and_operators_are_told() {
    let scene = Scene::new().await;
    let config = format!("[admin]\nlisten = \"127.0.0.1:0\"\n{ROUTE}");
    let gateway = Gateway::start(&scene.server, "begun", &config).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let (mut slow, idle) = (gateway.connect().await, gateway.connect().await);
    slow.send("POST /ask/slow", &[], "").await.unwrap();
    let in_flight = "requests_in_flight{route=\"/ask/{case}\",method=\"POST\",event=\"order.update\"} 1";
    eventually("the request to be under way", async || {
        let metrics = gateway.admin().await.exchange("GET /metrics", &[], "").await.ok()?.text();
        metrics.contains(in_flight).then_some(())
    })
    .await;
    gateway.process.signal(Signal::Interrupt);
    eventually("it to refuse connections", async || Connection::open(&gateway.address).await.err()).await;
    let readiness = gateway.admin().await.exchange("GET /readyz", &[], "").await.unwrap();
    assert_eq!((readiness.status, &readiness.json()["draining"]), (503, &true.into()));
    let answer = slow.receive().await.unwrap();
    assert_eq!((answer.text().as_str(), answer.is_last()), ("\"slow\"", true));
    assert!(idle.closed().await.is_empty());
    assert_eq!(gateway.process.wait().await.status.code(), Some(0));
    worker.stop().await;
}

#[tokio::test]
async fn draining_has_an_end_and_a_second_signal_does_not_wait_for_it() {
    let scene = Scene::new().await;
    let _worker = Worker::start(&scene.broker, "orders").await;
    for (drain, again, code) in [("200ms", false, 0), ("1h", true, 1)] {
        let gateway = Gateway::start(&scene.server, "bounded", &format!("drain = \"{drain}\"\n{ROUTE}")).await;
        let mut waiting = gateway.connect().await;
        waiting.send("POST /ask/never", &[], drain).await.unwrap();
        let handled = Some((if again { 2 } else { 1 }, Some(0)));
        eventually("the request to be handled", async || {
            (scene.pending_and_lag("orders", "orders").await == handled).then_some(())
        })
        .await;
        gateway.process.signal(Signal::Terminate);
        gateway.process.stderr_line("a second signal stops at once").await;
        if again {
            gateway.process.signal(Signal::Terminate);
        }
        assert_eq!(gateway.process.wait().await.status.code(), Some(code));
        let rest = waiting.closed().await;
        assert!(again || rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}

#[tokio::test]
async fn a_client_that_is_slow_to_ask_is_closed() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "loris", &format!("[limits]\nhead_timeout = \"300ms\"\n{ROUTE}")).await;
    let mut loris = gateway.connect().await;
    let begun = Instant::now();
    loris.write("POST /ask/echo HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    assert!(loris.closed().await.is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // How long the answer takes is another matter.
    let worker = Worker::start(&scene.broker, "orders").await;
    assert_eq!(gateway.ask("POST /ask/slow", &[], "").await.status, 200);
    worker.stop().await;
    gateway.process.terminate().await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "room", &format!("[limits]\nconnections_max = 1\n{ROUTE}")).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let mut first = gateway.connect().await;
    assert_eq!(first.exchange("POST /ask/echo", &[], "1").await.unwrap().status, 200);
    let mut second = gateway.connect().await;
    second.send("POST /ask/echo", &[], "2").await.unwrap();
    assert_eq!(first.exchange("POST /ask/echo", &[], "3").await.unwrap().text(), "3");
    drop(first);
    assert_eq!(second.receive().await.unwrap().text(), "2");
    drop(second);
    worker.stop().await;
    gateway.process.terminate().await;
}
