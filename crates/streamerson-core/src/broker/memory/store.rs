//! All streams of a broker, and the locks that guard them.
//!
//! # Locks
//!
//! Streams are spread over [`SHARDS`] shards by hash tag, one mutex each. The streams of a topic share a tag, so what a
//! settle touches lies behind one lock nearly always; where it does not (entries emitted to another topic, keys without
//! a tag), the step takes all locks that it needs, in the order of the shards, which rules out deadlock. Topics do not
//! wait for each other. The mutexes are the standard library's: no step waits for anything while it holds them.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    budget::{Budget, entry_bytes},
    clock::Clock,
    group::Group,
    shard::{Shard, Slot},
    stream::Stream,
};
use crate::{
    broker::{Append, BrokerError, DeadAppend, Keep, StreamPage, TrimTo},
    entry::{EntryId, Fields},
    name::Name,
    topic::StreamKey,
};

/// More than any machine has cores for, and few enough to be walked.
const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    clock: Clock,
    budget: Arc<Budget>,
    readers: AtomicU64,
    swept: AtomicUsize,
}

impl Store {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            clock: Clock::new(),
            budget: Budget::new(bytes_max),
            readers: AtomicU64::new(0),
            swept: AtomicUsize::new(0),
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A number that no other reader has.
    pub(super) fn reader_id(&self) -> u64 {
        self.readers.fetch_add(1, Relaxed)
    }

    /// Begins a step on these keys. Others see all of it or nothing.
    pub(super) fn step<'a>(&self, keys: impl IntoIterator<Item = &'a StreamKey>) -> Step<'_> {
        let mut shards: Vec<_> = keys.into_iter().map(|key| self.shard_of(key)).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut locked: Vec<_> = shards.into_iter().map(|shard| (shard, lock(&self.shards[shard]))).collect();
        let now = self.clock.now();
        for (_, shard) in &mut locked {
            shard.sweep(now);
        }
        Step { store: self, now, locked }
    }

    /// Sweeps one shard more, each time another one, so that expired streams go even where nobody comes by any more.
    pub(super) fn sweep_next(&self) {
        let next = self.swept.fetch_add(1, Relaxed) % SHARDS;
        if let Ok(mut shard) = self.shards[next].try_lock() {
            shard.sweep(self.clock.now());
        }
    }

    /// One shard's streams of topics: shards are the pages.
    pub(super) fn streams(&self, page: u64) -> StreamPage {
        let page = usize::try_from(page).unwrap_or(usize::MAX);
        let Some(shard) = self.shards.get(page) else { return StreamPage { keys: Vec::new(), next: None } };
        let mut shard = lock(shard);
        shard.sweep(self.clock.now());
        let keys = shard.keys().filter(|key| key.topic().is_some() && !key.is_inbox()).cloned().collect();
        StreamPage { keys, next: (page + 1 < SHARDS).then_some(page as u64 + 1) }
    }

    fn shard_of(&self, key: &StreamKey) -> usize {
        // Less than SHARDS, so it fits.
        (self.hasher.hash_one(key.tag()) % SHARDS as u64) as usize
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic under the lock is a defect of this module. Whoever comes later gets an answer even so.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locked shards, and what can be done with the streams in them, at one point in time.
#[derive(Debug)]
pub(super) struct Step<'a> {
    store: &'a Store,
    now: Duration,
    locked: Vec<(usize, MutexGuard<'a, Shard>)>,
}

impl Step<'_> {
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// The shard of one of the keys that the step was begun on.
    pub(super) fn shard(&mut self, key: &StreamKey) -> &mut Shard {
        let position = match self.locked.len() {
            1 => 0,
            _ => {
                let shard = self.store.shard_of(key);
                let position = self.locked.iter().position(|(locked, _)| *locked == shard);
                position.expect("a step only touches keys that it was begun on")
            }
        };
        &mut self.locked[position].1
    }

    pub(super) fn slot(&mut self, key: &StreamKey) -> Option<&mut Slot> {
        let now = self.now;
        self.shard(key).slot(key, now)
    }

    pub(super) fn stream(&mut self, key: &StreamKey) -> Option<&mut Stream> {
        self.slot(key)?.stream.as_mut()
    }

    pub(super) fn stream_or_new(&mut self, key: &StreamKey) -> &mut Stream {
        let (store, now) = (self.store, self.now);
        let shard = self.shard(key);
        let floor = shard.floor();
        shard.slot_or_new(key, now).stream.get_or_insert_with(|| Stream::new(&store.budget, floor))
    }

    pub(super) fn group(&mut self, key: &StreamKey, name: &Name) -> Result<&mut Group, BrokerError> {
        let group = self.stream(key).and_then(|stream| stream.group(name));
        group.ok_or_else(|| no_group(key, name))
    }

    /// Makes a stream if need be, and starts its time again.
    pub(super) fn keep(&mut self, keep: &Keep) {
        // There is one connection for ever, so to speak.
        if keep.unless_epoch != Some(super::EPOCH) {
            self.stream_or_new(&keep.key);
            let at = self.now.saturating_add(keep.ttl);
            self.shard(&keep.key).expire_at(&keep.key, at);
        }
    }

    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.store.budget)
    }

    /// Whether there is room for these entries.
    pub(super) fn admit(&self, appends: &[Append]) -> Result<(), BrokerError> {
        self.admit_bytes(appends.iter().map(|append| entry_bytes(&append.fields)).sum())
    }

    pub(super) fn admit_bytes(&self, bytes: u64) -> Result<(), BrokerError> {
        match bytes {
            0 => Ok(()),
            bytes => self.store.budget.admit(bytes).or_else(|_| {
                // What should be gone elsewhere must not keep anything out. Shards in use are left to their users.
                (0..SHARDS).for_each(|_| self.store.sweep_next());
                self.store.budget.admit(bytes)
            }),
        }
    }

    /// Appends an entry, whether or not there is room. `None` when its stream had to exist and does not.
    pub(super) fn append(&mut self, append: Append) -> Option<EntryId> {
        if let Some(keep) = &append.keep {
            self.keep(keep);
        }
        if append.only_if_exists {
            self.stream(&append.key)?;
        }
        let now = self.now;
        let stream = self.stream_or_new(&append.key);
        let id = stream.push(append.fields, now);
        if let Some(max) = append.entries_max {
            stream.trim(TrimTo::Entries(max));
        }
        self.slot(&append.key)?.ring();
        Some(id)
    }

    /// Appends a dead letter, whether or not there is room; answers how many of the oldest had to go for it.
    pub(super) fn bury(&mut self, dead: &DeadAppend) -> u64 {
        self.append(Append::new(dead.key.clone(), dead.fields.clone()));
        self.stream(&dead.key).map_or(0, |stream| stream.trim(TrimTo::Entries(dead.entries_max)))
    }
}

/// An entry without fields is the one thing that a stream can't hold.
pub(super) fn check(fields: &Fields) -> Result<(), BrokerError> {
    if fields.is_empty() {
        return Err(BrokerError::Refused { code: "ERR".into(), message: "an entry needs a field".into() });
    }
    Ok(())
}

pub(super) fn no_group(key: &StreamKey, group: &Name) -> BrokerError {
    BrokerError::NoGroup { key: key.clone(), group: group.clone() }
}
