//! Metrics of a program that is no gateway.

use std::sync::Arc;

use axum::{Router, http::header, routing::get};
use streamerson_core::Metrics;
use tokio::{net::TcpListener, sync::watch};

use super::{config::Limits, connections::Connections, responses::ByteBudget, stage::Stage};

/// Serves `/metrics` beside whatever else a program does, a worker say, until the future is dropped. Connections have the
/// bounds that those of the gateway have by default.
///
/// There is no login, so listen where only operators and Prometheus can reach it.
///
/// ```no_run
/// use streamerson_core::Metrics;
/// use streamerson_gateway::server::serve_metrics;
///
/// # async fn example() -> std::io::Result<()> {
/// let metrics = Metrics::new();
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9090").await?;
/// tokio::spawn(serve_metrics(listener, metrics.clone()));
/// # Ok(())
/// # }
/// ```
pub async fn serve_metrics(listener: TcpListener, metrics: Metrics) {
    // When this is dropped, so is the stage, and connections with it.
    let (_serving, stage) = watch::channel(Stage::Serving);
    let page = async move || ([(header::CONTENT_TYPE, Metrics::MEDIA_TYPE)], metrics.scrape().await);
    let router = Router::new().route("/metrics", get(page));
    let limits = Arc::new(Limits::default());
    let budget = Arc::new(ByteBudget::new(limits.response_bytes_max));
    Connections::new(limits, budget, None, stage).accept(listener, router).await;
}
