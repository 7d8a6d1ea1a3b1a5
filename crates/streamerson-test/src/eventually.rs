//! Awaiting what can only be polled.

use std::time::{Duration, Instant};

/// How long [`eventually`] waits in all. Generous, because a machine under load must not fail a test that is right.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two polls.
const INTERVAL: Duration = Duration::from_millis(5);

/// Polls `probe` until it yields a value.
///
/// Time is measured on the machine's clock, not tokio's, so this works in a test with paused time too.
///
/// # Panics
///
/// After ten seconds, naming `what` it waited for.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_first_value() {
        let mut polls = 0;
        let value = eventually("the third poll", async || {
            polls += 1;
            (polls == 3).then_some(polls)
        })
        .await;
        assert_eq!(value, 3);
    }
}
