//! Counters that differ in one label whose values are known beforehand.

use super::{
    number::Counter,
    page::{Labels, Metric, Page},
};

/// One counter for each of some words. All of them are shown from the start, at zero, so that the first that is counted
/// shows as a rise.
#[derive(Debug)]
pub(super) struct ByWord<const N: usize> {
    label: &'static str,
    words: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> ByWord<N> {
    pub(super) fn new(label: &'static str, words: [&'static str; N]) -> Self {
        Self { label, words, counters: [const { Counter::new() }; N] }
    }

    /// The counter of the word at this place.
    pub(super) fn at(&self, index: usize) -> &Counter {
        &self.counters[index]
    }

    /// Counts one of this word. One that is not among them, which no caller has, is not counted.
    pub(super) fn count(&self, word: &str) {
        if let Some(index) = self.words.iter().position(|it| *it == word) {
            self.at(index).add_one();
        }
    }

    /// All of them together.
    pub(super) fn sum(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }

    pub(super) fn write(&self, page: &mut Page, metric: &Metric, labels: &Labels<'_>) {
        for (word, counter) in self.words.iter().zip(&self.counters) {
            let mut labels = labels.to_vec();
            labels.push((self.label, word));
            page.counter(metric, &labels, counter);
        }
    }
}
