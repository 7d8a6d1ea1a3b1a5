//! The service on a socket and the service behind a topic, asked the same.

use std::process::Command;

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use streamerson_test::{Process, RedisServer};
use tokio::net::TcpStream;

fn moved(arguments: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moved"));
    command.args(arguments.split_whitespace());
    Process::spawn(command)
}

/// The address of a process that listens on a port of its own.
async fn address(process: &Process) -> String {
    let line = process.stderr_line("listening on http://").await;
    line.split_once("http://").expect("an address").1.to_owned()
}

/// A response: its status, its headers, and its body.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// What is asked: method, target, headers and body.
type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

const JSON: (&str, &str) = ("content-type", "application/json");

const REQUESTS: [Asked; 27] = [
    ("GET", "/shop", &[], ""),
    ("GET", "/shop/", &[], ""),
    ("GET", "/shop/items", &[], ""),
    ("GET", "/shop/items?max=1", &[], ""),
    ("GET", "/shop/items?max=%32", &[], ""),
    ("GET", "/shop/items?max=many", &[], ""),
    ("HEAD", "/shop/items", &[], ""),
    ("OPTIONS", "/shop/items", &[], ""),
    ("DELETE", "/shop/items", &[], ""),
    ("GET", "/shop/items/2", &[("accept", "application/json"), ("accept-encoding", "gzip")], ""),
    ("GET", "/shop/items/2", &[("if-none-match", "\"2-3900\"")], ""),
    ("HEAD", "/shop/items/2", &[], ""),
    ("GET", "/shop/items/7", &[], ""),
    ("GET", "/shop/items/%61", &[], ""),
    ("GET", "/shop/items/%FF", &[], ""),
    ("GET", "/shop/products/2", &[], ""),
    ("POST", "/shop/quotes", &[JSON], "{\"item\":1,\"count\":3}"),
    ("POST", "/shop/quotes", &[JSON], "{\"item\":9,\"count\":3}"),
    ("POST", "/shop/quotes", &[JSON], "{\"item\":1,"),
    ("POST", "/shop/quotes", &[JSON], "{\"item\":\"one\"}"),
    ("POST", "/shop/quotes", &[("content-type", "text/plain")], "{\"item\":1,\"count\":3}"),
    ("POST", "/shop/quotes", &[], ""),
    ("POST", "/shop/login", &[], "ann"),
    ("GET", "/shop/me", &[], ""),
    ("GET", "/shop/me", &[("cookie", "seen=1; name=ann")], ""),
    ("GET", "/shop/stock", &[], ""),
    ("GET", "/elsewhere?x#y", &[], ""),
];

async fn ask(address: &str, (method, target, headers, body): Asked) -> Answer {
    let stream = TcpStream::connect(address).await.expect("a server");
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target).header("host", "shop.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("a request");
    let (parts, body) = sender.send_request(request).await.expect("a response").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    connection.abort();
    let headers = parts.headers.iter().filter(|(name, _)| *name != "date");
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    // Stable, so that headers of the same name stay in their order.
    headers.sort_by(|(name, _), (other, _)| name.cmp(other));
    Answer { status: parts.status.as_u16(), headers, body }
}

/// Asks both the same, and answers with what both said.
async fn compare(plain: &str, behind: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for asked in REQUESTS {
        let expected = ask(plain, asked).await;
        assert_eq!(ask(behind, asked).await, expected, "{asked:?}");
        answers.push(expected);
    }
    answers
}

#[tokio::test]
async fn a_service_behind_a_topic_answers_as_it_did_on_a_socket() {
    let plain = moved("plain --listen 127.0.0.1:0");
    let behind = moved("--listen 127.0.0.1:0");
    let answers = compare(&address(&plain).await, &address(&behind).await).await;

    // What the comparison is worth: that there was something to compare.
    let statuses: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.status).collect();
    let expected = [200, 201, 204, 304, 308, 400, 401, 404, 405, 409, 415, 422, 503];
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), expected);
    assert!(answers.iter().any(|answer| answer.headers("set-cookie").len() == 2));
    assert!(answers.iter().any(|answer| answer.headers("location") == ["/shop/items/2"]));
    let is_length_of_none = |answer: &Answer| {
        answer.body.is_empty() && !["", "0"].contains(&answer.headers("content-length").concat().as_str())
    };
    assert!(answers.iter().any(is_length_of_none));
    assert!(plain.terminate().await.status.success());
    assert!(behind.terminate().await.status.success());
}

#[tokio::test]
async fn so_it_does_over_redis_in_several_processes() {
    let server = RedisServer::spawn().await;
    let broker = server.url();
    let plain = moved("plain --listen 127.0.0.1:0");
    let gateway = moved(&format!("gateway --broker {broker} --listen 127.0.0.1:0"));
    let workers = [moved(&format!("worker --broker {broker}")), moved(&format!("worker --broker {broker}"))];
    let (plain, behind) = (address(&plain).await, address(&gateway).await);
    compare(&plain, &behind).await;
    let [first, second] = workers;
    assert!(first.terminate().await.status.success());
    compare(&plain, &behind).await;
    assert!(gateway.terminate().await.status.success());
    assert!(second.terminate().await.status.success());
}
