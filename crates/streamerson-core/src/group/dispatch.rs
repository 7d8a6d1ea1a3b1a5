//! Whose turn it is: what was taken goes to its handler now, or waits for the right moment.
//!
//! Three things make a delivery wait: an earlier one with the same key, another attempt that is not due yet, and the
//! suspicion that it kills whoever handles it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry as Slot},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Delivery,
    held::{HeldState, Holdings},
    member::{MemberConfig, Shared},
    order::LaneKey,
};
use crate::entry::EntryId;

/// Suspects that wait in one member, at most; the rest goes back to the group. Each of them shares the fate of the one
/// that runs.
const SUSPECTS_MAX: usize = 16;

/// A delivery that waits to be handed out.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) delivery: Arc<Delivery>,
    pub(super) state: Arc<HeldState>,
}

/// How carefully a delivery is run, by how many members died while they held it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caution {
    /// Beside all others.
    None,
    /// One suspect at a time.
    OneByOne,
    /// Nothing else is held meanwhile, so nothing else is lost with it.
    Alone,
}

impl Caution {
    /// On its second crash a delivery is run beside no other suspect, from the third alone. Where fewer deliveries are
    /// allowed it comes to that earlier, so that none is given up for what another did.
    pub(super) fn after(crashes: u32, deliveries_max: u32) -> Self {
        let last = deliveries_max.saturating_sub(1).max(1);
        match crashes {
            _ if crashes >= last.min(3) => Self::Alone,
            _ if crashes >= last.min(2) => Self::OneByOne,
            _ => Self::None,
        }
    }
}

/// What a delivery occupies until it has ended.
#[derive(Debug)]
pub(super) struct Turn {
    lane: Option<LaneKey>,
    caution: Caution,
}

/// The deliveries of one member that wait for their turn, and what those occupy that have had it.
#[derive(Debug)]
pub(super) struct Dispatch {
    // One short lock, never held across an await. Taken before the lock of the holdings, never after it.
    inner: Mutex<Inner>,
    pub(super) holdings: Holdings,
    // Weak, so that whoever waits for the next delivery is told when nobody takes any more.
    hand_over: OnceLock<mpsc::WeakUnboundedSender<Taken>>,
    /// Something waits that the timers should know of, or is to run alone.
    changed: Notify,
    /// What ran alone has ended.
    alone_over: Notify,
    /// A suspect has ended and none waits, so there may be more in the group.
    pub(super) hungry: Notify,
    /// For the only one who handles a stream, until it stops: what it gave back meanwhile would come back to itself, out
    /// of order.
    sole: Option<CancellationToken>,
}

#[derive(Debug, Default)]
struct Inner {
    lanes: HashMap<LaneKey, Lane>,
    /// The suspect that has its turn.
    suspect: Option<Arc<HeldState>>,
    /// Those that wait for it.
    suspects: VecDeque<Taken>,
    /// The one that runs alone now.
    alone: Option<Arc<HeldState>>,
    /// Those that are to run alone, one after the other.
    loners: VecDeque<Taken>,
    /// By when they are due.
    retries: BTreeMap<(Instant, EntryId), Taken>,
}

/// The deliveries with one key.
#[derive(Debug)]
struct Lane {
    /// The one that has its turn, until it has ended; attempts that wait included.
    front: Arc<HeldState>,
    waiting: BTreeMap<EntryId, Taken>,
}

impl Dispatch {
    /// `sole`: what stops the member, if it is the only one who handles its stream.
    pub(super) fn new(sole: Option<CancellationToken>) -> Self {
        Self {
            inner: Mutex::default(),
            holdings: Holdings::default(),
            hand_over: OnceLock::new(),
            changed: Notify::new(),
            alone_over: Notify::new(),
            hungry: Notify::new(),
            sole,
        }
    }

    /// Whether the member must not give anything back, since nobody else may take it.
    pub(super) fn keeps_all(&self) -> bool {
        self.sole.as_ref().is_some_and(|stopped| !stopped.is_cancelled())
    }

