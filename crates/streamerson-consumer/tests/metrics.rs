//! What is counted of a consumer.

mod common;

use std::{sync::Arc, time::Duration};

use streamerson_consumer::{Consumer, Failure, Retry};
use streamerson_core::{EventType, Message, Metrics, SharedBroker, broker::memory::Memory};
use streamerson_test::{Exposition, eventually};
use tokio::sync::Notify;

use self::common::{Running, consumer, request, topic};

fn broken() -> Failure {
    std::io::Error::other("broken").into()
}

/// Waits until the page has these values of metrics of the members: the name without its prefix, the event type, further
/// labels, the value.
async fn has(metrics: &Metrics, wanted: &[(&str, &str, &str, f64)]) {
    let series = |(name, event, labels, _): &(&str, &str, &str, f64)| {
        let comma = if labels.is_empty() { "" } else { "," };
        format!("streamerson_{name}{{topic=\"default:orders\",group=\"orders\",event=\"{event}\"{comma}{labels}}}")
    };
    eventually(&format!("{wanted:?}"), async || {
        let page = Exposition::read(&metrics.scrape().await);
        wanted.iter().all(|wanted| page.get(&series(wanted)) == Some(wanted.3)).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn event_types_with_a_handler_are_told_apart_and_no_others() {
    let metrics = Metrics::new();
    let known = async || "known";
    let running = Running::start(consumer().on("known", known).fallback(async || ()).metrics(&metrics));
    running.request("known", "").await;
    running.request("known", "").await;
    running.emit("known", "").await;
    running.request("whatever-a-caller-likes", "").await;
    has(
        &metrics,
        &[
            ("member_outcomes_total", "known", "outcome=\"replied\"", 2.0),
            ("member_outcomes_total", "known", "outcome=\"done\"", 1.0),
            ("handler_duration_seconds_count", "known", "", 3.0),
            ("member_outcomes_total", "(other)", "outcome=\"replied\"", 1.0),
            ("handler_duration_seconds_count", "(other)", "", 1.0),
        ],
    )
    .await;
    assert!(!metrics.render().contains("whatever"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_attempt_and_each_reason_is_counted() {
    let metrics = Metrics::new();
    let panics = async || -> &'static str { panic!("as asked") };
    let fails = async || -> Result<(), Failure> { Err(broken()) };
    let consumer = consumer().on("fails", fails).on("panics", panics).retry_event("fails", Retry::attempts(3));
    let running = Running::start(consumer.metrics(&metrics));
    for event in ["fails", "panics", "nobody-takes"] {
        running.request(event, "").await;
    }
    has(
        &metrics,
        &[
            ("handler_duration_seconds_count", "fails", "", 3.0),
            ("member_outcomes_total", "fails", "outcome=\"retried\"", 2.0),
            ("member_outcomes_total", "fails", "outcome=\"dead-lettered\"", 1.0),
            ("member_dead_letters_total", "fails", "reason=\"failed\"", 1.0),
            ("member_dead_letters_total", "panics", "reason=\"panicked\"", 1.0),
            ("member_dead_letters_total", "(other)", "reason=\"no-handler\"", 1.0),
            ("handler_duration_seconds_count", "(other)", "", 0.0),
        ],
    )
    .await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_longer_is_counted_once_when_it_is_put_off() {
    let metrics = Metrics::new();
    let fails = async || -> Result<(), Failure> { Err(broken()) };
    let hour = Retry::attempts(2).first(Duration::from_secs(3600)).longest(Duration::from_secs(3600));
    let running = Running::start(consumer().on("fails", fails).retry(hour).metrics(&metrics));
    running.emit("fails", "").await;
    has(&metrics, &[("member_outcomes_total", "fails", "outcome=\"retried\"", 1.0)]).await;
    // Whether the member held it or the schedule does, leaving counts it no second time.
    running.stop().await;
    has(&metrics, &[("member_outcomes_total", "fails", "outcome=\"retried\"", 1.0)]).await;
}

#[tokio::test]
async fn what_is_handled_now_is_told_until_it_ends() {
    let metrics = Metrics::new();
    let go_on = Arc::new(Notify::new());
    let waits = {
        let go_on = Arc::clone(&go_on);
        async move || go_on.notified().await
    };
    let running = Running::start(consumer().on("waits", waits).metrics(&metrics));
    running.emit("waits", "").await;
    has(&metrics, &[("handler_in_flight", "waits", "", 1.0)]).await;
    let page = Exposition::read(&metrics.render());
    assert_eq!(page.sum("streamerson_handler_duration_seconds_count{event=\"waits\"}"), 0.0);
    go_on.notify_one();
    has(&metrics, &[("handler_in_flight", "waits", "", 0.0), ("handler_duration_seconds_count", "waits", "", 1.0)])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_successor_goes_on_with_the_numbers_and_takes_over() {
    let (metrics, broker) = (Metrics::new(), SharedBroker::from(Memory::new()));
    let lease = Duration::from_millis(300);
    let consumer =
        |handler: fn() -> std::future::Ready<()>| consumer().lease(lease).metrics(&metrics).on("event", handler);
    let stuck: Consumer = Consumer::new(topic()).lease(lease).metrics(&metrics).on("event", std::future::pending::<()>);
    let dying = Running::start_on(broker.clone(), stuck);
    dying.emit("event", "").await;
    has(&metrics, &[("handler_in_flight", "event", "", 1.0)]).await;
    dying.crash();
    let next = Running::start_on(broker, consumer(|| std::future::ready(())));
    has(
        &metrics,
        &[("member_outcomes_total", "event", "outcome=\"done\"", 1.0), ("handler_in_flight", "event", "", 0.0)],
    )
    .await;
    let page = Exposition::read(&metrics.render());
    for (series, value) in [
        ("streamerson_member_deliveries_total{delivery=\"first\"}", 1.0),
        ("streamerson_member_deliveries_total{delivery=\"again\"}", 1.0),
        ("streamerson_member_taken_over_total", 1.0),
        ("streamerson_handler_duration_seconds_count", 1.0),
    ] {
        assert_eq!(page.sum(series), value, "{series}");
    }
    next.stop().await;
}

#[tokio::test]
async fn what_has_not_ended_at_the_stop_is_handed_back() {
    let metrics = Metrics::new();
    let limited = tower::limit::ConcurrencyLimitLayer::new(1);
    let consumer = consumer().on("event", std::future::pending::<()>).layer(limited).drain(Duration::ZERO);
    let running = Running::start(consumer.block(Duration::from_millis(50)).metrics(&metrics));
    let (client, topic) = (running.client.clone(), topic());
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let (client, topic) = (client.clone(), topic.clone());
            tokio::spawn(async move { client.request(&topic, request("event", "")).await })
        })
        .collect();
    has(&metrics, &[("handler_in_flight", "event", "", 3.0)]).await;
    running.stop().await;
    asked.into_iter().for_each(|asked| asked.abort());
    let page = Exposition::read(&metrics.render());
    assert_eq!(page.sum("streamerson_member_handed_back_total"), 3.0);
    assert_eq!(
        (page.sum("streamerson_handler_in_flight"), page.sum("streamerson_handler_duration_seconds_count")),
        (0.0, 0.0)
    );
}

#[tokio::test]
async fn of_events_for_everyone_handlers_alone_are_counted() {
    let metrics = Metrics::new();
    let running = Running::start(consumer().broadcast().on("event", async || ()).metrics(&metrics));
    let handled = "streamerson_handler_duration_seconds_count{group=\"(everyone)\",event=\"event\"}";
    // It hears what comes after it began to listen.
    eventually("an event to be handled", async || {
        let message = Message::new(EventType::new("event").unwrap(), "");
        running.broker.publish(topic().outbound(), &message).await.unwrap();
        (Exposition::read(&metrics.render()).sum(handled) > 0.0).then_some(())
    })
    .await;
    assert!(!Exposition::read(&metrics.render()).names().contains("streamerson_member_outcomes_total"));
    running.stop().await;
}
