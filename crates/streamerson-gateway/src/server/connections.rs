//! A listener, its connections, and how they end.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    config::Limits,
    connection::Connection,
    last_call,
    responses::ByteBudget,
    stage::{Stage, reached},
    tls::Certificate,
};
use crate::log_throttle::LogThrottle;

/// Connections that the system may hold ready to be accepted, by default on Linux.
const BACKLOG: usize = 4096;
/// How long to wait after an accept failed: most often this process has too many files open, and only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long handshakes may take that were begun when no more are taken.
const HANDSHAKES: Duration = Duration::from_millis(250);

/// Each failure is followed by the next as long as the cause lasts.
static ACCEPT_FAILURES: LogThrottle = LogThrottle::new(Duration::from_secs(10));

/// A connection and who it is with.
type Accepted = (TcpStream, SocketAddr);

/// The connections of one listener.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    limits: Arc<Limits>,
    /// Bounds the response bodies that wait for clients.
    budget: Arc<ByteBudget>,
    /// What is shown to clients, where the listener speaks TLS.
    certificate: Option<Certificate>,
    /// A permit for each connection that may be open.
    room: Arc<Semaphore>,
    stage: watch::Receiver<Stage>,
}

impl Connections {
    pub(super) fn new(
        limits: Arc<Limits>,
        budget: Arc<ByteBudget>,
        certificate: Option<Certificate>,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        let permits = usize::try_from(limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { limits, budget, certificate, room, stage }
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
        self.let_in_the_last(listener, &router).await;
    }

    /// Serves the connections whose clients believe that they were accepted: the system has completed their handshake, or
    /// is about to.
    async fn let_in_the_last(&self, listener: TcpListener, router: &Router) {
        match last_call::take_no_more(&listener) {
            Ok(()) => {
                let accepting = async {
                    loop {
                        let accepted = self.next(&listener).await;
                        self.serve(accepted, router).await;
                    }
                };
                // Around all of it: where the process has too many files open, there is always a failure to be had.
                let _: Result<Infallible, _> = timeout(HANDSHAKES, accepting).await;
            }
            Err(error) => debug!(%error, "connections that are made while the port closes may be reset"),
        }
        match listener.into_std() {
            Ok(listener) => self.serve_backlog(&listener, router),
            Err(error) => warn!(%error, "connections that waited to be accepted are lost"),
        }
    }

    /// Serves what is left. The system is asked directly, since the runtime may not have heard of the last ones yet.
    fn serve_backlog(&self, listener: &std::net::TcpListener, router: &Router) {
        for _ in 0..BACKLOG {
            let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return };
            let accepted = listener.accept().and_then(|(stream, client)| {
                stream.set_nonblocking(true)?;
                Ok((TcpStream::from_std(stream)?, client))
            });
            match accepted {
                Ok(accepted) => self.spawn(accepted, room, router),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Most often there is just no other.
                Err(_) => return,
            }
        }
    }

    /// A connection, once there is room for it: until then the system keeps those that come.
    async fn next(&self, listener: &TcpListener) -> io::Result<(Accepted, OwnedSemaphorePermit)> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
        Ok((listener.accept().await?, room))
    }

    async fn serve(&self, accepted: io::Result<(Accepted, OwnedSemaphorePermit)>, router: &Router) {
        match accepted {
            Ok((accepted, room)) => self.spawn(accepted, room, router),
            // The client gave up between its handshake and here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if let Some(suppressed) = ACCEPT_FAILURES.admit() {
                    warn!(%error, suppressed, "a connection could not be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// Serves a connection to its end; the permit goes with it.
    fn spawn(&self, (stream, client): Accepted, room: OwnedSemaphorePermit, router: &Router) {
        let (router, limits, stage) = (router.clone(), Arc::clone(&self.limits), self.stage.clone());
        let budget = Arc::clone(&self.budget);
        let tls = self.certificate.as_ref().map(Certificate::shown);
        tokio::spawn(async move {
            Connection { client, router, limits, budget, stage }.serve(stream, tls).await;
            drop(room);
        });
    }
}
