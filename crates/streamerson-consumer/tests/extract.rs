//! What handlers take.

mod common;

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use streamerson_consumer::{
    FromRef, Incoming, Json, State,
    extract::{Attempt, Deadline, Path, Query},
    rejection::JsonRejection,
};
use streamerson_core::{EventType, Headers, MessageId, Topic};

use self::common::{Running, consumer, request, status};

#[derive(Deserialize)]
struct Order {
    id: u64,
}

#[derive(Deserialize)]
struct Page {
    page: u32,
    sort: Option<String>,
}

#[tokio::test(start_paused = true)]
async fn payloads_are_taken_as_json_text_or_bytes() {
    let running = Running::start(
        consumer()
            .on("json", async |Json(order): Json<Order>| Json(order.id + 1))
            .on("text", async |text: String| text.to_uppercase())
            .on("bytes", async |bytes: Bytes| bytes.len().to_string()),
    );
    assert_eq!(running.request("json", r#"{"id":7}"#).await.payload, "8");
    assert_eq!(running.request("text", "abc").await.payload, "ABC");
    assert_eq!(running.request("bytes", "abc").await.payload, "3");
    let not_text = streamerson_core::client::Request::new(EventType::new("text").unwrap(), vec![0xff]);
    assert_eq!(status(&running.send(not_text).await), 400);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn json_is_refused_with_the_status_that_says_why() {
    let running = Running::start(consumer().on("order", async |_: Json<Order>| ()));
    let xml = request("order", r#"{"id":7}"#).with_header("content-type", "text/xml");
    let cases = [
        (request("order", "{"), 400, "not JSON"),
        (request("order", ""), 400, "not JSON"),
        (request("order", r#"{"id":"x"}"#), 422, "does not fit"),
        (request("order", "{}"), 422, "missing field `id`"),
        (xml, 415, "text/xml"),
    ];
    for (request, expected, detail) in cases {
        let id = request.id.clone();
        let reply = running.send(request).await;
        let problem = reply.problem();
        assert_eq!((status(&reply), problem.status.as_u16(), reply.is_error), (expected, expected, true));
        assert!(problem.detail.as_ref().is_some_and(|text| text.contains(detail)), "{problem:?}");
        assert_eq!(problem.extensions["id"], id.as_str());
    }
    let json = request("order", r#"{"id":7}"#).with_header("content-type", "application/vnd.shop+json; charset=utf-8");
    assert_eq!(status(&running.send(json).await), 200);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(100_000));
    assert!(running.request("order", &long).await.payload.len() < 1000, "what was sent is not sent back whole");
    assert!(running.dead_letters().await.is_empty(), "a rejection that is answered is no dead letter");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn paths_and_queries_come_from_the_headers_of_the_gateway() {
    let running = Running::start(
        consumer()
            .on("order", async |Path(id): Path<u64>| id.to_string())
            .on("line", async |Path((order, line)): Path<(u64, String)>| format!("{order}/{line}"))
            .on("page", async |Query(page): Query<Page>| format!("{} {:?}", page.page, page.sort))
            .on("maybe", async |page: Option<Query<Page>>, id: Option<Path<u64>>| {
                format!("{} {}", page.is_some(), id.is_some())
            }),
    );
    let with_id = |event| request(event, "").with_header("http.param.id", "7");
    assert_eq!(running.send(with_id("order")).await.payload, "7");
    let reply = running.send(with_id("line").with_header("http.param.line", "a b")).await;
    assert_eq!(reply.payload, "7/a b");
    let reply = running.send(request("order", "").with_header("http.param.id", "x")).await;
    assert_eq!(status(&reply), 400);

    let query = |query: &str| request("page", "").with_header("http.query", query);
    assert_eq!(running.send(query("page=2&sort=a%20b")).await.payload, r#"2 Some("a b")"#);
    assert_eq!(status(&running.send(query("page=two")).await), 400);

    assert_eq!(running.request("maybe", "").await.payload, "false false");
    let bad = request("maybe", "").with_header("http.query", "page=two");
    assert_eq!(status(&running.send(bad).await), 400, "an Option does not swallow what is there and wrong");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_message_itself_can_be_taken_apart() {
    async fn parts(headers: Headers, event: EventType, id: MessageId, topic: Topic, incoming: Incoming) -> String {
        format!("{} {event} {} {topic} {}", headers.get("x").unwrap(), id.len(), incoming.delivery().count)
    }
    let running = Running::start(consumer().on("parts", parts));
    let reply = running.send(request("parts", "").with_header("x", "y")).await;
    assert_eq!(reply.payload, "y parts 26 default:orders 1");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_count_from_one() {
    let running = Running::start(consumer().on("try", async |Attempt(attempt): Attempt| attempt.to_string()));
    assert_eq!(running.request("try", "").await.payload, "1");
    assert_eq!(running.send(request("try", "").with_header("attempt", "2")).await.payload, "3");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_how_long_the_caller_waits() {
    async fn remaining(deadline: Deadline) -> String {
        let before = deadline.remaining();
        tokio::time::sleep(Duration::from_secs(4)).await;
        format!("{before:?} {:?}", deadline.remaining())
    }
    let running = Running::start(consumer().on("wait", remaining));
    let reply = running.send(request("wait", "").with_timeout(Duration::from_secs(10))).await;
    assert_eq!(reply.payload, "Some(10s) Some(6s)");
    running.stop().await;
}

#[derive(Clone)]
struct App {
    prices: HashMap<String, u32>,
    currency: &'static str,
}

impl FromRef<App> for &'static str {
    fn from_ref(app: &App) -> Self {
        app.currency
    }
}

#[tokio::test(start_paused = true)]
async fn state_is_taken_whole_or_in_part() {
    async fn price(State(app): State<App>, State(currency): State<&'static str>, item: String) -> String {
        format!("{} {currency}", app.prices[&item])
    }
    let app = App { prices: HashMap::from([("tea".into(), 3)]), currency: "EUR" };
    let consumer = streamerson_consumer::Consumer::new(common::topic()).on("price", price).with_state(app);
    let running = Running::start(consumer.on("added.later", async || "without state"));
    assert_eq!(running.request("price", "tea").await.payload, "3 EUR");
    assert_eq!(running.request("added.later", "").await.payload, "without state");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_result_leaves_the_rejection_to_the_handler() {
    async fn lenient(order: Result<Json<Order>, JsonRejection>) -> String {
        match order {
            Ok(Json(order)) => order.id.to_string(),
            Err(JsonRejection::Shape(_)) => "some other shape".into(),
            Err(_) => "nonsense".into(),
        }
    }
    let running = Running::start(consumer().on("order", lenient));
    assert_eq!(running.request("order", r#"{"id":1}"#).await.payload, "1");
    assert_eq!(running.request("order", "[]").await.payload, "some other shape");
    assert_eq!(running.request("order", "[").await.payload, "nonsense");
    running.stop().await;
}
