//! A listener, its connections, and how they end.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    pin,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower_service::Service;

use super::{
    config::Limits,
    stage::{Stage, reached},
};

/// Connections that the system may hold ready to be accepted, by default on Linux.
const BACKLOG: usize = 4096;
/// How long to wait after an accept failed: most often this process has too many files open, and only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connections of one listener.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    limits: Limits,
    /// A permit for each connection that may be open.
    room: Arc<Semaphore>,
    stage: watch::Receiver<Stage>,
}

impl Connections {
    pub(super) fn new(limits: Limits, stage: watch::Receiver<Stage>) -> Self {
        let permits = usize::try_from(limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self { limits, room: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))), stage }
    }

    /// Returns when none is open; none can be opened after that.
    pub(super) async fn all_ended(&self) {
        // It fails only when closed, which it never is.
        _ = self.room.acquire_many(self.limits.connections_max).await;
    }

    /// Accepts until the server drains.
    pub(super) async fn accept(self, listener: TcpListener, router: Router) {
        let mut stage = self.stage.clone();
        loop {
            tokio::select! {
                () = reached(&mut stage, Stage::Draining) => break,
                accepted = self.next(&listener) => self.serve(accepted, &router).await,
            }
        }
        match listener.into_std() {
            Ok(listener) => self.serve_backlog(&listener, &router),
            Err(error) => tracing::warn!(%error, "connections that waited to be accepted are lost"),
        }
    }

    /// Serves the connections whose handshake the system has completed: their clients believe that they were accepted.
    ///
    /// The system is asked directly, since the runtime may not have heard of the last ones yet.
    fn serve_backlog(&self, listener: &std::net::TcpListener, router: &Router) {
        for _ in 0..BACKLOG {
            let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return };
            let accepted = listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            });
            match accepted {
                Ok(stream) => self.spawn(stream, room, router),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Most often there is just no other.
                Err(_) => return,
            }
        }
    }

    /// A connection, once there is room for it: until then the system keeps those that come.
    async fn next(&self, listener: &TcpListener) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        Ok((stream, room))
    }

    async fn serve(&self, accepted: io::Result<(TcpStream, OwnedSemaphorePermit)>, router: &Router) {
        match accepted {
            Ok((stream, room)) => self.spawn(stream, room, router),
            // The client gave up between its handshake and here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    fn spawn(&self, stream: TcpStream, room: OwnedSemaphorePermit, router: &Router) {
        tokio::spawn(connection(stream, router.clone(), self.limits.clone(), self.stage.clone(), room));
    }
}

/// Serves one connection to its end; the permit goes with it.
async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stage: watch::Receiver<Stage>,
    _room: OwnedSemaphorePermit,
) {
    // Without it a small response may wait for the client's ack of the one before.
    _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| router.clone().call(request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // Up to the bound the answer is our own problem document; far beyond it, hyper's bare 431.
        .max_buf_size(limits.head_bytes_max.saturating_mul(2).max(64 * 1024))
        .serve_connection(TokioIo::new(stream), service);
    pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = reached(&mut stage, Stage::Closing) => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served => ended,
                () = reached(&mut stage, Stage::Over) => return,
            }
        }
    };
    if let Err(error) = ended {
        // Clients that hang up, speak something else or take too long: each of them can, any number of times.
        tracing::debug!(%error, "a connection ended early");
    }
}
