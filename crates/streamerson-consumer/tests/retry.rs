//! Failed messages that are tried again, and those whose turn it is not.

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use streamerson_consumer::{
    Failure, HandlerError, Retry, Topic,
    extract::{Attempt, Cancelled, Emitter},
};
use streamerson_core::{Headers, dead_letter::Reason};
use tokio::time::Instant;

use self::common::{Running, consumer, messages, request, status, topic};

fn broken() -> Failure {
    std::io::Error::other("broken").into()
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_by_the_attempt_that_works() {
    let third = async |Attempt(this): Attempt| if this < 3 { Err(broken()) } else { Ok(format!("attempt {this}")) };
    let running = Running::start(consumer().on("flaky", third).retry(Retry::attempts(3)));
    let started = Instant::now();
    let reply = running.request("flaky", "").await;
    assert_eq!((status(&reply), &reply.payload[..]), (200, &b"attempt 3"[..]));
    // Up to 100 ms, then up to 200 ms.
    assert!(started.elapsed() <= Duration::from_millis(310), "{:?}", started.elapsed());
    running.idle().await;
    assert_eq!(running.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_told_and_kept() {
    let always = async || -> Result<(), Failure> { Err(broken()) };
    let running = Running::start(consumer().on("broken", always).retry(Retry::attempts(3)));
    let reply = running.request("broken", "").await;
    assert_eq!(status(&reply), 502);
    let (letter, _) = running.dead_letter().await;
    assert_eq!((letter.reason, letter.attempts, &*letter.error), (Reason::Failed, 3, "broken"));
    assert_eq!(running.dead_letters().await.len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_tried_again_and_a_refusal_is_not() {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let panics = async move || {
        assert!(counted.fetch_add(1, Ordering::Relaxed) > 0, "the first time");
        "the second time"
    };
    let refuses = async |number: streamerson_consumer::Json<u32>| number.0.to_string();
    let running = Running::start(consumer().on("panics", panics).on("refuses", refuses).retry(Retry::attempts(5)));
    assert_eq!(running.request("panics", "").await.payload, "the second time");
    assert_eq!(status(&running.request("refuses", "\"text\"").await), 422);
    assert_eq!(running.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_event_type_may_have_a_policy_of_its_own() {
    let always = async || StatusCode::INTERNAL_SERVER_ERROR;
    let running = Running::start(
        consumer()
            .on("twice", always)
            .on("once", always)
            .on("picky", always)
            .retry(Retry::attempts(2))
            .retry_event("once", Retry::never())
            .retry_event("picky", Retry::attempts(9).when(|error: &HandlerError| error.reply().is_none())),
    );
    for (event, attempts) in [("twice", 2), ("once", 1), ("picky", 1)] {
        running.request(event, "").await;
        let letters = running.dead_letters().await;
        assert_eq!(letters.last().map(|(letter, _)| letter.attempts), Some(attempts), "{event}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_again_past_the_deadline() {
    let always = async || -> Result<(), Failure> { Err(broken()) };
    let slow = Retry::attempts(100).first(Duration::from_secs(60)).longest(Duration::from_secs(600));
    let running = Running::start(consumer().on("broken", always).retry(slow));
    let started = Instant::now();
    let request = request("broken", "").with_timeout(Duration::from_secs(90));
    let reply = running.send(request).await;
    assert_eq!(status(&reply), 502, "the error, before the deadline");
    assert!(started.elapsed() < Duration::from_secs(90));
    let (letter, _) = running.dead_letter().await;
    assert!((1..100).contains(&letter.attempts), "{letter:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_hours_is_the_schedule_s() {
    let first = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&first);
    let flaky = async move |Attempt(this): Attempt, headers: Headers| {
        seen.lock().unwrap().push((this, headers.get("only.group").map(str::to_owned)));
        if this < 2 { Err(broken()) } else { Ok(()) }
    };
    let hours = Duration::from_secs(7200);
    let running = Running::start(consumer().on("flaky", flaky).retry(Retry::attempts(2).first(hours).longest(hours)));
    running.emit("flaky", "").await;
    // Drawn between none and two hours.
    while first.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(*first.lock().unwrap(), [(1, None), (2, Some("orders".into()))]);
    running.idle().await;
    assert_eq!(running.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_attempt_emitted_is_dropped() {
    let made = Topic::new("made").unwrap();
    let into = made.clone();
    let flaky = async move |Attempt(this): Attempt, emitter: Emitter| {
        emitter.emit(&into, "made", &this)?;
        if this < 2 { Err(broken()) } else { Ok(()) }
    };
    let running = Running::start(consumer().on("flaky", flaky).retry(Retry::attempts(2)));
    running.request("flaky", "").await;
    let made = messages(&running.broker, made.inbound()).await;
    assert_eq!(made.iter().map(|message| &message.payload[..]).collect::<Vec<_>>(), [b"2"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_in_order_through_failures() {
    let handled = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&handled);
    let flaky = async move |Attempt(this): Attempt, text: String| {
        if this == 1 {
            return Err(broken());
        }
        log.lock().unwrap().push(text);
        Ok(())
    };
    let running = Running::start(
        consumer()
            .on("changed", flaky)
            .retry(Retry::attempts(2))
            .ordered_by(|message| message.payload.first().map(|key| vec![*key])),
    );
    for text in ["a1", "b1", "a2", "b2", "a3", "b3"] {
        running.emit("changed", text).await;
    }
    running.idle().await;
    running.stop().await;
    let handled = handled.lock().unwrap();
    for key in ["a", "b"] {
        let of_key: Vec<_> = handled.iter().filter(|text| text.starts_with(key)).collect();
        assert_eq!(of_key, [&format!("{key}1"), &format!("{key}2"), &format!("{key}3")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_cancels_what_began_and_spares_what_did_not() {
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let cancelled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&cancelled);
    let waits = async move |text: String, over: Cancelled| {
        began.send(text).unwrap();
        over.cancelled().await;
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let running = Running::start(consumer().on("waits", waits).ordered_by(|_| Some("all")));
    let client = running.client.clone();
    let call = async |text: &'static str| client.request(&topic(), request("waits", text)).await;
    let mut first = Box::pin(call("first"));
    let mut second = Box::pin(call("second"));
    tokio::select! {
        text = begun.recv() => assert_eq!(text.as_deref(), Some("first")),
        _ = &mut first => panic!("nobody replied"),
    }
    // The second waits for the first to end.
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut second).await.is_err());
    drop(second);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(first);
    running.idle().await;
    assert_eq!(cancelled.load(Ordering::Relaxed), 1);
    assert!(begun.try_recv().is_err(), "the second never began");
    assert_eq!(running.dead_letters().await, []);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_for_what_is_no_event_type_is_refused() {
    let consumer = consumer().on("fine", async || ()).retry_event("not fine", Retry::never());
    let error = consumer.run(streamerson_core::broker::memory::Memory::new(), async {}).await.unwrap_err();
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("not fine"), "{cause}");
}