    /// Where deliveries go whose turn it is.
    pub(super) fn connect(&self, hand_over: mpsc::WeakUnboundedSender<Taken>) {
        _ = self.hand_over.set(hand_over);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Collections are whole after each operation, so a panic elsewhere can't leave them half-made.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a delivery that a handler should see.
    pub(super) fn arrive(&self, config: &MemberConfig, taken: Taken) {
        let Delivery { message, count, .. } = &*taken.delivery;
        let lane = config.ordered_by.as_ref().and_then(|ordered_by| ordered_by.key(message));
        let caution = Caution::after(count.saturating_sub(1), config.deliveries_max);
        if lane.is_none() && caution == Caution::None {
            return self.hand_over(taken);
        }
        // Set once: a state belongs to one delivery, which arrives once.
        _ = taken.state.turn.set(Turn { lane: lane.clone(), caution });
        let mut inner = self.lock();
        if let Some(lane) = lane {
            match inner.lanes.entry(lane) {
                Slot::Occupied(mut busy) => {
                    busy.get_mut().waiting.insert(taken.delivery.entry, taken);
                    return;
                }
                Slot::Vacant(free) => {
                    free.insert(Lane { front: Arc::clone(&taken.state), waiting: BTreeMap::new() });
                }
            }
        }
        self.go(&mut inner, taken);
    }

    /// Lets a delivery go that nothing with its key is in front of.
    fn go(&self, inner: &mut Inner, taken: Taken) {
        match taken.state.turn.get().map_or(Caution::None, |turn| turn.caution) {
            Caution::None => self.hand_over(taken),
            Caution::OneByOne if inner.suspect.is_none() => {
                inner.suspect = Some(Arc::clone(&taken.state));
                self.hand_over(taken);
            }
            Caution::OneByOne if inner.suspects.len() < SUSPECTS_MAX || self.keeps_all() => {
                inner.suspects.push_back(taken);
            }
            Caution::Alone if (inner.loners.is_empty() && inner.alone.is_none()) || self.keeps_all() => {
                inner.loners.push_back(taken);
                self.changed.notify_one();
            }
            Caution::OneByOne | Caution::Alone => {
                self.holdings.hand_back(taken.delivery.entry, &taken.state);
                self.leave_lane(inner, &taken.state);
            }
        }
    }

    fn hand_over(&self, taken: Taken) {
        let Some(to) = self.hand_over.get().and_then(mpsc::WeakUnboundedSender::upgrade) else {
            // The member is leaving.
            return self.holdings.hand_back(taken.delivery.entry, &taken.state);
        };
        self.holdings.begin();
        // The receiver is gone only when the member is, and then the lease takes care of it.
        _ = to.send(taken);
    }

    /// These are settled, except for the lost ones, which are somebody else's.
    pub(super) fn settled(&self, ended: &[(EntryId, Arc<HeldState>)], lost: &[EntryId]) {
        self.holdings.settled(ended, lost);
        ended.iter().for_each(|(_, state)| self.ended(state));
    }

    /// The delivery is no longer renewed.
    pub(super) fn forget(&self, id: EntryId, state: &Arc<HeldState>) {
        self.holdings.forget(id, state);
        self.ended(state);
    }

    /// The delivery is given up, for any member to take at once.
    pub(super) fn hand_back(&self, id: EntryId, state: &Arc<HeldState>) {
        self.holdings.hand_back(id, state);
        self.ended(state);
    }

    /// What a delivery occupied is free, whatever way it ended.
    fn ended(&self, state: &Arc<HeldState>) {
        // Most never had to wait, and occupy nothing.
        if state.turn.get().is_none() {
            return;
        }
        let mut inner = self.lock();
        self.end_caution(&mut inner, state);
        self.leave_lane(&mut inner, state);
    }

    fn end_caution(&self, inner: &mut Inner, state: &Arc<HeldState>) {
        let is = |other: &Option<Arc<HeldState>>| other.as_ref().is_some_and(|other| Arc::ptr_eq(other, state));
        if is(&inner.suspect) {
            inner.suspect = None;
            match inner.suspects.pop_front() {
                Some(next) => self.go(inner, next),
                None => self.hungry.notify_one(),
            }
        }
        if is(&inner.alone) {
            inner.alone = None;
            self.alone_over.notify_one();
            self.hungry.notify_one();
            // For whoever waits until none is: what is held shrank before this was known.
            self.holdings.shrunk.notify_waiters();
        }
    }

    fn leave_lane(&self, inner: &mut Inner, state: &Arc<HeldState>) {
        let Some(key) = state.turn.get().and_then(|turn| turn.lane.as_ref()) else { return };
        let Some(lane) = inner.lanes.get_mut(key).filter(|lane| Arc::ptr_eq(&lane.front, state)) else { return };
        match lane.waiting.pop_first() {
            Some((_, next)) => {
                lane.front = Arc::clone(&next.state);
                self.go(inner, next);
            }
            None => _ = inner.lanes.remove(key),
        }
    }

    /// Keeps a delivery for another attempt. It stays in front of others with its key.
    pub(super) fn retry(&self, taken: Taken, at: Instant) {
        let mut inner = self.lock();
        let state = Arc::clone(&taken.state);
        inner.retries.insert((at, taken.delivery.entry), taken);
        self.end_caution(&mut inner, &state);
        drop(inner);
        self.changed.notify_one();
        self.holdings.shrunk.notify_waiters();
        // It takes no more of the room of those that wait for their keys.
        self.holdings.freed.notify_one();
    }

    /// How many wait for another attempt.
    pub(super) fn retries(&self) -> usize {
        self.lock().retries.len()
    }

    /// Whether there is no place for more of those that members died of.
    pub(super) fn is_full(&self) -> bool {
        let inner = self.lock();
        !inner.loners.is_empty() || inner.alone.is_some() || inner.suspects.len() >= SUSPECTS_MAX
    }

    /// Gives back everything that never had its turn, but for so many of those that are to run alone.
    pub(super) fn give_back_unstarted(&self, loners: usize) {
        let mut inner = self.lock();
        let suspects = std::mem::take(&mut inner.suspects);
        let kept = loners.min(inner.loners.len());
        let loners = inner.loners.split_off(kept);
        let waiting = inner.lanes.values_mut().flat_map(|lane| std::mem::take(&mut lane.waiting).into_values());
        let mut waiting: Vec<_> = waiting.chain(suspects).chain(loners).collect();
        // In no order that a hash has made, so that a simulation comes to the same each time.
        waiting.sort_unstable_by_key(|taken| taken.delivery.entry);
        for taken in waiting {
            self.holdings.hand_back(taken.delivery.entry, &taken.state);
            // It may be in front of a lane, which is empty by now.
            self.leave_lane(&mut inner, &taken.state);
        }
    }

    /// Takes out what waits for another attempt, with the time when it is due, for a member that leaves.
    pub(super) fn take_retries(&self) -> Vec<(Instant, Taken)> {
        let retries = std::mem::take(&mut self.lock().retries);
        retries.into_iter().map(|((at, _), taken)| (at, taken)).collect()
    }

    /// Lets those go that are due; answers when the next one is.
    fn let_due_go(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut inner = self.lock();
        while let Some(first) = inner.retries.first_entry() {
            let (at, _) = *first.key();
            if at > now {
                return Some(at);
            }
            let taken = first.remove();
            self.go(&mut inner, taken);
        }
        None
    }

    fn has_loner(&self) -> bool {
        !self.lock().loners.is_empty()
    }

    /// Waits until nothing is held but so many and what waits for its time.
    pub(super) async fn until_quiet(&self, kept: usize) {
        self.until(|| self.holdings.unsettled() <= kept + self.retries()).await;
    }

    /// Waits until nothing here is alone or is to be.
    pub(super) async fn until_none_is_to_be_alone(&self) {
        let is_so = || {
            let inner = self.lock();
            inner.loners.is_empty() && inner.alone.is_none()
        };
        self.until(is_so).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let shrunk = self.holdings.shrunk.notified();
            let mut shrunk = std::pin::pin!(shrunk);
            // Registered before the look, so that nothing that ends in between is missed.
            shrunk.as_mut().enable();
            if is_so() {
                return;
            }
            shrunk.await;
        }
    }

