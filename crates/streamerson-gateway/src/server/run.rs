//! The server's life: it takes its addresses, serves, and ends in good order.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use futures_util::future::{join_all, try_join_all};
use streamerson_core::{
    Metrics, SharedBroker,
    client::{Client, ClientConfig},
    metrics::Source,
    shards::ShardsError,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    admin::{self, PendingCalls, Watched, WatchedBroker},
    agreement,
    config::{Config, Limits, ListenAddr},
    connections::Connections,
    metrics::RouteMetrics,
    responses::ByteBudget,
    router,
    stage::Stage,
    tls::{Certificate, InvalidCertificate},
};
use crate::Gateway;

/// A gateway that has its addresses and its brokers, and serves once it [runs](Server::run).
#[derive(Debug)]
#[must_use = "a server serves while it runs"]
pub struct Server {
    public: Listener,
    certificate: Option<Certificate>,
    admin: Option<Listener>,
    gateways: Vec<Gateway>,
    watched: Arc<Watched>,
    /// Ends what is still to be asked of brokers, when it is dropped.
    _agreeing: JoinSet<()>,
    stage: watch::Sender<Stage>,
    limits: Arc<Limits>,
    budget: Arc<ByteBudget>,
    drain: Duration,
}

/// An address that was taken, and what is served at it.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    router: Router,
}

/// Why a server cannot start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError<E> {
    /// An address to listen on is taken, not this machine's, or not allowed.
    Listen {
        /// The address.
        address: ListenAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A broker cannot be used.
    Connect(E),
    /// The certificate or its key cannot be used.
    Certificate(InvalidCertificate),
    /// A topic is in another number of shards for others.
    Shards(ShardsError),
}

impl Server {
    /// Takes the addresses of a configuration and connects to its brokers, each once, by `connect`. What is counted of
    /// them belongs to the [`Metrics`] that it is given.
    ///
    /// A broker that is away is the caller's to decide about: with one that connects later the server starts, answers
    /// 503 and is not ready until then.
    ///
    /// # Errors
    ///
    /// A certificate that cannot be used, an address that cannot be had, or what `connect` answered.
    pub async fn bind<B: fmt::Display, E>(
        config: Config<B>,
        connect: impl AsyncFn(&B, &Metrics) -> Result<SharedBroker, E>,
    ) -> Result<Self, StartError<E>> {
        let certificate = match config.tls.clone() {
            Some(files) => Some(Certificate::load(files).await.map_err(StartError::Certificate)?),
            None => None,
        };
        let public = bind(&config.listen).await?;
        let admin = match &config.admin {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let metrics = Metrics::new();
        let connecting = config.brokers.iter().map(|broker| connect(broker, &metrics));
        let brokers = try_join_all(connecting).await.map_err(StartError::Connect)?;
        let agreeing = agreement::agree(&config, &brokers).await.map_err(StartError::Shards)?;
        let gateways = gateways(&config, &brokers, &metrics);
        let (stage, staged) = watch::channel(Stage::Serving);
        let (router, routes) = router::router(&config, &gateways, staged.clone());
        let brokers = watched_brokers(&config, brokers, &gateways);
        show(&metrics, &brokers, &routes);
        let budget = Arc::new(ByteBudget::new(config.limits.response_bytes_max));
        metrics.add(Arc::clone(&budget) as Arc<dyn Source>);
        for route in &config.routes {
            // From the start, and not from the first request on.
            let upstream = &config.upstreams[route.upstream];
            let broker = &brokers[upstream.broker].broker;
            match &route.sharded {
                Some((shards, _)) => shards.iter().for_each(|shard| metrics.watch_backlog(broker, &shard)),
                None => metrics.watch_backlog(broker, &route.topic),
            }
        }
        let watched = Arc::new(Watched { metrics, brokers, routes, stage: staged });
        let listener = |(socket, address), router| Listener { socket, address, router };
        Ok(Self {
            public: listener(public, router),
            certificate,
            admin: admin.map(|bound| listener(bound, admin::router(watched.clone()))),
            gateways,
            watched,
            _agreeing: agreeing,
            stage,
            limits: Arc::new(config.limits),
            budget,
            drain: config.drain,
        })
    }

    /// Where it listens for requests, with the port that it was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.public.address
    }

