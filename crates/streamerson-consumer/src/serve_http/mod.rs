//! Services that speak HTTP, served to a topic instead of a socket.

mod reply;
mod request;

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use streamerson_core::{EventType, Reply};
use tower::{BoxError, Service};

use crate::{
    Consumer,
    handler::{Around, Handler},
    incoming::Incoming,
    route::{Endpoint, Route},
};

/// The body of the requests that [`Consumer::serve_http`] hands on: all of it is there from the start.
pub type RequestBody = Full<Bytes>;

/// Serving HTTP.
impl<S: Send + Sync + 'static> Consumer<S> {
    /// Answers whole HTTP requests with a service: an `axum::Router` with its state, or any tower service that takes
    /// [`RequestBody`].
    ///
    /// The requests come from a gateway's route of the same kind, as messages of the type [`EventType::HTTP`]; handlers of
    /// other event types can stand beside it. Concurrency, layers, groups, shutdown and failures are those of any handler.
    ///
    /// ```
    /// use axum::{Extension, Json, Router, extract::Path, routing::get};
    /// use streamerson_consumer::{Consumer, Topic, extract::Attempt};
    ///
    /// async fn item(Path(id): Path<u64>, Extension(attempt): Extension<Attempt>) -> Json<u64> {
    ///     Json(id)
    /// }
    ///
    /// # async fn run(
    /// #     broker: streamerson_core::SharedBroker,
    /// #     shutdown: impl Future<Output = ()>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let app = Router::new().route("/shop/items/{id}", get(item));
    /// // axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
    /// Consumer::new(Topic::new("shop")?).serve_http(app).run(broker, shutdown).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # What the service sees
    ///
    /// The method, the path and the query as the client sent them, and the headers that the gateway lets pass: by default
    /// all but `authorization` and `cookie`, which have to be named there, and those of the connection. The version is
    /// HTTP/1.1, the target has no scheme and no authority (there is the header `host`), and `content-length` is that of
    /// the body. The request's extensions hold the [`MessageId`](streamerson_core::MessageId),
    /// [`Attempt`](crate::extract::Attempt), [`Deadline`](crate::extract::Deadline),
    /// [`Cancelled`](crate::extract::Cancelled), an [`Emitter`](crate::extract::Emitter), the whole [`Incoming`], and
    /// what layers left. A message can come twice, as to every handler: the id says so.
    ///
    /// # What becomes of its response
    ///
    /// | the service | the caller gets | and |
    /// |---|---|---|
    /// | responds, status below 500 | the response | |
    /// | responds, status from 500 on | the response | a dead letter, `failed` |
    /// | fails or panics | 502; 504 and 503 for tower's timeout and load shedding | a dead letter |
    /// | responds with more than a payload may hold | 502 | a dead letter, `failed` |
    /// | responds without an end before the deadline | the gateway's 504 | a dead letter, `failed` |
    /// | gets no request, as the message is none | 400 | |
    ///
    /// A response is one message, so its body is collected first, and trailers are left out. Where nobody waits, as for a
    /// dead letter that is replayed, the body is dropped unread.
    pub fn serve_http<Svc, B>(self, service: Svc) -> Self
    where
        Svc: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        self.on(EventType::HTTP.as_str(), Served(service))
    }
}

/// A service as a handler.
struct Served<Svc>(Svc);

impl<Svc, B, S> Handler<Around<B>, S> for Served<Svc>
where
    Svc: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    fn into_route(self, _: Arc<S>) -> Route {
        Route::new(HttpRoute(Mutex::new(self.0)))
    }
}

/// A service that is cloned for each request. Locked to be cloned, and so it need not be `Sync`.
struct HttpRoute<Svc>(Mutex<Svc>);

impl<Svc, B> Endpoint for HttpRoute<Svc>
where
    Svc: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    fn call(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Result<Reply, BoxError>> {
        Box::pin(async move {
            let request = request::of(&incoming).await?;
            // Cloning leaves the original as it is, even if it panics.
            let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
            // The service may have kept it waiting.
            incoming.begin()?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(reply::of(response, &incoming).await?)
        })
    }
}
