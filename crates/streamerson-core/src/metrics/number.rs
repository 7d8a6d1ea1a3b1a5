//! Numbers that are counted: plain atomics, so that counting takes no lock and allocates nothing.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// A gauge at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// There is one more, until the guard is dropped.
    #[must_use = "it counts for as long as the guard lives"]
    pub fn hold(&self) -> InGauge<'_> {
        self.rise();
        InGauge(self)
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn rise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fall(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub struct InGauge<'a>(&'a Gauge);

impl Drop for InGauge<'_> {
    fn drop(&mut self) {
        self.0.fall();
    }
}

/// The bounds of a [`Histogram`], and what its values are.
#[derive(Debug, Clone, Copy)]
pub struct Buckets {
    /// Upper bounds, rising. One more bucket holds what is above the last.
    bounds: &'static [u64],
    /// How many of what is observed are one of what is shown.
    per_unit: u64,
}

impl Buckets {
    /// For what somebody waits for: 1 ms to 10 s.
    pub const LATENCIES: Self = Self::of_nanos(&[
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
    ]);

    /// For times, with these bounds in nanoseconds; shown in seconds.
    #[must_use]
    pub const fn of_nanos(bounds: &'static [u64]) -> Self {
        Self { bounds, per_unit: 1_000_000_000 }
    }

    /// For numbers.
    #[must_use]
    pub const fn of_numbers(bounds: &'static [u64]) -> Self {
        Self { bounds, per_unit: 1 }
    }

    fn shown(self, value: u64) -> f64 {
        value as f64 / self.per_unit as f64
    }
}

/// How many values lie below which bound.
#[derive(Debug)]
pub struct Histogram {
    buckets: Buckets,
    /// How many lie above the bound before and not above this one; the last one holds the rest.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        let counts = (0..=buckets.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, counts, sum: AtomicU64::new(0) }
    }

    /// Adds a value, in the unit of the bounds.
    pub fn observe(&self, value: u64) {
        self.observe_many(value, 1);
    }

    fn observe_many(&self, value: u64, count: u64) {
        let bucket = self.buckets.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
        self.sum.fetch_add(value.wrapping_mul(count), Ordering::Relaxed);
    }

    /// Adds a time, to one of times.
    pub fn observe_time(&self, time: Duration) {
        self.observe_times(time, 1);
    }

    /// Adds a time as often as `count` says.
    pub fn observe_times(&self, time: Duration, count: u64) {
        // More than 584 years is not waited for.
        self.observe_many(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), count);
    }

    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn sum(&self) -> f64 {
        self.buckets.shown(self.sum.load(Ordering::Relaxed))
    }

    /// For each bound, how many values are not above it; last, without a bound, all of them.
    pub(super) fn so_far(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.buckets.bounds.iter().map(|bound| Some(self.buckets.shown(*bound))).chain([None]);
        bounds.zip(&self.counts).scan(0, |so_far, (bound, count)| {
            *so_far += count.load(Ordering::Relaxed);
            Some((bound, *so_far))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_holds_each_value_once() {
        let histogram = Histogram::new(Buckets::of_nanos(&[1_000_000, 2_500_000, 1_000_000_000]));
        for millis in [0, 1, 2, 1000, 1001] {
            histogram.observe_time(Duration::from_millis(millis));
        }
        let so_far: Vec<_> = histogram.so_far().collect();
        assert_eq!(so_far, [(Some(0.001), 2), (Some(0.0025), 3), (Some(1.0), 4), (None, 5)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 2.004));
    }

    #[test]
    fn a_gauge_falls_when_the_guard_goes() {
        let gauge = Gauge::new();
        let guards = [gauge.hold(), gauge.hold()];
        assert_eq!(gauge.get(), 2);
        drop(guards);
        assert_eq!(gauge.get(), 0);
    }
}
