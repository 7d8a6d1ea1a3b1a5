//! Clients that take their time, or everybody's.

use std::time::{Duration, Instant};

use streamerson_core::Reply;

use crate::scene::{PATIENCE, Scene, post};

/// Long enough that a machine under load keeps it, short enough to wait for.
const SHORT: &str = "head_timeout = \"1s\"\nsend_timeout = \"2s\"";

fn quick(message: &streamerson_core::Message) -> Option<streamerson_core::Message> {
    Some(Reply::new("\"quick\"").into_message(message.id.clone()))
}

#[tokio::test]
async fn heads_that_do_not_end_are_given_up() {
    let scene = Scene::with(SHORT, quick).await;
    let witness = scene.witness().await;
    let mut all = Vec::new();
    for opening in ["", "P", "PRI * HTTP", "GET /ask/1 HTTP/1.1\r\nhost: x\r\n", "GET /ask/1 HTTP/1.1\r\nx-a: "] {
        let mut raw = scene.connect().await;
        raw.send(opening).await;
        all.push((opening, raw));
    }
    for (opening, mut raw) in all {
        assert_eq!(raw.rest().await, "", "{opening}");
    }
    // Byte by byte, so that there is always something: that helps no more.
    let mut raw = scene.connect().await;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let sent = tokio::io::AsyncWriteExt::write_all(&mut raw.0, b"G").await;
        if sent.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < PATIENCE);
    witness.was_not_disturbed().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_any_more_is_closed() {
    let scene = Scene::with(SHORT, quick).await;
    let mut raw = scene.connect().await;
    raw.send(post("/ask/1", &[], "1")).await;
    assert!(raw.response().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(raw.rest().await, "");
}

#[tokio::test]
async fn bodies_that_do_not_end_are_408_and_end_their_connection() {
    let scene = Scene::with(SHORT, quick).await;
    let witness = scene.witness().await;
    for body in ["content-length: 9\r\n\r\nz", "transfer-encoding: chunked\r\n\r\n5\r\nz", "content-length: 9\r\n\r\n"]
    {
        let mut raw = scene.connect().await;
        raw.send(format!("POST /hurry HTTP/1.1\r\nhost: x\r\n{body}")).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
    }
    witness.was_not_disturbed().await;
}

#[tokio::test]
async fn who_takes_no_response_is_cut_off() {
    let large = |message: &streamerson_core::Message| {
        let payload = if message.payload == "large" { "x".repeat(500_000) } else { "1".to_owned() };
        Some(Reply::new(payload).into_message(message.id.clone()))
    };
    let scene = Scene::with(SHORT, large).await;
    let witness = scene.witness().await;
    let mut raw = scene.connect().await;
    // More than the buffers on the way can hold, of which nothing is read.
    for _ in 0..100 {
        raw.send(post("/ask/1", &[], "large")).await;
    }
    let cut = async {
        while tokio::io::AsyncWriteExt::write_all(&mut raw.0, b"POST / HTTP/1.1\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("it to be cut");
    witness.was_not_disturbed().await;
}

/// Half a body is still under way when it is refused; closed at once, the connection would be reset and the response lost.
#[tokio::test]
async fn who_sends_too_much_gets_to_read_that_it_was_too_much() {
    let scene = Scene::with("", quick).await;
    for head in ["content-length: 8000000", "transfer-encoding: chunked"] {
        let mut raw = scene.connect().await;
        let head = format!("POST /ask/1 HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
        let body = if head.contains("chunked") {
            format!("7a1200\r\n{}", "x".repeat(8_000_000))
        } else {
            "x".repeat(8_000_000)
        };
        let all = head + &body;
        tokio::io::AsyncWriteExt::write_all(&mut raw.0, all.as_bytes()).await.expect("to be heard out");
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut raw.0, &mut answer).await.expect("no reset");
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"), "{answer}");
    }
}

/// As above, by a client that is slower than its refusal: nothing had come when the connection was closed for it.
#[tokio::test]
async fn who_sends_too_much_too_late_is_heard_out() {
    let scene = Scene::with("", quick).await;
    let mut raw = scene.connect().await;
    raw.send("POST /ask/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n").await;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut raw.0, &mut answer).await.expect("an end");
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"), "{answer}");
    for _ in 0..16 {
        tokio::io::AsyncWriteExt::write_all(&mut raw.0, &[b'x'; 64 * 1024]).await.expect("to be heard out");
    }
}
