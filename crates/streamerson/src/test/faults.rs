//! What goes wrong on the way to the broker.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::Seed;

/// How the way to the broker is: how long things take, and how many are lost.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Faults {
    /// Decides which.
    pub seed: u64,
    /// How long a question and an answer take on the way, at most, in whole milliseconds; each takes another time up to
    /// that.
    pub latency_max: Duration,
    /// How many in a thousand questions do not arrive, so that nothing is done and nobody knows that.
    pub questions_lost_permille: u64,
    /// How many in a thousand answers do not arrive, so that something is done and nobody knows that.
    pub answers_lost_permille: u64,
}

impl Faults {
    /// Everything arrives, at once.
    #[must_use]
    pub fn none() -> Self {
        Self { seed: 0, latency_max: Duration::ZERO, questions_lost_permille: 0, answers_lost_permille: 0 }
    }

    /// Up to 20 ms each way, and 1 % is lost on each.
    #[must_use]
    pub fn of(seed: &Seed) -> Self {
        let latency_max = Duration::from_millis(20);
        Self { seed: seed.number(), latency_max, questions_lost_permille: 10, answers_lost_permille: 10 }
    }

    /// Nothing is lost, and nothing takes any time.
    pub(super) fn are_none(&self) -> bool {
        self.latency_max.is_zero() && self.questions_lost_permille == 0 && self.answers_lost_permille == 0
    }
}

/// What happens to one question and its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) there: Duration,
    pub(super) question_lost: bool,
    pub(super) back: Duration,
    pub(super) answer_lost: bool,
}

/// Throws for each question. What comes out does not depend on the order in which different questions are asked, so that
/// one that comes earlier changes only its own.
#[derive(Debug)]
pub(super) struct Dice {
    faults: Faults,
    /// Whose dice they are.
    owner: u64,
    // Locked to count one question.
    asked: Mutex<HashMap<(&'static str, String), u64>>,
}

impl Dice {
    pub(super) fn new(faults: Faults, owner: u64) -> Self {
        Self { faults, owner, asked: Mutex::default() }
    }

    /// The fate of the next question of this kind about this key.
    pub(super) fn throw(&self, question: &'static str, key: &str) -> Option<Fate> {
        if self.faults.are_none() {
            return None;
        }
        let count = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let count = asked.entry((question, key.to_owned())).or_insert(0);
            *count += 1;
            *count
        };
        let words =
            question.bytes().chain(key.bytes()).fold(0, |sum: u64, byte| sum.wrapping_mul(131) + u64::from(byte));
        let mut rng = fastrand::Rng::with_seed(self.faults.seed);
        for number in [self.owner, words, count] {
            let drawn = rng.u64(..) ^ number;
            rng = fastrand::Rng::with_seed(drawn);
        }
        let latency_max = u64::try_from(self.faults.latency_max.as_millis()).unwrap_or(u64::MAX);
        let mut latency = || Duration::from_millis(rng.u64(0..=latency_max));
        let (there, back) = (latency(), latency());
        let mut lost = |permille: u64| rng.u64(0..1000) < permille;
        let (question_lost, answer_lost) =
            (lost(self.faults.questions_lost_permille), lost(self.faults.answers_lost_permille));
        Some(Fate { there, question_lost, back, answer_lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_depend_on_the_seed_the_owner_and_the_question_alone() {
        let fates = |seed, owner, key| {
            let dice = Dice::new(Faults::of(&Seed::new(seed)), owner);
            (0..50).map(|_| format!("{:?}", dice.throw("append", key))).collect::<Vec<_>>()
        };
        assert_eq!(fates(1, 1, "a"), fates(1, 1, "a"));
        assert_ne!(fates(1, 1, "a"), fates(2, 1, "a"));
        assert_ne!(fates(1, 1, "a"), fates(1, 2, "a"));
        assert_ne!(fates(1, 1, "a"), fates(1, 1, "b"));
    }

    #[test]
    fn about_as_many_are_lost_as_was_said() {
        let dice = Dice::new(Faults::of(&Seed::new(3)), 1);
        let fates: Vec<_> = (0..20_000).filter_map(|_| dice.throw("append", "a")).collect();
        let lost = fates.iter().filter(|fate| fate.question_lost).count();
        assert!((100..300).contains(&lost), "{lost}");
        assert!(fates.iter().all(|fate| fate.there <= Duration::from_millis(20)));
    }
}
