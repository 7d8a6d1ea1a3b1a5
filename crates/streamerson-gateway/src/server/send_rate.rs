//! The least rate at which the client of a connection must take its responses.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::responses::Responses;

/// How often a window is looked at: a window that slides sees a client that takes much at once and then nothing.
const TICKS: usize = 8;
/// Bounds of the bytes that the system may keep unsent for a connection.
const UNSENT_BYTES: std::ops::RangeInclusive<u64> = 16 * 1024..=128 * 1024;

/// The least rate: bytes that must be taken in each window of time, unless fewer wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeastRate {
    pub(super) window: Duration,
    pub(super) bytes_per_second: u64,
}

impl LeastRate {
    fn window_bytes(self) -> u64 {
        let bytes = u128::from(self.bytes_per_second).saturating_mul(self.window.as_millis()) / 1000;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
    }

    /// How many bytes the system should keep unsent, at most (`TCP_NOTSENT_LOWAT`).
    ///
    /// The system tells of free space once a good part of its buffer is free. With a buffer of megabytes a client that
    /// takes its responses at the least rate would seem to take nothing for minutes.
    pub(super) fn unsent_bytes_max(self) -> u32 {
        let bytes = (self.window_bytes() / 2).clamp(*UNSENT_BYTES.start(), *UNSENT_BYTES.end());
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Watches one connection. It has a timer once a client has let a response wait, and looks at it [`TICKS`] times in a
/// window.
#[derive(Debug)]
pub(super) struct SendRate {
    window_bytes: u64,
    tick: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Set while something waits.
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    /// How often the connection had nothing to send when the window began.
    emptied: u64,
    /// Samples that were taken, ever. The last [`TICKS`] of them are kept.
    count: usize,
    samples: [Sample; TICKS],
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    taken: u64,
    waiting: u64,
}

impl SendRate {
    pub(super) fn new(rate: LeastRate) -> Self {
        Self { window_bytes: rate.window_bytes(), tick: rate.window / TICKS as u32, timer: None, window: None }
    }

    /// Returns when the client takes its responses too slowly.
    ///
    /// To be polled after the connection in the same task: responses are made and written while that is polled, so one
    /// that still waits then is seen without a wake-up of its own.
    pub(super) async fn too_slow(&mut self, responses: &Responses) {
        poll_fn(|cx| self.poll(cx, responses)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>, responses: &Responses) -> Poll<()> {
        loop {
            let now = Sample::of(responses);
            if now.waiting == 0 {
                self.window = None;
                return Poll::Pending;
            }
            let window = self.window.get_or_insert_with(|| Window::new(now, responses));
            // Nothing waited for a moment since the last look, so the window begins anew.
            if window.emptied != responses.emptied() {
                *window = Window::new(now, responses);
            }
            // The timer runs on while windows come and go, so that it is set once in a tick at most.
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.tick)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(Instant::now() + self.tick);
            if window.is_below(now, self.window_bytes) {
                return Poll::Ready(());
            }
            window.push(now);
        }
    }
}

impl Window {
    fn new(first: Sample, responses: &Responses) -> Self {
        Self { emptied: responses.emptied(), count: 1, samples: [first; TICKS] }
    }

    /// Returns whether less was taken than had to be, since the sample that is a window old. The first sample is none:
    /// the first tick after it may be a short one.
    fn is_below(&self, now: Sample, window_bytes: u64) -> bool {
        let Sample { taken, waiting } = self.samples[self.count % TICKS];
        self.count > TICKS && now.taken - taken < waiting.min(window_bytes)
    }

    fn push(&mut self, now: Sample) {
        self.samples[self.count % TICKS] = now;
        self.count += 1;
    }
}

impl Sample {
    fn of(responses: &Responses) -> Self {
        // In this order: bytes that are taken between the two loads ask less of the client, and not more.
        let taken = responses.taken();
        Self { taken, waiting: responses.waiting() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;
    use crate::server::responses::ByteBudget;

    const WINDOW: Duration = Duration::from_secs(8);
    const RATE: LeastRate = LeastRate { window: WINDOW, bytes_per_second: 1000 };

    fn responses() -> Responses {
        Responses::new(usize::MAX, Arc::new(ByteBudget::new(usize::MAX)))
    }

    /// Takes so many bytes each time until nothing waits, and returns whether the connection was cut by then.
    async fn is_cut(rate: &mut SendRate, responses: &Responses, bytes: usize, pause: Duration) -> bool {
        let taking = async {
            while responses.waiting() > 0 {
                tokio::time::sleep(pause).await;
                responses.record_taken(bytes.min(responses.waiting()));
            }
        };
        tokio::select! {
            biased;
            () = taking => false,
            () = rate.too_slow(responses) => true,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_above_the_rate_takes_all_and_one_below_is_cut() {
        let second = Duration::from_secs(1);
        for (bytes, pause, cut) in [
            (1_100, second, false),
            (900, second, true),
            (9_000, second * 8, false),
            (110, second / 10, false),
            (90, second / 10, true),
            (1, second, true),
            (100_000, second * 7, false),
            (100_000, second * 11, true),
        ] {
            let responses = responses();
            responses.add(1_000_000);
            let begun = Instant::now();
            let was_cut = is_cut(&mut SendRate::new(RATE), &responses, bytes, pause).await;
            assert_eq!(was_cut, cut, "{bytes} bytes each {pause:?}");
            assert!(!cut || begun.elapsed() <= WINDOW * 2 || bytes == 100_000, "{:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_much_at_first_is_cut_once_it_does_not() {
        let (responses, mut rate) = (responses(), SendRate::new(RATE));
        responses.add(1_000_000);
        assert!(timeout(WINDOW / 2, rate.too_slow(&responses)).await.is_err());
        responses.record_taken(500_000);
        let begun = Instant::now();
        rate.too_slow(&responses).await;
        assert!((WINDOW..WINDOW * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn few_bytes_must_be_taken_as_well() {
        let (responses, mut rate) = (responses(), SendRate::new(RATE));
        responses.add(10);
        let begun = Instant::now();
        rate.too_slow(&responses).await;
        assert!((WINDOW..WINDOW * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_waits_is_never_cut() {
        let (responses, mut rate) = (responses(), SendRate::new(RATE));
        // Responses of a few bytes, each taken or given up before the next.
        let exchanges = async {
            for index in 0..100 {
                responses.add(10);
                tokio::time::sleep(WINDOW / 5).await;
                if index % 2 == 0 { responses.record_taken(10) } else { responses.release(10) }
            }
            tokio::time::sleep(WINDOW * 5).await;
        };
        tokio::select! {
            biased;
            () = exchanges => {}
            () = rate.too_slow(&responses) => panic!("it was cut"),
        }
    }

    #[test]
    fn the_system_keeps_less_than_a_window_unsent() {
        let kept = |window: u64, bytes_per_second| {
            LeastRate { window: Duration::from_secs(window), bytes_per_second }.unsent_bytes_max()
        };
        assert_eq!([kept(30, 4096), kept(1, 1), kept(3600, u64::MAX)], [61_440, 16_384, 131_072]);
    }
}
