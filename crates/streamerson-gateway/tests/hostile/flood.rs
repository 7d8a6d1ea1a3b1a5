//! Floods of HTTP/2: each is cut or held back, and nobody else notices.

use streamerson_core::{Message, Reply};

use crate::{
    frames::{
        DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY, REFUSED_STREAM, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, block, frame, get, request,
    },
    scene::{PATIENCE, Scene, post},
    support::echo,
};

const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// No table of headers, so that each status is spelled out.
const NO_TABLE: &[(u16, u32)] = &[(HEADER_TABLE_SIZE, 0)];
const HEADER_TABLE_SIZE: u16 = 1;
const IN_FLIGHT: &str = "streamerson_gateway_requests_in_flight";
const OUTCOMES: &str = "streamerson_gateway_outcomes_total";

/// A worker that leaves requests with the payload `held` without a reply.
fn silent_on_held(message: &Message) -> Option<Message> {
    if message.payload == "held" { None } else { echo(message) }
}

/// A worker that leaves all requests by POST without a reply.
fn silent_on_post(message: &Message) -> Option<Message> {
    if message.headers.get("http.method") == Some("POST") { None } else { echo(message) }
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let scene = Scene::new().await;
    let witness = scene.witness().await;
    let mut raw = scene.http2(&[]).await;
    let flood: Vec<u8> = (0..2_000_u32)
        .flat_map(|n| [get(2 * n + 1, "/ask/never"), frame(RST_STREAM, 0, 2 * n + 1, &CANCEL)].concat())
        .collect();
    raw.send(&flood).await;
    assert_eq!(raw.goaway().await, Some(ENHANCE_YOUR_CALM));
    assert!(scene.bench.appended().await < 1_000);
    witness.was_not_disturbed().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let scene = Scene::with("http2_streams_max = 10", |_| None).await;
    let mut raw = scene.http2(&[]).await;
    for n in 0..15_u32 {
        raw.send(frame(HEADERS, END_HEADERS, 2 * n + 1, &block(&request("POST", "/ask/never")))).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 5 {
        let reset = raw.frame_of(RST_STREAM).await;
        assert_eq!(reset.code(), REFUSED_STREAM);
        refused.push(reset.stream);
    }
    assert_eq!(refused, [21, 23, 25, 27, 29]);
}

#[tokio::test]
async fn control_frames_and_empty_frames_disturb_no_other_client() {
    let scene = Scene::with("", echo).await;
    let witness = scene.witness().await;
    for (what, flood) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("priorities of streams that are not there", frame(PRIORITY, 0, 101, &[0, 0, 0, 0, 16])),
        ("window updates", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("window updates of a stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("empty data", frame(DATA, 0, 1, &[])),
        ("frames of no known kind", frame(99, 0, 0, &[0; 100])),
        ("resets of what is not there", frame(RST_STREAM, 0, 1, &CANCEL)),
    ] {
        let mut raw = scene.http2(&[]).await;
        raw.send(frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "/ask/1")))).await;
        // Nothing is read, so that answers to it would pile up: the gateway must stop reading, or end it.
        raw.floods(&flood.repeat(100), 2_000).await;
        let mut other = scene.http2(&[]).await;
        other.send(get(1, "/ask/1")).await;
        assert_eq!(other.frame_of(HEADERS).await.status(), 200, "{what}");
    }
    witness.was_not_disturbed().await;
}

/// PING and SETTINGS demand an answer each. While the client leaves answers unread, the gateway reads no further frames, so that
/// answers do not pile up in its memory. Frames that demand none are read to the end.
#[tokio::test]
async fn unread_answers_stop_the_reading_of_frames() {
    /// More than the buffers of both sockets hold.
    const FLOOD_BYTES: usize = 24_000_000;
    let scene = Scene::with("", echo).await;
    let witness = scene.witness().await;
    for (kind, flood) in [("PING", frame(PING, 0, 0, &[7; 8])), ("SETTINGS", frame(SETTINGS, 0, 0, &[]))] {
        let mut raw = scene.http2_over(scene.connect_small().await, &[]).await;
        let flood = flood.repeat(10_000);
        assert!(!raw.floods(&flood, FLOOD_BYTES / flood.len()).await, "all frames were read: {kind}");
    }
    let mut raw = scene.http2_over(scene.connect_small().await, &[]).await;
    let flood = frame(PRIORITY, 0, 101, &[0, 0, 0, 0, 16]).repeat(10_000);
    for _ in 0..FLOOD_BYTES / flood.len() {
        let sent = tokio::time::timeout(PATIENCE, tokio::io::AsyncWriteExt::write_all(&mut raw.0, &flood)).await;
        sent.expect("PRIORITY frames to be read on").expect("an open connection");
    }
    witness.was_not_disturbed().await;
}

