//! The HTTP side: which request is which message. It knows nothing of books but the contract of a new one.

use axum::{
    Router,
    routing::{get, post},
};
use streamerson::{Client, Gateway};
use tokio::net::TcpListener;

use crate::{
    Error,
    books::{self, Draft},
};

/// Serves until it is told to stop, and answers what was begun.
pub(crate) async fn serve<F>(client: &Client, listen: &str, shutdown: F) -> Result<(), Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let app = routes(&Gateway::new(client.clone()))?;
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

fn routes(gateway: &Gateway) -> Result<Router, Error> {
    let books = books::topic()?;
    // A typed contract: what is no `Draft` is refused here, and no worker is asked.
    let create = gateway.call::<Draft>();
    // The rest is forwarded with its path, query and the headers that are named, and the worker's extractors look at it.
    let list = gateway.request(&books, books::LIST);
    let read = gateway.request(&books, books::READ);
    let update = gateway.request(&books, books::UPDATE).forward_headers(["if-match"]);
    let delete = gateway.request(&books, books::DELETE).forward_headers(["if-match"]);
    Ok(Router::new().route("/books", post(create).get(list)).route("/books/{id}", get(read).put(update).delete(delete)))
}
