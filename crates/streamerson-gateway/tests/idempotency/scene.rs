//! Routes with keys over a broker, and a worker that answers when the test says so.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::Request,
    routing::{any, post},
};
use streamerson_core::{Message, Reply, SharedBroker, broker::memory::Memory, client::Client};
use streamerson_gateway::{Gateway, Idempotency};
use streamerson_redis::RedisBroker;
use streamerson_test::RedisServer;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::support::{Answer, Bench, send};

/// How many bytes may be kept of requests with a key that come through `/bounded`.
pub(crate) const BOUND: u64 = 20_000;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) app: Router,
    messages: mpsc::UnboundedReceiver<Message>,
    pub(crate) server: Option<RedisServer>,
}

impl Scene {
    pub(crate) async fn over_memory() -> Self {
        Self::over(Memory::new().into(), None).await
    }

    pub(crate) async fn over_redis() -> Self {
        let server = RedisServer::spawn().await;
        let broker = RedisBroker::connect(&server.url()).await.expect("a server that answers");
        Self::over(Arc::new(broker), Some(server)).await
    }

    pub(crate) async fn over(broker: SharedBroker, server: Option<RedisServer>) -> Self {
        let bench = Bench::over(broker);
        let messages = bench.consume(|_| None).await;
        let app = app(&bench, bench.gateway.client().clone());
        Self { bench, app, messages, server }
    }

    /// The routes of another gateway on the same broker.
    pub(crate) fn another_gateway(&self) -> Router {
        app(&self.bench, Client::new(self.bench.broker.clone()))
    }

    /// Begins a request.
    pub(crate) fn begin(&self, request: Request<Body>) -> JoinHandle<Answer> {
        let app = self.app.clone();
        tokio::spawn(async move { send(&app, request).await })
    }

    /// The next message that the worker gets.
    pub(crate) async fn message(&mut self) -> Message {
        timeout(PATIENCE, self.messages.recv()).await.expect("a message in time").unwrap()
    }

    /// A message, if the worker got one.
    pub(crate) fn message_now(&mut self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    /// Begins a request, answers it, and gives the answer and the message's id.
    pub(crate) async fn handled(&mut self, request: Request<Body>, reply: Reply) -> (Answer, String) {
        let begun = self.begin(request);
        let message = self.message().await;
        self.bench.reply(&message, reply).await;
        (begun.await.unwrap(), message.id.to_string())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.app, request).await
    }
}

fn app(bench: &Bench, client: Client) -> Router {
    let gateway = Gateway::new(client);
    let (topic, once) = (&bench.topic, Idempotency::default());
    let route = gateway.request(topic, "order.new").reply_headers(["location", "etag"]).forward_headers(["x-trace"]);
    let for_each = once.clone().principal("authorization");
    let whole = gateway.http(topic).reply_headers(["*", "set-cookie"]);
    Router::new()
        .route("/orders", any(route.clone().idempotent(once.clone())))
        .route("/principals", post(route.clone().idempotent(for_each)))
        .route("/users", post(route.clone().idempotent(once.clone().principal("x-user"))))
        .route("/required", post(route.clone().idempotent(once.clone().required(true))))
        .route("/small", post(route.clone().idempotent(once.clone().reply_bytes_max(300))))
        .route("/brief", post(route.clone().idempotent(Idempotency::within(Duration::from_secs(2)))))
        .route("/hurry", any(route.clone().idempotent(once.clone()).timeout(Duration::from_millis(300))))
        .route("/events", post(gateway.emit(topic, "order.seen").idempotent(once.clone())))
        .route("/bounded", any(route.clone().idempotent(once.clone().reply_bytes_max(4000).topic_bytes_max(BOUND))))
        .route("/whole", any(whole.idempotent(once)))
}

/// A POST of JSON with this key.
pub(crate) fn keyed(path: &str, key: &str, body: &str) -> Request<Body> {
    with(path, body, &[("idempotency-key", key)])
}

/// A POST of JSON with these headers.
pub(crate) fn with(path: &str, body: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

pub(crate) fn created() -> Reply {
    Reply::new("{\"order\":7}")
        .with_status(axum::http::StatusCode::CREATED)
        .with_header("http.header.location", "/orders/7")
        .with_header("http.header.etag", "\"1\"")
}

/// The problem documents of this route's own.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("retry-after"), matches!(status, 409 | 503).then_some("1"), "{what}");
    assert!(answer.json()["id"].is_string(), "{what}: {answer:?}");
}

#[track_caller]
pub(crate) fn assert_created(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (201, &b"{\"order\":7}"[..]), "{answer:?}");
    assert_eq!((answer.header("location"), answer.header("etag")), (Some("/orders/7"), Some("\"1\"")), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
}
