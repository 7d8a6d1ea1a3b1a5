//! One connection: TLS if there is any, then HTTP/1.1 or HTTP/2, and its end.

use std::{error::Error, io, net::SocketAddr, sync::Arc};

use axum::Router;
use bytes::{Bytes, BytesMut};
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    pin,
    sync::watch,
    time::{Duration, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tower_service::Service;

use super::{
    config::{Http2Limits, Limits},
    edge::ClientAddr,
    exchanges::Exchanges,
    peer::Peer,
    stage::{Stage, reached},
};

/// How a connection of HTTP/2 begins (RFC 9113, section 3.4). No request of HTTP/1.1 does: its method is reserved.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to hang up that was told that nothing more is taken, in HTTP/2.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why a connection ended early: for a log, where it matters to nobody but who looks into it.
type EndedEarly = Box<dyn Error + Send + Sync>;

/// What connections of one listener have in common, and who this one is with.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: SocketAddr,
    pub(super) router: Router,
    pub(super) limits: Arc<Limits>,
    pub(super) stage: watch::Receiver<Stage>,
}

impl Connection {
    /// Serves the connection to its end. `tls` is what a handshake is made with, where there is to be one.
    pub(super) async fn serve(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        // Without it a small response may wait for the client's ack of the one before.
        _ = stream.set_nodelay(true);
        let client = self.client;
        let served = match tls {
            Some(config) => self.serve_tls(stream, config).await,
            None => self.serve_plain(stream).await,
        };
        if let Err(error) = served {
            // Clients that hang up, speak something else or take too long: each of them can, any number of times.
            tracing::debug!(%client, error, "a connection ended early");
        }
    }

    async fn serve_tls(mut self, stream: TcpStream, config: Arc<ServerConfig>) -> Result<(), EndedEarly> {
        let handshake = TlsAcceptor::from(config).accept(stream);
        let Some(stream) = self.begin(self.limits.tls_handshake_timeout, handshake).await? else { return Ok(()) };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let peer = Peer::new(Bytes::new(), stream, self.limits.send_timeout);
        if is_http2 { self.http2(peer).await } else { self.http1(peer).await }
    }

    async fn serve_plain(mut self, mut stream: TcpStream) -> Result<(), EndedEarly> {
        let opening = opening(&mut stream);
        let Some(opening) = self.begin(self.limits.head_timeout, opening).await? else { return Ok(()) };
        let is_http2 = opening == PREFACE;
        let peer = Peer::new(opening, stream, self.limits.send_timeout);
        if is_http2 { self.http2(peer).await } else { self.http1(peer).await }
    }

    /// Waits for what comes before the first request; for nothing once idle connections are closed.
    async fn begin<T>(
        &mut self,
        limit: Duration,
        begun: impl Future<Output = io::Result<T>>,
    ) -> Result<Option<T>, EndedEarly> {
        tokio::select! {
            begun = timeout(limit, begun) => Ok(Some(begun??)),
            () = reached(&mut self.stage, Stage::Closing) => Ok(None),
        }
    }

    async fn http1(mut self, peer: Peer<impl AsyncRead + AsyncWrite + Unpin>) -> Result<(), EndedEarly> {
        let (router, client) = (self.router, ClientAddr(self.client));
        let service = service_fn(move |request| router.clone().call(from(client, request)));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            // Up to the bound the answer is our own problem document; far beyond it, hyper's bare 431.
            .max_buf_size(self.limits.head_bytes_max.saturating_mul(2).max(64 * 1024))
            .serve_connection(TokioIo::new(peer), service);
        pin!(served);
        tokio::select! {
            ended = served.as_mut() => return Ok(ended?),
            () = reached(&mut self.stage, Stage::Closing) => served.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = served => Ok(ended?),
            () = reached(&mut self.stage, Stage::Over) => Ok(()),
        }
    }

    async fn http2(mut self, peer: Peer<impl AsyncRead + AsyncWrite + Unpin>) -> Result<(), EndedEarly> {
        let exchanges = Exchanges::default();
        let (router, client, begun) = (self.router, ClientAddr(self.client), exchanges.clone());
        let service = service_fn(move |request| {
            let exchange = begun.begin();
            let response = router.clone().call(from(client, request));
            async move { response.await.map(|response| response.map(|body| exchange.body(body))) }
        });
        let served = builder(&self.limits).serve_connection(TokioIo::new(peer), service);
        pin!(served);
        let Limits { head_timeout, send_timeout, .. } = *self.limits;
        tokio::select! {
            ended = served.as_mut() => return Ok(ended?),
            () = exchanges.stalled(send_timeout) => return Err("the client takes nothing of a response".into()),
            // What is said to a client that has begun is GOAWAY: what it asks before it hears of it is answered still.
            () = exchanges.idle(head_timeout) => {}
            () = told_to_end(&mut self.stage, &exchanges) => {}
        }
        served.as_mut().graceful_shutdown();
        tokio::select! {
            ended = served => Ok(ended?),
            () = exchanges.stalled(send_timeout) => Err("the client takes nothing of a response".into()),
            () = exchanges.idle(GOODBYE) => Err("the client does not leave".into()),
            () = reached(&mut self.stage, Stage::Over) => Ok(()),
        }
    }
}

fn builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let Http2Limits { streams_max, resets_max, errors_max, ping_interval, ping_timeout } = limits.http2;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams_max)
        .max_pending_accept_reset_streams(resets_max)
        .max_local_error_reset_streams(errors_max)
        // As with HTTP/1.1: beyond it the answer is a bare 431.
        .max_header_list_size(u32::try_from(limits.head_bytes_max.saturating_mul(2).max(64 * 1024)).unwrap_or(u32::MAX))
        .keep_alive_interval(ping_interval)
        .keep_alive_timeout(ping_timeout);
    builder
}

/// Returns when the server drains. A client of whom nothing was heard yet may have sent its first request: it is given
/// as long as idle connections are.
async fn told_to_end(stage: &mut watch::Receiver<Stage>, exchanges: &Exchanges) {
    reached(stage, Stage::Draining).await;
    tokio::select! {
        () = exchanges.first() => {}
        () = reached(stage, Stage::Closing) => {}
    }
}

fn from(client: ClientAddr, mut request: Request<Incoming>) -> Request<Incoming> {
    request.extensions_mut().insert(client);
    request
}

/// Reads as much as shows which HTTP is spoken: all of the [`PREFACE`], or what is none.
async fn opening(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut opening = BytesMut::with_capacity(PREFACE.len());
    while opening.len() < PREFACE.len() && PREFACE.starts_with(&opening) {
        let rest = PREFACE.len() - opening.len();
        if stream.take(rest as u64).read_buf(&mut opening).await? == 0 {
            break;
        }
    }
    Ok(opening.freeze())
}
