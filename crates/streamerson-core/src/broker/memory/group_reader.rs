//! Reads new deliveries for one member of a group.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{sync::Notify, task::coop::consume_budget, time::timeout};

use super::store::{Store, no_group};
use crate::broker::{BrokerError, Delivered, GroupReader, Membership, ReadWaker};

/// Members that wait are woken in the order in which they began to. Being woken is a hint, not a delivery: the member
/// takes the entries itself when it runs, all that have come by then, and a read that is dropped while it waits
/// strands nothing.
pub(super) struct MemoryGroupReader {
    store: Arc<Store>,
    membership: Membership,
    /// Told to end the wait. Keeps one word until there is a wait to end.
    woken: Arc<Notify>,
}

impl MemoryGroupReader {
    pub(super) fn new(store: Arc<Store>, membership: Membership) -> Self {
        Self { store, membership, woken: Arc::default() }
    }
}

impl GroupReader for MemoryGroupReader {
    fn read(&mut self, count: usize, block: Duration) -> BoxFuture<'_, Result<Vec<Delivered>, BrokerError>> {
        Box::pin(async move {
            consume_budget().await;
            let Membership { key, group, member } = &self.membership;
            let take = async {
                loop {
                    let arrival = {
                        let mut step = self.store.step([key]);
                        let now = step.now();
                        let stream = step.stream(key);
                        let delivered = stream.and_then(|stream| stream.deliver(group, member, count, now));
                        let delivered = delivered.ok_or_else(|| no_group(key, group))?;
                        if !delivered.is_empty() || count == 0 || block.is_zero() {
                            return Ok(delivered);
                        }
                        step.group(key, group)?.arrival()
                    };
                    tokio::select! {
                        biased;
                        () = arrival => {}
                        () = self.woken.notified() => return Ok(Vec::new()),
                    }
                }
            };
            timeout(block, take).await.unwrap_or(Ok(Vec::new()))
        })
    }

    fn waker(&self) -> ReadWaker {
        let woken = Arc::clone(&self.woken);
        ReadWaker::new(move || woken.notify_one())
    }
}

impl fmt::Debug for MemoryGroupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryGroupReader").field(&self.membership).finish()
    }
}
