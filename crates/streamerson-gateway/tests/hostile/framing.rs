//! Where a request ends: whatever two programs could understand in two ways is refused, or read in one way and the last on
//! its connection.

use crate::{
    scene::{Scene, post},
    support::echo,
};

/// A second request within the first: whoever answers it was fooled.
const SMUGGLED: &str = "GET /ask/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

/// A POST with these lines below its host, and with this after its head.
fn head(lines: &str, rest: &str) -> String {
    format!("POST /ask/first HTTP/1.1\r\nhost: x\r\n{lines}\r\n{rest}")
}

fn responses(answer: &str) -> usize {
    answer.matches("HTTP/1.1 ").count()
}

#[tokio::test]
async fn heads_that_break_a_rule_are_refused_and_end_their_connection() {
    let mut scene = Scene::new().await;
    let witness = scene.connect().await;
    for (what, bytes) in [
        ("two lengths", head("content-length: 1\r\ncontent-length: 2\r\n", SMUGGLED)),
        ("two lengths in one", head("content-length: 1, 2\r\n", SMUGGLED)),
        ("a length with a sign", head("content-length: +1\r\n", SMUGGLED)),
        ("a negative length", head("content-length: -1\r\n", SMUGGLED)),
        ("a length in hexadecimal", head("content-length: 0x1\r\n", SMUGGLED)),
        ("no length", head("content-length: \r\n", SMUGGLED)),
        ("a length beyond counting", head("content-length: 99999999999999999999\r\n", SMUGGLED)),
        ("identity", head("transfer-encoding: identity\r\n", SMUGGLED)),
        ("identity at last", head("transfer-encoding: chunked, identity\r\n", SMUGGLED)),
        ("a coding that is none", head("transfer-encoding: xchunked\r\n", SMUGGLED)),
        ("a coding behind a vertical tab", head("transfer-encoding: \x0bchunked\r\n", SMUGGLED)),
        ("a coding in HTTP/1.0", head("transfer-encoding: chunked\r\n", "0\r\n\r\n").replace("1.1", "1.0")),
        ("a folded line", head("x-a: 1\r\n 2\r\n", "")),
        ("a folded coding", head("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n")),
        ("a space before the colon", head("transfer-encoding : chunked\r\n", "0\r\n\r\n")),
        ("a tab before the colon", head("content-length\t: 0\r\n", "")),
        ("a space before the first header", head("", "").replace("\r\nhost", "\r\n host")),
        ("no colon", head("x-a\r\n", "")),
        ("no name", head(": 1\r\n", "")),
        ("a carriage return alone", head("x-a: 1\rx-b: 2\r\n", "")),
        ("a NUL", head("x-a: 1\0\r\n", "")),
        ("a NUL in a name", head("x\0a: 1\r\n", "")),
        ("no host", "GET /ask/first HTTP/1.1\r\n\r\n".into()),
        ("two hosts", "GET /ask/first HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".into()),
        ("a space in the target", "GET /ask/a b HTTP/1.1\r\nhost: x\r\n\r\n".into()),
        ("a NUL in the target", "GET /ask/\0 HTTP/1.1\r\nhost: x\r\n\r\n".into()),
        ("no HTTP", "hello\r\n\r\n".into()),
        ("a version to come", "GET /ask/first HTTP/1.2\r\nhost: x\r\n\r\n".into()),
        ("no version", "GET /ask/first\r\nhost: x\r\n\r\n".into()),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".repeat(20)),
        ("HTTP/2 that is none", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".into()),
    ] {
        let answer = scene.exchange(&bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
        assert_eq!(responses(&answer), 1, "{what}: {answer}");
    }
    for (what, bytes, status) in [
        ("a coding that nobody undoes", head("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501),
        ("chunked twice", head("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"), 501),
        (
            "chunked on two lines",
            head("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            501,
        ),
    ] {
        let answer = scene.exchange(bytes + SMUGGLED).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert_eq!(responses(&answer), 1, "{what}: {answer}");
    }
    // One that was there all the while, and one that comes now.
    for mut raw in [witness, scene.connect().await] {
        raw.send(post("/ask/witness", &[], "1")).await;
        assert!(raw.response().await.starts_with("HTTP/1.1 200 "));
        scene.worker_gets("1").await;
    }
}

/// Content-Length beside Transfer-Encoding: the length counts for nothing, and the connection ends behind it.
#[tokio::test]
async fn of_two_ways_to_end_one_counts_and_the_connection_ends() {
    let scene = Scene::new().await;
    for lines in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 40\r\nContent-Length: 40\r\n",
    ] {
        let answer = scene.exchange(head(lines, &format!("1\r\nz\r\n0\r\n\r\n{SMUGGLED}"))).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"payload\":\"z\""), "{answer}");
        assert!(answer.contains("connection: close") && responses(&answer) == 1, "{lines}: {answer}");
    }
}

#[tokio::test]
async fn what_is_unusual_and_clear_is_read_and_the_connection_stays_in_step() {
    let scene = Scene::new().await;
    let last = post("/ask/last", &["connection: close"], "end");
    for (what, first, payload) in [
        ("the same length twice", head("content-length: 1\r\ncontent-length: 1\r\n", "z"), "z"),
        ("chunked in odd case", head("TRANSFER-encoding:\t ChUnKeD \r\n", "1\r\nz\r\n0\r\n\r\n"), "z"),
        ("extensions", head("transfer-encoding: chunked\r\n", "1;a=b;c=\"d\"\r\nz\r\n0;e\r\n\r\n"), "z"),
        ("leading zeros", head("transfer-encoding: chunked\r\n", "0001\r\nz\r\n00\r\n\r\n"), "z"),
        ("trailers", head("transfer-encoding: chunked\r\n", "1\r\nz\r\n0\r\nhost: y\r\nx-a: 1\r\n\r\n"), "z"),
        ("empty lines before", format!("\r\n\r\n{}", head("content-length: 1\r\n", "z")), "z"),
        ("lines that end in a line feed alone", head("content-length: 1\r\n", "z").replace("\r\n", "\n"), "z"),
    ] {
        let answer = scene.exchange(format!("{first}{last}")).await;
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{what}: {answer}");
        let payloads = [format!("\"payload\":\"{payload}\""), "\"payload\":\"end\"".to_owned()];
        assert!(payloads.iter().all(|payload| answer.contains(payload)), "{what}: {answer}");
        assert!(!answer.contains("\"http.header.x-a\""), "{what}: {answer}");
    }
}

#[tokio::test]
async fn bodies_that_break_a_rule_or_off_are_refused_and_nothing_is_appended() {
    let mut scene = Scene::new().await;
    let chunked = |body: &str| head("transfer-encoding: chunked\r\n", body);
    let many = "x".repeat(20_000);
    for (what, bytes) in [
        ("a size that is none", chunked("z\r\n")),
        ("no size", chunked("\r\n\r\n")),
        ("a negative size", chunked("-1\r\nz\r\n0\r\n\r\n")),
        ("a size with 0x", chunked("0x1\r\nz\r\n0\r\n\r\n")),
        ("a size beyond counting", chunked("fffffffffffffffff\r\nz\r\n0\r\n\r\n")),
        ("a line feed alone behind the size", chunked("1\nz\r\n0\r\n\r\n")),
        ("a line feed in an extension", chunked("1;a\nz\r\n0\r\n\r\n")),
        ("more than was announced", chunked("1\r\nzz\r\n0\r\n\r\n")),
        ("endless extensions", chunked(&format!("1;{many}\r\nz\r\n0\r\n\r\n"))),
        ("endless trailers", chunked(&format!("1\r\nz\r\n0\r\nx: {many}\r\n\r\n"))),
        ("more than the route takes", chunked(&format!("{:x}\r\n{}", 300_000, "x".repeat(300_000)))),
    ] {
        let answer = scene.exchange(format!("{bytes}{SMUGGLED}")).await;
        let status = if what == "more than the route takes" { "413" } else { "400" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert_eq!(responses(&answer), 1, "{what}: {answer}");
    }
    for (what, bytes) in [
        ("cut in the size", chunked("1")),
        ("cut in a chunk", chunked("5\r\nzz")),
        ("cut behind a chunk", chunked("1\r\nz\r\n")),
        ("cut in the end", chunked("1\r\nz\r\n0\r\n")),
        ("cut before the length", head("content-length: 5\r\n", "zz")),
    ] {
        let mut raw = scene.connect().await;
        raw.send(bytes).await;
        tokio::io::AsyncWriteExt::shutdown(&mut raw.0).await.unwrap();
        let answer = raw.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
    }
    assert!(scene.exchange(post("/ask/last", &["connection: close"], "end")).await.starts_with("HTTP/1.1 200 "));
    scene.worker_gets("end").await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order_up_to_the_first_that_is_none() {
    let scene = Scene::with("", echo).await;
    let mut all: String = (0..50).map(|n| post(&format!("/ask/{n}"), &[], &format!("p{n};"))).collect();
    all += &post("/nowhere", &[], "body");
    all += "garbage\r\n\r\n";
    all += &post("/ask/after", &[], "after");
    let answer = scene.exchange(all).await;
    let places: Vec<_> = (0..50).map(|n| answer.find(&format!("p{n};")).expect("an answer")).collect();
    assert!(places.is_sorted());
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 50);
    assert_eq!((answer.matches("HTTP/1.1 404 ").count(), answer.matches("HTTP/1.1 400 ").count()), (1, 1));
    assert!(!answer.contains("after"));
}
