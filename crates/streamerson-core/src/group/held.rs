//! What a member holds, and the handle by which a delivery is ended.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, mpsc},
    time::Instant,
};

use super::{
    Delivery, Outcome, Settled,
    dispatch::{Dispatch, Taken, Turn},
};
use crate::{
    entry::{EntryId, Fields},
    message::Message,
    name::MessageId,
};

/// After what time the only one who handles a stream gets what it gave back itself.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// A delivery that is this process's to end.
///
/// End it with [`Held::settle`], or give it back with [`Held::hand_back`]. One that is dropped stays pending: its lease
/// is renewed no longer, and when it ends another member gets the delivery.
#[derive(Debug)]
#[must_use = "a delivery that is dropped waits for its lease to end before anybody handles it"]
pub struct Held {
    /// The delivery. Shared, as a handle is moved often: into a task, into a future that settles it.
    pub delivery: Arc<Delivery>,
    pub(super) state: Arc<HeldState>,
    pub(super) settle: mpsc::Sender<Ended>,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// Whether it counts as being handled.
    pub(super) active: bool,
    /// Whether this handle still decides what becomes of the delivery.
    pub(super) open: bool,
}

/// A delivery on its way to be settled.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) entry: EntryId,
    /// None for what is no message at all.
    pub(super) delivery: Option<Arc<Delivery>>,
    pub(super) state: Arc<HeldState>,
    pub(super) settled: Settled,
    /// Whether whoever asked is told nothing, since another group does that.
    pub(super) silent: bool,
    /// Whether this outcome was counted before.
    pub(super) counted: bool,
}

impl Ended {
    pub(super) fn new(delivery: &Arc<Delivery>, state: &Arc<HeldState>, settled: Settled) -> Self {
        let (delivery, state) = (Arc::clone(delivery), Arc::clone(state));
        Self { entry: delivery.entry, delivery: Some(delivery), state, settled, silent: false, counted: false }
    }

    /// The end of what waits here for another attempt, and then waits in the schedule.
    pub(super) fn put_off(taken: &Taken, after: Duration) -> Self {
        // Counted already, and about to be counted once more.
        let failures = taken.delivery.failures.saturating_sub(1);
        let delivery = Arc::new(Delivery { failures, ..Delivery::clone(&taken.delivery) });
        let outcome = Outcome::Retried { after, error: "put off".into() };
        Self { counted: true, ..Self::new(&delivery, &taken.state, outcome.into()) }
    }

    /// The end of what is no message.
    pub(super) fn malformed(entry: EntryId, state: Arc<HeldState>, outcome: Outcome) -> Self {
        Self { entry, delivery: None, state, settled: outcome.into(), silent: false, counted: false }
    }
}

impl Held {
    /// Ends the delivery: the outcome takes effect with the next batch of them. Waits while too many wait already.
    ///
    /// Nothing happens when the lease [was lost](Held::is_lost).
    pub async fn settle(mut self, settled: impl Into<Settled>) {
        // The handler is done, so another may run while this waits to be settled.
        self.release();
        if self.state.is_lost() {
            return;
        }
        self.state.ended.store(true, Ordering::Release);
        // It fails when the member is gone. Then, and when this future is dropped before there is room, the delivery
        // stays pending, as after a crash.
        let Ok(room) = self.settle.reserve().await else { return };
        room.send(Ended::new(&self.delivery, &self.state, settled.into()));
        self.open = false;
    }

    /// Gives up a delivery that never started, for any member to take at once. Its delivery count stays.
    ///
    /// The only one who handles a shard has nobody to give it to, and gets it again itself after a moment.
    pub fn hand_back(mut self) {
        self.open = false;
        self.release();
        if self.dispatch.keeps_all() {
            let taken = Taken { delivery: Arc::clone(&self.delivery), state: Arc::clone(&self.state) };
            return self.dispatch.retry(taken, Instant::now() + KEPT_FOR);
        }
        self.dispatch.hand_back(self.delivery.entry, &self.state);
    }

    /// Whether the lease was lost: another member may be handling the same message, and what comes of this handling is
    /// discarded.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.state.is_lost()
    }

    /// Whether whoever asked has gone: a handler need not begin, and one that has may stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state.is_cancelled()
    }

    /// A handle on the lease that can be kept apart from the delivery.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease(Arc::clone(&self.state))
    }

    /// A message for another stream that comes of this delivery: a [`Publisher`](crate::Publisher) ends the delivery
    /// once the message is appended. The message's id is derived from the delivery's, so that a redelivery makes the
    /// same one.
    #[must_use]
    pub fn forward(self, message: Message) -> crate::publisher::Outbound {
        let id = self.delivery.message.id.derive(0);
        crate::publisher::Outbound { message: message.with_id(id), origin: Some(self) }
    }

    /// Nobody works on it any more.
    fn release(&mut self) {
        self.permit = None;
        if std::mem::take(&mut self.active) {
            self.dispatch.holdings.ended();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
        if self.open {
            self.dispatch.forget(self.delivery.entry, &self.state);
        }
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self(Arc::new(HeldState::new(Fields::default(), Instant::now())))
    }
}

