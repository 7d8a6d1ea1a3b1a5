//! A gateway that closes while a request with a key is under way.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::post,
};
use streamerson_core::client::Client;
use streamerson_gateway::{Gateway, Idempotency};

use crate::support::{Bench, send};

fn app(gateway: &Gateway, bench: &Bench) -> Router {
    let route = gateway.request(&bench.topic, "order.new").idempotent(Idempotency::within(Duration::from_secs(60)));
    Router::new().route("/orders", post(route.timeout(Duration::from_secs(10))))
}

fn order() -> Request<Body> {
    Request::post("/orders").header("idempotency-key", "7").body(Body::from("one")).unwrap()
}

/// A gateway that closes leaves a request behind that is being handled, so nobody sends it once more meanwhile.
#[tokio::test]
async fn a_request_outlives_a_gateway_that_closes() {
    let bench = Bench::new();
    let mut messages = bench.consume(|_| None).await;
    let client = Client::new(bench.broker.clone());
    let closing = app(&Gateway::new(client.clone()), &bench);
    let first = tokio::spawn(async move { send(&closing, order()).await });
    messages.recv().await.unwrap();
    client.close().await;
    assert_eq!(first.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::sleep(Duration::from_millis(50)).await;

    let app = app(&bench.gateway, &bench);
    let again = tokio::time::timeout(Duration::from_secs(2), send(&app, order())).await;
    assert_eq!(again.map(|again| again.status), Ok(StatusCode::CONFLICT), "the first is under way");
    assert!(messages.try_recv().is_err(), "it was sent once");
}
