//! The bytes' way to the server: TCP, TLS over TCP, or a Unix socket, each as two halves.

use std::{fmt, io};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

#[cfg(feature = "tls")]
use crate::tls::{self, Handshake};
use crate::{
    connection::ConnectError,
    url::{Endpoint, RedisUrl, TlsSettings},
};

/// The half that replies arrive on.
pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;

/// The half that commands leave on. A write may be kept back in a buffer until it is flushed.
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// The end of a connection, as the other side's doing.
pub(crate) const CLOSED: &str = "the server closed the connection";

/// How far an attempt to connect has come, as what is missing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Connect,
    #[cfg(feature = "tls")]
    Handshake,
    LogIn,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Connect => "no connection",
            // A server that does not speak TLS waits for the end of what it takes for a command.
            #[cfg(feature = "tls")]
            Step::Handshake => "no TLS handshake, as from a server that speaks redis:// on this port,",
            Step::LogIn => "no answer to the login",
        })
    }
}

/// Opens a connection to the server of a URL. Says at which step it is.
pub(crate) async fn open(url: &RedisUrl, step: &mut Step) -> Result<(ReadHalf, WriteHalf), ConnectError> {
    *step = Step::Connect;
    match url.endpoint() {
        Endpoint::Tcp { host, port, tls: false } if url.tls == TlsSettings::default() => {
            let (read, write) = tcp(host, *port).await?.into_split();
            Ok((Box::new(read), Box::new(write)))
        }
        #[cfg(feature = "tls")]
        Endpoint::Tcp { host, port, tls: true } => {
            let handshake = Handshake::prepare(host, &url.tls).await?;
            let stream = tcp(host, *port).await?;
            *step = Step::Handshake;
            let (read, write) = tokio::io::split(handshake.perform(stream).await?);
            Ok((Box::new(read), Box::new(write)))
        }
        Endpoint::Unix { path } if url.tls == TlsSettings::default() => unix(path).await,
        // Whoever names an authority or a certificate expects to be protected by it.
        _ => Err(ConnectError::Config("there are settings for TLS; the URL for it begins with rediss://".to_owned())),
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect((host, port)).await?;
    // Batches are whole when they are written, so there is nothing for Nagle's algorithm to wait for.
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(unix)]
async fn unix(path: &std::path::Path) -> Result<(ReadHalf, WriteHalf), ConnectError> {
    let (read, write) = tokio::net::UnixStream::connect(path).await?.into_split();
    Ok((Box::new(read), Box::new(write)))
}

#[cfg(not(unix))]
async fn unix(_: &std::path::Path) -> Result<(ReadHalf, WriteHalf), ConnectError> {
    Err(io::Error::from(io::ErrorKind::Unsupported).into())
}

/// What became of a connection that failed.
pub(crate) fn explain(error: &io::Error) -> String {
    #[cfg(feature = "tls")]
    if let Some(cause) = tls::explain(error) {
        return cause;
    }
    match error.kind() {
        // TLS has a longer word for it.
        io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
        _ => error.to_string(),
    }
}

/// What may be wrong when a server ends a connection instead of answering the login.
pub(crate) fn hint(url: &RedisUrl) -> &'static str {
    match url.endpoint() {
        Endpoint::Tcp { tls: false, .. } => "; if it speaks TLS on this port, the URL begins with rediss://",
        _ => "",
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}
