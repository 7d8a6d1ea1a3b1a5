//! One connection to the server, logged in and ready: what a blocking reader owns and what the shared connection is
//! made of.

use std::{io, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use streamerson_core::metrics::BrokerMetrics;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    config::RedisConfig,
    reply::as_count,
    resp::{Decoder, Reply, WriteBuffer},
    transport::{self, ReadHalf, Step, WriteHalf},
};

/// Free space that the read buffer is given before each read, in bytes. A delivery that is held keeps the buffer that
/// it arrived in, so this is not larger than the throughput asks for.
const READ_BYTES: usize = 32 * 1024;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The server refuses this user, password or database. Trying again will not help.
    #[error("the server refuses the login: {0}")]
    Login(String),
    /// A setting cannot work, or a certificate is not accepted. Trying again will not help.
    #[error("{0}")]
    Config(String),
    /// The server cannot be reached, or not used yet.
    #[error("{0}")]
    Unreachable(String),
}

/// Why a connection is of no more use. The command under way may have been carried out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

/// A connection on which one command at a time is sent and awaited.
pub(crate) struct Connection {
    pub(crate) read: ReadHalf,
    pub(crate) write: WriteHalf,
    pub(crate) replies: ReplyBuffer,
    commands: WriteBuffer,
    metrics: Arc<BrokerMetrics>,
    /// What the server calls this connection, if it says so: for ending a blocked command from another one.
    pub(crate) id: Option<u64>,
}

impl Connection {
    /// Connects, logs in and makes sure that the server answers commands.
    pub(crate) async fn open(config: &RedisConfig, metrics: &Arc<BrokerMetrics>) -> Result<Self, ConnectError> {
        let mut step = Step::Connect;
        match timeout(config.connect_timeout, Self::open_unbounded(config, metrics, &mut step)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectError::Unreachable(format!("{step} within {:?}", config.connect_timeout))),
        }
    }

    async fn open_unbounded(
        config: &RedisConfig,
        metrics: &Arc<BrokerMetrics>,
        step: &mut Step,
    ) -> Result<Self, ConnectError> {
        let (read, write) = transport::open(&config.url, step).await?;
        *step = Step::LogIn;
        let mut connection = Self {
            read,
            write,
            replies: ReplyBuffer::new(Arc::clone(metrics)),
            commands: WriteBuffer::default(),
            metrics: Arc::clone(metrics),
            id: None,
        };
        match connection.log_in(config).await {
            Ok(()) => Ok(connection),
            // On its port for TLS, Redis answers anything else by closing the connection; others send an alert.
            Err(ConnectError::Unreachable(cause)) if !connection.replies.begun => {
                Err(ConnectError::Unreachable(format!("{cause}{}", transport::hint(&config.url))))
            }
            Err(error) => Err(error),
        }
    }

    /// All in one write. `PING` is what tells a server that loads its data, and so refuses commands, from one that
    /// is up.
    async fn log_in(&mut self, config: &RedisConfig) -> Result<(), ConnectError> {
        let unreachable = |Broken(cause)| ConnectError::Unreachable(cause);
        let login = config.url.login();
        let database = config.url.database();
        match login {
            Some((Some(user), password)) => {
                self.commands.command(3).arg("AUTH").arg(user).arg(password);
            }
            Some((None, password)) => {
                self.commands.command(2).arg("AUTH").arg(password);
            }
            None => {}
        }
        if database > 0 {
            self.commands.command(2).arg("SELECT").int(database.into());
        }
        self.commands.command(3).arg("CLIENT").arg("SETNAME").arg(format!("streamerson:{}", config.role));
        self.commands.command(2).arg("CLIENT").arg("ID");
        self.commands.command(1).arg("PING");
        self.flush().await.map_err(unreachable)?;

        if login.is_some() {
            self.expect_accepted("AUTH").await?;
        }
        if database > 0 {
            self.expect_accepted("SELECT").await?;
        }
        // A name is a courtesy to whoever looks at the server; not every server, nor every user, may set one.
        self.receive().await.map_err(unreachable)?;
        self.id = as_count(&self.receive().await.map_err(unreachable)?);
        self.expect_accepted("PING").await
    }

    async fn expect_accepted(&mut self, command: &str) -> Result<(), ConnectError> {
        let reply = self.receive().await.map_err(|Broken(cause)| ConnectError::Unreachable(cause))?;
        let Some(message) = reply.error() else { return Ok(()) };
        let message = String::from_utf8_lossy(message).into_owned();
        let code = message.split(' ').next().unwrap_or_default();
        match code {
            // `ERR` to the first two: no password is set, or no such database. To a ping it would be a broken server.
            "WRONGPASS" | "NOAUTH" | "NOPERM" => Err(ConnectError::Login(message)),
            "ERR" if command != "PING" => Err(ConnectError::Login(message)),
            _ => Err(ConnectError::Unreachable(message)),
        }
    }

    /// Sends one command and awaits its reply. After an error, or when the future is dropped, the connection is of no
    /// more use: a late reply would be taken for the next command's.
    pub(crate) async fn call(
        &mut self,
        deadline: Duration,
        encode: impl FnOnce(&mut WriteBuffer),
    ) -> Result<Reply, Broken> {
        encode(&mut self.commands);
        self.metrics.commands.add_one();
        self.metrics.batches.add_one();
        let exchange = async {
            self.flush().await?;
            self.receive().await
        };
        match timeout(deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Broken(format!("no answer within {deadline:?}"))),
        }
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        let mut segments = self.commands.take();
        self.metrics.sent_bytes.add(segments.remaining() as u64);
        let lost = |error: io::Error| Broken(transport::explain(&error));
        self.write.write_all_buf(&mut segments).await.map_err(lost)?;
        self.write.flush().await.map_err(lost)
    }

    async fn receive(&mut self) -> Result<Reply, Broken> {
        loop {
            if let Some(reply) = self.replies.next()? {
                return Ok(reply);
            }
            self.replies.fill(&mut self.read).await?;
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// What has arrived and was not taken as a reply yet.
#[derive(Debug)]
pub(crate) struct ReplyBuffer {
    bytes: BytesMut,
    decoder: Decoder,
    /// Whether there was a reply, and so a server that speaks the protocol.
    begun: bool,
    metrics: Arc<BrokerMetrics>,
}

impl ReplyBuffer {
    fn new(metrics: Arc<BrokerMetrics>) -> Self {
        Self { bytes: BytesMut::new(), decoder: Decoder::default(), begun: false, metrics }
    }

    /// The next reply, if all of it has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Broken> {
        let reply = self.decoder.decode(&mut self.bytes).map_err(|error| Broken(error.to_string()))?;
        self.begun |= reply.is_some();
        Ok(reply)
    }

    /// Awaits more bytes.
    pub(crate) async fn fill(&mut self, read: &mut ReadHalf) -> Result<(), Broken> {
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 4 {
            self.bytes.reserve(READ_BYTES);
        }
        match read.read_buf(&mut self.bytes).await {
            Ok(0) => Err(Broken(transport::CLOSED.to_owned())),
            Ok(count) => {
                self.metrics.received_bytes.add(count as u64);
                Ok(())
            }
            Err(error) => Err(Broken(transport::explain(&error))),
        }
    }
}
