//! How far a command is, on one line that is written again and again: on a terminal only.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{
    human,
    output::{Format, Output},
    shown::printable,
};

/// How often the line is written again, at most.
const INTERVAL: Duration = Duration::from_millis(100);

/// A line on the standard error, for people who watch.
pub(crate) struct Progress {
    is_shown: bool,
    begun: Instant,
    written: Option<Instant>,
    total: Option<u64>,
}

impl Progress {
    /// For so many things, where that is known.
    pub(crate) fn new(output: &Output, total: Option<u64>) -> Self {
        let is_shown = output.format == Format::Human && io::stderr().is_terminal();
        Self { is_shown, begun: Instant::now(), written: None, total }
    }

    /// So many are done: the line is `what`, the numbers, and `rest`.
    pub(crate) fn at(&mut self, what: &str, done: u64, rest: &str) {
        let now = Instant::now();
        if !self.is_shown || self.written.is_some_and(|written| now - written < INTERVAL) {
            return;
        }
        self.written = Some(now);
        let numbers = match self.total {
            Some(total) => format!("{} of {}", human::count(done), human::count(total.max(done))),
            None => human::count(done),
        };
        let left = self.left(done).map_or_else(String::new, |left| format!(", about {} left", human::age(left)));
        _ = write!(io::stderr(), "\r\x1b[K{} {numbers}{}{left}", printable(what), printable(rest));
    }

    /// Says what is under way, without numbers.
    pub(crate) fn say(&mut self, what: &str) {
        if self.is_shown {
            self.written = Some(Instant::now());
            _ = write!(io::stderr(), "\r\x1b[K{} …", printable(what));
        }
    }

    /// Takes the line away, so that others can be written.
    pub(crate) fn clear(&mut self) {
        if self.written.take().is_some() {
            _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// How long the rest takes if it goes on like this; nothing while that is a guess.
    fn left(&self, done: u64) -> Option<Duration> {
        let elapsed = self.begun.elapsed();
        let rest = self.total?.saturating_sub(done);
        if done == 0 || rest == 0 || elapsed < Duration::from_secs(2) {
            return None;
        }
        let left = elapsed.as_secs_f64() / done as f64 * rest as f64;
        Duration::try_from_secs_f64(left.ceil()).ok()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
