//! Subscribing: a stream of the entries of any number of streams, without a group.

mod count;
mod task;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::sync::{Notify, mpsc};

use self::{count::Count, task::Task};
use crate::{
    broker::{BrokerError, ReadWaker, SharedBroker},
    entry::{Entry, EntryId},
    message::Message,
    topic::StreamKey,
    wire::{Malformed, Wire},
};

/// Entries that one read takes from each stream, at most.
const READ_MAX: usize = 256;
/// How long one read waits; it costs no latency.
const BLOCK: Duration = Duration::from_secs(2);

/// Where a subscription starts in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cursor {
    /// With the oldest entry that the stream still holds.
    Start,
    /// With the first entry appended from now on; to be exact, from the first look at the stream on, which the
    /// subscription's task takes soon after.
    End,
    /// With the first entry after this one: where an earlier subscription stopped.
    After(EntryId),
}

/// An entry, and the stream that it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The stream.
    pub key: StreamKey,
    /// The entry.
    pub entry: Entry,
}

impl Received {
    /// The message that the entry carries, of up to 1 MiB.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it carries none.
    pub fn message(&self) -> Result<Message, Malformed> {
        Wire::default().decode(&self.entry.fields)
    }
}

/// The entries of any number of streams as they come; a [`Stream`] that ends only when it is told to.
///
/// Every subscriber sees every entry; nothing is acked. The order within each stream is kept. Outages are waited out and
/// reading resumes where it was. [`BrokerError::Gap`] is an item that says that entries may be missing at this place,
/// and the subscription goes on after it; every other error is the last item.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Subscription {
    control: SubscriptionControl,
    batches: mpsc::Receiver<Vec<Found>>,
    ready: VecDeque<Found>,
}

/// Changes a running [`Subscription`]; cheap to clone.
#[derive(Clone)]
pub struct SubscriptionControl(Arc<Control>);

struct Control {
    positions: Mutex<Positions>,
    changed: Notify,
    waker: ReadWaker,
}

#[derive(Default)]
struct Positions {
    /// Where each stream is read, by key.
    by_key: HashMap<StreamKey, Position>,
    /// How often a stream was added, ever.
    added: u64,
    ended: bool,
}

/// Where one stream is read.
#[derive(Debug, Clone, Copy)]
struct Position {
    /// Where to read next.
    next: Cursor,
    /// The last entry that the subscriber took.
    taken: Option<EntryId>,
    /// Entries may have gone unread: look before the next read, and if that has something to bring, after it too.
    doubt: bool,
    /// How many entries there were, for holes that nothing else shows.
    count: Count,
    /// Which of all times that a stream was added this is, so that what was read for an earlier one is not taken for it.
    number: u64,
}

/// What the task found: for which position, if for any.
type Found = (u64, Result<Received, BrokerError>);

/// The number of what concerns no position.
const ALL: u64 = 0;

impl Subscription {
    pub(crate) fn new(broker: SharedBroker) -> Self {
        let reader = broker.reader();
        let control = Arc::new(Control { positions: Mutex::default(), changed: Notify::new(), waker: reader.waker() });
        // One batch waits while another is taken: enough to keep the reader busy, and bounded.
        let (sender, batches) = mpsc::channel(1);
        let task = Task { broker, control: Arc::clone(&control), batches: sender };
        tokio::spawn(task.run(reader));
        Self { control: SubscriptionControl(control), batches, ready: VecDeque::new() }
    }

    /// The same subscription with one stream more.
    pub fn and(self, key: StreamKey, from: Cursor) -> Self {
        self.control.add(key, from);
        self
    }

    /// A handle that adds and removes streams, and knows the cursors.
    #[must_use]
    pub fn control(&self) -> SubscriptionControl {
        self.control.clone()
    }

    /// Whether the subscriber still wants this; the cursor follows what it takes.
    fn accept(&self, (number, item): &Found) -> bool {
        let key = match item {
            Ok(received) => &received.key,
            Err(BrokerError::Gap { key, .. }) => key,
            Err(_) => return true,
        };
        let mut positions = self.control.0.lock();
        let Some(position) = positions.by_key.get_mut(key).filter(|now| now.number == *number) else { return false };
        if let Ok(received) = item {
            position.taken = Some(received.entry.id);
        }
        true
    }
}

impl SubscriptionControl {
    /// Reads one stream more, from here on. A stream that is read already starts again there.
    pub fn add(&self, key: StreamKey, from: Cursor) {
        {
            let mut positions = self.0.lock();
            positions.added += 1;
            let number = positions.added;
            let count = Count::unknown(EntryId::ZERO);
            let position = Position { next: from, taken: None, doubt: true, count, number };
            positions.by_key.insert(key, position);
        }
        self.0.wake();
    }

    /// Reads a stream no longer; nothing more comes of it.
    pub fn remove(&self, key: &StreamKey) {
        self.0.lock().by_key.remove(key);
        self.0.wake();
    }

    /// Where to resume after the entries that the subscriber has taken: for [`Cursor::After`].
    #[must_use]
    pub fn cursor(&self, key: &StreamKey) -> Option<EntryId> {
        self.0.lock().by_key.get(key).and_then(|position| position.taken)
    }

    /// Ends the subscription, once what was read already is taken.
    pub fn end(&self) {
        self.0.lock().ended = true;
        self.0.wake();
    }
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Positions> {
        // Maps are whole after each operation, so a panic elsewhere can't leave them half-made.
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.notify_one();
        self.waker.wake();
    }
}

impl Stream for Subscription {
    type Item = Result<Received, BrokerError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            while let Some(found) = self.ready.pop_front() {
                if self.accept(&found) {
                    return Poll::Ready(Some(found.1));
                }
            }
            match ready!(self.batches.poll_recv(cx)) {
                Some(batch) => self.ready = batch.into(),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.control.end();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.control, f)
    }
}

impl fmt::Debug for SubscriptionControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.lock().by_key.iter()).finish()
    }
}
