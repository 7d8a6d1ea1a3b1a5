//! Moving what is due: entries of the topic's schedule go into its stream, whichever member is first.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::member::Shared;

/// How often the schedule is looked at when nothing is known to be due earlier.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries moved in one call, at most.
const MOVE_MAX: usize = 500;

/// Moves what is due until the member is stopped.
pub(super) async fn move_due(shared: Arc<Shared>) {
    let schedule = shared.topic.schedule();
    // No call is dropped half way, since its answer may name entries that are broken.
    while !shared.stopped.is_cancelled() {
        let mut pause = LOOK_EVERY;
        match shared.broker.move_due(&schedule, MOVE_MAX).await {
            Ok(due) => {
                shared.metrics.group.moved.add(due.moved as u64);
                if due.moved > 0 {
                    debug!(topic = %shared.topic, moved = due.moved, "scheduled messages are due");
                }
                if !due.broken.is_empty() {
                    warn!(topic = %shared.topic, ids = ?due.broken, "scheduled entries are no entries; removed");
                }
                pause = due.next.map_or(pause, |next| pause.min(next.since(due.now)));
            }
            Err(error) => debug!(topic = %shared.topic, %error, "the schedule could not be looked at"),
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = shared.stopped.cancelled() => {}
        }
    }
}
