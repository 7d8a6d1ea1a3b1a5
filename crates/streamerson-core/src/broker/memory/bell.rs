//! What wakes a reader.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Collects what happened to the streams of one reader until it looks. One task listens.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// A mutex, since it is held for a push or a swap only. Taken inside the lock of a shard, never around it.
    rung: Mutex<Rung>,
    listener: Notify,
}

/// What has happened since the last look.
#[derive(Debug, Default)]
pub(super) struct Rung {
    /// The cursors whose streams have news. Bounded: each watch rings once between two looks.
    pub(super) news: Vec<usize>,
    /// Whether the wait is to end, news or not.
    pub(super) woken: bool,
}

impl Bell {
    /// There is news in the stream of this cursor.
    pub(super) fn ring(&self, cursor: usize) {
        self.rung().news.push(cursor);
        self.listener.notify_one();
    }

    /// The wait is to end.
    pub(super) fn wake(&self) {
        self.rung().woken = true;
        self.listener.notify_one();
    }

    /// What has happened, once.
    pub(super) fn take(&self) -> Rung {
        mem::take(&mut *self.rung())
    }

    /// Waits until something has happened since the last [`Bell::take`], or a little less: it may end early.
    pub(super) async fn listen(&self) {
        self.listener.notified().await;
    }

    fn rung(&self) -> MutexGuard<'_, Rung> {
        // Nothing panics under this lock.
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
