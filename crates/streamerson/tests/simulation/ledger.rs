//! The account of what was sent, and of what became of it.

use std::collections::{BTreeMap, BTreeSet};

use streamerson::{
    CallError, Reply,
    core::{MessageId, dead_letter::Reason, group::Outcome},
    test::TestBed,
};

use crate::work::{Done, End, Handled, Work};

/// Everything that was sent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) events: BTreeMap<MessageId, Work>,
    pub(crate) requests: BTreeMap<MessageId, (Work, Answer)>,
    /// How many attempts a message has.
    pub(crate) attempts_max: u32,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Got(Result<Reply, CallError>),
    /// Whoever asked has gone.
    Dropped,
}

impl Ledger {
    /// Everything has come to the one end that it should have.
    pub(crate) async fn balance(&self, bed: &TestBed, done: &Done) {
        for (id, work) in &self.events {
            self.event(id, work, &ends(bed, id), done.of(id));
        }
        for (id, (work, answer)) in &self.requests {
            self.request(id, work, answer, &ends(bed, id), done.of(id));
        }
        self.emitted(bed);
        let dead = bed.outcomes().iter().filter(|ended| matches!(ended.outcome, Outcome::Dead { .. })).count();
        assert_eq!(bed.dead_letters().await.len(), dead, "each dead letter is there once");
    }

    fn event(&self, id: &MessageId, work: &Work, ends: &[Outcome], handled: Handled) {
        let [end] = ends else { panic!("{id} has ended {} times: {ends:?}, {handled:?}", ends.len()) };
        match end {
            Outcome::Done => {
                assert!(handled.succeeded > 0 && work.end == End::Answer, "{id} is done: {work:?}, {handled:?}");
            }
            Outcome::Dead { reason: Reason::Failed, .. } if work.end == End::NotFound && handled.succeeded > 0 => {}
            Outcome::Dead { reason: Reason::Failed | Reason::Panicked, .. } => self.was_tried(id, work, handled),
            other => panic!("{id} must not end so: {other:?}, {work:?}, {handled:?}"),
        }
    }

    /// Tried as often as it may be, and failed each time. What a crash interrupts may make it more.
    fn was_tried(&self, id: &MessageId, work: &Work, handled: Handled) {
        let fails = work.end == End::Panic || work.failures >= self.attempts_max;
        assert!(fails, "{id} need not have failed: {work:?}, {handled:?}");
        assert!(handled.failed >= self.attempts_max, "{id} was not tried often enough: {handled:?}");
    }

    fn request(&self, id: &MessageId, work: &Work, answer: &Answer, ends: &[Outcome], handled: Handled) {
        let Answer::Got(answer) = answer else {
            // Taken back where it had not begun.
            return assert!(ends.len() <= 1, "{id} has ended more than once: {ends:?}");
        };
        match answer {
            Ok(reply) if reply.is_error => {
                assert!(handled.failed > 0 || work.end == End::NotFound, "{id}: {reply:?}, {handled:?}");
            }
            Ok(reply) => {
                assert!(handled.succeeded > 0, "{id} was answered by nobody: {handled:?}");
                assert_eq!(reply.payload, work.takes_ms.to_string(), "{id} has its own answer");
            }
            Err(CallError::TimedOut(_) | CallError::NoConsumers) => {}
            Err(error) => panic!("{id} failed for no good reason: {error}"),
        }
        assert_eq!(ends.len(), 1, "{id} has ended {ends:?}: {answer:?}, {handled:?}");
    }

    /// What was done has sent out what it should, perhaps more than once but under the same ids; what was not has not.
    fn emitted(&self, bed: &TestBed) {
        let mut of_parent: BTreeMap<String, BTreeSet<MessageId>> = BTreeMap::new();
        for message in bed.emitted_to(&crate::work::results()) {
            let (parent, _) = message.id.rsplit_once('.').expect("a derived id");
            of_parent.entry(parent.to_owned()).or_default().insert(message.id.clone());
        }
        let sent = self.events.iter().chain(self.requests.iter().map(|(id, (work, _))| (id, work)));
        for (id, work) in sent {
            let emitted = of_parent.get(id.as_str()).map_or(0, BTreeSet::len);
            let succeeded = ends(bed, id).iter().any(|end| match end {
                Outcome::Done => true,
                Outcome::Replied(reply) => !reply.is_error,
                _ => false,
            });
            assert_eq!(emitted, if succeeded { work.emits } else { 0 }, "{id}: {work:?}");
        }
    }
}

/// How it ended for good.
fn ends(bed: &TestBed, id: &MessageId) -> Vec<Outcome> {
    bed.outcomes_of(id).into_iter().filter(|outcome| !matches!(outcome, Outcome::Retried { .. })).collect()
}
