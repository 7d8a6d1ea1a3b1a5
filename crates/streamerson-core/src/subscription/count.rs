//! How many entries a stream ever had, against how many were read of it: what shows a hole that the cursor does not.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    broker::StreamInfo,
    entry::{Entry, EntryId},
};

/// How often the two are compared while a stream is read.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// What is known of the number of entries up to a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    /// Entries that were ever appended, up to the position and with it, if none was missed.
    so_far: Option<u64>,
    /// Up to here none was missed, or it was told.
    sure: EntryId,
    /// What the broker counts at a place further on.
    mark: Option<Mark>,
    /// Whether anything was read since the broker was asked.
    is_behind: bool,
    asked: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Where it was counted: the highest id at that time.
    last: EntryId,
    appended: u64,
    /// The oldest entry that the stream held.
    first: Option<EntryId>,
}

/// Entries were missed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// How many of the entries that were read come before the place where it showed.
    pub(super) before: usize,
    /// The last entry up to which none was missed.
    pub(super) after: EntryId,
    /// The oldest entry that the stream held.
    pub(super) first: Option<EntryId>,
}

impl Count {
    /// Of a stream of which nothing is known yet.
    pub(super) fn unknown(next: EntryId) -> Self {
        Self { so_far: None, sure: next, mark: None, is_behind: true, asked: Instant::now() }
    }

    /// At a position where the stream was just looked at.
    pub(super) fn at(next: EntryId, info: Option<&StreamInfo>) -> Self {
        let so_far = match info {
            None => Some(0),
            Some(info) if next == info.last => info.appended,
            // Whoever starts at the beginning misses nothing of what was gone by then.
            Some(info) if next == EntryId::ZERO => info.appended.map(|appended| appended.saturating_sub(info.len)),
            Some(_) => None,
        };
        Self { so_far, is_behind: false, ..Self::unknown(next) }
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.so_far.is_none()
    }

    /// The broker could not be asked.
    pub(super) fn put_off(&mut self) {
        self.asked = Instant::now();
    }

    /// Whether the broker should be asked again.
    pub(super) fn is_due(&self) -> bool {
        self.is_behind && self.mark.is_none() && self.asked.elapsed() >= COMPARE_EVERY
    }

    /// What the broker says, to a reader that is at `next`; what was missed, if that shows by now.
    pub(super) fn compare(&mut self, next: EntryId, info: &StreamInfo) -> Option<Missed> {
        (self.is_behind, self.asked) = (false, Instant::now());
        let StreamInfo { first, last, appended, .. } = *info;
        self.mark = appended.map(|appended| Mark { last, appended, first });
        self.reach(next, &[])
    }

    /// These were read, and a gap was told in front of them.
    pub(super) fn lose(&mut self, entries: &[Entry]) {
        (self.so_far, self.mark, self.is_behind) = (None, None, true);
        self.sure = entries.last().map_or(self.sure, |entry| entry.id);
    }

    /// These were read.
    pub(super) fn read(&mut self, entries: &[Entry]) -> Option<Missed> {
        self.is_behind = true;
        let last = entries.last()?.id;
        self.reach(last, entries)
    }

    /// The position moves to `last` over these entries, and maybe over the mark.
    fn reach(&mut self, last: EntryId, entries: &[Entry]) -> Option<Missed> {
        let so_far = |entries: usize, count: Option<u64>| count.map(|count| count.saturating_add(entries as u64));
        let Some(mark) = self.mark.take_if(|mark| mark.last <= last) else {
            self.so_far = so_far(entries.len(), self.so_far);
            return None;
        };
        let before = entries.partition_point(|entry| entry.id <= mark.last);
        let counted = so_far(before, self.so_far);
        self.so_far = so_far(entries.len() - before, Some(mark.appended));
        let after = std::mem::replace(&mut self.sure, mark.last);
        // Less than counted is no hole: somebody has set the broker's number, or it does not count.
        counted.filter(|counted| *counted < mark.appended).map(|_| Missed { before, after, first: mark.first })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Fields;

    fn id(number: u64) -> EntryId {
        EntryId::new(number, 0)
    }

    fn entry(number: u64) -> Entry {
        Entry { id: id(number), fields: Fields::default() }
    }

    proptest! {
        /// Whatever is lost at whatever place, and whenever the two are compared: a loss is told, and nothing else is.
        #[test]
        fn what_is_missed_is_told_and_nothing_else(
            start in 0_u64..3,
            batches in prop::collection::vec((prop::collection::vec(any::<bool>(), 1..5), any::<bool>()), 1..20),
        ) {
            let info = |last: u64| StreamInfo { len: 0, first: None, last: id(last), appended: Some(last) };
            let mut count = Count::at(id(start), Some(&info(start)));
            let (mut number, mut lost, mut told) = (start, false, false);
            for (kept, asks) in batches {
                // The broker may be asked while the reader is behind, and then knows more than that.
                if asks {
                    told |= count.compare(id(number), &info(number + kept.len() as u64)).is_some();
                }
                let mut read = Vec::new();
                for is_kept in kept {
                    number += 1;
                    if is_kept { read.push(entry(number)) } else { lost = true }
                }
                told |= count.read(&read).is_some();
            }
            // At the end the reader catches up.
            told |= count.read(&[entry(number + 1)]).is_some();
            told |= count.compare(id(number + 1), &info(number + 1)).is_some();
            prop_assert_eq!(told, lost);
        }
    }

    #[test]
    fn a_hole_is_told_in_its_place() {
        let info = |last, appended| StreamInfo { len: 1, first: Some(id(7)), last: id(last), appended: Some(appended) };
        let mut count = Count::at(id(3), Some(&info(3, 3)));
        assert_eq!(count.read(&[entry(4)]), None);
        assert_eq!(count.compare(id(4), &info(8, 8)), None);
        let missed = Missed { before: 2, after: id(3), first: Some(id(7)) };
        assert_eq!(count.read(&[entry(7), entry(8), entry(9)]), Some(missed));
        assert_eq!(count.compare(id(9), &info(9, 9)), None, "it is told once");
        // Who begins at the beginning misses nothing of what was gone.
        let mut count = Count::at(EntryId::ZERO, Some(&info(9, 9)));
        assert_eq!(count.read(&[entry(9)]), None);
        assert_eq!(count.compare(id(9), &info(9, 9)), None);
        // A broker that does not count, or counts anew, tells of no holes.
        assert_eq!(count.compare(id(9), &StreamInfo { appended: None, ..info(9, 9) }), None);
        assert_eq!(count.compare(id(9), &info(9, 0)), None);
        assert_eq!(count.compare(id(9), &info(9, 0)), None);
    }
}
