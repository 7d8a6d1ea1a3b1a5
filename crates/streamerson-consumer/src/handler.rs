//! Handlers: plain async functions, and what becomes of them once the state is known.

use std::{fmt, marker::PhantomData, sync::Arc};

use futures_util::future::BoxFuture;
use streamerson_core::Reply;
use tower::{BoxError, Layer, Service};

use crate::{
    extract::FromMessages,
    function::Function,
    handler_error::HandlerError,
    incoming::Incoming,
    reply::IntoReply,
    route::{Endpoint, Route},
};

/// What can handle messages: an async function whose arguments are extractors and whose result is
/// [`IntoReply`], with layers around it or in a [`batch`](crate::batch).
///
/// `Args` is the tuple of the arguments and `S` the consumer's state. Both are inferred; users name neither, and have
/// no need to implement this trait.
///
/// ```
/// use streamerson_consumer::{Failure, Json, State, extract::Attempt};
/// # #[derive(Clone)] struct Db;
///
/// async fn said(State(db): State<Db>, Attempt(attempt): Attempt, Json(text): Json<String>) -> Result<(), Failure> {
///     if attempt > 3 && text.is_empty() {
///         return Err("nothing said, again".into());
///     }
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "a handler is an async function of at most 12 extractors that returns a reply"
)]
pub trait Handler<Args, S>: Sized + Send + 'static {
    /// The handler with its state, as a tower service.
    fn into_route(self, state: Arc<S>) -> Route;

    /// The handler with a tower layer around it: a timeout, a limit.
    ///
    /// It is applied once, so a [limit](tower::limit::ConcurrencyLimitLayer) holds for all messages of the handler.
    /// What waits for it keeps its lease, counts as one of the consumer's [`concurrency`](crate::Consumer::concurrency),
    /// and expires at its deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamerson_consumer::{Consumer, Handler, Topic};
    /// use tower::{limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};
    ///
    /// async fn resize() {}
    ///
    /// let resize = resize.layer(ConcurrencyLimitLayer::new(4)).layer(TimeoutLayer::new(Duration::from_secs(10)));
    /// let consumer: Consumer = Consumer::new(Topic::new("images")?).on("image.added", resize);
    /// # Ok::<(), streamerson_core::InvalidName>(())
    /// ```
    fn layer<L>(self, layer: L) -> Layered<L, Self, Args, S>
    where
        L: Layer<Route> + Send + 'static,
        L::Service:
            Service<Incoming, Response = Reply, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        Layered { layer, handler: self, wants: PhantomData }
    }
}

impl<F, Args, S> Handler<Args, S> for F
where
    F: Function<Args>,
    F::Future: Send,
    F::Output: IntoReply,
    Args: FromMessages<S>,
    S: Send + Sync + 'static,
{
    fn into_route(self, state: Arc<S>) -> Route {
        Route::new(FunctionRoute { function: self, state, args: PhantomData })
    }
}

/// Stands for the arguments of a handler within something else, so that it is not taken for a function itself.
pub struct Around<Args>(PhantomData<fn(Args)>);

/// A handler with a layer around it, made by [`Handler::layer`].
#[must_use = "a handler does nothing until a consumer has it"]
pub struct Layered<L, H, Args, S> {
    layer: L,
    handler: H,
    wants: PhantomData<fn(Args, S)>,
}

impl<L, H, Args, S> Handler<Around<Args>, S> for Layered<L, H, Args, S>
where
    Args: 'static,
    S: 'static,
    H: Handler<Args, S>,
    L: Layer<Route> + Send + 'static,
    L::Service:
        Service<Incoming, Response = Reply, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
{
    fn into_route(self, state: Arc<S>) -> Route {
        Route::layered(self.layer.layer(self.handler.into_route(state)))
    }
}

impl<L: fmt::Debug, H, Args, S> fmt::Debug for Layered<L, H, Args, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layered").field("layer", &self.layer).finish_non_exhaustive()
    }
}

/// A function and its state.
struct FunctionRoute<F, Args, S> {
    function: F,
    state: Arc<S>,
    // A function of the arguments, which therefore need not be Sync.
    args: PhantomData<fn(Args)>,
}

impl<F, Args, S> Endpoint for FunctionRoute<F, Args, S>
where
    F: Function<Args>,
    F::Future: Send,
    F::Output: IntoReply,
    Args: FromMessages<S>,
    S: Send + Sync + 'static,
{
    fn call(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Result<Reply, BoxError>> {
        Box::pin(async move {
            incoming.begin()?;
            let args = Args::from_messages(&incoming, &self.state).await?;
            let output = self.function.clone().call(args).await;
            output.into_reply().map_err(|failure| HandlerError::from(failure).into())
        })
    }
}
