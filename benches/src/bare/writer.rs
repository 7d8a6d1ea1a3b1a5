//! Commands of many tasks, in pipelines that form by themselves: what queues while others are in flight goes next.

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{Cmd, Pipeline, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Commands in one pipeline, at most.
const PIPELINE_MAX: usize = 128;
/// Pipelines in flight, at most.
const PIPELINES_MAX: usize = 4;
/// Commands that may wait for a pipeline.
const QUEUE_MAX: usize = 1024;

/// A command, and who wants to know that it was carried out.
type Queued = (Cmd, Option<oneshot::Sender<()>>);

#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Queued>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        Self { queue, task: tokio::spawn(write_all(connection, queued)) }
    }

    /// Queues a command whose answer interests nobody.
    pub(super) async fn send(&self, command: Cmd) {
        self.queue.send((command, None)).await.expect("the writer runs");
    }

    /// Queues a command and waits until it was carried out.
    pub(super) async fn confirm(&self, command: Cmd) {
        let (done, confirmed) = oneshot::channel();
        self.queue.send((command, Some(done))).await.expect("the writer runs");
        confirmed.await.expect("the writer runs");
    }

    /// Waits until all was carried out.
    pub(super) async fn finish(self) {
        drop(self.queue);
        self.task.await.expect("a writer that does not panic");
    }
}

async fn write_all(connection: MultiplexedConnection, mut queued: mpsc::Receiver<Queued>) {
    let mut in_flight = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(PIPELINE_MAX);
    loop {
        tokio::select! {
            received = queued.recv_many(&mut batch, PIPELINE_MAX), if in_flight.len() < PIPELINES_MAX => {
                if received == 0 {
                    break;
                }
                in_flight.push(write(connection.clone(), std::mem::take(&mut batch)));
            }
            Some(()) = in_flight.next() => {}
        }
    }
    while in_flight.next().await.is_some() {}
}

async fn write(mut connection: MultiplexedConnection, batch: Vec<Queued>) {
    let mut pipeline = Pipeline::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for (command, done) in batch {
        pipeline.add_command(command);
        waiting.extend(done);
    }
    pipeline.exec_async(&mut connection).await.expect("the server takes the commands");
    for done in waiting {
        // Who does not wait any more does not want to know.
        _ = done.send(());
    }
}