/// A request with an idempotency key runs to its end although its client hangs up, and holds its permit until then.
#[tokio::test]
async fn clients_that_hang_up_have_no_more_requests_under_way_than_there_are_permits() {
    let mut scene = Scene::with("requests_max = 3", silent_on_held).await;
    let mut held = Vec::new();
    for number in 0..3 {
        let mut raw = scene.connect().await;
        let key = format!("idempotency-key: {number}");
        raw.send(post("/principal", &[&key, "x-user: ann"], "held")).await;
        held.push(scene.held().await);
    }
    // Their clients have hung up, and no permit has come back.
    scene
        .metric_becomes(OUTCOMES, "route=\"/principal\",method=\"POST\",event=\"order.update\",outcome=\"hung-up\"", 3)
        .await;
    let ask = || post("/ask/1", &["connection: close"], "1");
    let answer = scene.exchange(ask()).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("overloaded"), "{answer}");
    // A reply ends a request, although no client waits for it.
    scene.bench.reply(&held[0], Reply::new("done")).await;
    scene.metric_becomes(IN_FLIGHT, "route=\"/principal\"", 2).await;
    let answer = scene.exchange(ask()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// A request with an idempotency key runs to its end although its stream is reset, and a stream that is reset does not count
/// as one of the connection's. One connection cannot take all permits that way.
#[tokio::test]
async fn resets_do_not_let_one_connection_take_every_permit() {
    let mut scene = Scene::with("requests_max = 10\nhttp2_streams_max = 2", silent_on_held).await;
    let mut other = scene.connect().await;
    let mut other_is_answered = async || {
        other.send(post("/ask/1", &[], "other")).await;
        let answer = other.response().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    let keyed = |stream: u32| {
        let key = stream.to_string();
        let headers = [request("POST", "/principal"), vec![("x-user", "ann"), ("idempotency-key", &key)]].concat();
        [frame(HEADERS, END_HEADERS, stream, &block(&headers)), frame(DATA, END_STREAM, stream, b"held")].concat()
    };
    let mut raw = scene.http2(NO_TABLE).await;
    let mut held = Vec::new();
    for stream in [1, 3, 5, 7] {
        raw.send(keyed(stream)).await;
        held.push(scene.held().await);
        raw.send(frame(RST_STREAM, 0, stream, &CANCEL)).await;
    }
    for stream in (9..49).step_by(2) {
        raw.send(keyed(stream)).await;
        assert_eq!(raw.frames_until_answer(stream).await, Some(503), "{stream}");
        let problem = String::from_utf8(raw.frame_of(DATA).await.payload).unwrap();
        assert!(problem.contains("requests of this connection are under way: at most 4,"), "{problem}");
        assert!(problem.contains("\"reason\":\"overloaded\""), "{problem}");
    }
    other_is_answered().await;
    let mut second = scene.http2(NO_TABLE).await;
    second.send(get(1, "/ask/1")).await;
    assert_eq!(second.frames_until_answer(1).await, Some(200));

    // A request that ends makes room for another on its connection.
    scene.bench.reply(&held[0], Reply::new("done")).await;
    scene.metric_becomes(IN_FLIGHT, "route=\"/principal\"", 3).await;
    raw.send(get(49, "/ask/1")).await;
    assert_eq!(raw.frames_until_answer(49).await, Some(200));
}

/// A reset is seen a moment later by the request than by the connection, which accepts the next stream at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_at_its_bound_may_replace_all_of_its_requests_at_once() {
    let scene = Scene::with("http2_streams_max = 20", silent_on_post).await;
    for _ in 0..5 {
        let mut raw = scene.http2(NO_TABLE).await;
        let streams = |first: u32| (first..).step_by(2).take(20);
        let opened = streams(1).flat_map(|stream| {
            let head = frame(HEADERS, END_HEADERS, stream, &block(&request("POST", "/ask/1")));
            [head, frame(DATA, END_STREAM, stream, b"held")].concat()
        });
        raw.send(opened.collect::<Vec<_>>()).await;
        scene.metric_becomes(IN_FLIGHT, "method=\"POST\",event=\"order.update\"", 20).await;
        let resets = streams(1).flat_map(|stream| frame(RST_STREAM, 0, stream, &CANCEL));
        let gets = streams(101).flat_map(|stream| get(stream, "/ask/1"));
        raw.send(resets.chain(gets).collect::<Vec<_>>()).await;
        for _ in 0..20 {
            assert_eq!(raw.frame_of(HEADERS).await.status(), 200);
        }
    }
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_told_to_come_back() {
    let mut scene = Scene::with("requests_max = 3", silent_on_held).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut raw = scene.connect().await;
        raw.send(post("/ask/1", &[], "held")).await;
        scene.worker_gets("held").await;
        held.push(raw);
    }
    let mut raw = scene.connect().await;
    raw.send(post("/ask/1", &[], "1")).await;
    let refused = raw.response().await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"reason\":\"overloaded\""), "{refused}");
    held.pop();
    // The place of one that hung up is free again.
    scene.metric_becomes(IN_FLIGHT, "route=\"/ask/{case}\"", 2).await;
    raw.send(post("/ask/1", &[], "2")).await;
    let answer = raw.response().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The request that was taken back may have come to the worker as a cancellation, which has no payload.
    while let Ok(message) = scene.messages.try_recv() {
        assert_ne!(message.payload, "1", "what is refused never comes to the worker");
    }
}
