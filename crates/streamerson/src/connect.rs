//! From an address to a broker.

use streamerson_core::{Broker, BrokerError, Metrics, SharedBroker, broker::memory::Memory};

/// Connects to the broker at an address.
///
/// | address | broker |
/// |---|---|
/// | `memory://` | embedded: streams live in this process and end with it |
/// | `redis://[user[:password]@]host[:port][/database]` | Redis or what speaks its protocol, with the feature `redis` |
/// | `rediss://…[?ca=FILE][&cert=FILE&key=FILE]` | the same over TLS, with the feature `redis-tls` |
/// | `redis+unix:///path/to/socket[?db=N&user=U&pass=P]` | the same over a Unix socket |
///
/// A Redis address may have the parameter `role`, such as `?role=gateway`: servers list the connections of this process
/// as `streamerson:<role>`, else as `streamerson:client`.
///
/// ```
/// # async fn example() -> Result<(), streamerson::BrokerError> {
/// let broker = streamerson::connect("memory://").await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`BrokerError::Config`] for an address that cannot work or a refused login, and [`BrokerError::Unavailable`] when
/// nobody answers. Neither shows a password.
pub async fn connect(url: &str) -> Result<SharedBroker, BrokerError> {
    connect_with_metrics(url, &Metrics::default()).await
}

/// The same, for a broker whose numbers are wanted: see [`metrics`](crate::core::metrics).
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_with_metrics(url: &str, metrics: &Metrics) -> Result<SharedBroker, BrokerError> {
    match url.split_once("://").map_or(url, |(scheme, _)| scheme) {
        "memory" => match url {
            "memory://" => {
                let broker = Memory::new();
                metrics.broker(url).watch(broker.health());
                Ok(broker.into())
            }
            // Another text after the scheme would look like a way to share the broker between processes.
            _ => Err(unusable("memory://", "the embedded broker has no address: write memory:// and nothing after it")),
        },
        #[cfg(feature = "redis")]
        _ => {
            let config =
                streamerson_redis::RedisConfig::new(url.parse::<streamerson_redis::RedisUrl>()?).metrics(metrics);
            Ok(std::sync::Arc::new(streamerson_redis::RedisBroker::connect_with(config).await?))
        }
        #[cfg(not(feature = "redis"))]
        scheme => Err(unusable(
            &format!("{scheme}://…"),
            "this build knows memory:// only; build it with the feature `redis` for redis://",
        )),
    }
}

fn unusable(broker: &str, message: &str) -> BrokerError {
    BrokerError::Config { broker: broker.into(), message: message.into() }
}
