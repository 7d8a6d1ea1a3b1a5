//! What becomes of messages: replies, failures, dead letters.

mod common;

use std::{error::Error, io};

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use streamerson_consumer::{Call, Failure, IntoProblem, Json, Problem, Reply, extract::Emitter};
use streamerson_core::{client::CallError, dead_letter::Reason};

use self::common::{Running, consumer, entries, messages, reasons, status, topic};

#[tokio::test(start_paused = true)]
async fn replies_carry_status_headers_and_content_type() {
    let running = Running::start(
        consumer()
            .on("json", async || Json([1, 2]))
            .on("text", async || "hello")
            .on("bytes", async || Bytes::from_static(&[0xff]))
            .on("nothing", async || ())
            .on("accepted", async || StatusCode::ACCEPTED)
            .on("created", async || (StatusCode::CREATED, [("http.header.location", "/orders/7")], Json(7)))
            .on("missing", async || StatusCode::NOT_FOUND)
            .on("raw", async || Reply::new("<a/>").with_content_type("text/xml")),
    );
    let content_type = |reply: &Reply| reply.headers.get("content-type").map(str::to_owned);
    let json = running.request("json", "").await;
    assert_eq!((&json.payload[..], content_type(&json)), (&b"[1,2]"[..], None));
    let text = running.request("text", "").await;
    assert_eq!((&text.payload[..], content_type(&text)), (&b"hello"[..], Some("text/plain; charset=utf-8".into())));
    let bytes = running.request("bytes", "").await;
    assert_eq!(content_type(&bytes), Some("application/octet-stream".into()));
    let nothing = running.request("nothing", "").await;
    assert_eq!(nothing, Reply::new(""), "200 or 204 is for the edge to say");
    assert_eq!(status(&running.request("accepted", "").await), 202);
    let created = running.request("created", "").await;
    assert_eq!((status(&created), created.headers.get("http.header.location")), (201, Some("/orders/7")));
    let missing = running.request("missing", "").await;
    assert!(missing.is_error && missing.problem().status == StatusCode::NOT_FOUND);
    assert_eq!(content_type(&running.request("raw", "").await), Some("text/xml".into()));
    assert!(running.dead_letters().await.is_empty(), "404 is an answer");
    running.stop().await;
}

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Call for Greet {
    const TOPIC: &'static str = "orders";
    const EVENT: &'static str = "greet";
    type Reply = String;
}

