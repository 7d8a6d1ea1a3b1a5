//! Clients that ask for more than they take.

use std::time::{Duration, Instant};

use streamerson_core::{Message, Reply};
use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};

use crate::{
    frames::{ACK, DATA, END_STREAM, HEADERS, PING, WINDOW_UPDATE, frame, get},
    scene::{PATIENCE, Raw, Scene, post},
};

/// A window that is shut at first, and no table of headers, so that each status is spelled out.
const CLOSED: &[(u16, u32)] = &[(HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, 0)];
const HEADER_TABLE_SIZE: u16 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;
const BUFFERED: &str = "streamerson_gateway_response_bytes";
const IN_FLIGHT: &str = "streamerson_gateway_requests_in_flight";
const OUTCOMES: &str = "streamerson_gateway_outcomes_total";

/// Answers with as many bytes as the end of the path says, or as the payload does.
fn sized(message: &Message) -> Option<Message> {
    let path = message.headers.get("http.path").unwrap_or_default();
    let len = path.rsplit('/').next().and_then(|len| len.parse().ok());
    let len = len.or_else(|| std::str::from_utf8(&message.payload).ok()?.parse().ok()).unwrap_or(1);
    Some(Reply::new("7".repeat(len)).into_message(message.id.clone()))
}

/// Asks on stream after stream, and returns the statuses.
async fn statuses(raw: &mut Raw, first: u32, count: u32, path: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for stream in (first..).step_by(2).take(count as usize) {
        raw.send(get(stream, path)).await;
        let head = raw.frame_of(HEADERS).await;
        assert_eq!(head.stream, stream);
        statuses.push(head.status());
    }
    statuses
}

/// Opens the window of a connection and of a stream.
fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    [frame(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes()), frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())].concat()
}

/// Takes the rest of a stream's body.
async fn body_len(raw: &mut Raw, stream: u32) -> usize {
    let mut len = 0;
    loop {
        let data = raw.frame_of(DATA).await;
        assert_eq!(data.stream, stream);
        len += data.payload.len();
        if data.flags & END_STREAM != 0 {
            return len;
        }
    }
}

#[tokio::test]
async fn responses_that_are_not_taken_over_http2_hold_their_permits() {
    let scene = Scene::with("requests_max = 10", sized).await;
    let mut held = [scene.http2(CLOSED).await, scene.http2(CLOSED).await];
    assert_eq!(statuses(&mut held[0], 1, 6, "/ask/100000").await, [200; 6]);
    let second = statuses(&mut held[1], 1, 20, "/ask/100000").await;
    assert_eq!((&second[..4], &second[4..]), (&[200; 4][..], &[503; 16][..]));
    assert_eq!(statuses(&mut held[0], 13, 14, "/ask/100000").await, [503; 14]);
    assert_eq!(scene.bench.appended().await, 10, "what is refused is never appended");
    scene.metric_becomes(IN_FLIGHT, "route=\"/ask/{case}\"", 10).await;
    assert!(scene.metric(BUFFERED, "").await >= 1_000_000);
    let refused = scene.exchange(post("/ask/1", &["connection: close"], "1")).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\"reason\":\"overloaded\""), "{refused}");

    // A response that is taken to its end gives its permit back.
    let [mut first, second] = held;
    first.send(window_update(1, 200_000)).await;
    assert_eq!(body_len(&mut first, 1).await, 100_000);
    scene.metric_becomes(IN_FLIGHT, "route=\"/ask/{case}\"", 9).await;
    assert_eq!(statuses(&mut first, 101, 2, "/ask/100000").await, [200, 503]);

    // So do connections that go.
    drop((first, second));
    scene.metric_becomes(IN_FLIGHT, "", 0).await;
    scene.metric_becomes(BUFFERED, "", 0).await;
    let mut third = scene.http2(CLOSED).await;
    assert_eq!(statuses(&mut third, 1, 10, "/ask/100000").await, [200; 10]);
}

