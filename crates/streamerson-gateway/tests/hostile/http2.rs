//! HTTP/2 that breaks a rule, or waits for nothing.

use streamerson_core::{Topic, shards::Shards};

use crate::{
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PROTOCOL_ERROR, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, block, frame, get, request,
    },
    scene::{Scene, post},
    support::echo,
};

const SHORT: &str = "head_timeout = \"1s\"\nsend_timeout = \"2s\"";
const INITIAL_WINDOW_SIZE: u16 = 4;
/// No table of headers, so that each status is spelled out.
const PLAIN: &[(u16, u32)] = &[(HEADER_TABLE_SIZE, 0)];
const HEADER_TABLE_SIZE: u16 = 1;

#[tokio::test]
async fn requests_in_clear_text_are_answered_as_any_other() {
    let scene = Scene::new().await;
    let mut raw = scene.http2(&[]).await;
    raw.send(get(1, "/ask/1")).await;
    assert_eq!(raw.frame_of(HEADERS).await.status(), 200);
    let data = raw.frame_of(DATA).await;
    assert!(String::from_utf8_lossy(&data.payload).contains("\"http.path\":\"/ask/1\""));
    for (stream, path, status) in [(3, "/nowhere", 404), (5, "/ask/%FF", 400), (7, "/hurry", 405)] {
        raw.send(get(stream, path)).await;
        let head = raw.frame_of(HEADERS).await;
        assert_eq!((head.stream, head.status()), (stream, status), "{path}");
    }
    // Two hosts, which HTTP/2 has a place for and a header.
    let hosts = [request("GET", "/ask/1"), vec![("host", "a"), ("host", "b")]].concat();
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 13, &block(&hosts))).await;
    assert_eq!(raw.frame_of(HEADERS).await.status(), 400);
    // A tunnel, which has no path.
    let connect = block(&[(":method", "CONNECT"), (":authority", "x:80")]);
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 15, &connect)).await;
    assert_eq!(raw.frame_of(HEADERS).await.status(), 404);
    // A body that does not come.
    raw.send(frame(HEADERS, END_HEADERS, 17, &block(&request("POST", "/hurry")))).await;
    assert_eq!(raw.frame_of(HEADERS).await.status(), 408);
}

/// HTTP/2 has the host in `:authority`, and clients send no `Host`: routes that use the header see the authority in it.
#[tokio::test]
async fn the_authority_is_the_host_that_principals_and_shards_are_told_apart_by() {
    let scene = Scene::new().await;
    let shards = Shards::new(Topic::new("parts").unwrap(), 2).unwrap();
    let mut hosts = (0..).map(|n| format!("host-{n}.example"));
    let mut host_of = |shard: &Topic| hosts.find(|host| shards.of(host.as_bytes()) == *shard).unwrap();
    let hosts: Vec<_> = shards.iter().map(|shard| host_of(&shard)).collect();
    let mut raw = scene.http2(PLAIN).await;
    let mut stream = 1;
    let mut status = async |path, host: &str| {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", host),
            (":path", path),
            ("idempotency-key", "the-same"),
        ];
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&headers))).await;
        stream += 2;
        raw.frame_of(HEADERS).await.status()
    };
    // Each host twice: the second request is a repetition of the first of its host, and of no other host.
    for host in hosts.iter().chain(&hosts) {
        assert_eq!(status("/principal-host", host).await, 200, "{host}");
    }
    assert_eq!(scene.bench.appended().await, 2, "one request for each host");

    for (host, shard) in hosts.iter().zip(shards.iter()) {
        assert_eq!(status("/sharded-by-host", host).await, 202, "{host}");
        let info = scene.bench.broker.stream_info(&shard.inbound()).await.unwrap();
        assert_eq!(info.map(|info| info.len), Some(1), "{host} belongs to {shard}");
    }
}

