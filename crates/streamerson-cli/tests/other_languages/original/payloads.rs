//! Payloads of all kinds. The original's reader ends with what it cannot parse, so that never reaches it.

use serde_json::{Value as Json, json};
use streamerson::{
    Message,
    core::{EventType, client::Request},
};
use streamerson_test::eventually;

use super::Scene;

/// A document of nearly a mebibyte, with characters of one to four bytes, and some that are escaped.
fn large() -> String {
    let text = "a\"\\\n\u{2028}é☃𝄞\u{7f}".repeat(45_000);
    json!({ "text": text }).to_string()
}

fn event() -> EventType {
    EventType::new("any").unwrap()
}

#[tokio::test]
async fn large_ones_in_any_language_come_back_as_they_were() {
    let scene = Scene::new().await;
    let large = large();
    assert!((900_000..1_048_576).contains(&large.len()), "{}", large.len());
    let sent: Json = serde_json::from_str(&large).unwrap();

    // Theirs to ours and back,
    let echo = scene.ours("echo shop:orders --wire js", &[]);
    let mut client = scene.original("client", "").await;
    // What Node takes for the end of a line of its input is escaped.
    client.write_stdin(format!("any {}\n", large.replace('\u{2028}', "\\u2028"))).await;
    client.close_stdin();
    let ended = client.wait().await;
    let answer: Json = serde_json::from_str(ended.stdout.lines().nth(1).unwrap()).unwrap();
    assert!(answer == sent, "{}", ended.stderr);
    assert_eq!(echo.terminate().await.status.code(), Some(0));

    // and ours to theirs and back.
    let _worker = scene.original("worker", "").await;
    let reply = scene.client().request(&scene.topic, Request::new(event(), large)).await.unwrap();
    let answer: Json = serde_json::from_slice(&reply.payload).unwrap();
    assert!(answer["echo"] == sent);
}

/// Each of them, and what the original's reader makes of it.
fn odd() -> Vec<(Message, Json)> {
    let of = |payload: &[u8]| Message::new(event(), payload.to_vec());
    let typed = |media_type: &str, payload: &[u8]| of(payload).with_header("content-type", media_type);
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    vec![
        (of(b""), json!("")),
        (of(b"{"), json!("{")),
        (of(b"nil"), json!("nil")),
        (of(b"{} {}"), json!("{} {}")),
        (of(b"\xef\xbb\xbf{}"), json!("\u{feff}{}")),
        (of(b"\"\xff\""), json!("\"\u{fffd}\"")),
        (of(b"NaN"), json!("NaN")),
        (of(b"'single'"), json!("'single'")),
        (of(b"[1,]"), json!("[1,]")),
        (of(b"\"tab\there\""), json!("\"tab\there\"")),
        (of(deep.as_bytes()), json!(deep)),
        (typed("application/json", b"no JSON"), json!("no JSON")),
        (typed("text/plain", b"{\"a\":1}"), json!("{\"a\":1}")),
        (typed("image/png", b"\x89PNG"), json!("\u{fffd}PNG")),
        // JSON that a careful parser may balk at, and theirs does not.
        (of(b" [ 1e999 , -0.0, \"\\ud800\" ] "), json!([null, 0, "\u{fffd}"])),
        (of(b"null"), Json::Null),
        (of(b"0"), json!(0)),
        (typed("application/problem+json; a=b", b"{}"), json!({})),
        (of(b"{\"a\":1}").with_header("nil", "nil"), json!({"a": 1})),
    ]
}

#[tokio::test]
async fn nothing_of_ours_ends_their_readers() {
    let scene = Scene::new().await;
    let readers = [scene.original("reader", "in").await, scene.original("reader", "out").await];
    let client = scene.client();
    let odd = odd();
    for (message, _) in &odd {
        // To their workers, and as an answer to their clients.
        client.emit(&scene.topic, message.clone()).await.unwrap();
    }
    let echo = scene.ours("echo shop:orders --wire js", &[]);
    for (message, _) in &odd {
        let mut request = Request::new(event(), message.payload.clone());
        request.headers = message.headers.clone();
        let reply = client.request(&scene.topic, request).await.unwrap();
        assert_eq!(reply.payload, message.payload);
    }
    for (reader, (first, count)) in readers.into_iter().zip([(0, odd.len() * 2), (0, odd.len())]) {
        let seen = eventually("every message", async || {
            let lines: Vec<_> = reader.stdout().lines().skip(1).map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
        .await;
        for (line, (message, expected)) in seen[first..].iter().zip(odd.iter().cycle()) {
            // A lone surrogate is none in JSON that is read here.
            let line = line.replace("\\ud800", "\u{fffd}");
            let line: Json = serde_json::from_str(&line).unwrap();
            assert_eq!(line["payload"], *expected, "{message:?}");
        }
        assert_eq!(reader.terminate().await.status.code(), Some(0));
    }
    assert_eq!(echo.terminate().await.status.code(), Some(0));
}
