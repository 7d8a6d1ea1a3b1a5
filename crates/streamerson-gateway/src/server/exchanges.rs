//! Requests on a connection of HTTP/2, counted until their responses were sent: one on which nothing is asked ends.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// The exchanges of one connection. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Exchanges(watch::Sender<Counts>);

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    /// Requests that came, ever.
    begun: u64,
    /// Requests whose response was not sent to its end, or which run on although their stream was reset.
    open: usize,
}

/// Counts one request and its response until it is dropped.
#[derive(Debug)]
pub(super) struct OpenExchange(watch::Sender<Counts>);

impl Exchanges {
    pub(super) fn begin(&self) -> OpenExchange {
        self.0.send_modify(|counts| {
            counts.begun += 1;
            counts.open += 1;
        });
        OpenExchange(self.0.clone())
    }

    /// Returns when there was a request, or there was one already.
    pub(super) async fn first(&self) {
        // The sender is here, so it fails never.
        _ = self.0.subscribe().wait_for(|counts| counts.begun > 0).await;
    }

    /// Returns when nothing was asked for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        let mut counts = self.0.subscribe();
        loop {
            let Ok(idle) = counts.wait_for(|counts| counts.open == 0).await.map(|counts| counts.begun) else { return };
            if timeout(limit, counts.wait_for(|counts| counts.begun > idle)).await.is_err() {
                return;
            }
        }
    }
}

impl OpenExchange {
    /// Returns how many exchanges of the connection are open, this one included.
    pub(super) fn open_on_connection(&self) -> usize {
        self.0.borrow().open
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_request_keeps_its_connection_until_the_response_was_sent() {
        let exchanges = Exchanges::default();
        let start = Instant::now();
        exchanges.idle(LIMIT).await;
        assert_eq!(start.elapsed(), LIMIT);

        let exchange = exchanges.begin();
        exchanges.first().await;
        assert!(timeout(LIMIT * 5, exchanges.idle(LIMIT)).await.is_err(), "it is being answered");
        drop(exchange);
        exchanges.idle(LIMIT).await;
    }
}
