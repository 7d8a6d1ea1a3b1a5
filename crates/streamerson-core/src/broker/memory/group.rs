//! One group of a stream: who holds what, and since when.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    broker::{Delivered, MemberInfo, Membership, Pending, PendingEntry},
    entry::{Entry, EntryId},
    name::Name,
};

/// A member, or nobody: what was handed back.
type Holder = Option<Name>;

/// Since when nobody has renewed what was handed back: 1970, longer ago than any lease.
const HANDED_BACK: Duration = Duration::ZERO;

#[derive(Debug)]
pub(super) struct Group {
    last_delivered: EntryId,
    held: BTreeMap<EntryId, Held>,
    members: BTreeMap<Holder, Member>,
    /// Queues the members that wait, longest wait first, and forgets those that stop waiting.
    arrival: Arc<Notify>,
}

/// One delivery that was not settled.
#[derive(Debug)]
struct Held {
    by: Holder,
    /// When it was last delivered or renewed.
    since: Duration,
    count: u32,
}

#[derive(Debug, Default)]
struct Member {
    seen: Duration,
    holds: u64,
}

impl Group {
    /// A group that is to have what comes after this id.
    pub(super) fn new(after: EntryId) -> Self {
        Self {
            last_delivered: after,
            held: BTreeMap::new(),
            members: BTreeMap::new(),
            arrival: Arc::new(Notify::new()),
        }
    }

    /// Wakes the member that waits longest, or spares the next one its wait.
    pub(super) fn announce(&self) {
        self.arrival.notify_one();
    }

    /// The next announcement. Asked for under the lock that showed that there is nothing yet, it misses none.
    pub(super) fn arrival(&self) -> OwnedNotified {
        Arc::clone(&self.arrival).notified_owned()
    }

    pub(super) fn last_delivered(&self) -> EntryId {
        self.last_delivered
    }

    /// The lowest id that this group still has a use for.
    pub(super) fn needed_from(&self) -> EntryId {
        let unread = self.last_delivered.next();
        self.held.first_key_value().map_or(unread, |(pending, _)| unread.min(*pending))
    }

    /// Takes note that the member is alive.
    pub(super) fn touch(&mut self, member: &Name, now: Duration) {
        self.members.entry(Some(member.clone())).or_default().seen = now;
    }

    /// Gives a member an entry that nobody has had.
    pub(super) fn hand_out(&mut self, entry: &Entry, member: &Name, now: Duration) -> Delivered {
        self.last_delivered = entry.id;
        self.held.insert(entry.id, Held { by: Some(member.clone()), since: now, count: 1 });
        self.member(Some(member.clone())).holds += 1;
        Delivered { entry: entry.clone(), count: 1 }
    }

    /// Gives a member an entry that another one held; `None` when nobody holds it.
    pub(super) fn hand_over(&mut self, entry: &Entry, member: &Name, now: Duration) -> Option<Delivered> {
        let held = self.held.get_mut(&entry.id)?;
        // What was handed back never started, so this delivery is still the same one.
        if held.by.is_some() {
            held.count = held.count.saturating_add(1);
        }
        let count = held.count;
        self.pass(entry.id, Some(member.clone()), now);
        Some(Delivered { entry: entry.clone(), count })
    }

    pub(super) fn holds(&self, member: &Name, id: EntryId) -> bool {
        self.held.get(&id).is_some_and(|held| held.by.as_ref() == Some(member))
    }

    /// Takes a delivery off the list.
    pub(super) fn ack(&mut self, id: EntryId) {
        if let Some(held) = self.held.remove(&id) {
            self.member(held.by).holds -= 1;
        }
    }

    /// Starts the idle times of the member's deliveries again; answers those that are not its own.
    pub(super) fn renew(&mut self, member: &Name, ids: Vec<EntryId>, now: Duration) -> Vec<EntryId> {
        self.touch(member, now);
        let mut lost = ids;
        lost.retain(|id| match self.held.get_mut(id) {
            Some(held) if held.by.as_ref() == Some(member) => {
                held.since = now;
                false
            }
            _ => true,
        });
        lost
    }

    /// Gives up those of the deliveries that are the member's.
    pub(super) fn hand_back(&mut self, member: &Name, ids: &[EntryId], now: Duration) {
        for id in ids {
            if self.holds(member, *id) {
                self.pass(*id, None, HANDED_BACK);
                self.member(None).seen = now;
            }
        }
    }

    /// Forgets the member unless it holds something; answers whether it is off the list.
    pub(super) fn leave(&mut self, member: &Name) -> bool {
        let holder = Some(member.clone());
        let free = self.members.get(&holder).is_none_or(|member| member.holds == 0);
        if free {
            self.members.remove(&holder);
        }
        free
    }

    /// How long each delivery has been idle, from an id on.
    pub(super) fn idle_from(&self, from: EntryId, now: Duration) -> impl Iterator<Item = (EntryId, Duration)> {
        self.held.range(from..).map(move |(id, held)| (*id, now.saturating_sub(held.since)))
    }

    /// What was handed back, nobody has taken yet and no member died of, the oldest first.
    pub(super) fn handed_back(&self, count: usize) -> Vec<EntryId> {
        let any = self.members.get(&None).is_some_and(|nobody| nobody.holds > 0);
        let held = self.held.iter().filter(|(_, held)| held.by.is_none() && held.count <= 1);
        held.map(|(id, _)| *id).take(if any { count } else { 0 }).collect()
    }

    pub(super) fn pending_count(&self) -> u64 {
        self.held.len() as u64
    }

    pub(super) fn pending(&self, wanted: &Pending, now: Duration) -> Vec<PendingEntry> {
        self.held
            .range(wanted.from..)
            .filter(|(_, held)| wanted.member.is_none() || held.by == wanted.member)
            .take(wanted.count)
            .map(|(id, held)| PendingEntry {
                id: *id,
                member: shown(&held.by),
                idle: now.saturating_sub(held.since),
                count: held.count,
            })
            .collect()
    }

    pub(super) fn members_count(&self) -> u64 {
        self.listed().count() as u64
    }

    pub(super) fn members(&self, now: Duration) -> Vec<MemberInfo> {
        self.listed()
            .map(|(holder, member)| MemberInfo {
                name: shown(holder),
                pending: member.holds,
                idle: now.saturating_sub(member.seen),
            })
            .collect()
    }

    /// All members, and nobody where it holds something.
    fn listed(&self) -> impl Iterator<Item = (&Holder, &Member)> {
        self.members.iter().filter(|(holder, member)| holder.is_some() || member.holds > 0)
    }

    fn member(&mut self, holder: Holder) -> &mut Member {
        self.members.entry(holder).or_default()
    }

    fn pass(&mut self, id: EntryId, to: Holder, now: Duration) {
        if let Some(held) = self.held.get_mut(&id) {
            held.since = now;
            let from = std::mem::replace(&mut held.by, to.clone());
            self.member(from).holds -= 1;
            self.member(to).holds += 1;
        }
    }
}

impl Drop for Group {
    /// Members that wait find that the group is gone.
    fn drop(&mut self) {
        self.arrival.notify_waiters();
    }
}

fn shown(holder: &Holder) -> String {
    holder.as_deref().unwrap_or(Membership::NOBODY).to_owned()
}
