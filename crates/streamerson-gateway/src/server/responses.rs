//! The bytes of response bodies that clients have not taken yet, and their bounds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use streamerson_core::metrics::{Metric, Page, Source};

const BUFFERED: Metric =
    Metric::gauge("streamerson_gateway_response_bytes", "Bytes of response bodies that clients have not taken yet.");

/// Bytes that may wait at the same time.
#[derive(Debug)]
pub(super) struct ByteBudget {
    bytes_max: usize,
    waiting: AtomicUsize,
    /// The size of the last body that did not fit, up to half of the budget; zero once there is space for it. A budget
    /// that is all but used up would otherwise admit requests whose responses don't fit.
    turned_away: AtomicUsize,
}

impl ByteBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, waiting: AtomicUsize::new(0), turned_away: AtomicUsize::new(0) }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns whether another response can be expected to fit.
    pub(super) fn has_room(&self) -> bool {
        let wanted = self.turned_away.load(Ordering::Relaxed).max(1);
        self.waiting().saturating_add(wanted) <= self.bytes_max
    }

    /// Counts bytes that wait if they fit, and returns whether they do.
    fn try_add(&self, bytes: usize) -> bool {
        let fits = |waiting: usize| waiting.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let added = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if !added {
            self.turned_away.store(bytes.min(self.bytes_max / 2), Ordering::Relaxed);
        }
        added
    }

    /// Counts bytes that wait, bound or not.
    fn add(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back bytes that were counted, and returns how many are left.
    fn release(&self, bytes: usize) -> usize {
        let left = self.waiting.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes);
        let wanted = self.turned_away.load(Ordering::Relaxed);
        if wanted > 0 && left.saturating_add(wanted) <= self.bytes_max {
            self.turned_away.store(0, Ordering::Relaxed);
        }
        left
    }
}

impl Source for ByteBudget {
    fn write(&self, page: &mut Page) {
        page.sample(&BUFFERED, &[], self.waiting() as u64);
    }
}

/// The response bodies of one connection.
#[derive(Debug)]
pub(super) struct Responses {
    own: ByteBudget,
    /// The budget of all connections.
    all: Arc<ByteBudget>,
    /// Bytes that were written to the socket, ever.
    taken: AtomicU64,
    /// How often the last byte that waited was taken or given up.
    emptied: AtomicU64,
}

impl Responses {
    pub(super) fn new(bytes_max: usize, all: Arc<ByteBudget>) -> Self {
        Self { own: ByteBudget::new(bytes_max), all, taken: AtomicU64::new(0), emptied: AtomicU64::new(0) }
    }

    /// Returns whether another response can be expected to fit.
    pub(super) fn has_room(&self) -> bool {
        self.own.has_room() && self.all.has_room()
    }

    pub(super) fn waiting(&self) -> usize {
        self.own.waiting()
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn emptied(&self) -> u64 {
        self.emptied.load(Ordering::Relaxed)
    }

    /// Counts bytes that wait if both budgets have them, and returns whether they do.
    pub(super) fn try_add(&self, bytes: usize) -> bool {
        if !self.own.try_add(bytes) {
            return false;
        }
        let added = self.all.try_add(bytes);
        if !added {
            self.own.release(bytes);
        }
        added
    }

    /// Counts bytes that wait, bound or not.
    pub(super) fn add(&self, bytes: usize) {
        self.own.add(bytes);
        self.all.add(bytes);
    }

    /// Counts bytes that were written to the socket.
    pub(super) fn record_taken(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        self.release(bytes);
    }

    /// Takes back bytes that were counted.
    pub(super) fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.all.release(bytes);
        if self.own.release(bytes) == 0 {
            self.emptied.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_does_not_fit_counts_nowhere() {
        let all = Arc::new(ByteBudget::new(100));
        let [first, second] = [60, 90].map(|bytes_max| Responses::new(bytes_max, Arc::clone(&all)));
        assert!(!first.try_add(61), "beyond the connection's own share");
        assert!(first.try_add(60) && !first.has_room());
        assert!(second.has_room() && !second.try_add(41), "beyond the share of all");
        assert_eq!((first.waiting(), second.waiting(), all.waiting()), (60, 0, 60));
        assert!(second.try_add(40) && !second.has_room());
        first.record_taken(1);
        first.release(59);
        assert_eq!((first.taken(), first.emptied(), all.waiting()), (1, 1, 40));
        assert!(first.has_room() && second.has_room());
    }

    #[test]
    fn a_budget_admits_nothing_until_what_was_turned_away_fits() {
        let budget = ByteBudget::new(100);
        assert!(budget.try_add(70) && budget.has_room());
        assert!(!budget.try_add(40) && !budget.has_room());
        budget.release(5);
        assert!(!budget.has_room());
        budget.release(5);
        assert!(budget.has_room() && budget.try_add(40));
        // A body that can never fit must not keep the others away.
        assert!(!budget.try_add(1_000));
        budget.release(50);
        assert!(budget.has_room());
    }
}
