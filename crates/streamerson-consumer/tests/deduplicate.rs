//! Messages that come twice.

mod common;

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use streamerson_consumer::{Consumer, DeduplicateLayer, Json, Reply, Retry, extract::Attempt};
use streamerson_core::{Message, MessageId, dead_letter::Reason};

use self::common::{Running, consumer, request, status, topic};

const WINDOW: Duration = Duration::from_secs(3600);

fn deduplicating(consumer: Consumer) -> Consumer {
    consumer.layer(DeduplicateLayer::within(WINDOW))
}

async fn emit(running: &Running, event: &str, id: &MessageId) {
    let message = Message::new(event.parse().expect("an event type"), "").with_id(id.clone());
    running.client.emit(&topic(), message).await.expect("emitted");
    running.idle().await;
}

/// A handler that counts its messages and replies with 1000 bytes.
fn thousand_bytes(handled: &Arc<AtomicU32>) -> impl Fn() -> Ready<String> + Clone + Send + Sync + 'static {
    let counted = Arc::clone(handled);
    move || {
        counted.fetch_add(1, Ordering::Relaxed);
        ready("x".repeat(1000))
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_handled_once_within_the_window() {
    let handled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&handled);
    let count = async move || _ = counted.fetch_add(1, Ordering::Relaxed);
    let running = Running::start(deduplicating(consumer().on("paid", count)));
    let (id, other) = (MessageId::unique(), MessageId::unique());
    emit(&running, "paid", &id).await;
    emit(&running, "paid", &id).await;
    emit(&running, "paid", &other).await;
    assert_eq!(handled.load(Ordering::Relaxed), 2);
    tokio::time::sleep(WINDOW).await;
    emit(&running, "paid", &id).await;
    assert_eq!(handled.load(Ordering::Relaxed), 3, "the window is over");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_as_before() {
    let handled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&handled);
    let create = async move || {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        (StatusCode::CREATED, [("http.header.location", "/7")], Json(number))
    };
    let running = Running::start(deduplicating(consumer().on("create", create)));
    let mut replies = Vec::<Reply>::new();
    let id = MessageId::unique();
    for _ in 0..2 {
        let mut request = request("create", "");
        request.id = id.clone();
        replies.push(running.send(request).await);
        running.idle().await;
    }
    assert_eq!((status(&replies[0]), &replies[0].payload[..]), (201, &b"0"[..]));
    assert_eq!(replies[0], replies[1]);
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    running.stop().await;
}

/// A message with the id of another one is not answered with that one's reply, nor taken for it.
#[tokio::test(start_paused = true)]
async fn another_message_with_the_same_id_is_refused() {
    let handled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&handled);
    let echo = async move |payload: Bytes| {
        counted.fetch_add(1, Ordering::Relaxed);
        payload
    };
    let running = Running::start(deduplicating(consumer().on("pay", echo.clone()).on("refund", echo)));
    let id = MessageId::unique();
    let send = async |event: &'static str, payload: &'static str| {
        let reply = running.send(request(event, payload).with_id(id.clone())).await;
        running.idle().await;
        (status(&reply), reply.payload)
    };
    assert_eq!(send("pay", "ann's").await, (200, "ann's".into()));
    for (event, payload) in [("pay", "bob's"), ("refund", "ann's"), ("pay", "")] {
        let (status, payload) = send(event, payload).await;
        assert_eq!(status, 422, "{event} {payload:?}");
        assert!(!payload.windows(5).any(|part| part == b"ann's"), "{payload:?}");
    }
    // The first one is known as before.
    assert_eq!(send("pay", "ann's").await, (200, "ann's".into()));
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    // An event has no caller to be told, so it is a dead letter.
    emit(&running, "pay", &id).await;
    assert_eq!(common::reasons(&running.dead_letters().await), [Reason::Rejected]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    let handled = Arc::new(AtomicU32::new(0));
    let large = thousand_bytes(&handled);
    let layer = DeduplicateLayer::within(WINDOW).reply_bytes_max(1200).bytes_max(4000);
    let running = Running::start(consumer().on("ask", large).layer(layer));
    let send = async |id: &MessageId| {
        let reply = running.send(request("ask", "").with_id(id.clone())).await;
        running.idle().await;
        (status(&reply), reply.payload.len())
    };
    let ids: Vec<_> = (0..4).map(|_| MessageId::unique()).collect();
    for id in &ids {
        assert_eq!(send(id).await, (200, 1000));
    }
    let handled_before = handled.load(Ordering::Relaxed);
    assert_eq!(handled_before, 4);
    for id in &ids {
        assert_eq!(send(id).await, (200, 1000));
    }
    // There is room for two; the others were handled again rather than refused.
    assert_eq!(handled.load(Ordering::Relaxed) - handled_before, 2);
    running.stop().await;
}

/// Of a reply that is too large, that there was one is remembered.
#[tokio::test(start_paused = true)]
async fn a_large_reply_is_not_kept_and_its_message_not_handled_again() {
    let handled = Arc::new(AtomicU32::new(0));
    let large = thousand_bytes(&handled);
    let running =
        Running::start(consumer().on("ask", large).layer(DeduplicateLayer::within(WINDOW).reply_bytes_max(999)));
    let id = MessageId::unique();
    for expected in [200, 409, 409] {
        let reply = running.send(request("ask", "").with_id(id.clone())).await;
        running.idle().await;
        assert_eq!(status(&reply), expected);
    }
    // Events are not replied to, so their replies are never too large.
    let event = MessageId::unique();
    for _ in 0..2 {
        emit(&running, "ask", &event).await;
    }
    assert_eq!(handled.load(Ordering::Relaxed), 2);
    assert_eq!(running.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_not_remembered() {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let broken = async move |_: Attempt| {
        counted.fetch_add(1, Ordering::Relaxed);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let running = Running::start(deduplicating(consumer().on("paid", broken)).retry(Retry::attempts(2)));
    let id = MessageId::unique();
    for sent in 1..=2 {
        emit(&running, "paid", &id).await;
        assert_eq!(attempts.load(Ordering::Relaxed), 2 * sent, "tried again, and when it is sent again");
    }
    assert_eq!(common::reasons(&running.dead_letters().await), [Reason::Failed; 2]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn groups_do_not_share_what_they_handled() {
    let handled = Arc::new(AtomicU32::new(0));
    let count = |handled: &Arc<AtomicU32>| {
        let counted = Arc::clone(handled);
        async move || _ = counted.fetch_add(1, Ordering::Relaxed)
    };
    let running = Running::start(deduplicating(consumer().on("paid", count(&handled))));
    let other =
        Running::start_on(running.broker.clone(), deduplicating(consumer().on("paid", count(&handled))).group("other"));
    emit(&running, "paid", &MessageId::unique()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(handled.load(Ordering::Relaxed), 2);
    other.stop().await;
    running.stop().await;
}
