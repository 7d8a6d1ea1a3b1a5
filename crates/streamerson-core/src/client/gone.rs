//! Callers that have gone: their requests are taken back, as far as that is still of use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{sync::Notify, time::Instant};
use tracing::debug;

use super::replies::Inboxes;
use crate::{
    broker::Append,
    message::Message,
    name::{EventType, MessageId},
    topic::StreamKey,
};

/// Requests that may wait to be taken back, at most; what comes on top is not taken back.
const WAITING_MAX: usize = 4096;

/// The requests that are to be taken back.
#[derive(Debug, Default)]
pub(super) struct Gone {
    // Locked to push one or to take all, never across an await.
    waiting: Mutex<Vec<(StreamKey, MessageId)>>,
    some: Notify,
}

impl Gone {
    fn lock(&self) -> MutexGuard<'_, Vec<(StreamKey, MessageId)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches over a request: dropping the answer before its deadline, without an answer, takes it back.
    pub(super) fn watch<'a>(&'a self, inbound: &'a StreamKey, id: MessageId, deadline: Instant) -> Watch<'a> {
        Watch { gone: self, inbound, id: Some(id), deadline }
    }
}

/// Takes a request back when it is dropped.
pub(super) struct Watch<'a> {
    gone: &'a Gone,
    inbound: &'a StreamKey,
    id: Option<MessageId>,
    deadline: Instant,
}

impl Watch<'_> {
    /// There is an answer, or there will be none.
    pub(super) fn end(mut self) {
        self.id = None;
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // Past the deadline whoever has it knows by itself that nobody waits any more.
        let Some(id) = self.id.take().filter(|_| Instant::now() < self.deadline) else { return };
        let mut waiting = self.gone.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push((self.inbound.clone(), id));
            self.gone.some.notify_one();
        }
    }
}

impl Inboxes {
    /// Takes requests back until the client is closed. A courtesy to those who would handle them, so nothing is tried
    /// twice.
    pub(super) async fn take_back(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.closed.cancelled() => return,
                () = self.gone.some.notified() => {}
            }
            let gone = std::mem::take(&mut *self.gone.lock());
            let cancel = |(inbound, id)| {
                let message = Message::new(EventType::CANCEL, "").with_id(id);
                self.wire.encode(&message).ok().map(|fields| Append::new(inbound, fields))
            };
            let batch: Vec<_> = gone.into_iter().filter_map(cancel).collect();
            let requests = batch.len();
            let failed = self.broker.append(batch).await.iter().filter(|appended| appended.is_err()).count();
            debug!(requests, failed, "callers have gone, and their requests are taken back");
        }
    }
}
