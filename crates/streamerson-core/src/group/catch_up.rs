//! Catching up: the only one who handles a stream takes what was left pending before it reads on, so that nothing comes
//! out of order.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::{keeper, member::Shared, ownership::Ownership, taker::Take};
use crate::{
    broker::{BrokerError, Delivered},
    entry::EntryId,
};

/// Whether an owner has caught up with those before it.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// Whether what owners before it left is taken.
    is_heir: bool,
}

impl CatchUp {
    /// Waits until the ownership lasts for one more read, and takes what is pending if there may be anything.
    ///
    /// An error may leave deliveries with this member that nobody knows of.
    pub(super) async fn go(&mut self, take: &Take, sole: &Ownership) -> Result<(), BrokerError> {
        let shared = &take.shared;
        tokio::select! {
            biased;
            lasts = sole.until_it_lasts(shared.config.block) => if !lasts {
                // Whoever made this member takes it down.
                shared.stopped.cancelled().await;
            },
            () = shared.stopped.cancelled() => {}
        }
        tokio::select! {
            biased;
            () = shared.stopped.cancelled() => {}
            // Whatever comes now comes behind it.
            () = shared.dispatch.until_none_is_to_be_alone() => {}
        }
        if shared.stopped.is_cancelled() || !shared.take_behind() {
            return Ok(());
        }
        match self.take_pending(take, sole).await {
            // The next read finds that out too, and makes the group again.
            Err(BrokerError::NoGroup { .. }) => Ok(()),
            Err(error) => {
                shared.is_behind();
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn take_pending(&mut self, take: &Take, sole: &Ownership) -> Result<(), BrokerError> {
        let shared = &take.shared;
        let _open = tokio::select! {
            biased;
            () = shared.stopped.cancelled() => return Ok(()),
            open = shared.neighbours.enter() => open,
        };
        let idle = if self.is_heir {
            // What this member holds is none of it, however long nothing could be renewed.
            keeper::renew_now(shared).await?;
            sole.ttl()
        } else {
            // Whatever is pending is this member's: nobody else may hold anything.
            Duration::ZERO
        };
        let since = Instant::now();
        let mut found = pending(shared, idle, !self.is_heir).await?;
        if !self.is_heir && !found.is_empty() {
            info!(member = ?shared.membership, deliveries = found.len(), "took over what the owner before had");
        }
        self.is_heir = true;
        // What has to be alone is so before anything that comes after it is held, and would be suspected as well.
        let upto = found.iter().position(|delivered| shared.is_to_be_alone(delivered)).map_or(found.len(), |at| at + 1);
        let after = found.split_off(upto);
        if !after.is_empty() {
            shared.is_behind();
            let after = after.iter().map(|delivered| delivered.entry.id).collect();
            shared.broker.hand_back(&shared.membership, after).await?;
        }
        shared.metrics.group.delivered(&found);
        for delivered in found {
            take.take_in(delivered, since).await;
        }
        Ok(())
    }
}

/// What is pending and was idle for so long, whether or not there is room for it: its owner had room for it, and what
/// comes after it has to wait in any case. Up to something that has to be alone, unless all of it is wanted.
async fn pending(shared: &Shared, idle: Duration, all: bool) -> Result<Vec<Delivered>, BrokerError> {
    let (mut found, mut cursor) = (Vec::new(), EntryId::ZERO);
    loop {
        let reclaimed = keeper::reclaim_from(shared, idle, cursor, keeper::RECLAIM_MAX).await?;
        let is_enough = !all && reclaimed.deliveries.iter().any(|delivered| shared.is_to_be_alone(delivered));
        found.extend(reclaimed.deliveries);
        cursor = reclaimed.cursor;
        if is_enough || cursor == EntryId::ZERO {
            debug!(member = ?shared.membership, deliveries = found.len(), "caught up");
            return Ok(found);
        }
    }
}