#[tokio::test]
async fn requests_that_break_a_rule_are_reset_and_the_connection_goes_on() {
    let mut scene = Scene::new().await;
    let mut raw = scene.http2(&[]).await;
    let with = |more: &[(&'static str, &'static str)]| [request("POST", "/ask/1"), more.to_vec()].concat();
    let mut stream = 1;
    for (what, headers) in [
        ("a connection header", with(&[("connection", "close")])),
        ("a transfer coding", with(&[("transfer-encoding", "chunked")])),
        ("an upgrade", with(&[("upgrade", "h2c")])),
        ("te that is not trailers", with(&[("te", "gzip")])),
        ("a second path", with(&[(":path", "/ask/2")])),
        ("a pseudo header of a response", with(&[(":status", "200")])),
        ("a pseudo header behind others", with(&[("x-a", "1"), (":authority", "y")])),
        ("no path", vec![(":method", "GET"), (":scheme", "http"), (":authority", "x")]),
        ("no method", vec![(":path", "/ask/1"), (":scheme", "http"), (":authority", "x")]),
        ("a length that the body does not have", with(&[("content-length", "5")])),
    ] {
        raw.send(frame(HEADERS, END_HEADERS, stream, &block(&headers))).await;
        raw.send(frame(DATA, END_STREAM, stream, b"z")).await;
        loop {
            let answer = raw.frame().await.unwrap_or_else(|| panic!("{what}: closed"));
            match answer.kind {
                RST_STREAM => {
                    assert_eq!(answer.code(), PROTOCOL_ERROR, "{what}");
                    break;
                }
                HEADERS => {
                    assert_eq!(answer.status(), 400, "{what}");
                    break;
                }
                GOAWAY => panic!("{what}: {answer:?}"),
                _ => {}
            }
        }
        stream += 2;
    }
    raw.send(frame(HEADERS, END_HEADERS, stream, &block(&request("POST", "/ask/1")))).await;
    raw.send(frame(DATA, END_STREAM, stream, b"end")).await;
    scene.worker_gets("end").await;
}

