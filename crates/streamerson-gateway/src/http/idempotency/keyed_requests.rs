//! The requests with an idempotency key that a gateway is at.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use streamerson_core::mark_budget::MarkBudget;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;

/// How long the broker may take to be told the bytes of records when a gateway ends.
const FLUSHED_WITHIN: Duration = Duration::from_secs(1);

/// Keeps count of requests that run to their end although their clients hang up, and of the bounds of their records.
/// Cheap to clone; all clones share one state.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyedRequests {
    tasks: TaskTracker,
    /// One for each route that had a request with a key.
    budgets: Arc<Mutex<Vec<MarkBudget>>>,
}

impl KeyedRequests {
    pub(super) fn spawn<F>(&self, request: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(request)
    }

    pub(super) fn on_budget(&self, budget: &MarkBudget) {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of routes that are gone.
        budgets.retain(MarkBudget::is_shared);
        budgets.push(budget.clone());
    }

    /// Returns once none is under way.
    pub(crate) async fn finished(&self) {
        // More may begin after it is closed, and are waited for as well.
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Tells the broker the bytes of all records.
    pub(crate) async fn flush(&self) {
        let budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let flushed = timeout(FLUSHED_WITHIN, async {
            for budget in &budgets {
                if let Err(error) = budget.flush().await {
                    tracing::debug!(%error, "the bytes of requests with a key were not counted");
                }
            }
        });
        if flushed.await.is_err() {
            tracing::debug!("the bytes of requests with a key may not be counted: the broker does not answer");
        }
    }
}