#[derive(Debug, thiserror::Error)]
enum GreetError {
    #[error("there is nobody called {0}")]
    Nobody(String),
    #[error("the address book does not open")]
    AddressBook(#[from] io::Error),
}

impl IntoProblem for GreetError {
    fn into_problem(self) -> Problem {
        match self {
            Self::Nobody(_) => Problem::new(StatusCode::NOT_FOUND).with_detail(self.to_string()),
            Self::AddressBook(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

async fn greet(Json(greet): Json<Greet>) -> Result<Json<String>, GreetError> {
    match &*greet.name {
        "nobody" => Err(GreetError::Nobody(greet.name)),
        "broken" => Err(io::Error::other("disk on fire").into()),
        name => Ok(Json(format!("Hello, {name}!"))),
    }
}

#[tokio::test(start_paused = true)]
async fn a_contract_is_answered_or_told_the_problem() {
    let running = Running::start(consumer().answer(greet));
    let call = async |name: &str| running.client.call(Greet { name: name.into() }).await;
    assert_eq!(call("Ada").await.unwrap(), "Hello, Ada!");
    let Err(CallError::Failed(problem)) = call("nobody").await else { panic!("not refused") };
    assert_eq!(problem.detail.as_deref(), Some("there is nobody called nobody"));
    assert!(running.dead_letters().await.is_empty());

    let Err(CallError::Failed(problem)) = call("broken").await else { panic!("not refused") };
    assert_eq!((problem.status, &problem.detail), (StatusCode::SERVICE_UNAVAILABLE, &None));
    let (letter, message) = running.dead_letter().await;
    assert_eq!((letter.reason, letter.attempts), (Reason::Failed, 1));
    assert_eq!(letter.error, "the address book does not open: disk on fire");
    assert_eq!(problem.extensions["id"], message.id.as_str());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn any_error_is_a_failure_that_the_caller_learns_nothing_of() {
    async fn parse(text: String) -> Result<Json<u8>, Failure> {
        Ok(Json(text.parse()?))
    }
    let running = Running::start(consumer().on("parse", parse));
    assert_eq!(running.request("parse", "7").await.payload, "7");
    let reply = running.request("parse", "secret").await;
    assert_eq!(status(&reply), 502);
    assert!(!String::from_utf8_lossy(&reply.payload).contains("digit"));
    let (letter, _) = running.dead_letter().await;
    assert_eq!((letter.reason, &*letter.error), (Reason::Failed, "invalid digit found in string"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_problem_by_question_mark_is_told_as_it_is() {
    async fn gone() -> Result<(), Failure> {
        Err(Problem::new(StatusCode::GONE))?;
        Ok(())
    }
    let running = Running::start(consumer().on("gone", gone));
    assert_eq!(status(&running.request("gone", "").await), 410);
    assert!(running.dead_letters().await.is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reply_from_500_on_is_kept_as_it_is_and_dead_lettered() {
    let busy = async || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "3")], "come back later");
    let running = Running::start(consumer().on("busy", busy));
    let reply = running.request("busy", "").await;
    assert_eq!((status(&reply), &reply.payload[..]), (503, &b"come back later"[..]));
    assert_eq!(reply.headers.get("retry-after"), Some("3"));
    let (letter, _) = running.dead_letter().await;
    assert_eq!((letter.reason, &*letter.error), (Reason::Failed, "the handler answered 503 Service Unavailable"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_no_final_answer_is_a_failure() {
    let running = Running::start(consumer().on("switch", async || StatusCode::SWITCHING_PROTOCOLS));
    assert_eq!(status(&running.request("switch", "").await), 502);
    let (letter, _) = running.dead_letter().await;
    assert!(letter.error.contains("the status 101"), "{}", letter.error);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_contained() {
    async fn panics(text: String) -> String {
        assert!(text != "boom", "the handler met {text}");
        text
    }
    let running = Running::start(consumer().on("panic", panics));
    assert_eq!(status(&running.request("panic", "boom").await), 502);
    let (letter, _) = running.dead_letter().await;
    assert_eq!((letter.reason, letter.attempts), (Reason::Panicked, 1));
    assert_eq!(letter.error, "the handler met boom");
    assert_eq!(running.request("panic", "fine").await.payload, "fine");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_type_without_handler_is_501() {
    let running = Running::start(consumer().on("known", async || ()));
    let reply = running.request("unknown", "").await;
    assert_eq!((status(&reply), reply.is_error), (501, true));
    let (letter, message) = running.dead_letter().await;
    assert_eq!((letter.reason, letter.attempts, &*message.event), (Reason::NoHandler, 0, "unknown"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fallback_takes_what_nothing_else_does() {
    let fallback = async |event: streamerson_core::EventType| event.to_string();
    let running = Running::start(consumer().on("known", async || "known").fallback(fallback));
    assert_eq!(running.request("known", "").await.payload, "known");
    assert_eq!(running.request("unknown", "").await.payload, "unknown");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_an_inbox_every_error_is_a_dead_letter() {
    let running = Running::start(
        consumer()
            .on("done", async || Json(1))
            .on("rejects", async |_: Json<u8>| ())
            .on("refuses", async || StatusCode::CONFLICT)
            .on("fails", async || Err::<(), _>(Failure::new("no luck")))
            .on("panics", async |_: String| -> () { panic!("no luck") }),
    );
    running.emit("done", "").await;
    running.idle().await;
    assert!(running.dead_letters().await.is_empty());
    let cases = [
        ("rejects", Reason::Rejected, 0),
        ("refuses", Reason::Failed, 1),
        ("fails", Reason::Failed, 1),
        ("panics", Reason::Panicked, 1),
        ("unknown", Reason::NoHandler, 0),
    ];
    for (event, _, _) in cases {
        running.emit(event, "").await;
        running.idle().await;
    }
    let letters = running.dead_letters().await;
    assert_eq!(reasons(&letters), cases.map(|(_, reason, _)| reason));
    for ((letter, message), (event, _, attempts)) in letters.iter().zip(cases) {
        assert_eq!((&*message.event, letter.attempts), (event, attempts));
        assert!(!letter.error.is_empty());
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_emits_takes_effect_if_it_succeeds() {
    async fn place(emitter: Emitter, text: String) -> Result<String, Failure> {
        let invoices = streamerson_consumer::Topic::new("invoices")?;
        emitter.emit(&invoices, "invoice.due", &text)?;
        emitter.broadcast(&topic(), "order.placed", &text)?;
        assert!(emitter.emit(&invoices, "reply", &text).is_err(), "reserved");
        match &*text {
            "fail" => Err("no luck".into()),
            "refuse" => Err(Problem::new(StatusCode::CONFLICT).into()),
            _ => Ok(text),
        }
    }
    let running = Running::start(consumer().on("place", place));
    let invoices = streamerson_consumer::Topic::new("invoices").unwrap().inbound();
    for refused in ["fail", "refuse"] {
        running.request("place", refused).await;
    }
    running.idle().await;
    assert!(entries(&running.broker, invoices.clone()).await.is_empty());

    let request = common::request("place", "tea").with_header("traceparent", "00-1-1-00");
    let id = request.id.clone();
    running.send(request).await;
    let due = messages(&running.broker, invoices).await;
    let placed = messages(&running.broker, topic().outbound()).await;
    assert_eq!((due.len(), placed.len()), (1, 1));
    assert_eq!((&due[0].event[..], &due[0].id, &due[0].payload[..]), ("invoice.due", &id.derive(0), &b"\"tea\""[..]));
    assert_eq!((&placed[0].event[..], &placed[0].id), ("order.placed", &id.derive(1)));
    assert_eq!(placed[0].headers.get("traceparent"), Some("00-1-1-00"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_emitter_that_outlives_its_handler_says_so() {
    let (sender, mut emitters) = tokio::sync::mpsc::unbounded_channel();
    let running = Running::start(consumer().on("keep", async move |emitter: Emitter| _ = sender.send(emitter)));
    running.request("keep", "").await;
    let late = emitters.recv().await.unwrap().emit(&topic(), "late", &1);
    assert!(matches!(late, Err(streamerson_consumer::extract::EmitError::Ended)), "{late:?}");
    running.stop().await;
}
