//! As much of an HTTP client as these tests need.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Posts a body of this type on a connection of its own.
pub(crate) async fn post(address: &str, path: &str, content_type: &str, body: &str) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(address).await?;
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-type: {content_type}\r\n");
    socket.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(answer.clone()))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(head.to_owned()))?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
