//! Many orders of events, each by its seed.

use std::{
    env, fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use streamerson_core::numbered::Numbered;
use tokio::{runtime::Builder, time::timeout};

/// The seed to run alone, by its number.
const SEED: &str = "STREAMERSON_SEED";
/// How many seeds to run, instead of as many as the test says.
const SCHEDULES: &str = "STREAMERSON_SCHEDULES";
/// How long a scenario may take, in its own time.
const DAYS_MAX: u64 = 400;

/// Runs a scenario with the seeds 0, 1, 2 and so on, `schedules` of them, each on a runtime of its own whose clock is
/// paused. On each the thread's random numbers of `fastrand`, and the names and ids that are made here, are the same each
/// time.
///
/// With `STREAMERSON_SEED=7` in the environment it runs the seed 7 alone; with `STREAMERSON_SCHEDULES=100000` so many.
///
/// # Panics
///
/// When a scenario does, with the number of its seed, or when it does not end within 400 days of its own time.
pub fn explore(schedules: u64, scenario: impl AsyncFn(Seed)) {
    let (first, count) = match (number(SEED), number(SCHEDULES)) {
        (Some(seed), _) => (seed, 1),
        (None, count) => (0, count.unwrap_or(schedules)),
    };
    explore_seeds(first..first + count, scenario);
}

/// Runs a scenario with these seeds, as [`explore`] does.
///
/// # Panics
///
/// As [`explore`] does.
pub fn explore_seeds(seeds: impl IntoIterator<Item = u64>, scenario: impl AsyncFn(Seed)) {
    for number in seeds {
        // Whatever the scenario leaves behind is not looked at.
        let outcome = catch_unwind(AssertUnwindSafe(|| run(number, &scenario)));
        match outcome {
            Ok(true) => {}
            Ok(false) => panic!("the seed {number} does not come to an end; {SEED}={number} runs it alone"),
            Err(panic) => {
                tracing::error!(seed = number, "a scenario fails; set {SEED} to run it alone");
                let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref().copied());
                match message {
                    Some(message) => panic!("with the seed {number}: {message}; {SEED}={number} runs it alone"),
                    None => resume_unwind(panic),
                }
            }
        }
    }
}

/// Answers whether it came to an end.
fn run(number: u64, scenario: &impl AsyncFn(Seed)) -> bool {
    fastrand::seed(number);
    let _numbered = Numbered::begin();
    // It fails only without a system to ask for, and then nothing can be tested.
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("there is no runtime: {error}"));
    let limit = Duration::from_secs(DAYS_MAX * 24 * 60 * 60);
    runtime.block_on(async { timeout(limit, scenario(Seed::new(number))).await.is_ok() })
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, and not {text:?}")))
}

/// What decides by chance in a scenario: the same each time for the same number. Clones share what is left of it.
#[derive(Clone)]
pub struct Seed {
    number: u64,
    // Locked to draw one number.
    rng: Arc<Mutex<fastrand::Rng>>,
}

impl Seed {
    /// The seed with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self { number, rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(number))) }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A number from 0 on and below that; 0 when there is none.
    #[must_use]
    pub fn below(&self, end: u64) -> u64 {
        self.draw(|rng| rng.u64(0..end.max(1)))
    }

    /// Yes, so many times out of a hundred.
    #[must_use]
    pub fn percent(&self, times: u64) -> bool {
        self.below(100) < times
    }

    /// One of these.
    ///
    /// # Panics
    ///
    /// When there are none.
    #[must_use]
    pub fn one_of<'a, T>(&self, choices: &'a [T]) -> &'a T {
        assert!(!choices.is_empty(), "there is nothing to choose from");
        &choices[self.draw(|rng| rng.usize(0..choices.len()))]
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seed").field(&self.number).finish()
    }
}
