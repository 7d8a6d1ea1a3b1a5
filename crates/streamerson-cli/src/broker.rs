//! From `--broker` to a broker.

use std::env;

use streamerson::core::{BrokerError, Metrics, SharedBroker};
use streamerson::redis::{RedisBroker, RedisConfig, RedisUrl};

use crate::{args::Common, failure::Failure};

pub(crate) const VARIABLE: &str = "STREAMERSON_BROKER";
const DEFAULT: &str = "redis://127.0.0.1:6379";

/// Connects to the broker that the user names, or the usual one.
pub(crate) async fn connect(common: &Common) -> Result<SharedBroker, Failure> {
    connect_with_metrics(common, &Metrics::default()).await
}

/// The same, for a command that shows what it counts.
pub(crate) async fn connect_with_metrics(common: &Common, metrics: &Metrics) -> Result<SharedBroker, Failure> {
    let (url, source) = address(common);
    refuse_memory(&url, source)?;
    streamerson::connect_with_metrics(&url, metrics).await.map_err(not_connected)
}

/// As [`connect`], also to the embedded broker: for a command that needs no other process.
pub(crate) async fn connect_to_any(common: &Common) -> Result<SharedBroker, Failure> {
    connect_to(&address(common).0).await
}

/// As [`connect`], for a command that asks a Redis server for more than the port has; with the address, which shows no
/// password.
pub(crate) async fn connect_redis(common: &Common) -> Result<(RedisUrl, RedisBroker), NotConnected> {
    let (url, source) = address(common);
    refuse_memory(&url, source).map_err(NotConnected::Misused)?;
    let connect = async |url: &str| {
        let url: RedisUrl = url.parse()?;
        Ok((url.clone(), RedisBroker::connect_with(RedisConfig::new(url)).await?))
    };
    connect(&url).await.map_err(|error| match error {
        BrokerError::Config { .. } => NotConnected::Misused(not_connected(error)),
        error => NotConnected::Failed(error),
    })
}

/// Why there is no connection.
pub(crate) enum NotConnected {
    /// The address or the login is wrong.
    Misused(Failure),
    /// The broker is not there.
    Failed(BrokerError),
}

/// The address of the broker, and who named it.
fn address(common: &Common) -> (String, &'static str) {
    match (&common.broker, env::var(VARIABLE)) {
        (Some(url), _) => (url.clone(), "--broker"),
        (None, Ok(url)) if !url.is_empty() => (url, "$STREAMERSON_BROKER"),
        _ => (DEFAULT.to_owned(), "the default"),
    }
}

/// The address that `--broker` names, for a command that connects by itself.
pub(crate) fn parse(url: &str) -> Result<RedisUrl, Failure> {
    refuse_memory(url, "--broker")?;
    url.parse().map_err(|error| Failure::misused("the broker cannot be used as it is named").because(error))
}

fn refuse_memory(url: &str, source: &str) -> Result<(), Failure> {
    if !url.starts_with("memory:") {
        return Ok(());
    }
    let message = format!("{url} ({source}) lives in one process, where no other program can meet this one");
    Err(Failure::misused(message)
        .hint("use redis://HOST:PORT, or `streamerson demo`, which has all parts in one process"))
}

/// Connects to this broker.
pub(crate) async fn connect_to(url: &str) -> Result<SharedBroker, Failure> {
    streamerson::connect(url).await.map_err(not_connected)
}

fn not_connected(error: BrokerError) -> Failure {
    match error {
        // Trying again would not help: the address or the login is wrong.
        BrokerError::Config { .. } => Failure::misused("the broker cannot be used as it is named").because(error),
        _ => Failure::failed("there is no connection to the broker").because(error),
    }
}
