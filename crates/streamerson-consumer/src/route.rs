//! A handler with its state and layers: the tower service that a message is given to.

use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use streamerson_core::Reply;
use tower::{BoxError, Service};

use crate::incoming::Incoming;

/// A handler as a tower service: what layers are put around. Cheap to clone.
///
/// Its errors are [`HandlerError`](crate::HandlerError)s and those of layers further in.
#[derive(Clone)]
pub struct Route(Arc<dyn Endpoint>);

/// What can be called with a message. One boxed future for each message, whatever lies inside.
pub(crate) trait Endpoint: Send + Sync + 'static {
    fn call(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Result<Reply, BoxError>>;
}

impl Route {
    pub(crate) fn new(endpoint: impl Endpoint) -> Self {
        Self(Arc::new(endpoint))
    }

    pub(crate) fn layered<Svc>(service: Svc) -> Self
    where
        Svc: Service<Incoming, Response = Reply, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        Self::new(ServiceRoute(service))
    }

    pub(crate) fn handle(&self, incoming: Incoming) -> BoxFuture<'static, Result<Reply, BoxError>> {
        Arc::clone(&self.0).call(incoming)
    }
}

impl Service<Incoming> for Route {
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: Incoming) -> Self::Future {
        self.handle(incoming)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

/// A service that layers made.
struct ServiceRoute<Svc>(Svc);

impl<Svc> Endpoint for ServiceRoute<Svc>
where
    Svc: Service<Incoming, Response = Reply, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
{
    fn call(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Result<Reply, BoxError>> {
        Box::pin(async move {
            // Readiness belongs to one clone and one call: a limit gives it a permit.
            let mut service = self.0.clone();
            poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
            service.call(incoming).await.map_err(Into::into)
        })
    }
}
