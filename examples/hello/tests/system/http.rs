//! As much of an HTTP/1.1 client as it takes to greet: one connection that is kept, one request at a time.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take whatever happens; nothing is allowed to hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a gateway.
pub(crate) struct Connection(BufReader<TcpStream>);

/// What the gateway answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    pub(crate) body: String,
}

impl Answer {
    /// The one answer that is right for this name.
    pub(crate) fn is_greeting_of(&self, name: &str) -> bool {
        self.status == 200 && self.body == format!(r#"{{"text":"Hello, {name}!"}}"#)
    }
}

impl Connection {
    pub(crate) async fn open(gateway: SocketAddr) -> Self {
        let stream = TcpStream::connect(gateway).await.expect("the gateway takes connections");
        stream.set_nodelay(true).expect("an open socket");
        Self(BufReader::new(stream))
    }

    /// Asks to greet somebody, and waits for the answer.
    pub(crate) async fn greet(&mut self, name: &str) -> Answer {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let request = format!(
            "POST /greet HTTP/1.1\r\nhost: hello\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await.expect("the gateway keeps the connection");
        match timeout(PATIENCE, self.answer()).await {
            Ok(answer) => answer,
            Err(_) => panic!("{name} has no answer after {PATIENCE:?}"),
        }
    }

    async fn answer(&mut self) -> Answer {
        let mut line = String::new();
        let mut answer = Answer { status: 0, retry_after: false, body: String::new() };
        let mut length = 0;
        loop {
            line.clear();
            let read = self.0.read_line(&mut line).await.expect("the gateway keeps the connection");
            assert!(read > 0, "the gateway closed the connection instead of answering");
            match line.trim_end().split_once([':', ' ']) {
                None => break,
                Some(("HTTP/1.1", rest)) => answer.status = rest[..3].parse().expect("a status"),
                Some(("content-length", value)) => length = value.trim().parse().expect("a length"),
                Some(("retry-after", _)) => answer.retry_after = true,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("the whole body");
        answer.body = String::from_utf8(body).expect("text");
        answer
    }

    /// Whether the gateway has sent more than it was asked for.
    pub(crate) fn has_more(&self) -> bool {
        !self.0.buffer().is_empty() || self.0.get_ref().try_read(&mut [0]).is_ok()
    }
}
