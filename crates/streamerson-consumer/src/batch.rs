//! Handlers that take many messages at a time.

use std::{
    marker::PhantomData,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use streamerson_core::Reply;
use tokio::sync::oneshot;
use tower::BoxError;

use crate::{
    extract::{FromMessage, FromRef, State},
    function::Function,
    handler::{Around, Handler},
    handler_error::HandlerError,
    incoming::Incoming,
    reply::IntoReply,
    route::{Endpoint, Route},
};

/// A handler of batches, for [`Consumer::on`](crate::Consumer::on): one batch at a time, each of what came in while the
/// one before was handled. No timer holds anything back, so a batch may well be of one message.
///
/// The function takes the extracted messages as its last argument, a `Vec`, and may take [`State`]s before it. Its
/// result is that of each message in the batch; one that an extractor refuses is not in it. What the consumer's
/// [`concurrency`](crate::Consumer::concurrency) lets in is also the most that a batch can hold.
///
/// ```
/// use streamerson_consumer::{Consumer, Failure, Json, Topic, batch};
///
/// async fn count_views(views: Vec<Json<String>>) -> Result<(), Failure> {
///     // One INSERT for all of them.
///     Ok(())
/// }
///
/// let consumer: Consumer = Consumer::new(Topic::new("views")?)
///     .on("page.viewed", batch(count_views).of_at_most(500));
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
pub fn batch<F>(function: F) -> Batch<F> {
    Batch { function, batch_max: 1000 }
}

/// A handler of batches, made by [`batch`].
#[derive(Debug, Clone)]
#[must_use = "a handler does nothing until a consumer has it"]
pub struct Batch<F> {
    function: F,
    batch_max: usize,
}

impl<F> Batch<F> {
    /// The same handler, with at most so many messages in a batch; 1000 unless told otherwise, and at least one.
    pub fn of_at_most(mut self, batch_max: usize) -> Self {
        self.batch_max = batch_max.max(1);
        self
    }
}

/// The arguments of a handler of batches: any [`State`]s, then a `Vec` of extractors.
#[diagnostic::on_unimplemented(
    message = "the arguments `{Self}` are not those of a batch handler",
    label = "not the arguments of a batch handler",
    note = "a batch handler takes up to three `State`s and then a `Vec` of an extractor, as `Vec<Json<T>>`"
)]
pub trait BatchArgs<S>: Send + 'static {
    /// What is extracted from each message.
    type Item: FromMessage<S> + Send + 'static;

    /// The arguments for a batch.
    fn of_batch(items: Vec<Self::Item>, state: &S) -> Self;
}

macro_rules! batch_args {
    ($($part:ident),*) => {
        impl<S, Item, $($part),*> BatchArgs<S> for ($(State<$part>,)* Vec<Item>,)
        where
            Item: FromMessage<S> + Send + 'static,
            $($part: FromRef<S> + Send + 'static,)*
        {
            type Item = Item;

            #[allow(unused_variables)]
            fn of_batch(items: Vec<Item>, state: &S) -> Self {
                ($(State($part::from_ref(state)),)* items,)
            }
        }
    };
}
batch_args!();
batch_args!(A);
batch_args!(A, B);
batch_args!(A, B, C);

impl<F, Args, S> Handler<Around<Args>, S> for Batch<F>
where
    F: Function<Args>,
    F::Future: Send,
    F::Output: IntoReply,
    Args: BatchArgs<S>,
    S: Send + Sync + 'static,
{
    fn into_route(self, state: Arc<S>) -> Route {
        let Self { function, batch_max } = self;
        let lane = Lane { function, state, batch_max, queue: Mutex::default(), args: PhantomData };
        Route::new(lane)
    }
}

/// Where messages wait for the batch before theirs. Each that waits holds one of the consumer's permits, which bounds
/// the queue.
struct Lane<F, Args: BatchArgs<S>, S> {
    function: F,
    state: Arc<S>,
    batch_max: usize,
    // Locked to push one item or to take a batch, never across an await.
    queue: Mutex<Queue<Args::Item>>,
    args: PhantomData<fn(Args)>,
}

struct Queue<T> {
    waiting: Vec<Waiting<T>>,
    /// Whether there is a task that will look at what waits.
    running: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), running: false }
    }
}

struct Waiting<T> {
    item: T,
    incoming: Incoming,
    done: oneshot::Sender<Result<Reply, HandlerError>>,
}

impl<F, Args, S> Endpoint for Lane<F, Args, S>
where
    F: Function<Args>,
    F::Future: Send,
    F::Output: IntoReply,
    Args: BatchArgs<S>,
    S: Send + Sync + 'static,
{
    fn call(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Result<Reply, BoxError>> {
        Box::pin(async move {
            // Each message is extracted in its own task, so that a batch costs no more than its own work.
            let item = Args::Item::from_message(&incoming, &self.state).await.map_err(HandlerError::rejected)?;
            let (done, result) = oneshot::channel();
            self.enter(Waiting { item, incoming, done });
            // The sender is dropped unused only when the batch was, because the consumer's time to stop is over.
            let result = result.await.unwrap_or_else(|_| Err(HandlerError::unstarted()));
            result.map_err(BoxError::from)
        })
    }
}

impl<F, Args, S> Lane<F, Args, S>
where
    F: Function<Args>,
    F::Future: Send,
    F::Output: IntoReply,
    Args: BatchArgs<S>,
    S: Send + Sync + 'static,
{
    /// Queues a message, and starts the task that handles batches if there is none.
    fn enter(self: &Arc<Self>, waiting: Waiting<Args::Item>) {
        let mut queue = self.lock();
        queue.waiting.push(waiting);
        if !queue.running {
            queue.running = true;
            tokio::spawn(Arc::clone(self).handle_batches());
        }
    }

    /// Handles what waits, batch after batch, until nothing does.
    async fn handle_batches(self: Arc<Self>) {
        while let Some(batch) = self.next_batch() {
            let (mut items, mut waiting) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for Waiting { item, incoming, done } in batch {
                // A layer's timeout may have given the message up while it waited.
                if done.is_closed() {
                    continue;
                }
                match incoming.begin() {
                    Ok(()) => {
                        items.push(item);
                        waiting.push((incoming, done));
                    }
                    Err(error) => _ = done.send(Err(error)),
                }
            }
            let Some((first, _)) = waiting.first() else { continue };
            let handled = AssertUnwindSafe(self.handle(items)).catch_unwind();
            let result = tokio::select! {
                biased;
                handled = handled => handled.unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic))),
                // Each message's own task has given it up by now, so nobody is told.
                () = first.run().over.cancelled() => return self.lock().running = false,
            };
            for (_, done) in waiting {
                // Whoever does not wait any more has been given up by a layer.
                _ = done.send(result.clone());
            }
        }
    }

    async fn handle(&self, items: Vec<Args::Item>) -> Result<Reply, HandlerError> {
        let args = Args::of_batch(items, &self.state);
        Ok(self.function.clone().call(args).await.into_reply()?)
    }

    fn next_batch(&self) -> Option<Vec<Waiting<Args::Item>>> {
        let mut queue = self.lock();
        let len = queue.waiting.len().min(self.batch_max);
        if len == 0 {
            queue.running = false;
            return None;
        }
        Some(queue.waiting.drain(..len).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Args::Item>> {
        // No code of users runs under this lock, so a panic can't leave it half-made.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
