//! The configuration file of the standalone gateway.
//!
//! The file is read in one pass that collects every mistake: a key that nobody asked for, a value that breaks a rule, a
//! path that cannot be routed. What is left is a [`Config`] from which a server can be made without a further check.

mod mistake;
mod nearest;
mod route;
mod sections;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;
mod value;

use std::{fmt::Display, str::FromStr, time::Duration};

use axum::http::HeaderValue;
use toml::de::DeTable;

use self::{
    mistake::Mistakes,
    table::{Table, text},
    upstream::UsualBroker,
    value::duration,
};
pub use self::{
    mistake::{InvalidConfig, Mistake},
    value::ListenAddr,
};
pub(crate) use self::{
    route::{Mode, RouteConfig},
    tls::{PemFile, TlsConfig},
    upstream::Upstream,
    value::Methods,
};
use super::tls::InvalidCertificate;

/// What the gateway serves, where, over which brokers and within which bounds.
///
/// `B` is the address of a broker, such as `RedisUrl`: this crate knows no broker but the embedded one.
#[derive(Debug)]
pub struct Config<B> {
    pub(crate) listen: ListenAddr,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) admin: Option<ListenAddr>,
    pub(crate) cors_origins: Option<Vec<HeaderValue>>,
    pub(crate) drain: Duration,
    pub(crate) limits: Limits,
    pub(crate) brokers: Vec<B>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) routes: Vec<RouteConfig>,
}

/// What bounds connections, whatever they ask for.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections that may be open at the same time; more wait to be accepted.
    pub(crate) connections_max: u32,
    /// Requests that may be under way at the same time, over all connections, until their responses were sent: each may
    /// hold a body.
    pub(crate) requests_max: usize,
    /// Bytes of response bodies that may wait for clients to take them, over all connections.
    pub(crate) response_bytes_max: usize,
    /// How long the head of a request may take, from the end of the one before on.
    pub(crate) head_timeout: Duration,
    /// Longest head of a request: target and headers, in bytes.
    pub(crate) head_bytes_max: usize,
    /// How long connections that nothing is asked on are kept when the gateway stops.
    pub(crate) idle_grace: Duration,
    /// How long a client may take without accepting anything of what it is sent.
    pub(crate) send_timeout: Duration,
    /// Least rate, in bytes a second, at which a client must take its responses over each [`Limits::send_timeout`].
    pub(crate) send_rate_min: u64,
    /// How long a TLS handshake may take.
    pub(crate) tls_handshake_timeout: Duration,
    pub(crate) http2: Http2Limits,
}

/// What bounds a connection of HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http2Limits {
    /// Streams that may be open at the same time; twice as many requests may be under way.
    pub(crate) streams_max: u32,
    /// Bytes of response bodies that may wait for the client to take them.
    pub(crate) response_bytes_max: usize,
    /// Requests that may be taken back before they were looked at; at more the connection is cut.
    pub(crate) resets_max: usize,
    /// Requests that may break the protocol; at more the connection is cut.
    pub(crate) errors_max: usize,
    /// How often a client is asked whether it is still there.
    pub(crate) ping_interval: Duration,
    /// How long it may take to say so.
    pub(crate) ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            requests_max: 10_000,
            response_bytes_max: 256 * 1024 * 1024,
            head_timeout: Duration::from_secs(30),
            head_bytes_max: 32 * 1024,
            idle_grace: Duration::from_secs(1),
            send_timeout: Duration::from_secs(30),
            send_rate_min: 4096,
            tls_handshake_timeout: Duration::from_secs(10),
            http2: Http2Limits::default(),
        }
    }
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams_max: 200,
            response_bytes_max: 16 * 1024 * 1024,
            resets_max: 20,
            errors_max: 1024,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// How long what was begun may take to finish when the gateway stops.
const DRAIN: Duration = Duration::from_secs(25);

/// What the command line and the environment say.
#[derive(Debug)]
#[non_exhaustive]
pub struct Overrides<B> {
    /// Where to listen, instead of `listen`.
    pub listen: Option<ListenAddr>,
    /// The broker of topics that name none, instead of `broker`.
    pub broker: Option<B>,
    /// The broker where neither the file nor [`Overrides::broker`] names one, as a text that is read only then.
    pub broker_fallback: Option<String>,
}

