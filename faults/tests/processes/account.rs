//! The account: every message that was sent, how often it was handled, and what its sender heard.

use std::{collections::BTreeMap, time::Duration};

use faults::What;
use streamerson::CallError;

use crate::{
    fleet::Deeds,
    load::{Answer, Sent},
};

/// What came of it all.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    pub(crate) failed: usize,
    /// Handlers that began, over all messages.
    pub(crate) begun: usize,
    /// Messages for which more than one handler began.
    pub(crate) repeated: usize,
    pub(crate) slowest: Duration,
}

impl Account {
    /// Balances: each event that was confirmed was handled to its end, each request was answered by a handler that ended or
    /// failed with a cause, and nothing was handled that nobody sent.
    pub(crate) fn balance(sent: &Sent, deeds: &[Deeds]) -> Self {
        let (mut begun, mut ended) = (BTreeMap::<&str, usize>::new(), BTreeMap::<&str, usize>::new());
        for line in deeds.iter().flat_map(|deeds| &deeds.lines) {
            let counts = if line.what == What::Begun { &mut begun } else { &mut ended };
            *counts.entry(&line.id).or_default() += 1;
        }
        for (id, Answer { result, took, .. }) in &sent.requests {
            match result {
                Ok(()) => assert!(ended.contains_key(id.as_str()), "{id} was answered and never handled"),
                Err(error) => assert!(has_a_cause(error), "{id} failed after {took:?}: {error}"),
            }
        }
        for (id, confirmed) in &sent.events {
            match confirmed {
                Ok(()) => assert!(ended.contains_key(id.as_str()), "{id} was confirmed and never handled"),
                Err(error) => assert!(has_a_cause(error), "{id}: {error}"),
            }
        }
        for id in begun.keys() {
            let known = sent.requests.contains_key(*id) || sent.events.contains_key(*id);
            assert!(known, "{id} was handled and never sent");
        }
        let answers = || {
            sent.requests.values().map(|answer| answer.result.is_ok()).chain(sent.events.values().map(Result::is_ok))
        };
        Self {
            sent: answers().count(),
            answered: answers().filter(|good| *good).count(),
            failed: answers().filter(|good| !good).count(),
            begun: begun.values().sum(),
            repeated: begun.values().filter(|count| **count > 1).count(),
            slowest: sent.requests.values().map(|answer| answer.took).max().unwrap_or_default(),
        }
    }

    /// Once a request is answered it is settled, and no handler begins it again. What Redis has lost is another matter.
    pub(crate) fn nothing_after_its_answer(sent: &Sent, deeds: &[Deeds]) {
        for line in deeds.iter().flat_map(|deeds| &deeds.lines).filter(|line| line.what == What::Begun) {
            let Some(Answer { result: Ok(()), at_micros, .. }) = sent.requests.get(&line.id) else { continue };
            assert!(line.at_micros <= *at_micros, "{} was handled again after its answer", line.id);
        }
    }

    /// What is printed of it.
    pub(crate) fn print(&self, what: &str, faults: usize) {
        let Self { sent, answered, failed, begun, repeated, slowest } = self;
        let each = *repeated as f64 / faults.max(1) as f64;
        eprintln!(
            "{what}: {sent} sent, {answered} answered or confirmed, {failed} failed with a cause; {begun} handlings, \
             {repeated} messages more than once; {faults} faults, {each:.1} duplicates each; slowest answer {slowest:.1?}"
        );
    }
}

/// Whoever sent it can tell what to do: nothing was done, or it may have been, or nobody came in time.
fn has_a_cause(error: &CallError) -> bool {
    match error {
        CallError::TimedOut(_) | CallError::NoConsumers => true,
        CallError::Broker(error) => error.is_transient(),
        _ => false,
    }
}