/// The lease of one delivery, and what is heard meanwhile. The default one is that of a message that nobody else can
/// have: it is never lost.
#[derive(Debug, Clone)]
pub struct Lease(Arc<HeldState>);

impl Lease {
    /// Whether it was lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.is_lost()
    }

    /// Waits until it is lost, for ever if it is not.
    pub async fn lost(&self) {
        self.0.until(HeldState::is_lost).await;
    }

    /// Whether whoever asked has gone.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until whoever asked has gone, for ever if nobody says so.
    pub async fn cancelled(&self) {
        self.0.until(HeldState::is_cancelled).await;
    }
}

/// What is known of one delivery while this member holds it.
#[derive(Debug)]
pub(super) struct HeldState {
    /// The entry as it came, for a dead letter.
    pub(super) fields: Fields,
    /// When the lease began or was last renewed, at the earliest.
    renewed: Mutex<Instant>,
    /// Nobody works on it any more, and it waits to be settled or is.
    pub(super) ended: AtomicBool,
    lost: AtomicBool,
    cancelled: AtomicBool,
    /// One of the two has come true.
    on_change: Notify,
    /// The message, once it is known to be one.
    pub(super) id: OnceLock<MessageId>,
    /// What it occupies, if it can't run beside all others.
    pub(super) turn: OnceLock<Turn>,
}

impl HeldState {
    fn new(fields: Fields, since: Instant) -> Self {
        Self {
            fields,
            renewed: Mutex::new(since),
            ended: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            on_change: Notify::new(),
            id: OnceLock::new(),
            turn: OnceLock::new(),
        }
    }

    /// Whether the lease began or was renewed so recently that nobody can have taken the delivery.
    pub(super) fn is_fresh(&self, within: Duration) -> bool {
        !self.is_lost() && self.renewed().elapsed() < within
    }

    fn renewed(&self) -> Instant {
        *self.lock()
    }

    fn renew(&self, since: Instant) {
        let mut renewed = self.lock();
        *renewed = since.max(*renewed);
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        // Held for a look at one value, or to replace it.
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.on_change.notify_waiters();
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.on_change.notify_waiters();
    }

    async fn until(&self, is_so: fn(&Self) -> bool) {
        loop {
            let change = self.on_change.notified();
            let mut change = std::pin::pin!(change);
            // Registered before the look, so that a change in between is not missed.
            change.as_mut().enable();
            if is_so(self) {
                return;
            }
            change.await;
        }
    }
}

/// Everything that a member holds: waiting for its turn, being handled, or waiting to be settled.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    // One short lock for all: each touches a few map nodes and never awaits.
    inner: Mutex<Inner>,
    /// Something was let go, so there may be room for more.
    pub(super) freed: Notify,
    /// The same, for whoever waits until little is held.
    pub(super) shrunk: Notify,
    /// Something is to be handed back.
    pub(super) given_up: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    held: BTreeMap<EntryId, Arc<HeldState>>,
    /// How many of them are handed out, or on the way to whoever handles them; lost ones included.
    active: usize,
    handed_back: Vec<EntryId>,
    /// The highest entry that was settled.
    settled: EntryId,
    /// Up to where the whole group had finished when that was last asked, if it has other members. Whatever was
    /// unsettled then, or was delivered since, lies above.
    finished: Option<EntryId>,
    /// The lowest and the highest entry that was let go without being settled, until the whole group has finished them.
    given_up: Option<(EntryId, EntryId)>,
}

impl Holdings {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Maps and numbers are whole after each operation, so a panic elsewhere can't leave them half-made.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more deliveries may be taken, so that at most `active_max` are being handled, and at most `held_max` more
    /// wait for something.
    pub(super) fn room(&self, active_max: usize, held_max: usize) -> usize {
        let inner = self.lock();
        let all_max = active_max.saturating_add(held_max);
        active_max.saturating_sub(inner.active).min(all_max.saturating_sub(inner.held.len()))
    }

