//! One stream: its entries, oldest first, and the groups that read it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    budget::{Budget, Share, entry_bytes},
    clock::unix_millis,
    group::Group,
};
use crate::{
    broker::{Delivered, GroupInfo, GroupStart, Membership, Range, ReclaimFrom, StreamInfo, TrimTo},
    entry::{Entry, EntryId, Fields},
    name::Name,
};

/// How many pending deliveries one reclaim looks at, so that a long list does not hold the lock for long. The cursor
/// carries on from there.
const PENDING_SCANNED_MAX: usize = 10_000;

/// Ids only grow and entries go from the front nearly always, so a ring sorted by id is all that is needed: appends and
/// trims at the ends, reads by binary search.
#[derive(Debug)]
pub(super) struct Stream {
    entries: VecDeque<Entry>,
    last: EntryId,
    appended: u64,
    /// Ids start above this one, which a stream that is gone may have had.
    floor: EntryId,
    groups: BTreeMap<Name, Group>,
    share: Share,
}

/// Deliveries that nobody renewed for a lease.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    /// Those whose entry can be delivered again.
    pub(super) held: Vec<EntryId>,
    /// Those whose entry is gone.
    pub(super) gone: Vec<EntryId>,
    /// Where the next look goes on; zero when the whole list was seen.
    pub(super) cursor: EntryId,
}

impl Overdue {
    fn add(&mut self, entries: &VecDeque<Entry>, id: EntryId) {
        let list = if find(entries, id).is_some() { &mut self.held } else { &mut self.gone };
        list.push(id);
    }
}

impl Stream {
    pub(super) fn new(budget: &Arc<Budget>, floor: EntryId) -> Self {
        let (entries, groups) = (VecDeque::new(), BTreeMap::new());
        Self { entries, last: EntryId::ZERO, appended: 0, floor, groups, share: Share::of(budget) }
    }

    /// Appends an entry, and tells a waiting member of each group.
    pub(super) fn push(&mut self, fields: Fields, now: Duration) -> EntryId {
        // As Redis does it: the time, or the next id while the time is not past the last one.
        let id = EntryId::new(unix_millis(now), 0).max(self.highest().next());
        self.share.take(entry_bytes(&fields));
        self.entries.push_back(Entry { id, fields });
        self.last = id;
        self.appended += 1;
        for group in self.groups.values() {
            group.announce();
        }
        id
    }

    /// The highest id that this key may ever have had.
    pub(super) fn highest(&self) -> EntryId {
        self.last.max(self.floor)
    }

    pub(super) fn info(&self) -> StreamInfo {
        StreamInfo {
            len: self.entries.len() as u64,
            first: self.entries.front().map(|entry| entry.id),
            last: self.last,
            appended: Some(self.appended),
        }
    }

    /// Up to `count` entries after this id.
    pub(super) fn after(&self, id: EntryId, count: usize) -> Vec<Entry> {
        self.entries.range(self.position_after(id)..).take(count).cloned().collect()
    }

    pub(super) fn range(&self, range: &Range) -> Vec<Entry> {
        let (from, to) = (self.position(range.from), self.position_after(range.to));
        let entries = self.entries.range(from.min(to)..to);
        if range.newest_first {
            entries.rev().take(range.count).cloned().collect()
        } else {
            entries.take(range.count).cloned().collect()
        }
    }

    pub(super) fn trim(&mut self, to: TrimTo) -> u64 {
        let gone = match to {
            TrimTo::Before(id) => self.position(id),
            TrimTo::Entries(left) => self.entries.len().saturating_sub(usize::try_from(left).unwrap_or(usize::MAX)),
            TrimTo::Finished => self.groups.values().map(Group::needed_from).min().map_or(0, |id| self.position(id)),
        };
        let bytes = self.entries.drain(..gone).map(|entry| entry_bytes(&entry.fields)).sum();
        self.share.give_back(bytes);
        gone as u64
    }

    pub(super) fn holds(&self, id: EntryId) -> bool {
        find(&self.entries, id).is_some()
    }

