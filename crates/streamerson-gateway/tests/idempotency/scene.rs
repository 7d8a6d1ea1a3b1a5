//! Routes with keys over a broker, and a worker that answers when the test says so.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::Request,
    routing::{any, post},
};
use sha2::{Digest, Sha256};
use streamerson_core::{
    MarkKey, Message, MessageId, Reply, SharedBroker,
    broker::{Charge, Mark, memory::Memory},
    client::Client,
};
use streamerson_gateway::{Gateway, Idempotency};
use streamerson_redis::RedisBroker;
use streamerson_test::{RedisServer, eventually};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::support::{Answer, Bench, send};

/// How many bytes may be kept of requests with a key that come through `/bounded` and `/bounded-too`.
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
        let app = app(&bench, &bench.gateway);
        Self { bench, app, messages, server }
    }

    /// The routes of another gateway on the same broker.
    pub(crate) fn another_gateway(&self) -> Router {
        app(&self.bench, &Gateway::new(Client::new(self.bench.broker.clone())))
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

    /// Begins a request again and again until the worker gets it.
    pub(crate) async fn begun_soon(&mut self, request: impl Fn() -> Request<Body>) -> (JoinHandle<Answer>, Message) {
        eventually("it to be sent on", async || {
            let mut begun = self.begin(request());
            tokio::select! {
                message = self.message() => Some((begun, message)),
                _ = &mut begun => None,
            }
        })
        .await
    }

    /// As [`Scene::handled`], once no attempt at the request is under way.
    pub(crate) async fn handled_soon(&mut self, request: impl Fn() -> Request<Body>, reply: Reply) -> (Answer, String) {
        let (begun, message) = self.begun_soon(request).await;
        self.bench.reply(&message, reply).await;
        (begun.await.unwrap(), message.id.to_string())
    }

    /// The record of a request to `/orders` and the like with this key.
    pub(crate) fn record_key(&self, key: &str) -> MarkKey {
        self.bench.topic.idempotency_mark(&self.key_id(key))
    }

    fn key_id(&self, key: &str) -> MessageId {
        hash(&["id", &self.bench.topic.to_string(), "order.new", key], 24).parse().unwrap()
    }

    /// Removes everything that is known of a key.
    pub(crate) async fn forget(&self, key: &str) {
        let (topic, broker) = (&self.bench.topic, &self.bench.broker);
        let keys = vec![self.record_key(key), topic.idempotency_attempt(&self.key_id(key))];
        let gone = |key: &MarkKey| Mark { key: key.clone(), value: "".into(), ttl: Duration::from_millis(1) };
        broker.mark(keys.iter().map(gone).collect()).await.unwrap();
        eventually("the key to be forgotten", async || {
            (broker.recall(keys.clone()).await.unwrap() == [None, None]).then_some(())
        })
        .await;
    }

    /// The sum of the meter and of what is reserved.
    pub(crate) async fn metered(&self) -> u64 {
        let key = self.bench.topic.idempotency_meter();
        let question = Charge { key, bytes: 0, ttl: Duration::ZERO, reserved: None };
        self.bench.broker.charge(question).await.unwrap()
    }

    /// The same, once this gateway has told its bytes.
    pub(crate) async fn metered_when_told(&self) -> u64 {
        self.bench.gateway.finished().await;
        self.metered().await
    }

    /// The sum of the meter and of what is reserved, once it is as wanted.
    pub(crate) async fn metered_once(&self, is_wanted: impl Fn(u64) -> bool) {
        eventually("the bytes to be counted", async || is_wanted(self.metered().await).then_some(())).await;
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.app, request).await
    }
}

pub(crate) fn app(bench: &Bench, gateway: &Gateway) -> Router {
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
        .route("/bounded-too", any(route.clone().idempotent(once.clone().reply_bytes_max(4000).topic_bytes_max(BOUND))))
        .route("/whole", any(whole.idempotent(once)))
}

/// The first bytes of a SHA-256 over parts with their lengths before them, in hexadecimal digits.
pub(crate) fn hash(parts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// A POST of JSON with this key.
pub(crate) fn keyed(path: &str, key: &str, body: &str) -> Request<Body> {
    with(path, body, &[("idempotency-key", key)])
}

/// The same POST as often as it is wanted.
pub(crate) fn keyed_fn(path: &str, key: &str, body: &str) -> impl Fn() -> Request<Body> {
    let (path, key, body) = (path.to_owned(), key.to_owned(), body.to_owned());
    move || keyed(&path, &key, &body)
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