#[tokio::test]
async fn responses_that_are_not_taken_over_http1_hold_their_permits() {
    let scene = Scene::with("requests_max = 5", sized).await;
    let mut held = Vec::new();
    let head = async |raw: &mut Raw| {
        raw.send(post("/ask/1000000", &[], "")).await;
        let mut head = [0; 13];
        timeout(PATIENCE, raw.0.read_exact(&mut head)).await.expect("a head in time").unwrap();
        String::from_utf8_lossy(&head[9..12]).into_owned()
    };
    for _ in 0..5 {
        let mut raw = scene.connect().await;
        assert_eq!(head(&mut raw).await, "200");
        held.push(raw);
    }
    for _ in 0..5 {
        assert_eq!(head(&mut scene.connect().await).await, "503");
    }
    assert_eq!(scene.bench.appended().await, 5);
    scene.metric_becomes(IN_FLIGHT, "route=\"/ask/{case}\"", 5).await;
    // One takes its response to the end, the others go.
    let mut whole = held.pop().unwrap();
    let mut rest = vec![0; 1_000_000];
    timeout(PATIENCE, whole.0.read_exact(&mut rest)).await.expect("a body in time").unwrap();
    scene.metric_becomes(IN_FLIGHT, "", 4).await;
    drop(held);
    scene.metric_becomes(IN_FLIGHT, "", 0).await;
    scene.metric_becomes(BUFFERED, "", 0).await;
}

#[tokio::test]
async fn bytes_that_wait_are_bounded_over_all_connections() {
    let scene = Scene::with("response_bytes_max = 1000000", sized).await;
    let mut raw = scene.http2(CLOSED).await;
    // The third is handled, and its reply does not fit. The fourth is not let in.
    assert_eq!(statuses(&mut raw, 1, 4, "/ask/400000").await, [200, 200, 500, 503]);
    assert_eq!(scene.bench.appended().await, 3);
    assert_eq!(scene.metric(OUTCOMES, "outcome=\"response-memory\"").await, 1);
    assert_eq!(scene.metric(OUTCOMES, "outcome=\"overloaded\"").await, 1);
    assert!((800_000..802_000).contains(&scene.metric(BUFFERED, "").await));
    let refused = scene.exchange(post("/ask/1", &["connection: close"], "1")).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"reason\":\"overloaded\""), "{refused}");
    assert_eq!(scene.bench.appended().await, 3);

    raw.send(window_update(5, 10_000)).await;
    let problem = raw.frame_of(DATA).await;
    let problem = String::from_utf8_lossy(&problem.payload).into_owned();
    assert!(problem.contains("the request was handled, but its reply was dropped"), "{problem}");
    assert!(problem.contains("\"reason\":\"response-memory\""), "{problem}");
    raw.send(window_update(1, 400_000)).await;
    assert_eq!(body_len(&mut raw, 1).await, 400_000);
    assert!(scene.exchange(post("/ask/1", &["connection: close"], "1")).await.starts_with("HTTP/1.1 200 "));
    drop(raw);
    scene.metric_becomes(BUFFERED, "", 0).await;
}

#[tokio::test]
async fn bytes_that_wait_are_bounded_on_one_connection_of_http2() {
    let scene = Scene::with("http2_response_bytes_max = 500000", sized).await;
    let mut greedy = scene.http2(CLOSED).await;
    assert_eq!(statuses(&mut greedy, 1, 4, "/ask/400000").await, [200, 500, 503, 503]);
    assert_eq!(scene.bench.appended().await, 2);
    let mut other = scene.http2(CLOSED).await;
    assert_eq!(statuses(&mut other, 1, 1, "/ask/400000").await, [200]);
    greedy.send(window_update(1, 400_000)).await;
    assert_eq!(body_len(&mut greedy, 1).await, 400_000);
    assert_eq!(statuses(&mut greedy, 9, 1, "/ask/400000").await, [200]);
}

/// The request was handled, so a client must not take its dropped reply for a request that may be sent again.
#[tokio::test]
async fn a_reply_that_is_dropped_is_500_and_a_repetition_with_its_key_gets_it() {
    let mut scene = Scene::with("response_bytes_max = 20000", sized).await;
    let keyed = || post("/principal", &["idempotency-key: one", "x-user: ann", "connection: close"], "6000");
    let mut held = scene.http2(CLOSED).await;
    assert_eq!(statuses(&mut held, 1, 1, "/ask/15000").await, [200]);
    scene.worker_gets("").await;
    let dropped = scene.exchange(keyed()).await;
    assert!(dropped.starts_with("HTTP/1.1 500 ") && !dropped.contains("retry-after"), "{dropped}");
    assert!(dropped.contains("\"reason\":\"response-memory\""), "{dropped}");
    scene.worker_gets("6000").await;

    drop(held);
    scene.metric_becomes(BUFFERED, "", 0).await;
    let repeated = scene.exchange(keyed()).await;
    assert!(repeated.starts_with("HTTP/1.1 200 ") && repeated.ends_with(&"7".repeat(6_000)), "{repeated}");
    assert_eq!(scene.bench.appended().await, 2, "the repetition is not handled again");
}

