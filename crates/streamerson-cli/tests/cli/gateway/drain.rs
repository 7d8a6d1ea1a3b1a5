//! How it ends.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use streamerson_test::{Signal, eventually};

use super::{
    http::Connection,
    http2::{Http2, NotProcessed},
    scene::{Gateway, Worker},
    tls::Authority,
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
/// How many of them share a connection of HTTP/2.
const STREAMS: usize = 8;

/// A client of either version.
enum Client {
    One(Connection),
    Two(Http2),
}

impl Client {
    /// Sends a request, and checks its response. Returns whether this connection takes another request.
    async fn asks(&mut self, body: &str, answered: &AtomicUsize) -> bool {
        match self {
            Self::One(connection) => {
                let answer = connection.exchange("POST /ask/echo", &[], body).await.expect("an answer");
                assert_eq!((answer.status, answer.text().as_str()), (200, body));
                answered.fetch_add(1, Ordering::Relaxed);
                !answer.is_last()
            }
            Self::Two(connection) => match connection.exchange("POST /ask/echo", body).await {
                Ok(answer) => {
                    assert_eq!((answer.status, answer.body.as_str()), (200, body));
                    answered.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(NotProcessed) => false,
            },
        }
    }
}

async fn no_request_fails_under_load(tls: bool, http2: bool) {
    let scene = Scene::new().await;
    let gateway = match tls {
        true => Gateway::start_tls(&scene.server, "load", ROUTE, &Authority::new()).await,
        false => Gateway::start(&scene.server, "load", ROUTE).await,
    };
    let worker = Worker::start(&scene.broker, "orders").await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let mut connections = match http2 {
            // On each connection there are several under way.
            true if client % STREAMS == 0 => {
                let connection = gateway.connect_http2().await;
                (0..STREAMS).map(|_| Client::Two(connection.clone())).collect()
            }
            true => Vec::new(),
            false => vec![Client::One(gateway.connect().await)],
        };
        while let Some(mut connection) = connections.pop() {
            let (answered, client) = (answered.clone(), client + connections.len());
            clients.spawn(async move {
                for request in 0.. {
                    if !connection.asks(&format!("\"{client} {request}\""), &answered).await {
                        break;
                    }
                }
                if let Client::One(connection) = connection {
                    assert!(connection.closed().await.is_empty());
                }
            });
        }
    }
    let busy = CLIENTS * 5;
    eventually("the load to be on", async || (answered.load(Ordering::Relaxed) >= busy).then_some(())).await;
    gateway.process.signal(Signal::Terminate);
    clients.join_all().await;
    assert_eq!(gateway.process.wait().await.status.code(), Some(0));
    // No request was handled whose client was told that it is not processed.
    let handled = scene.entries_appended("orders").await;
    assert_eq!(handled, answered.load(Ordering::Relaxed) as u64);
    let inboxes = scene.server.command(["KEYS", "{default:orders}:re:*"]).await;
    assert!(inboxes.items().is_empty(), "{inboxes:?}");
    worker.stop().await;
}

#[tokio::test]
async fn no_request_fails_when_it_is_told_to_stop() {
    no_request_fails_under_load(false, false).await;
}

#[tokio::test]
async fn no_request_fails_when_it_is_told_to_stop_with_tls() {
    no_request_fails_under_load(true, false).await;
}

#[tokio::test]
async fn no_request_fails_when_it_is_told_to_stop_with_http2() {
    no_request_fails_under_load(false, true).await;
}

#[tokio::test]
async fn no_request_fails_when_it_is_told_to_stop_with_http2_and_tls() {
    no_request_fails_under_load(true, true).await;
}

/// Each request on a connection of its own: whoever could connect is answered, until there is nobody to connect to.
#[tokio::test]
async fn who_comes_in_the_last_moment_is_answered_or_not_let_in() {
    let scene = Scene::new().await;
    // Nobody waits on an idle connection here, and a busy machine may leave one without its request for a while.
    let config = format!("[limits]\nidle_grace = \"20s\"\n{ROUTE}");
    let gateway = Gateway::start(&scene.server, "load", &config).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (address, answered) = (gateway.address.clone(), answered.clone());
        clients.spawn(async move {
            for request in 0.. {
                let mut connection = match Connection::open(&address).await {
                    Ok(connection) => connection,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                    Err(error) => panic!("{error}"),
                };
                let body = format!("\"{client} {request}\"");
                let answer = connection.exchange("POST /ask/echo", &[], &body).await.expect("an answer");
                assert_eq!((answer.status, answer.text()), (200, body));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let busy = CLIENTS * 5;
    eventually("the load to be on", async || (answered.load(Ordering::Relaxed) >= busy).then_some(())).await;
    gateway.process.signal(Signal::Terminate);
    clients.join_all().await;
    assert_eq!(gateway.process.wait().await.status.code(), Some(0));
    worker.stop().await;
}

/// Connections of HTTP/2 that are busy are told at once, those that never asked are given the time of idle ones.
#[tokio::test]
async fn clients_of_http2_are_told_and_what_they_began_is_answered() {
    let scene = Scene::new().await;
    let config = format!("[limits]\nidle_grace = \"3s\"\n{ROUTE}");
    let gateway = Gateway::start_tls(&scene.server, "goaway", &config, &Authority::new()).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    let (mut slow, mut new) = (gateway.connect_http2().await, gateway.connect_http2().await);
    let mut idle = gateway.connect_http2().await;
    assert_eq!(idle.exchange("POST /ask/echo", "1").await.unwrap().body, "1");
    let begun = tokio::spawn({
        let mut slow = slow.clone();
        async move { slow.exchange("POST /ask/slow", "1").await }
    });
    eventually("the request to be handled", async || {
        (scene.pending_and_lag("orders", "orders").await == Some((1, Some(0)))).then_some(())
    })
    .await;
    gateway.process.signal(Signal::Terminate);
    gateway.process.stderr_line("a second signal stops at once").await;
    assert_eq!(new.exchange("POST /ask/echo", "2").await.unwrap().body, "2");
    assert_eq!(begun.await.unwrap().unwrap().body, "\"slow\"");
    assert!(slow.exchange("POST /ask/echo", "3").await.is_err());
    for connection in [slow, new, idle] {
        connection.ended().await;
    }
    assert_eq!(gateway.process.wait().await.status.code(), Some(0));
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