impl<B> Default for Overrides<B> {
    fn default() -> Self {
        Self { listen: None, broker: None, broker_fallback: None }
    }
}

impl<B: Clone + PartialEq + FromStr<Err: Display>> Config<B> {
    /// Reads a configuration; `file` is its name in messages.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with its line.
    pub fn parse(file: &str, text: &str, overrides: Overrides<B>) -> Result<Self, InvalidConfig> {
        let mut mistakes = Mistakes::of(file, text);
        let document = DeTable::parse(text);
        let config = match &document {
            Ok(document) => read(Table::new("", 0..0, document.get_ref()), overrides, &mut mistakes),
            Err(error) => {
                mistakes.add(&error.span().unwrap_or(0..0), "", format!("this is not TOML: {}", error.message()));
                None
            }
        };
        mistakes.unless_any(config)
    }
}

impl<B> Config<B> {
    /// Where to listen for requests.
    #[must_use]
    pub fn listen(&self) -> &ListenAddr {
        &self.listen
    }

    /// Whether the listener speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads the files that the configuration names, and says what is wrong with them.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used, with the line that names it.
    pub async fn check_files(&self) -> Result<(), InvalidCertificate> {
        match &self.tls {
            Some(files) => super::tls::read(files.clone()).await.map(drop),
            None => Ok(()),
        }
    }

    /// The brokers that the routes need, each once.
    #[must_use]
    pub fn brokers(&self) -> &[B] {
        &self.brokers
    }

    /// How many routes there are.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.routes.len()
    }
}

fn read<B: Clone + PartialEq + FromStr<Err: Display>>(
    mut top: Table<'_>,
    overrides: Overrides<B>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Config<B>> {
    // What is overridden must still make sense, or the file would break on the day that the option goes.
    let listen = match overrides.listen {
        Some(listen) => {
            top.get(mistakes, "listen", sections::listen_addr);
            Some(listen)
        }
        None => top.required(mistakes, "listen", "\"0.0.0.0:8080\"", sections::listen_addr).map(|listen| listen.value),
    };
    let names_broker = top.has("broker");
    let broker = upstream::broker(&mut top, mistakes);
    let drain = top.get(mistakes, "drain", |value| duration(text(value)?));
    let tls = top.table(mistakes, "tls").map(|table| tls::read(table, mistakes));
    let admin = top.table(mistakes, "admin").and_then(|table| sections::admin(table, listen.as_ref(), mistakes));
    let cors_origins = top.table(mistakes, "cors").map(|table| sections::cors(table, mistakes));
    let limits = top.table(mistakes, "limits").map(|table| sections::limits(table, mistakes));
    let topics = top.table(mistakes, "topic").map(|table| upstream::topics(table, mistakes));
    let routes = top.array_of_tables(mistakes, "route");
    top.refuse(mistakes, "socket", "WebSockets are not supported yet by this build; remove [[socket]]");
    top.finish(mistakes);

    let mut routes: Vec<_> = routes.into_iter().filter_map(|table| route::read(table, mistakes)).collect();
    route::check_paths(&mut routes, mistakes);
    let usual = overrides.broker.or(broker);
    // One that makes no sense is a mistake of its own.
    let is_wrong = names_broker && usual.is_none();
    let usual = UsualBroker { address: usual, is_wrong, fallback: overrides.broker_fallback };
    let (brokers, upstreams) = upstream::assign(&mut routes, &topics.unwrap_or_default(), usual, mistakes);
    Some(Config {
        listen: listen?,
        // A table that is there and wrong was noted, so that what comes of it is never used.
        tls: tls.flatten(),
        admin,
        cors_origins,
        drain: drain.map_or(DRAIN, |drain| drain.value),
        limits: limits.unwrap_or_default(),
        brokers,
        upstreams,
        routes: routes.into_iter().map(|route| route.config).collect(),
    })
}