    /// How many deliveries are not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.lock().held.len()
    }

    /// Takes a delivery in; `None` when it is held already, as after a lease that this process missed to renew.
    pub(super) fn take(&self, id: EntryId, fields: Fields, since: Instant) -> Option<Arc<HeldState>> {
        let mut inner = self.lock();
        if let Some(held) = inner.held.get(&id) {
            if held.fields == fields {
                held.renew(since);
                return None;
            }
            // A stream that was made anew has come to the same id, with another message.
            held.lose();
        }
        let state = Arc::new(HeldState::new(fields, since));
        inner.held.insert(id, Arc::clone(&state));
        Some(state)
    }

    /// A delivery is on its way to whoever handles it.
    pub(super) fn begin(&self) {
        self.lock().active += 1;
    }

    /// Notes that whoever sent these requests has gone; answers how many of them are held here.
    pub(super) fn cancel(&self, id: &MessageId) -> usize {
        let inner = self.lock();
        let of_request = inner.held.values().filter(|held| held.id.get() == Some(id));
        of_request.map(|held| held.cancel()).count()
    }

    /// Keeps of these what is still held, and so to be settled.
    pub(super) fn retain_held(&self, ended: &mut Vec<Ended>) {
        let inner = self.lock();
        ended.retain(|ended| inner.held.get(&ended.entry).is_some_and(|held| Arc::ptr_eq(held, &ended.state)));
    }

    /// A delivery needs no more handling; it may still have to be settled.
    pub(super) fn ended(&self) {
        let mut inner = self.lock();
        inner.active = inner.active.saturating_sub(1);
        drop(inner);
        self.freed.notify_one();
    }

    /// These are settled, except for the lost ones, which are somebody else's.
    pub(super) fn settled(&self, ended: &[(EntryId, Arc<HeldState>)], lost: &[EntryId]) {
        let mut inner = self.lock();
        for (id, state) in ended {
            inner.remove(*id, state);
            if !lost.contains(id) {
                inner.settled = inner.settled.max(*id);
            }
        }
        drop(inner);
        self.shrunk();
    }

    /// The delivery is no longer renewed.
    pub(super) fn forget(&self, id: EntryId, state: &Arc<HeldState>) {
        let mut inner = self.lock();
        if inner.remove(id, state) {
            inner.give_up(id);
        }
        drop(inner);
        self.shrunk();
    }

    fn shrunk(&self) {
        self.freed.notify_one();
        self.shrunk.notify_waiters();
    }

    pub(super) fn hand_back(&self, id: EntryId, state: &Arc<HeldState>) {
        let mut inner = self.lock();
        if inner.remove(id, state) {
            inner.handed_back.push(id);
            inner.give_up(id);
        }
        drop(inner);
        self.given_up.notify_one();
        self.shrunk();
    }

    /// What was given up since the last look.
    pub(super) fn take_handed_back(&self) -> Vec<EntryId> {
        std::mem::take(&mut self.lock().handed_back)
    }

    pub(super) fn ids(&self) -> Vec<EntryId> {
        self.lock().held.keys().copied().collect()
    }

    pub(super) fn holds(&self, id: EntryId) -> bool {
        self.lock().held.contains_key(&id)
    }

    /// Notes a renewal of these, begun at `since`, that found some lost; answers how many of them somebody works on.
    pub(super) fn renewed(&self, ids: &[EntryId], lost: &[EntryId], since: Instant) -> usize {
        let mut inner = self.lock();
        let mut at_work = 0;
        for id in lost {
            // One that was taken anew meanwhile is not lost.
            let Slot::Occupied(held) = inner.held.entry(*id) else { continue };
            if held.get().renewed() > since {
                continue;
            }
            held.get().lose();
            // One that has ended is most likely settled by now; whoever settles it finds out.
            if !held.get().ended.load(Ordering::Acquire) {
                held.remove();
                at_work += 1;
            }
        }
        for id in ids {
            if let Some(held) = inner.held.get(id) {
                held.renew(since);
            }
        }
        drop(inner);
        self.shrunk();
        at_work
    }

    /// All that is held is somebody else's now; answers how many of it somebody works on.
    pub(super) fn lose_all(&self) -> usize {
        let held = std::mem::take(&mut self.lock().held);
        held.values().for_each(|held| held.lose());
        self.shrunk();
        held.values().filter(|held| !held.ended.load(Ordering::Acquire)).count()
    }

    /// Whether something was let go that the group may not have finished yet.
    pub(super) fn gave_up(&self) -> bool {
        self.lock().given_up.is_some()
    }

    /// Notes up to where the whole group has finished, where there are others.
    pub(super) fn learn(&self, finished: Option<EntryId>) {
        let mut inner = self.lock();
        inner.finished = finished;
        if let Some(finished) = finished {
            let given_up = inner.given_up.filter(|(_, highest)| *highest > finished);
            inner.given_up = given_up.map(|(lowest, highest)| (lowest.max(finished.next()), highest));
        }
    }

    /// After which entry a group starts that had to be made again: nothing that was unsettled is skipped, here or, as
    /// far as was known a moment ago, with others.
    pub(super) fn restart_after(&self) -> EntryId {
        let inner = self.lock();
        let own = inner.held.keys().next().map_or(inner.settled, |lowest| lowest.previous());
        let all = inner.finished.unwrap_or(own);
        inner.given_up.map_or(all, |(lowest, _)| all.min(lowest.previous()))
    }
}

impl Inner {
    /// Notes that this was let go and is not settled.
    fn give_up(&mut self, id: EntryId) {
        let (lowest, highest) = self.given_up.unwrap_or((id, id));
        self.given_up = Some((lowest.min(id), highest.max(id)));
    }

    /// Removes a delivery, unless this entry was taken once more since and is another delivery now.
    fn remove(&mut self, id: EntryId, state: &Arc<HeldState>) -> bool {
        match self.held.entry(id) {
            Slot::Occupied(held) if Arc::ptr_eq(held.get(), state) => {
                held.remove();
                true
            }
            _ => false,
        }
    }
}