    /// The certificate that it shows, if it speaks TLS; to be [reloaded](Certificate::reload) when its files change.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Where it listens for operators, if it does.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// What it counts, and shows at `/metrics` where it listens for operators.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.watched.metrics
    }

    /// Serves until `shutdown` returns, and then ends: it is not ready any more, accepts no connection, finishes what was
    /// begun within the drain time, and removes its inboxes.
    ///
    /// Dropping the future ends everything where it is.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { public, certificate, admin, gateways, watched, _agreeing, stage, limits, budget, drain } = self;
        let public_connections = Connections::new(limits.clone(), budget, certificate, stage.subscribe());
        let accepting = tokio::spawn(public_connections.clone().accept(public.socket, public.router));

        // Operators can ask until the very end, so their listener has a life of its own.
        let (admin_stage, staged) = watch::channel(Stage::Serving);
        if let Some(Listener { socket, router, .. }) = admin {
            let budget = Arc::new(ByteBudget::new(limits.response_bytes_max));
            tokio::spawn(Connections::new(limits.clone(), budget, None, staged).accept(socket, router));
        }

        shutdown.await;
        let until = Instant::now() + drain;
        tracing::info!(?drain, in_flight = watched.in_flight(), "draining");
        stage.send_replace(Stage::Draining);
        // It ends with what it has accepted by now. A panic in it has said so already.
        _ = timeout_at(until, accepting).await;
        // Clients that are in the middle of their work send one more request, and learn from its response that the
        // connection ends. Closed at once, that request would meet a closed connection.
        if timeout(limits.idle_grace.min(drain), public_connections.all_ended()).await.is_err() {
            stage.send_replace(Stage::Closing);
            if timeout_at(until, public_connections.all_ended()).await.is_err() {
                let in_flight = watched.in_flight();
                if in_flight > 0 {
                    tracing::warn!(in_flight, "the drain time is up; what is left is cut off");
                }
            }
        }
        stage.send_replace(Stage::Over);
        // Before the clients are: a call that a closed client gave up would be answered as one that was never sent.
        public_connections.all_ended().await;
        // What has a key goes on without its client, and its reply is to be found by whoever asks again.
        if timeout_at(until, join_all(gateways.iter().map(Gateway::finished))).await.is_err() {
            tracing::warn!("the drain time is up; what becomes of requests with a key is not remembered");
            join_all(gateways.iter().map(|gateway| gateway.keyed_requests().flush())).await;
        }
        join_all(gateways.iter().map(|gateway| gateway.client().close())).await;
        admin_stage.send_replace(Stage::Over);
        tracing::info!("stopped");
    }
}

async fn bind<E>(address: &ListenAddr) -> Result<(TcpListener, SocketAddr), StartError<E>> {
    let cannot = |source| StartError::Listen { address: address.clone(), source };
    let socket = TcpListener::bind(address.as_str()).await.map_err(cannot)?;
    let address = socket.local_addr().map_err(cannot)?;
    Ok((socket, address))
}

/// A gateway with a client of its own for each upstream.
fn gateways<B>(config: &Config<B>, brokers: &[SharedBroker], metrics: &Metrics) -> Vec<Gateway> {
    let gateway = |(index, upstream): (usize, &super::config::Upstream)| {
        let mut bounds = ClientConfig::default();
        bounds.backlog_max = upstream.backlog_max;
        bounds.metrics = metrics.clone();
        // A route that takes larger bodies means to send them.
        let routes = config.routes.iter().filter(|route| route.upstream == index);
        let largest = routes.map(|route| route.body_bytes_max).max().unwrap_or_default();
        bounds.payload_bytes_max = bounds.payload_bytes_max.max(largest);
        Gateway::new(Client::with_config(brokers[upstream.broker].clone(), bounds))
    };
    config.upstreams.iter().enumerate().map(gateway).collect()
}

fn watched_brokers<B: fmt::Display>(
    config: &Config<B>,
    brokers: Vec<SharedBroker>,
    gateways: &[Gateway],
) -> Vec<Arc<WatchedBroker>> {
    let watched = |(index, (address, broker)): (usize, (&B, SharedBroker))| {
        let sending = config.upstreams.iter().zip(gateways).filter(|(upstream, _)| upstream.broker == index);
        let clients = sending.map(|(_, gateway)| gateway.client().clone()).collect();
        Arc::new(WatchedBroker { address: address.to_string(), broker, clients })
    };
    config.brokers.iter().zip(brokers).enumerate().map(watched).collect()
}

/// What is on the page besides what clients count.
fn show(metrics: &Metrics, brokers: &[Arc<WatchedBroker>], routes: &[Arc<RouteMetrics>]) {
    for broker in brokers {
        metrics.broker(&broker.address).watch(broker.broker.health());
        metrics.add(Arc::new(PendingCalls(Arc::downgrade(broker))));
    }
    for route in routes {
        metrics.add(Arc::clone(route) as Arc<dyn Source>);
    }
}

impl<E> fmt::Display for StartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, .. } => write!(f, "cannot listen on {address}"),
            Self::Connect(_) => f.write_str("a broker cannot be used"),
            Self::Certificate(_) => f.write_str("TLS cannot be spoken"),
            Self::Shards(_) => f.write_str("gateway and consumers do not agree"),
        }
    }
}

impl<E: Error + 'static> Error for StartError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Listen { source, .. } => Some(source),
            Self::Connect(error) => Some(error),
            Self::Certificate(error) => Some(error),
            Self::Shards(error) => Some(error),
        }
    }
}
