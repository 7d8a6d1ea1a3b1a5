//! So many of something at the same time, until there were enough or time is up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) count: usize,
    pub(super) elapsed: Duration,
    /// In microseconds and in order; none where a message has no beginning and end of its own.
    latencies: Vec<u32>,
}

impl Measured {
    pub(super) fn new(count: usize, elapsed: Duration, mut latencies: Vec<u32>) -> Self {
        latencies.sort_unstable();
        Self { count, elapsed, latencies }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// What so many of a hundred did not exceed, in microseconds.
    pub(super) fn percentile(&self, percent: usize) -> Option<u32> {
        let last = self.latencies.len().checked_sub(1)?;
        self.latencies.get((last * percent).div_ceil(100)).copied()
    }
}

/// Calls `operation` until `count` calls have begun or the time is up, `in_flight` at a time, and awaits them. The first
/// error ends it.
pub(super) async fn run<F, E>(
    in_flight: usize,
    count: usize,
    limit: Duration,
    operation: impl Fn() -> F + Clone + Send + 'static,
) -> Result<Measured, E>
where
    F: Future<Output = Result<(), E>> + Send,
    E: Send + 'static,
{
    let begun = Instant::now();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight.min(count) {
        let (taken, operation) = (Arc::clone(&taken), operation.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while begun.elapsed() < limit && taken.fetch_add(1, Ordering::Relaxed) < count {
                let asked = Instant::now();
                operation().await?;
                latencies.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done {
            // Those that are left end when the set is dropped.
            Ok(latencies) => all.append(&mut latencies?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(Measured::new(all.len(), begun.elapsed(), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_when_there_were_enough_or_time_is_up() {
        let yielding = || async {
            tokio::task::yield_now().await;
            Ok::<(), ()>(())
        };
        let measured = run(4, 1001, Duration::from_secs(60), yielding).await.unwrap();
        assert_eq!((measured.count, measured.latencies.len()), (1001, 1001));
        let measured = run(4, usize::MAX, Duration::from_millis(20), yielding).await.unwrap();
        assert!(measured.count > 0 && measured.elapsed >= Duration::from_millis(20), "{}", measured.count);
        assert_eq!(run(4, 10, Duration::from_secs(60), || async { Err(7) }).await.unwrap_err(), 7);
    }

    #[test]
    fn percentiles_are_of_those_that_there_are() {
        let measured = Measured::new(100, Duration::from_secs(2), (1..=100).rev().collect());
        let [p50, p99, max] = [50, 99, 100].map(|percent| measured.percentile(percent).unwrap());
        assert_eq!((p50, p99, max), (51, 100, 100));
        assert_eq!(measured.per_second(), 50.0);
        assert_eq!(Measured::default().percentile(50), None);
    }
}
