//! A tiny client for the Redis protocol, for what tests assert about a server.
//!
//! Independent of the Redis adapter on purpose: a mistake in the adapter's protocol code must not hide itself from the
//! tests that look for it.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A reply from the server (RESP2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A missing value or array.
    Nil,
    /// An integer.
    Int(i64),
    /// A status such as `OK`.
    Status(String),
    /// A string of bytes.
    Bulk(Bytes),
    /// A list of replies.
    Array(Vec<Value>),
    /// An error, code included: `WRONGTYPE Operation against …`.
    Error(String),
}

impl Value {
    /// The integer.
    ///
    /// # Panics
    ///
    /// If the reply is anything else.
    #[must_use]
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(value) => *value,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The bytes of a string or a status.
    ///
    /// # Panics
    ///
    /// If the reply is anything else.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(value) => value,
            Self::Status(value) => value.as_bytes(),
            other => panic!("expected a string, got {other:?}"),
        }
    }

    /// The text of a string or a status.
    ///
    /// # Panics
    ///
    /// If the reply is anything else, or not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("the reply is UTF-8")
    }

    /// The items of a list; none for a missing one.
    ///
    /// # Panics
    ///
    /// If the reply is anything else.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) => items,
            Self::Nil => &[],
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// Whether the reply is missing.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        *self == Self::Nil
    }
}

/// One connection to a server, one command at a time.
#[derive(Debug)]
pub struct RespClient {
    stream: BufReader<TcpStream>,
}

impl RespClient {
    /// Connects.
    ///
    /// # Errors
    ///
    /// If nothing listens at `address`.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command, its name first, and awaits the reply. A server's error is a [`Value::Error`].
    ///
    /// # Errors
    ///
    /// If the connection breaks, or the reply is no RESP2.
    pub async fn command<A: AsRef<[u8]>>(&mut self, command: impl IntoIterator<Item = A>) -> io::Result<Value> {
        self.stream.get_mut().write_all(&encode(command)).await?;
        self.read().await
    }

    async fn read(&mut self) -> io::Result<Value> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed(&line))?;
        Ok(match kind {
            "+" => Value::Status(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Int(number(rest)?),
            "$" => match usize::try_from(number(rest)?) {
                Ok(length) => Value::Bulk(self.bulk(length).await?),
                Err(_) => Value::Nil,
            },
            "*" => match usize::try_from(number(rest)?) {
                Ok(length) => {
                    let mut items = Vec::new();
                    for _ in 0..length {
                        items.push(Box::pin(self.read()).await?);
                    }
                    Value::Array(items)
                }
                Err(_) => Value::Nil,
            },
            _ => return Err(malformed(&line)),
        })
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn bulk(&mut self, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).await?;
        bytes.truncate(length);
        Ok(bytes.into())
    }
}

fn encode<A: AsRef<[u8]>>(command: impl IntoIterator<Item = A>) -> Vec<u8> {
    let mut count = 0;
    let mut arguments = Vec::new();
    for argument in command {
        let argument = argument.as_ref();
        count += 1;
        arguments.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        arguments.extend_from_slice(argument);
        arguments.extend_from_slice(b"\r\n");
    }
    let mut encoded = format!("*{count}\r\n").into_bytes();
    encoded.append(&mut arguments);
    encoded
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| malformed(text))
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP2: {line:?}"))
}
