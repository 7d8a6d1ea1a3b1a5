//! Reads any number of streams, and waits for any of them.

use std::{collections::BTreeSet, fmt, mem, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{task::coop::consume_budget, time::timeout};

use super::{bell::Bell, store::Store};
use crate::{
    broker::{BrokerError, ReadWaker, Reader, StreamRead},
    entry::EntryId,
    topic::StreamKey,
};

/// Follows its streams from one read to the next, so that a read looks only at streams that have news or whose cursor
/// was moved. A stream where nothing happens costs a comparison, which is what makes ten thousand of them cheap.
pub(super) struct MemoryReader {
    store: Arc<Store>,
    id: u64,
    bell: Arc<Bell>,
    /// One for each cursor of the last read.
    places: Vec<Place>,
    /// The cursors whose streams have to be looked at.
    unseen: BTreeSet<usize>,
}

#[derive(Debug)]
struct Place {
    key: StreamKey,
    /// What the reader has had of the stream.
    after: EntryId,
}

impl MemoryReader {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let id = store.reader_id();
        Self { store, id, bell: Arc::default(), places: Vec::new(), unseen: BTreeSet::new() }
    }

    /// Watches the streams of these cursors, and no others.
    fn follow(&mut self, cursors: &[(StreamKey, EntryId)]) {
        for index in cursors.len()..self.places.len() {
            self.unwatch(index);
        }
        self.places.truncate(cursors.len());
        for (index, (key, after)) in cursors.iter().enumerate() {
            match self.places.get_mut(index) {
                Some(place) if place.key == *key && place.after == *after => continue,
                Some(place) if place.key == *key => place.after = *after,
                Some(_) => {
                    self.unwatch(index);
                    self.places[index] = self.watch(index, key, *after);
                }
                None => {
                    let place = self.watch(index, key, *after);
                    self.places.push(place);
                }
            }
            self.unseen.insert(index);
        }
    }

    /// What the unseen streams hold after their cursors.
    fn look(&mut self, count: usize) -> Vec<StreamRead> {
        let mut found = Vec::new();
        for index in mem::take(&mut self.unseen) {
            // A cursor that is gone has nothing to be seen.
            let Some(place) = self.places.get_mut(index) else { continue };
            let mut step = self.store.step([&place.key]);
            if let Some(slot) = step.slot(&place.key) {
                slot.arm((self.id, index));
            }
            let entries = step.stream(&place.key).map_or(Vec::new(), |stream| stream.after(place.after, count));
            drop(step);
            if let Some(last) = entries.last() {
                place.after = last.id;
                if entries.len() == count {
                    self.unseen.insert(index);
                }
                found.push(StreamRead { index, entries });
            }
        }
        found
    }

    fn watch(&self, index: usize, key: &StreamKey, after: EntryId) -> Place {
        let mut step = self.store.step([key]);
        let now = step.now();
        step.shard(key).watch(key, (self.id, index), &self.bell, now);
        Place { key: key.clone(), after }
    }

    fn unwatch(&self, index: usize) {
        let key = &self.places[index].key;
        self.store.step([key]).shard(key).unwatch(key, (self.id, index));
    }
}

impl Reader for MemoryReader {
    fn read<'a>(
        &'a mut self,
        cursors: &'a [(StreamKey, EntryId)],
        count: usize,
        block: Duration,
    ) -> BoxFuture<'a, Result<Vec<StreamRead>, BrokerError>> {
        Box::pin(async move {
            consume_budget().await;
            self.follow(cursors);
            let find = async {
                loop {
                    // Taken before the look: what happens after it rings again.
                    let rung = self.bell.take();
                    self.unseen.extend(rung.news);
                    let found = self.look(count);
                    if !found.is_empty() || rung.woken || block.is_zero() {
                        return found;
                    }
                    self.bell.listen().await;
                }
            };
            Ok(timeout(block, find).await.unwrap_or_default())
        })
    }

    fn waker(&self) -> ReadWaker {
        let bell = Arc::clone(&self.bell);
        ReadWaker::new(move || bell.wake())
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        self.follow(&[]);
    }
}

impl fmt::Debug for MemoryReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReader").field("id", &self.id).field("streams", &self.places.len()).finish()
    }
}
