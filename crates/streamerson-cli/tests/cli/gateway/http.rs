//! An HTTP client in a few lines, on a socket: it shows what is on the wire, and keeps its connection.

use std::io;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A byte stream, in clear text or not.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub(crate) struct Connection(BufReader<Box<dyn Wire>>);

/// A whole response.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Whether the connection ends after it.
    pub(crate) fn is_last(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl Connection {
    pub(crate) async fn open(address: &str) -> io::Result<Self> {
        Ok(Self::over(Box::new(TcpStream::connect(address).await?)))
    }

    pub(crate) fn over(wire: Box<dyn Wire>) -> Self {
        Self(BufReader::new(wire))
    }

    /// Sends a request with this line, such as `GET /path`, these further headers, and a body if it has one.
    pub(crate) async fn send(&mut self, line: &str, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
        let mut head = format!("{line} HTTP/1.1\r\nhost: gateway\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        self.write(&format!("{head}\r\n{body}")).await
    }

    /// Sends these bytes.
    pub(crate) async fn write(&mut self, bytes: &str) -> io::Result<()> {
        self.0.write_all(bytes.as_bytes()).await
    }

    /// The next response.
    pub(crate) async fn receive(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        let status_line = self.line().await?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        answer.status = status.ok_or_else(|| io::Error::other(format!("no status in {status_line:?}")))?;
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(": ") else { break };
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
        let len = answer.header("content-length").map_or(0, |len| len.parse().expect("a length"));
        answer.body.resize(len, 0);
        self.0.read_exact(&mut answer.body).await?;
        Ok(answer)
    }

    pub(crate) async fn exchange(&mut self, line: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
        self.send(line, headers, body).await?;
        self.receive().await
    }

    /// Waits until the server closes; answers what it sent until then.
    pub(crate) async fn closed(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A server that closes with unread bytes resets the connection, after what it sent.
        _ = self.0.read_to_end(&mut rest).await;
        rest
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
