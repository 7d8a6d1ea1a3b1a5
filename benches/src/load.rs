//! Load from tasks of a runtime.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Keeps so many operations under way until `ops` are done, each number below that once, and answers how long each took.
pub(crate) async fn keep_in_flight<O, F>(in_flight: usize, ops: usize, operation: O) -> Vec<Duration>
where
    O: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let task = || {
        let (next, operation) = (Arc::clone(&next), operation.clone());
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(ops / in_flight + 1);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= ops {
                    return latencies;
                }
                let since = Instant::now();
                operation(number).await;
                latencies.push(since.elapsed());
            }
        })
    };
    let tasks: Vec<_> = (0..in_flight).map(|_| task()).collect();
    let mut all = Vec::with_capacity(ops);
    for task in tasks {
        all.append(&mut task.await.expect("an operation that does not panic"));
    }
    all
}
