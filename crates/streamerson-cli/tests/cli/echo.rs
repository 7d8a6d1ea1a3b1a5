//! `streamerson echo`.

use std::time::Duration;

use http::StatusCode;
use streamerson::core::{EventType, Headers, client::CallError};
use streamerson::{Client, Reply, Topic, core::client::Request};
use streamerson_test::{Process, Signal, eventually};

use crate::support::{Scene, stdout_of};

/// Longer than any test: what takes so long never ends by itself.
const FOR_EVER: &str = "--delay 1h";

impl Scene {
    async fn request(&self, event: &str, payload: &'static [u8], media_type: &str) -> Result<Reply, CallError> {
        let request = Request::new(EventType::new(event).unwrap(), payload).with_timeout(Duration::from_secs(15));
        let request = request.with_header(Headers::CONTENT_TYPE, media_type);
        Client::new(self.broker.clone()).request(&Topic::new("orders").unwrap(), request).await
    }

    /// Waits until the group of `orders` has so many entries pending, and so many not delivered.
    async fn holds(&self, group: &str, pending: u64, lag: u64) {
        let what = format!("{pending} pending and {lag} not delivered in {group}");
        let expected = Some((pending, Some(lag)));
        eventually(&what, async || (self.pending_and_lag("orders", group).await == expected).then_some(())).await;
    }
}

#[tokio::test]
async fn it_answers_every_request_with_its_payload_and_type() {
    let scene = Scene::new().await;
    let echo = scene.start("echo orders");
    let reply = scene.request("any.thing", b"\x00\xff", "image/png").await.unwrap();
    assert_eq!((reply.status_or_ok(), &reply.payload[..]), (StatusCode::OK, &b"\x00\xff"[..]));
    assert_eq!(reply.headers.get(Headers::CONTENT_TYPE), Some("image/png"));
    let reply = scene.request("any:other-thing", b"", "text/plain").await.unwrap();
    assert_eq!((reply.status, reply.payload.len()), (Some(StatusCode::NO_CONTENT), 0));
    assert_eq!(echo.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn it_acks_every_event_in_the_group_that_it_is_told() {
    let scene = Scene::new().await;
    scene.run("emit orders seen").await;
    let echo = scene.start("echo orders");
    let audit = scene.start("echo orders --group audit");
    for (group, process) in [("echo", &echo), ("audit", &audit)] {
        process.stderr_line(&format!("echoing default:orders as a member of the group {group}")).await;
        scene.holds(group, 0, 0).await;
    }
    let dead = scene.broker.stream_info(&Topic::new("orders").unwrap().dead()).await.unwrap();
    assert_eq!(dead, None);
    for process in [echo, audit] {
        assert_eq!(process.terminate().await.status.code(), Some(0));
    }
}

#[tokio::test]
async fn it_takes_no_more_than_its_concurrency() {
    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.run("emit orders seen").await;
    }
    let echo = scene.start(&format!("echo orders {FOR_EVER} --concurrency 2 --drain 0ms"));
    scene.holds("echo", 2, 1).await;
    echo.kill().await;
}

#[tokio::test]
async fn what_was_begun_is_answered_before_it_ends() {
    let scene = Scene::new().await;
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let echo = scene.start("echo orders --delay 1500ms");
        let asked = Process::spawn(scene.command("request orders get 7"));
        scene.holds("echo", 1, 0).await;
        echo.signal(signal);
        echo.stderr_line("stopping once what was begun is done").await;
        assert_eq!(stdout_of(&asked.wait().await), "7\n");
        assert_eq!(echo.wait().await.status.code(), Some(0));
        scene.holds("echo", 0, 0).await;
    }
}

#[tokio::test]
async fn draining_has_an_end() {
    let scene = Scene::new().await;
    scene.run("emit orders seen").await;
    let echo = scene.start(&format!("echo orders {FOR_EVER} --drain 100ms"));
    scene.holds("echo", 1, 0).await;
    assert_eq!(echo.terminate().await.status.code(), Some(0));
    // It went back to the group, for the next member to take at once.
    let next = scene.start("echo orders");
    scene.holds("echo", 0, 0).await;
    next.terminate().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let scene = Scene::new().await;
    scene.run("emit orders seen").await;
    let echo = scene.start(&format!("echo orders {FOR_EVER}"));
    scene.holds("echo", 1, 0).await;
    echo.signal(Signal::Interrupt);
    echo.stderr_line("a second signal stops at once").await;
    echo.signal(Signal::Interrupt);
    let finished = echo.wait().await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("error: stopped at once"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_short_lease_hands_over_soon() {
    let scene = Scene::new().await;
    let dying = scene.start(&format!("echo orders {FOR_EVER} --lease 300ms"));
    let asked = Process::spawn(scene.command("request orders get 7 --timeout 15s"));
    scene.holds("echo", 1, 0).await;
    dying.kill().await;
    let next = scene.start("echo orders --lease 300ms");
    assert_eq!(stdout_of(&asked.wait().await), "7\n");
    next.terminate().await;
}

#[tokio::test]
async fn logs_are_text_or_json_and_as_many_as_wanted() {
    let scene = Scene::new().await;
    let text = scene.start("echo orders");
    text.stderr_line("INFO").await;
    text.terminate().await;

    let json = scene.start("echo orders --log-format json");
    let line = json.stderr_line("consumer started").await;
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["level"], &record["topic"]), (&"INFO".into(), &"default:orders".into()));
    json.terminate().await;

    let mut command = scene.command("echo orders");
    command.env("RUST_LOG", "error");
    let quiet = Process::spawn(command);
    scene.request("get", b"1", "text/plain").await.unwrap();
    let finished = quiet.terminate().await;
    let said: Vec<_> = finished.stderr.lines().map(|line| line.split(' ').next()).collect();
    assert_eq!(said, [Some("echoing"), Some("stopping")]);
}
