//! What a client knows of one inbox: whether it exists at the broker, and how far it was read.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::entry::EntryId;

/// An inbox whose last confirmed refresh is older than this is made again together with the next request.
const CONFIRMED_FOR: Duration = Duration::from_secs(60);
/// A call that timed out casts doubt on an inbox that was confirmed longer ago than this.
const UNDOUBTED_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether a request was sent that wants its reply here.
    open: bool,
    confirmed: Option<Confirmed>,
    /// The last reply that was read. Behind it the inbox is trimmed.
    cursor: EntryId,
    /// The inbox may have been made anew, with ids that start lower: reading starts again.
    rewind: bool,
    /// Replies read since the last trim.
    untrimmed: usize,
    /// Whether a reply was read since the last look.
    heard: bool,
}

/// When the inbox was last known to exist, and over which connection.
#[derive(Debug)]
struct Confirmed {
    at: Instant,
    epoch: u64,
    doubted: bool,
}

impl Confirmed {
    fn holds(&self) -> bool {
        !self.doubted && self.at.elapsed() < CONFIRMED_FOR
    }
}

impl Inbox {
    /// Answers whether it was not open before.
    pub(super) fn open(&self) -> bool {
        !std::mem::replace(&mut self.lock().open, true)
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// The connection that the inbox need not be made again on.
    pub(super) fn confirmed_on(&self) -> Option<u64> {
        self.lock().confirmed.as_ref().filter(|confirmed| confirmed.holds()).map(|confirmed| confirmed.epoch)
    }

    /// Notes that the inbox exists; answers whether its reader must start again, since it may be a new one.
    pub(super) fn confirm(&self, epoch: u64) -> bool {
        let mut state = self.lock();
        let before = state.confirmed.replace(Confirmed { at: Instant::now(), epoch, doubted: false });
        let made_again = before.is_some_and(|before| before.epoch != epoch || !before.holds());
        state.rewind |= made_again;
        made_again
    }

    /// A reply did not come, perhaps because the server lost the inbox: the next request makes sure of it.
    pub(super) fn doubt(&self) {
        if let Some(confirmed) = &mut self.lock().confirmed {
            confirmed.doubted |= confirmed.at.elapsed() >= UNDOUBTED_FOR;
        }
    }

    /// Whether a reply was read since this was asked last.
    pub(super) fn take_heard(&self) -> bool {
        std::mem::take(&mut self.lock().heard)
    }

    /// Reading goes on behind this entry.
    pub(super) fn read_from(&self, cursor: EntryId) {
        self.lock().cursor = cursor;
    }

    /// How far the inbox was read.
    pub(super) fn read_to(&self) -> EntryId {
        self.lock().cursor
    }

    /// From where the inbox is to be read. For its one reader.
    pub(super) fn cursor(&self) -> EntryId {
        let mut state = self.lock();
        if std::mem::take(&mut state.rewind) {
            state.cursor = EntryId::ZERO;
        }
        state.cursor
    }

    /// Notes that replies up to this one were read; answers how many there are to trim.
    pub(super) fn advance(&self, to: EntryId, replies: usize) -> usize {
        let mut state = self.lock();
        state.cursor = to;
        state.heard = true;
        state.untrimmed += replies;
        state.untrimmed
    }

    /// Up to where the inbox can be trimmed, and how many replies that is; `None` when there is nothing to do.
    pub(super) fn take_trim(&self) -> Option<(EntryId, usize)> {
        let mut state = self.lock();
        // Before the reader has started again its cursor says nothing of what is unread.
        if state.rewind || state.untrimmed == 0 {
            return None;
        }
        Some((state.cursor, std::mem::take(&mut state.untrimmed)))
    }

    /// Notes that the trim of so many replies did not succeed.
    pub(super) fn untrim(&self, replies: usize) {
        self.lock().untrimmed += replies;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Held for a few assignments, and plain values are whole whatever panics elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
