//! The broker's clock, as this process knows it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use streamerson_core::UnixMillis;

use crate::resp::Reply;

/// The server's time by the last answer to `TIME`, carried on by this process's monotonic clock; so a jump of the
/// machine's clock changes nothing. Before the first answer it is the machine's own time.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// The server's Unix time at `started`, in microseconds.
    offset: AtomicI64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let machine = i64::try_from(UnixMillis::of_this_machine().0).unwrap_or(i64::MAX);
        Self { started: Instant::now(), offset: AtomicI64::new(machine.saturating_mul(1000)) }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        let micros = self.offset.load(Ordering::Relaxed).saturating_add(micros(self.started.elapsed()));
        UnixMillis(u64::try_from(micros / 1000).unwrap_or(0))
    }

    /// Takes over the time of a reply to `TIME` that was asked for at `asked` and has just arrived. The server is taken
    /// to have looked at its clock half-way.
    pub(crate) fn set(&self, reply: &Reply, asked: Instant) {
        if let Some(server) = server_micros(reply) {
            let there = server.saturating_add(micros(asked.elapsed() / 2));
            self.offset.store(there.saturating_sub(micros(self.started.elapsed())), Ordering::Relaxed);
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn server_micros(reply: &Reply) -> Option<i64> {
    let Reply::Array(parts) = reply else { return None };
    let [Reply::Bulk(seconds), Reply::Bulk(micros)] = parts.as_slice() else { return None };
    let number = |bytes| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_time_replaces_the_machines() {
        let clock = Clock::new();
        assert!(clock.now().since(UnixMillis::of_this_machine()) < Duration::from_secs(1));
        let time =
            |seconds: &'static str| Reply::Array(vec![Reply::Bulk(seconds.into()), Reply::Bulk("250000".into())]);
        clock.set(&time("1000"), Instant::now());
        assert!((1_000_250..1_001_250).contains(&clock.now().0), "{}", clock.now());
        clock.set(&Reply::Error("ERR".into()), Instant::now());
        clock.set(&time("9223372036854775807"), Instant::now());
        assert!((1_000_250..1_001_250).contains(&clock.now().0), "{}", clock.now());
    }
}