    fn start_loner(&self) -> bool {
        let mut inner = self.lock();
        let Some(taken) = inner.loners.pop_front() else { return false };
        let Delivery { message, membership, count, .. } = &*taken.delivery;
        let (event, id) = (&message.event, &message.id);
        warn!(member = ?membership, %event, %id, count, "handled alone, since members died while they had it");
        inner.alone = Some(Arc::clone(&taken.state));
        self.hand_over(taken);
        true
    }
}

/// Lets go what becomes due, and runs alone what has to be, until the member is stopped.
pub(super) async fn keep(shared: Arc<Shared>) {
    let dispatch = &shared.dispatch;
    loop {
        let due = tokio::select! {
            biased;
            () = shared.stopped.cancelled() => return,
            // What is due waits, too, while a delivery has to be alone here.
            _open = shared.neighbours.enter() => dispatch.let_due_go(),
        };
        if dispatch.has_loner() {
            tokio::select! {
                biased;
                () = shared.stopped.cancelled() => return,
                // Nothing else ends it, or others would begin while it is at work.
                () = run_alone(&shared) => continue,
            }
        }
        tokio::select! {
            biased;
            () = shared.stopped.cancelled() => return,
            () = dispatch.changed.notified() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

/// Handles the loner while nothing else is held in this process: one that dies of it takes nothing along.
async fn run_alone(shared: &Arc<Shared>) {
    let closed = shared.neighbours.clear_for(shared).await;
    if !shared.dispatch.start_loner() {
        return;
    }
    let shared = Arc::clone(shared);
    // Apart from this member's tasks: when it stops, the delivery is still at work, and its neighbours go on.
    let over = tokio::spawn(async move {
        tokio::select! {
            biased;
            () = shared.dispatch.alone_over.notified() => {}
            () = shared.gone.cancelled() => {}
        }
        drop(closed);
    });
    _ = over.await;
}

#[cfg(test)]
mod tests {
    use super::Caution::{self, Alone, OneByOne};

    #[test]
    fn caution_grows_with_the_crashes() {
        let by_crashes = |deliveries_max| [0, 1, 2, 3, 4].map(|crashes| Caution::after(crashes, deliveries_max));
        assert_eq!(by_crashes(5), [Caution::None, Caution::None, OneByOne, Alone, Alone]);
        assert_eq!(by_crashes(3), [Caution::None, Caution::None, Alone, Alone, Alone]);
        assert_eq!(by_crashes(2), [Caution::None, Alone, Alone, Alone, Alone]);
        assert_eq!(by_crashes(1), [Caution::None, Alone, Alone, Alone, Alone]);
    }
}
