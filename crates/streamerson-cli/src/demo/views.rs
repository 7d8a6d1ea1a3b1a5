//! A service that counts page views: events in batches, and a reply that waits for news.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use streamerson::consumer::{
    Consumer, Json, Problem, State, Topic,
    extract::{Cancelled, Query},
};
use tokio::sync::watch;
use tracing::info;

pub(super) const TOPIC: &str = "demo:views";

#[derive(Deserialize)]
struct View {
    page: String,
}

#[derive(Serialize)]
struct Count {
    views: usize,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    at_least: usize,
}

/// How many views there were; whoever waits for more is told.
type Views = Arc<watch::Sender<usize>>;

pub(super) fn worker(topic: Topic) -> Consumer {
    let views = Views::new(watch::Sender::new(0));
    Consumer::new(topic).on_batch("page.viewed", count_views).on("views.count", count).with_state(views)
}

async fn count_views(State(views): State<Views>, batch: Vec<Json<View>>) {
    let pages: Vec<&str> = batch.iter().map(|Json(view)| &*view.page).collect();
    info!(?pages, "page.viewed");
    views.send_modify(|views| *views += batch.len());
}

async fn count(
    State(views): State<Views>,
    Query(wanted): Query<Wanted>,
    cancelled: Cancelled,
) -> Result<Json<Count>, Problem> {
    info!(wanted.at_least, "views.count");
    let mut views = views.subscribe();
    let enough = async { views.wait_for(|views| *views >= wanted.at_least).await.map(|views| *views) };
    tokio::select! {
        // The state outlives its handlers, so there is always a count to wait for.
        Ok(views) = enough => Ok(Json(Count { views })),
        () = cancelled.cancelled() => Err(Problem::new(StatusCode::GATEWAY_TIMEOUT)),
    }
}
