//! The settings of the adapter: each is a bound, with its default and unit.

#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::time::Duration;

use streamerson_core::Metrics;

use crate::url::RedisUrl;

/// Where the server is, and how long and how much the adapter waits for it.
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisConfig {
    pub(crate) url: RedisUrl,
    pub(crate) role: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) block_margin: Duration,
    pub(crate) room_timeout: Duration,
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) reconnect_delay_max: Duration,
    pub(crate) clock_interval: Duration,
    pub(crate) metrics: Metrics,
}

impl RedisConfig {
    /// The defaults, for the server at this URL.
    pub fn new(url: RedisUrl) -> Self {
        Self {
            role: presentable(url.role().unwrap_or("client")),
            url,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            block_margin: Duration::from_secs(2),
            room_timeout: Duration::from_secs(5),
            in_flight_bytes_max: 64 * 1024 * 1024,
            reconnect_delay_max: Duration::from_secs(1),
            clock_interval: Duration::from_secs(30),
            metrics: Metrics::default(),
        }
    }

    /// What this process is, say `gateway` or `worker`: shown by `CLIENT LIST` as `streamerson:<role>`. Characters other
    /// than letters, digits, `.`, `_` and `-` are left out, since servers refuse some of them. Default: the URL's
    /// parameter `role`, else `client`.
    pub fn role(mut self, role: &str) -> Self {
        self.role = presentable(role);
        self
    }

    /// A PEM file with the certificate authorities that may have signed the server's certificate, instead of the
    /// system's. Default: the URL's parameter `ca`, else what the system trusts, or `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    ///
    /// This and the next two are for `rediss://`; with another URL they make each attempt to connect fail. All the files
    /// are read again for each connection, the system's authorities once.
    #[cfg(feature = "tls")]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.url.tls.ca = Some(path.into());
        self
    }

    /// PEM files with the client's certificate chain and its private key, which may be one file. Default: the URL's
    /// parameters `cert` and `key`, else none.
    #[cfg(feature = "tls")]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.url.tls.certificate = Some(certificate.into());
        self.url.tls.key = Some(key.into());
        self
    }

    /// The name that the server's certificate must have: for a server that is reached by another, through a tunnel say.
    /// Default: the URL's parameter `server_name`, else its host.
    #[cfg(feature = "tls")]
    pub fn server_name(mut self, name: &str) -> Self {
        self.url.tls.server_name = Some(name.to_owned());
        self
    }

    /// How long one attempt to connect and log in may take, the TLS handshake included. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the server may stay silent while it owes an answer, before its connection counts as lost. Default: 5 s.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long the answer to a blocking read may take beyond the time for which it was asked to block. Default: 2 s.
    pub fn block_margin(mut self, margin: Duration) -> Self {
        self.block_margin = margin;
        self
    }

    /// How long a call waits for room among the commands in flight, before it fails as saturated. Default: 5 s.
    pub fn room_timeout(mut self, timeout: Duration) -> Self {
        self.room_timeout = timeout;
        self
    }

    /// How much may be in flight: the bytes of all commands that wait to be sent or answered, each counting 256 bytes
    /// more than it has. A single larger call goes when nothing else does. Default: 64 MiB; at most 2 GiB.
    pub fn in_flight_bytes_max(mut self, bytes: usize) -> Self {
        self.in_flight_bytes_max = bytes.clamp(1, 2 * 1024 * 1024 * 1024 - 1);
        self
    }

    /// The longest pause between two attempts to reconnect. The first is 10 ms; each is about twice the one before, with
    /// jitter. Default: 1 s.
    pub fn reconnect_delay_max(mut self, delay: Duration) -> Self {
        self.reconnect_delay_max = delay;
        self
    }

    /// How often the server is asked for its time. Default: 30 s.
    pub fn clock_interval(mut self, interval: Duration) -> Self {
        self.clock_interval = interval;
        self
    }

    /// Who shows what is counted of this broker: whether it is there, how long it takes, how much goes to and fro. Default:
    /// nobody.
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = metrics.clone();
        self
    }
}

fn presentable(role: &str) -> String {
    role.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')).collect()
}

impl From<RedisUrl> for RedisConfig {
    fn from(url: RedisUrl) -> Self {
        Self::new(url)
    }
}
