//! Messages that come twice.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

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
