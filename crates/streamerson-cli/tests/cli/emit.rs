//! `streamerson emit`.

use std::io;

use futures_util::StreamExt;
use streamerson::core::{Cursor, Entry};
use streamerson::core::{EntryId, Message, Topic, wire::Wire};

use crate::support::{Scene, assert_fails, json_of, stdout_of};

impl Scene {
    /// The first entry of a topic, and its message.
    async fn first(&self, topic: &str) -> (EntryId, Message) {
        let key = Topic::new(topic).expect("a topic").inbound();
        let mut entries = self.broker.subscribe(key, Cursor::Start);
        let Entry { id, fields } = entries.next().await.expect("an entry").expect("an entry").entry;
        (id, Wire::default().decode(&fields).expect("a message"))
    }
}

#[tokio::test]
async fn an_event_is_in_the_stream_as_it_was_given() {
    let scene = Scene::new().await;
    let mut command = scene.command("emit shop:orders#3 order.new --json -H X-Tenant:a --header");
    command.args(["content-type: application/ld+json", r#"{ "total": 1.50 }"#]);
    let finished = streamerson_test::Process::spawn(command).wait().await;
    let report = &json_of(&finished)[0];
    let (entry, message) = scene.first("shop:orders#3").await;
    assert_eq!(*report, serde_json::json!({"id": message.id.as_str(), "entry": entry}));
    assert!(finished.stdout.starts_with(r#"{"id":"#) && finished.stderr.is_empty());
    assert_eq!((message.event.as_str(), &message.payload[..]), ("order.new", &br#"{ "total": 1.50 }"#[..]));
    assert_eq!((message.inbox, message.deadline), (None, None));
    let headers: Vec<_> = message.headers.iter().collect();
    assert_eq!(headers, [("x-tenant", "a"), ("content-type", "application/ld+json")]);
}

#[tokio::test]
async fn people_are_told_in_words() {
    let scene = Scene::new().await;
    let finished = scene.run("emit views seen --human").await;
    let (entry, message) = scene.first("views").await;
    assert!(message.payload.is_empty());
    let expected = format!("emitted seen to default:views: message {}, entry {entry}\n", message.id);
    assert_eq!(stdout_of(&finished), expected);
}

#[tokio::test]
async fn a_dash_is_the_standard_input() {
    let scene = Scene::new().await;
    json_of(&scene.run_with("emit json seen -", b"[1,\n2]\n").await);
    assert_eq!(scene.first("json").await.1.payload, "[1,\n2]\n");
    json_of(&scene.run_with("emit bytes seen -H content-type:image/png -", b"\x89PNG\x00").await);
    assert_eq!(scene.first("bytes").await.1.payload, &b"\x89PNG\x00"[..]);
    json_of(&scene.run_with("emit empty seen -", b"").await);
    assert_eq!(scene.first("empty").await.1.payload, "");
}

#[tokio::test]
async fn what_is_not_json_is_not_sent() {
    let scene = Scene::new().await;
    let said = ["error: the payload is not JSON: ", "line 1 column 2", "hint: quote it for the shell"];
    assert_fails(&scene.run("emit orders seen {bad}").await, 2, &said);
    assert_fails(&scene.run_with("emit orders seen -", b"\"\xff\"").await, 2, &["not JSON"]);
    let large = vec![b'1'; 1024 * 1024 + 1];
    assert_fails(&scene.run_with("emit orders seen -", &large).await, 1, &["more than the 1048576 bytes"]);
    assert!(scene.pending_and_lag("orders", "any").await.is_none());
    let info = scene.broker.stream_info(&Topic::new("orders").unwrap().inbound()).await.unwrap();
    assert_eq!(info, None);
}

#[tokio::test]
async fn a_closed_output_is_no_failure() {
    let scene = Scene::new().await;
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = scene.command("emit orders seen").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}