#[tokio::test]
async fn frames_that_break_a_rule_end_the_connection() {
    let scene = Scene::new().await;
    let with = |more: &[(&'static str, &'static str)]| {
        frame(HEADERS, END_HEADERS, 1, &block(&[request("POST", "/ask/1"), more.to_vec()].concat()))
    };
    for (what, bytes) in [
        ("data of no stream", frame(DATA, 0, 0, b"z")),
        ("data of a stream that was not opened", frame(DATA, 0, 5, b"z")),
        ("a stream of the server's", get(2, "/ask/1")),
        ("headers that are none", frame(HEADERS, END_HEADERS, 1, &[0xff; 10])),
        ("an index that is none", frame(HEADERS, END_HEADERS, 1, &[0xfe])),
        ("a ping of another size", frame(PING, 0, 0, b"z")),
        ("a window that is none", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window beyond counting", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("settings of another size", frame(SETTINGS, 0, 0, b"z")),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[])),
        ("a name in capitals", with(&[("X-A", "1")])),
        ("a line break in a value", with(&[("x-a", "1\r\nx-b: 2")])),
        ("a NUL in a value", with(&[("x-a", "1\0")])),
        ("a space in a name", with(&[("x a", "1")])),
        ("a frame beyond the size", frame(DATA, 0, 1, &[0; 20_000])),
    ] {
        let mut raw = scene.http2(&[]).await;
        raw.send(bytes).await;
        let code = raw.goaway().await;
        assert!(code.is_some_and(|code| code != 0), "{what}: {code:?}");
    }
    assert!(scene.exchange(post("/ask/1", &["connection: close"], "1")).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn headers_beyond_the_bound_are_431_and_those_without_end_end_the_connection() {
    let scene = Scene::new().await;
    let witness = scene.witness().await;
    let large = "x".repeat(15_000);
    // Above our own bound, and below that of what is read at all.
    let mut raw = scene.http2(&[]).await;
    let many = [request("GET", "/ask/1"), vec![("x-a", &*large), ("x-b", &large), ("x-c", &large)]].concat();
    let many = block(&many);
    raw.send(frame(HEADERS, END_STREAM, 1, &many[..16_000])).await;
    for (index, rest) in many[16_000..].chunks(16_000).enumerate() {
        let flags = if 16_000 * (index + 2) >= many.len() { END_HEADERS } else { 0 };
        raw.send(frame(CONTINUATION, flags, 1, rest)).await;
    }
    assert_eq!(raw.frame_of(HEADERS).await.status(), 431);

    // Without end: never more than a bound is kept, and then it is over.
    let mut raw = scene.http2(&[]).await;
    raw.send(frame(HEADERS, 0, 1, &block(&request("GET", "/ask/1")))).await;
    let more = frame(CONTINUATION, 0, 1, &block(&[("x-a", &large)]));
    raw.floods(&more, 1_000).await;
    assert!(raw.goaway().await.is_some_and(|code| code != 0));
    let mut raw = scene.http2(&[]).await;
    raw.send(frame(HEADERS, 0, 1, &block(&request("GET", "/ask/1")))).await;
    raw.floods(&frame(CONTINUATION, 0, 1, &[]).repeat(100), 1_000).await;
    assert!(raw.goaway().await.is_some_and(|code| code != 0));
    witness.was_not_disturbed().await;
}

/// HPACK lets one byte stand for a header that was sent before: some kilobytes on the wire are gigabytes when they are
/// decoded. No more of them is kept than of any other head.
#[tokio::test]
async fn headers_that_grow_when_they_are_decoded_are_bounded() {
    let scene = Scene::new().await;
    let witness = scene.witness().await;
    for references in [100, 5_000, 15_000] {
        let mut raw = scene.http2(&[]).await;
        // A literal that enters the dynamic table (RFC 7541, section 6.2.1), whose first entry has the index 62.
        let mut head = block(&request("GET", "/ask/1"));
        head.extend([0x40, 3]);
        head.extend(b"x-a");
        // 3,900 in an integer with a prefix of 7 bits.
        head.extend([127, (3_900_u16 - 127) as u8 & 127 | 128, ((3_900 - 127) >> 7) as u8]);
        head.extend(vec![b'x'; 3_900]);
        head.extend(vec![0x80 | 62; references]);
        let (first, rest) = head.split_at(head.len().min(16_000));
        let flags = |is_last| if is_last { END_HEADERS } else { 0 };
        raw.send(frame(HEADERS, END_STREAM | flags(rest.is_empty()), 1, first)).await;
        if !rest.is_empty() {
            raw.send(frame(CONTINUATION, END_HEADERS, 1, rest)).await;
        }
        let answer = raw.frames_until_answer(1).await;
        assert!(matches!(answer, Some(431) | None), "{references}: {answer:?}");
    }
    witness.was_not_disturbed().await;
}

#[tokio::test]
async fn connections_on_which_nothing_is_asked_are_told_to_go_and_cut_if_they_do_not() {
    let scene = Scene::with(SHORT, echo).await;
    let mut polite = scene.http2(&[]).await;
    polite.send(get(1, "/ask/1")).await;
    assert_eq!(polite.frame_of(HEADERS).await.status(), 200);
    assert_eq!(polite.goaway().await, Some(0));

    let mut silent = scene.connect().await;
    silent.send(PREFACE).await;
    silent.rest_of_bytes().await;

    // It has its settings, and neither asks nor answers.
    let mut deaf = scene.http2(&[]).await;
    deaf.rest_of_bytes().await;

    // A head that does not end is no request yet.
    let mut loris = scene.http2(&[]).await;
    loris.send(frame(HEADERS, 0, 1, &block(&request("GET", "/ask/1")))).await;
    loris.rest_of_bytes().await;
}

#[tokio::test]
async fn who_keeps_the_window_shut_is_cut_off() {
    let scene = Scene::with(SHORT, echo).await;
    let witness = scene.witness().await;
    let mut raw = scene.http2(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    raw.send(get(1, "/ask/1")).await;
    assert_eq!(raw.frame_of(HEADERS).await.status(), 200);
    // It answers pings all the while.
    raw.send(frame(PING, 0, 0, &[1; 8])).await;
    assert_eq!(raw.frame_of(PING).await.flags, ACK);
    assert!(raw.frames().await.iter().all(|frame| frame.kind != DATA));

    // One that opens it a little at a time takes what it was sent.
    let mut raw = scene.http2(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    raw.send(get(1, "/ask/1")).await;
    raw.frame_of(HEADERS).await;
    raw.send(frame(WINDOW_UPDATE, 0, 1, &100_000_u32.to_be_bytes())).await;
    assert!(!raw.frame_of(DATA).await.payload.is_empty());
    witness.was_not_disturbed().await;
}

#[tokio::test]
async fn pings_that_are_not_answered_end_the_connection() {
    let limits = "http2_ping_interval = \"100ms\"\nhttp2_ping_timeout = \"300ms\"";
    let scene = Scene::with(limits, |_| None).await;
    let mut raw = scene.http2(&[]).await;
    raw.send(get(1, "/ask/1")).await;
    raw.frame_of(PING).await;
    raw.rest_of_bytes().await;
}
