//! One connection: TLS if there is any, then HTTP/1.1 or HTTP/2, and its end.

use std::{convert::Infallible, error::Error, io, net::SocketAddr, sync::Arc};

use axum::Router;
use bytes::{Bytes, BytesMut};
use hyper::{
    Request, Response,
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
    exchange::{Exchange, FromConnection},
    exchanges::{Exchanges, OpenExchange},
    peer::Peer,
    response_body::ResponseBody,
    responses::{ByteBudget, Responses},
    send_rate::{LeastRate, SendRate},
    stage::{Stage, reached},
};
use crate::log_throttle::LogThrottle;

/// How a connection of HTTP/2 begins (RFC 9113, section 3.4). No request of HTTP/1.1 does: its method is reserved.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to hang up that was told that nothing more is taken, in HTTP/2.
const GOODBYE: Duration = Duration::from_secs(5);

/// The one sentence for all of them: a client can open as many connections as it likes.
static LIMITS_BROKEN: LogThrottle = LogThrottle::new(Duration::from_secs(10));

/// Why a connection was cut off.
const TOO_SLOW: &str = "the client takes its responses too slowly";

/// Why a connection ended early: for a log, where it matters to nobody but who looks into it.
type EndedEarly = Box<dyn Error + Send + Sync>;

/// What connections of one listener have in common, and who this one is with.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: SocketAddr,
    pub(super) router: Router,
    pub(super) limits: Arc<Limits>,
    pub(super) budget: Arc<ByteBudget>,
    pub(super) stage: watch::Receiver<Stage>,
}

impl Connection {
    /// Serves the connection to its end. `tls` is what a handshake is made with, where there is to be one.
    pub(super) async fn serve(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        // Without it a small response may wait for the client's ack of the one before.
        _ = stream.set_nodelay(true);
        keep_little_unsent(&stream, self.least_rate());
        let client = self.client;
        let served = match tls {
            Some(config) => self.serve_tls(stream, config).await,
            None => self.serve_plain(stream).await,
        };
        if let Err(error) = served {
            if has_broken_limits(&*error)
                && let Some(suppressed) = LIMITS_BROKEN.admit()
            {
                tracing::warn!(%client, suppressed, error, "an HTTP/2 client broke a limit of the protocol and was cut off");
            }
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

    fn least_rate(&self) -> LeastRate {
        LeastRate { window: self.limits.send_timeout, bytes_per_second: self.limits.send_rate_min }
    }

    async fn http1(mut self, peer: Peer<impl AsyncRead + AsyncWrite + Unpin>) -> Result<(), EndedEarly> {
        // Responses follow one another, so a connection has no use for a share of its own.
        let responses = Arc::new(Responses::new(usize::MAX, Arc::clone(&self.budget)));
        let mut rate = SendRate::new(self.least_rate());
        let (router, client, own) = (self.router, self.client, Arc::clone(&responses));
        let service = service_fn(move |request| answer(&router, client, Arc::clone(&own), None, request));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            // Up to the bound the answer is our own problem document; far beyond it, hyper's bare 431.
            .max_buf_size(self.limits.head_bytes_max.saturating_mul(2).max(64 * 1024))
            .serve_connection(TokioIo::new(peer), service);
        pin!(served);
        // The connection comes first: see `SendRate::too_slow`.
        tokio::select! {
            biased;
            ended = served.as_mut() => return Ok(ended?),
            () = rate.too_slow(&responses) => return Err(TOO_SLOW.into()),
            () = reached(&mut self.stage, Stage::Closing) => served.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            biased;
            ended = served => Ok(ended?),
            () = rate.too_slow(&responses) => Err(TOO_SLOW.into()),
            () = reached(&mut self.stage, Stage::Over) => Ok(()),
        }
    }

    async fn http2(mut self, peer: Peer<impl AsyncRead + AsyncWrite + Unpin>) -> Result<(), EndedEarly> {
        let exchanges = Exchanges::default();
        let responses = Arc::new(Responses::new(self.limits.http2.response_bytes_max, Arc::clone(&self.budget)));
        let mut rate = SendRate::new(self.least_rate());
        let (router, client, own, begun) = (self.router, self.client, Arc::clone(&responses), exchanges.clone());
        let service =
            service_fn(move |request| answer(&router, client, Arc::clone(&own), Some(begun.begin()), request));
        let served = builder(&self.limits).serve_connection(TokioIo::new(peer), service);
        pin!(served);
        // The connection comes first: see `SendRate::too_slow`.
        tokio::select! {
            biased;
            ended = served.as_mut() => return Ok(ended?),
            () = rate.too_slow(&responses) => return Err(TOO_SLOW.into()),
            // What is said to a client that has begun is GOAWAY: what it asks before it hears of it is answered still.
            () = exchanges.idle(self.limits.head_timeout) => {}
            () = told_to_end(&mut self.stage, &exchanges) => {}
        }
        served.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            ended = served => Ok(ended?),
            () = rate.too_slow(&responses) => Err(TOO_SLOW.into()),
            () = exchanges.idle(GOODBYE) => Err("the client does not leave".into()),
            () = reached(&mut self.stage, Stage::Over) => Ok(()),
        }
    }
}

/// Answers a request. The response's body holds the exchange, and all that belongs to it.
fn answer(
    router: &Router,
    client: SocketAddr,
    responses: Arc<Responses>,
    open: Option<OpenExchange>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let exchange = Arc::new(Exchange::new(responses, open));
    request.extensions_mut().insert(FromConnection { client, exchange: Arc::clone(&exchange) });
    let response = router.clone().call(request);
    async move { response.await.map(|response| response.map(|body| ResponseBody::new(body, exchange))) }
}

/// Returns whether the connection ended since its client went beyond a bound of `h2`, which can be counted on to be no
/// accident.
fn has_broken_limits(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    let error: &(dyn Error + 'static) = error;
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| {
        cause.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_library() && error.is_go_away() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
        })
    })
}

/// Has the system tell of free space early: see [`LeastRate::unsent_bytes_max`].
#[cfg(any(target_os = "linux", target_os = "android"))]
fn keep_little_unsent(stream: &TcpStream, rate: LeastRate) {
    // Without it clients that take their responses slowly may be cut off early.
    _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(rate.unsent_bytes_max());
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn keep_little_unsent(_stream: &TcpStream, _rate: LeastRate) {}

fn builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let Http2Limits { streams_max, resets_max, errors_max, ping_interval, ping_timeout, .. } = limits.http2;
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