    /// Removes single entries; answers how many were there.
    pub(super) fn drop_entries(&mut self, ids: &[EntryId]) -> u64 {
        let before = self.entries.len();
        for id in ids {
            let position = self.position(*id);
            if self.entries.get(position).is_some_and(|entry| entry.id == *id)
                && let Some(entry) = self.entries.remove(position)
            {
                self.share.give_back(entry_bytes(&entry.fields));
            }
        }
        (before - self.entries.len()) as u64
    }

    /// Answers whether the group is new.
    pub(super) fn create_group(&mut self, name: &Name, start: GroupStart) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        let after = match start {
            GroupStart::After(id) => id,
            GroupStart::End => self.last,
        };
        self.groups.insert(name.clone(), Group::new(after));
        true
    }

    pub(super) fn drop_group(&mut self, name: &Name) -> bool {
        self.groups.remove(name).is_some()
    }

    pub(super) fn group(&mut self, name: &Name) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    pub(super) fn groups(&self) -> Vec<GroupInfo> {
        self.groups
            .iter()
            .map(|(name, group)| GroupInfo {
                name: name.clone(),
                members: group.members_count(),
                pending: group.pending_count(),
                last_delivered: group.last_delivered(),
                lag: Some((self.entries.len() - self.position_after(group.last_delivered())) as u64),
            })
            .collect()
    }

    /// Hands a member up to `count` entries that no member of its group has had; `None` when there is no such group.
    pub(super) fn deliver(
        &mut self,
        group: &Name,
        member: &Name,
        count: usize,
        now: Duration,
    ) -> Option<Vec<Delivered>> {
        let group = self.groups.get_mut(group)?;
        group.touch(member, now);
        let unread = self.entries.partition_point(|entry| entry.id <= group.last_delivered());
        let delivered = self.entries.range(unread..).take(count).map(|entry| group.hand_out(entry, member, now));
        let delivered: Vec<_> = delivered.collect();
        if unread + delivered.len() < self.entries.len() {
            // One announcement wakes one member. What this one leaves is the next one's.
            group.announce();
        }
        Some(delivered)
    }

    /// Which deliveries are anybody's; `None` when there is no such group.
    pub(super) fn overdue(&self, from: &ReclaimFrom, now: Duration) -> Option<Overdue> {
        let group = self.groups.get(&from.membership.group)?;
        let mut overdue = Overdue::default();
        let handed_back = if from.handed_back_first { group.handed_back(from.count) } else { Vec::new() };
        for id in &handed_back {
            overdue.add(&self.entries, *id);
        }
        for (scanned, (id, idle)) in group.idle_from(from.cursor, now).enumerate() {
            if scanned == PENDING_SCANNED_MAX || overdue.held.len() + overdue.gone.len() == from.count {
                overdue.cursor = id;
                break;
            }
            if idle >= from.lease && !handed_back.contains(&id) {
                overdue.add(&self.entries, id);
            }
        }
        Some(overdue)
    }

    /// Hands these pending deliveries to a member; `None` when there is no such group.
    pub(super) fn claim(&mut self, to: &Membership, ids: &[EntryId], now: Duration) -> Option<Vec<Delivered>> {
        let group = self.groups.get_mut(&to.group)?;
        group.touch(&to.member, now);
        let entries = ids.iter().filter_map(|id| find(&self.entries, *id));
        Some(entries.filter_map(|entry| group.hand_over(entry, &to.member, now)).collect())
    }

    /// Where the first entry lies whose id is not below this one.
    fn position(&self, id: EntryId) -> usize {
        self.entries.partition_point(|entry| entry.id < id)
    }

    /// Where the first entry lies whose id is above this one.
    fn position_after(&self, id: EntryId) -> usize {
        self.entries.partition_point(|entry| entry.id <= id)
    }
}

fn find(entries: &VecDeque<Entry>, id: EntryId) -> Option<&Entry> {
    let position = entries.partition_point(|entry| entry.id < id);
    entries.get(position).filter(|entry| entry.id == id)
}
