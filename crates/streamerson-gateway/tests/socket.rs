//! What only a real connection shows: hang-ups, framing, and limits on the way in.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod support;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    routing::any,
};
use streamerson_core::client::Client;
use streamerson_gateway::{Requests, Route};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use self::support::{Bench, echo};

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends these bytes and answers all that comes back until the server closes.
async fn exchange(app: Router, request: &str) -> String {
    let mut stream = TcpStream::connect(serve(app).await).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    // A server that closes with unread bytes resets the connection, after the response.
    _ = stream.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

fn at_root(route: Route<Requests>) -> Router {
    Router::new().route("/", any(route))
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_pending_call() {
    /// Tells when the route's future is gone: it lies within this one and is dropped before.
    struct Gone(Client, mpsc::UnboundedSender<usize>);

    impl Drop for Gone {
        fn drop(&mut self) {
            _ = self.1.send(self.0.pending());
        }
    }

    let bench = Bench::new();
    let mut messages = bench.consume(|_| None).await;
    let (gone, mut pending_when_gone) = mpsc::unbounded_channel();
    let client = bench.gateway.client().clone();
    let watch = middleware::from_fn(move |request: Request, next: Next| {
        let gone = Gone(client.clone(), gone.clone());
        async move {
            let _gone = gone;
            next.run(request).await
        }
    });
    let address = serve(at_root(bench.gateway.request(&bench.topic, "order.get")).layer(watch)).await;

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    messages.recv().await.unwrap();
    assert_eq!(bench.gateway.client().pending(), 1);
    drop(stream);
    assert_eq!(pending_when_gone.recv().await, Some(0));
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let app = at_root(bench.gateway.request(&bench.topic, "order.get"));
    let request = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
    let response = exchange(app, request).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains(r#""payload":"{\"a\":1}""#), "{response}");
    assert!(!response.contains("transfer-encoding\":"), "{response}");
}

#[tokio::test]
async fn an_announced_body_that_is_too_large_is_refused_unread() {
    let bench = Bench::new();
    let app = at_root(bench.gateway.request(&bench.topic, "order.get"));
    let request = "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 300000\r\n\r\n";
    let response = exchange(app, request).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn a_chunked_body_that_is_too_large_is_refused() {
    let bench = Bench::new();
    let app = at_root(bench.gateway.request(&bench.topic, "order.get").body_bytes_max(3));
    let request = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n";
    let response = exchange(app, request).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[tokio::test]
async fn a_body_that_ends_early_is_refused_and_nothing_is_appended() {
    let bench = Bench::new();
    let address = serve(at_root(bench.gateway.request(&bench.topic, "order.get"))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nfive!").await.unwrap();
    stream.shutdown().await.unwrap();
    let response = read_to_end(&mut stream).await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 400 "), "{response}");
    assert_eq!(bench.appended().await, 0);
}

#[tokio::test]
async fn headers_that_do_not_fit_a_message_are_refused() {
    let bench = Bench::new();
    let app = at_root(bench.gateway.request(&bench.topic, "order.get").forward_headers(["x-big"]));
    let big = "x".repeat(17_000);
    let response =
        exchange(app, &format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-big: {big}\r\n\r\n")).await;
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    assert_eq!(bench.appended().await, 0);
}

#[tokio::test]
async fn responses_without_a_body_keep_the_connection_in_step() {
    let bench = Bench::new();
    let no_content = |message: &streamerson_core::Message| {
        let reply = streamerson_core::Reply::new("dropped").with_header("status", "ignored");
        Some(reply.into_message(message.id.clone()).with_header("status", "204"))
    };
    let _messages = bench.consume(no_content).await;
    let app = at_root(bench.gateway.request(&bench.topic, "order.get"));
    let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let response = exchange(app, request).await;
    assert_eq!(response.matches("HTTP/1.1 204 No Content").count(), 2, "{response}");
    assert!(!response.contains("dropped") && !response.contains("content-length"), "{response}");
}
