//! The streams behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{bell::Bell, marks::Marks, owners::Owners, schedule::Waiting, stream::Stream};
use crate::{entry::EntryId, topic::StreamKey};

/// How many streams, and how many marks, whose time has come are removed each time that the shard is used, so that a crowd of them holds up
/// nobody for long.
const SWEPT_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: HashMap<StreamKey, Slot>,
    /// What waits for its time; no schedule in it is empty.
    pub(super) schedules: HashMap<StreamKey, Waiting>,
    pub(super) marks: Marks,
    pub(super) owners: Owners,
    /// When each stream with an expiry goes, soonest first.
    expiring: BTreeSet<(Duration, StreamKey)>,
    /// The highest id of all streams that are gone. A stream with the key of one of them starts above it: with a clock
    /// that stands still it would otherwise give ids again, and readers that know them would miss the new entries.
    floor: EntryId,
}

/// What is known of one key: its stream, and who waits for entries in it, be there a stream or not.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) stream: Option<Stream>,
    expires: Option<Duration>,
    watches: BTreeMap<WatchId, Watch>,
}

/// A reader, and which of its cursors.
pub(super) type WatchId = (u64, usize);

/// A reader that wants to know of new entries.
#[derive(Debug)]
struct Watch {
    bell: Arc<Bell>,
    /// Whether the reader has looked since it was last told. It is told once, however much comes until then.
    armed: bool,
}

impl Shard {
    /// The slot of a key, with nothing in it that should be gone.
    pub(super) fn slot(&mut self, key: &StreamKey, now: Duration) -> Option<&mut Slot> {
        // The sweep removes what is due before anybody looks, unless it is a crowd.
        if self.due(now).is_some() && self.slots.get(key).is_some_and(|slot| slot.expires.is_some_and(|at| at <= now)) {
            self.remove(key);
        }
        self.slots.get_mut(key)
    }

    pub(super) fn slot_or_new(&mut self, key: &StreamKey, now: Duration) -> &mut Slot {
        if self.slot(key, now).is_none() {
            self.slots.insert(key.clone(), Slot::default());
        }
        self.slots.get_mut(key).expect("it was there or was just put there")
    }

    /// The keys that hold a stream.
    pub(super) fn keys(&self) -> impl Iterator<Item = &StreamKey> {
        self.slots.iter().filter(|(_, slot)| slot.stream.is_some()).map(|(key, _)| key)
    }

    /// The id above which a new stream starts.
    pub(super) fn floor(&self) -> EntryId {
        self.floor
    }

    /// Lets a key go at this time, and not before.
    pub(super) fn expire_at(&mut self, key: &StreamKey, at: Duration) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(before) = slot.expires.replace(at) {
            self.expiring.remove(&(before, key.clone()));
        }
        self.expiring.insert((at, key.clone()));
    }

    /// Empties a key. Those who watch it keep watching.
    pub(super) fn remove(&mut self, key: &StreamKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(at) = slot.expires.take() {
            self.expiring.remove(&(at, key.clone()));
        }
        if let Some(stream) = slot.stream.take() {
            self.floor = self.floor.max(stream.highest());
        }
        self.forget_if_vacant(key);
    }

    /// Removes streams and marks whose time has come, a bounded number of them.
    pub(super) fn sweep(&mut self, now: Duration) {
        for _ in 0..SWEPT_MAX {
            let Some(key) = self.due(now).cloned() else { break };
            self.remove(&key);
        }
        for _ in 0..SWEPT_MAX {
            if !self.marks.sweep_one(now) {
                break;
            }
        }
    }

    /// Tells a reader of entries that come to a key from now on.
    pub(super) fn watch(&mut self, key: &StreamKey, id: WatchId, bell: &Arc<Bell>, now: Duration) {
        let watch = Watch { bell: Arc::clone(bell), armed: true };
        self.slot_or_new(key, now).watches.insert(id, watch);
    }

    pub(super) fn unwatch(&mut self, key: &StreamKey, id: WatchId) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.watches.remove(&id);
            self.forget_if_vacant(key);
        }
    }

    fn due(&self, now: Duration) -> Option<&StreamKey> {
        self.expiring.first().filter(|(at, _)| *at <= now).map(|(_, key)| key)
    }

    fn forget_if_vacant(&mut self, key: &StreamKey) {
        if self.slots.get(key).is_some_and(|slot| slot.stream.is_none() && slot.watches.is_empty()) {
            self.slots.remove(key);
        }
    }
}

impl Slot {
    /// Tells the readers that have not been told since they last looked.
    pub(super) fn ring(&mut self) {
        for ((_, index), watch) in &mut self.watches {
            if std::mem::take(&mut watch.armed) {
                watch.bell.ring(*index);
            }
        }
    }

    /// The reader is looking: it is to be told of what comes after.
    pub(super) fn arm(&mut self, id: WatchId) {
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.armed = true;
        }
    }
}