#[tokio::test]
async fn a_client_that_opens_its_window_in_drips_is_cut_off() {
    // The window moves by 10 kB a second. The least rate is 64 KiB.
    let limits = "send_timeout = \"2s\"\nsend_rate_min = 65536";
    let scene = Scene::with(limits, sized).await;
    let witness = scene.witness().await;
    let mut raw = scene.http2(CLOSED).await;
    assert_eq!(statuses(&mut raw, 1, 1, "/ask/1000000").await, [200]);
    let (mut read, mut write) = raw.0.split();
    let dripping = async {
        loop {
            if tokio::io::AsyncWriteExt::write_all(&mut write, &window_update(1, 512)).await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let mut taken = Vec::new();
    tokio::select! {
        () = dripping => {}
        ended = timeout(PATIENCE, read.read_to_end(&mut taken)) => { _ = ended.expect("the connection to be cut off"); }
    }
    assert!((1_000..500_000).contains(&taken.len()), "{}", taken.len());
    scene.metric_becomes(IN_FLIGHT, "route=\"/ask/{case}\",method=\"GET\"", 0).await;
    witness.was_not_disturbed().await;
}

#[tokio::test]
async fn a_client_of_http2_above_the_rate_takes_all() {
    let limits = "send_timeout = \"1s\"\nsend_rate_min = 16384\nhead_timeout = \"1s\"";
    let scene = Scene::with(limits, sized).await;
    let mut raw = scene.http2(CLOSED).await;
    let begun = Instant::now();
    assert_eq!(statuses(&mut raw, 1, 1, "/ask/800000").await, [200]);
    let mut taken = 0;
    while taken < 800_000 {
        raw.send(window_update(1, 20_000)).await;
        let mut opened = 20_000;
        while opened > 0 {
            let next = raw.frame().await.expect("to be served to the end");
            match next.kind {
                DATA => opened -= next.payload.len(),
                PING if next.flags & ACK == 0 => raw.send(frame(PING, ACK, 0, &next.payload)).await,
                _ => {}
            }
        }
        taken += 20_000;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(3), "it lasts for several windows");
}

/// Reads so many bytes with a pause after each of them, and returns how many came until the end.
async fn drip(raw: &mut Raw, bytes: usize, pause: Duration) -> usize {
    let mut taken = 0;
    let mut some = vec![0; bytes];
    let reading = async {
        let mut drip = 0;
        while let Ok(count @ 1..) = raw.0.read(&mut some[drip..]).await {
            taken += count;
            drip = (drip + count) % bytes;
            if drip == 0 {
                sleep(pause).await;
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("an end");
    taken
}

#[tokio::test]
async fn a_client_of_http1_that_reads_in_drips_is_cut_off() {
    // The client reads 1.6 MB a second, of 24 MB. The least rate is 6 MB.
    let scene = Scene::with("send_timeout = \"2s\"\nsend_rate_min = 6000000", sized).await;
    let witness = scene.witness().await;
    let mut raw = scene.connect_small().await;
    raw.send(post("/large", &["connection: close"], "24000000")).await;
    let taken = drip(&mut raw, 160_000, Duration::from_millis(100)).await;
    assert!((160_000..20_000_000).contains(&taken), "{taken}");
    scene.metric_becomes(IN_FLIGHT, "route=\"/large\"", 0).await;
    witness.was_not_disturbed().await;
}

#[tokio::test]
async fn a_client_of_http1_above_the_rate_takes_all() {
    let scene = Scene::with("send_timeout = \"1s\"\nsend_rate_min = 50000", sized).await;
    let mut raw = scene.connect_small().await;
    // At 320 kB a second the system takes seconds to tell of a free megabyte, by default.
    raw.send(post("/large", &["connection: close"], "3000000")).await;
    let begun = Instant::now();
    let taken = drip(&mut raw, 64_000, Duration::from_millis(200)).await;
    assert!(taken > 3_000_000, "{taken}");
    assert!(begun.elapsed() > Duration::from_secs(2), "it lasts for several windows");
}
